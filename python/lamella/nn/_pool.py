"""Pooling of (n, c, h, w) and (n, c, w)."""

from __future__ import annotations

import math
from typing import Any

from .._errors import refuse, short
from .._functional import elementwise as e
from .._functional.layers import pool as _pool
from .._functional.shape import squeeze, unsqueeze
from ._layout import from_last, numbers, pair, single, sizes, to_last
from ._unpool import places_of_maxima

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
]

Tensor = Any


def _run(op: str, dims: int, x: Tensor, **attrs: Any) -> Tensor:
    """The op on x in its own layout; a single sample without batch dimension is taken too."""
    if len(x.shape) == dims + 1:
        return squeeze(_run(op, dims, unsqueeze(x, 0), **attrs), 0)
    if len(x.shape) != dims + 2:
        raise ValueError(f"{op}: input: expected {dims + 1} or {dims + 2} dimensions, got shape {x.shape}")
    return from_last(dims, _pool(op, to_last(dims, x), **attrs))


def _windows(op: str, dims: int, kernel_size: Any, stride: Any, padding: Any) -> dict[str, Any]:
    """Windows that lie side by side unless a stride is given."""
    window = numbers(dims, kernel_size, op, "kernel_size", 1)
    return {
        "window": window,
        "stride": window if stride is None else numbers(dims, stride, op, "stride", 1),
        "padding": numbers(dims, padding, op, "padding"),
    }


def _max_pool(
    dims: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    name = f"max_pool{dims}d"
    attrs = _windows(name, dims, kernel_size, stride, padding)
    attrs |= {"dilation": numbers(dims, dilation, name, "dilation", 1), "ceil_mode": ceil_mode}
    y = _run(name, dims, x, **attrs)
    if not return_indices:
        return y
    batch = x if len(x.shape) == dims + 2 else unsqueeze(x, 0)
    places = places_of_maxima(to_last(dims, batch), **attrs, dims=dims)
    return y, places if batch is x else squeeze(places, 0)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (n, c, h, w), and with `return_indices` where in h * w each was."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum over windows of (n, c, w), and with `return_indices` where in w each was."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average over windows of (n, c, h, w)."""
    windows = _windows("avg_pool2d", 2, kernel_size, stride, padding)
    more = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad, "divisor": divisor_override}
    return _run("avg_pool2d", 2, input, **windows, **more)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average over windows of (n, c, w)."""
    windows = _windows("avg_pool1d", 1, kernel_size, stride, padding)
    more = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _run("avg_pool1d", 1, input, **windows, **more)


def _sizes(output_size: Any, op: str) -> tuple[int, int]:
    """PyTorch's None keeps a size, which the op calls -1."""
    sizes = (output_size, output_size) if not isinstance(output_size, (tuple, list)) else tuple(output_size)
    return pair(tuple(-1 if s is None else s for s in sizes), op, "output_size", -1)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The average over a grid of bins of (n, c, h, w)."""
    return _run("adaptive_avg_pool2d", 2, input, output_size=_sizes(output_size, "adaptive_avg_pool2d"))


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """The maximum over a grid of bins of (n, c, h, w)."""
    refuse("adaptive_max_pool2d", False, return_indices=return_indices)
    return _run("adaptive_max_pool2d", 2, input, output_size=_sizes(output_size, "adaptive_max_pool2d"))


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The average over bins of (n, c, w)."""
    size = single(output_size, "adaptive_avg_pool1d", "output_size", 1)
    return _run("adaptive_avg_pool1d", 1, input, output_size=size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """The maximum over bins of (n, c, w)."""
    refuse("adaptive_max_pool1d", False, return_indices=return_indices)
    size = single(output_size, "adaptive_max_pool1d", "output_size", 1)
    return _run("adaptive_max_pool1d", 1, input, output_size=size)


def _lp_pool(pool: Any, dims: int, x: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    name = f"lp_pool{dims}d"
    p = float(norm_type)
    if not p > 0:
        raise ValueError(f"{name}: norm_type: expected a positive number, got {short(norm_type)}")
    window = sizes(dims, kernel_size, name, "kernel_size", 1)
    # Means of cut-off windows times the whole window's size, as in PyTorch.
    mean = pool(e.pow(x, p), kernel_size, stride, 0, ceil_mode)
    return e.pow(e.mul(e.mul(e.sign(mean), e.relu(e.abs(mean))), math.prod(window)), 1.0 / p)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The norm of order `norm_type` over windows of (n, c, h, w)."""
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The norm of order `norm_type` over windows of (n, c, w)."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)
