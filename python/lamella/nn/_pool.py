"""Pooling, padding and resizing of (n, c, h, w) and (n, c, w)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._functional.layers import pad as _pad
from .._functional.layers import pool as _pool
from .._functional.layers import upsample as _upsample
from .._functional.shape import permute, squeeze, unsqueeze
from ._layout import from_nhwc, from_nwc, pair, single, to_nhwc, to_nwc

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "interpolate",
    "max_pool1d",
    "max_pool2d",
    "pad",
]

Tensor = Any


def _run(op: str, dims: int, x: Tensor, **attrs: Any) -> Tensor:
    """The op on x in its own layout; a single sample without batch dimension is taken too."""
    if len(x.shape) == dims + 1:
        return squeeze(_run(op, dims, unsqueeze(x, 0), **attrs), 0)
    if len(x.shape) != dims + 2:
        raise ValueError(f"{op}: input: expected {dims + 1} or {dims + 2} dimensions, got shape {x.shape}")
    if dims == 2:
        return from_nhwc(_pool(op, to_nhwc(x), **attrs))
    return from_nwc(_pool(op, to_nwc(x), **attrs))


def _no_indices(op: str, return_indices: bool) -> None:
    if return_indices:
        raise NotImplementedError(f"{op}: return_indices: expected False, got True; indices are not supported")


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The maximum over windows of (n, c, h, w)."""
    op = "max_pool2d"
    _no_indices(op, return_indices)
    window = pair(kernel_size, op, "kernel_size", 1)
    return _run(
        op,
        2,
        input,
        window=window,
        stride=window if stride is None else pair(stride, op, "stride", 1),
        padding=pair(padding, op, "padding"),
        dilation=pair(dilation, op, "dilation", 1),
        ceil_mode=ceil_mode,
    )


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The maximum over windows of (n, c, w)."""
    op = "max_pool1d"
    _no_indices(op, return_indices)
    window = single(kernel_size, op, "kernel_size", 1)
    return _run(
        op,
        1,
        input,
        window=window,
        stride=window if stride is None else single(stride, op, "stride", 1),
        padding=single(padding, op, "padding"),
        dilation=single(dilation, op, "dilation", 1),
        ceil_mode=ceil_mode,
    )


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
    op = "avg_pool2d"
    window = pair(kernel_size, op, "kernel_size", 1)
    return _run(
        op,
        2,
        input,
        window=window,
        stride=window if stride is None else pair(stride, op, "stride", 1),
        padding=pair(padding, op, "padding"),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor_override,
    )


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average over windows of (n, c, w)."""
    op = "avg_pool1d"
    window = single(kernel_size, op, "kernel_size", 1)
    return _run(
        op,
        1,
        input,
        window=window,
        stride=window if stride is None else single(stride, op, "stride", 1),
        padding=single(padding, op, "padding"),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def _sizes(output_size: Any, op: str) -> tuple[int, int]:
    """PyTorch's None keeps a size, which the op calls -1."""
    sizes = (output_size, output_size) if not isinstance(output_size, (tuple, list)) else tuple(output_size)
    return pair(tuple(-1 if s is None else s for s in sizes), op, "output_size", -1)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The average over a grid of bins of (n, c, h, w)."""
    return _run("adaptive_avg_pool2d", 2, input, output_size=_sizes(output_size, "adaptive_avg_pool2d"))


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """The maximum over a grid of bins of (n, c, h, w)."""
    _no_indices("adaptive_max_pool2d", return_indices)
    return _run("adaptive_max_pool2d", 2, input, output_size=_sizes(output_size, "adaptive_max_pool2d"))


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The average over bins of (n, c, w)."""
    size = single(output_size, "adaptive_avg_pool1d", "output_size", 1)
    return _run("adaptive_avg_pool1d", 1, input, output_size=size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """The maximum over bins of (n, c, w)."""
    _no_indices("adaptive_max_pool1d", return_indices)
    size = single(output_size, "adaptive_max_pool1d", "output_size", 1)
    return _run("adaptive_max_pool1d", 1, input, output_size=size)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements at both ends of dimensions.

    Parameters
    ----------
    input : Tensor
        Any float tensor.
    pad : sequence of int
        (before, after) of the last dimension, then of the one before it, and so on.
    mode : {"constant"}
        Others are not supported.
    value : float, optional
        What to fill with; 0 by default.
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: mode: expected 'constant', got {mode!r}")
    amounts = [int(p) for p in pad]
    rank = len(input.shape)
    if len(amounts) % 2 or len(amounts) > 2 * rank:
        raise ValueError(f"pad: pad: expected pairs for at most {rank} dimensions, got {tuple(pad)}")
    sides = [(0, 0)] * rank
    for i in range(len(amounts) // 2):
        sides[rank - 1 - i] = (amounts[2 * i], amounts[2 * i + 1])
    fill = 0.0 if value is None else float(value)
    if input._phys is None:
        return _pad(input, sides, fill)
    source, perm = input._phys
    inner = [(0, 0)] * rank
    for logical, physical in enumerate(perm):
        inner[physical] = sides[logical]
    return permute(_pad(source, inner, fill), perm)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Resize (n, c, h, w) by whole factors.

    Parameters
    ----------
    input : Tensor
    size : int or (int, int), optional
        The wanted size, a multiple of the input's.
    scale_factor : int or (int, int), optional
        The factor instead.
    mode : {"nearest"}
        Others are not supported.
    align_corners : bool, optional
        Must be None: it has no meaning for "nearest".
    """
    if mode != "nearest":
        raise NotImplementedError(f"interpolate: mode: expected 'nearest', got {mode!r}")
    if align_corners is not None:
        raise ValueError(f"interpolate: align_corners: expected None with mode 'nearest', got {align_corners}")
    if len(input.shape) != 4:
        raise ValueError(f"interpolate: input: expected 4 dimensions, got shape {input.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: expected one of size and scale_factor")
    if size is not None:
        wanted = pair(size, "interpolate", "size", 1)
        have = input.shape[2:]
        if wanted[0] % have[0] or wanted[1] % have[1]:
            raise NotImplementedError(f"interpolate: size: expected multiples of {have}, got {wanted}")
        factors = (wanted[0] // have[0], wanted[1] // have[1])
    else:
        scales = (scale_factor, scale_factor) if not isinstance(scale_factor, (tuple, list)) else tuple(scale_factor)
        if any(float(s) != int(s) for s in scales):
            raise NotImplementedError(f"interpolate: scale_factor: expected whole factors, got {scale_factor}")
        factors = pair(tuple(int(s) for s in scales), "interpolate", "scale_factor", 1)
    return from_nhwc(_upsample(to_nhwc(input), factors))
