"""Pooling of channels-last arrays: (n, h, w, c), or (n, t, c) for the 1-D functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._function import Call, gradient, kernel

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool1d_backward",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "global_avg_pool",
    "global_avg_pool_backward",
    "global_max_pool",
    "global_max_pool_backward",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
]

FIRST = "It goes to the first of equal maxima."


@kernel
def max_pool2d(
    x: np.ndarray,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Call:
    """Maximum over windows of the two middle axes.

    Parameters
    ----------
    x : ndarray (n, h, w, c)
    window : int or [h, w]
    stride : int or [h, w], default `window`
    padding : "valid", "same", p, [h, w] or [top, bottom, left, right]
        "same" gives ceil(size / stride) outputs. Padding never wins a maximum.
    dilation : int or [h, w]
    ceil_mode : bool
        Round the number of outputs up: a last window that starts inside the padded input counts.

    Returns
    -------
    ndarray (n, oh, ow, c)
        NaN where a window holds one.
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return Call("max_pool2d", attrs, {"x": x})


@kernel
def max_pool1d(
    x: np.ndarray,
    window: int,
    stride: int | None = None,
    padding: str | int | Sequence[int] = "valid",
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Call:
    """Maximum over windows of the middle axis.

    Parameters
    ----------
    x : ndarray (n, t, c)
    window : int
    stride : int, default `window`
    padding : "valid", "same", p or [left, right]
        As in `max_pool2d`.
    dilation : int
    ceil_mode : bool
        As in `max_pool2d`.

    Returns
    -------
    ndarray (n, ot, c)
        NaN where a window holds one.
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return Call("max_pool1d", attrs, {"x": x})


@kernel
def avg_pool2d(
    x: np.ndarray,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence[int] = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    divisor: int | None = None,
) -> Call:
    """Average over windows of the two middle axes.

    Parameters
    ----------
    x : ndarray (n, h, w, c)
    window, stride, padding, ceil_mode
        As in `max_pool2d`.
    count_include_pad : bool
        Divide by the window's positions inside the padded input, not only by those inside the input.
    divisor : int, optional
        Divide by this instead.

    Returns
    -------
    ndarray (n, oh, ow, c)
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    attrs |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return Call("avg_pool2d", attrs, {"x": x})


@kernel
def avg_pool1d(
    x: np.ndarray,
    window: int,
    stride: int | None = None,
    padding: str | int | Sequence[int] = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    divisor: int | None = None,
) -> Call:
    """Average over windows of the middle axis.

    Parameters
    ----------
    x : ndarray (n, t, c)
    window : int
    stride : int, default `window`
    padding : "valid", "same", p or [left, right]
        As in `max_pool2d`.
    ceil_mode, count_include_pad, divisor
        As in `avg_pool2d`.

    Returns
    -------
    ndarray (n, ot, c)
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    attrs |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return Call("avg_pool1d", attrs, {"x": x})


@kernel
def global_max_pool(x: np.ndarray, keepdims: bool = False) -> Call:
    """Maximum over all axes between the first and the last.

    Parameters
    ----------
    x : ndarray (n, ..., c)
    keepdims : bool
        Whether these axes stay, with size 1.

    Returns
    -------
    ndarray (n, c), or (n, 1, ..., c)
    """
    return Call("global_max_pool", {"keepdims": keepdims}, {"x": x})


@kernel
def global_avg_pool(x: np.ndarray, keepdims: bool = False) -> Call:
    """Average over all axes between the first and the last.

    Parameters
    ----------
    x : ndarray (n, ..., c)
    keepdims : bool
        Whether these axes stay, with size 1.

    Returns
    -------
    ndarray (n, c), or (n, 1, ..., c)
    """
    return Call("global_avg_pool", {"keepdims": keepdims}, {"x": x})


@kernel
def adaptive_max_pool2d(x: np.ndarray, output_size: int | Sequence[int]) -> Call:
    """Maximum over a grid of bins.

    Parameters
    ----------
    x : ndarray (n, h, w, c)
    output_size : int or [h, w]
        How many bins; bin i of m over n inputs is [floor(i * n / m), ceil((i + 1) * n / m)). -1: as many as inputs.

    Returns
    -------
    ndarray (n, oh, ow, c)
    """
    return Call("adaptive_max_pool2d", {"output_size": output_size}, {"x": x})


@kernel
def adaptive_max_pool1d(x: np.ndarray, output_size: int) -> Call:
    """Maximum over bins of the middle axis.

    Parameters
    ----------
    x : ndarray (n, t, c)
    output_size : int
        How many bins; bin i of m over n inputs is [floor(i * n / m), ceil((i + 1) * n / m)). -1: as many as inputs.

    Returns
    -------
    ndarray (n, ot, c)
    """
    return Call("adaptive_max_pool1d", {"output_size": output_size}, {"x": x})


@kernel
def adaptive_avg_pool2d(x: np.ndarray, output_size: int | Sequence[int]) -> Call:
    """Average over a grid of bins.

    Parameters
    ----------
    x : ndarray (n, h, w, c)
    output_size : int or [h, w]
        How many bins; bin i of m over n inputs is [floor(i * n / m), ceil((i + 1) * n / m)). -1: as many as inputs.

    Returns
    -------
    ndarray (n, oh, ow, c)
    """
    return Call("adaptive_avg_pool2d", {"output_size": output_size}, {"x": x})


@kernel
def adaptive_avg_pool1d(x: np.ndarray, output_size: int) -> Call:
    """Average over bins of the middle axis.

    Parameters
    ----------
    x : ndarray (n, t, c)
    output_size : int
        How many bins; bin i of m over n inputs is [floor(i * n / m), ceil((i + 1) * n / m)). -1: as many as inputs.

    Returns
    -------
    ndarray (n, ot, c)
    """
    return Call("adaptive_avg_pool1d", {"output_size": output_size}, {"x": x})


adaptive_avg_pool1d_backward = gradient(adaptive_avg_pool1d, "x")
adaptive_avg_pool2d_backward = gradient(adaptive_avg_pool2d, "x")
adaptive_max_pool1d_backward = gradient(adaptive_max_pool1d, "x", note=FIRST)
adaptive_max_pool2d_backward = gradient(adaptive_max_pool2d, "x", note=FIRST)
avg_pool1d_backward = gradient(avg_pool1d, "x")
avg_pool2d_backward = gradient(avg_pool2d, "x")
global_avg_pool_backward = gradient(global_avg_pool, "x")
global_max_pool_backward = gradient(global_max_pool, "x", note=FIRST)
max_pool1d_backward = gradient(max_pool1d, "x", note=FIRST)
max_pool2d_backward = gradient(max_pool2d, "x", note=FIRST)
