"""Pooling of channels-last arrays: (n, h, w, c), or (n, t, c) for the 1-D functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._call import run

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "global_avg_pool",
    "global_max_pool",
    "max_pool1d",
    "max_pool2d",
]

Ints = int | Sequence[int]


def max_pool2d(
    x: np.ndarray,
    window: Ints,
    stride: Ints | None = None,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
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
    out : ndarray, optional

    Returns
    -------
    ndarray (n, oh, ow, c)
        NaN where a window holds one.
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return run("max_pool2d", attrs, [x], out=out)


def max_pool1d(
    x: np.ndarray,
    window: int,
    stride: int | None = None,
    padding: str | Ints = "valid",
    dilation: int = 1,
    ceil_mode: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Maximum over windows of the middle axis of (n, t, c); see `max_pool2d`. Padding lists are [left, right]."""
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    return run("max_pool1d", attrs, [x], out=out)


def avg_pool2d(
    x: np.ndarray,
    window: Ints,
    stride: Ints | None = None,
    padding: str | Ints = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    divisor: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
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
    out : ndarray, optional

    Returns
    -------
    ndarray (n, oh, ow, c)
    """
    attrs = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    attrs |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return run("avg_pool2d", attrs, [x], out=out)


def avg_pool1d(
    x: np.ndarray,
    window: int,
    stride: int | None = None,
    padding: str | Ints = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    divisor: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Average over windows of the middle axis of (n, t, c); see `avg_pool2d`. Padding lists are [left, right]."""
    attrs = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    attrs |= {"count_include_pad": count_include_pad, "divisor": divisor}
    return run("avg_pool1d", attrs, [x], out=out)


def global_max_pool(x: np.ndarray, keepdims: bool = False, out: np.ndarray | None = None) -> np.ndarray:
    """Maximum over all axes between the first and the last: (n, ..., c) to (n, c), or (n, 1, ..., c)."""
    return run("global_max_pool", {"keepdims": keepdims}, [x], out=out)


def global_avg_pool(x: np.ndarray, keepdims: bool = False, out: np.ndarray | None = None) -> np.ndarray:
    """Average over all axes between the first and the last: (n, ..., c) to (n, c), or (n, 1, ..., c)."""
    return run("global_avg_pool", {"keepdims": keepdims}, [x], out=out)


def adaptive_max_pool2d(x: np.ndarray, output_size: Ints, out: np.ndarray | None = None) -> np.ndarray:
    """Maximum over a grid of `output_size` bins; bin i of m over n inputs is [floor(i*n/m), ceil((i+1)*n/m)).

    A size of -1 keeps the input's.
    """
    return run("adaptive_max_pool2d", {"output_size": output_size}, [x], out=out)


def adaptive_max_pool1d(x: np.ndarray, output_size: int, out: np.ndarray | None = None) -> np.ndarray:
    """Maximum over `output_size` bins of the middle axis of (n, t, c); see `adaptive_max_pool2d`."""
    return run("adaptive_max_pool1d", {"output_size": output_size}, [x], out=out)


def adaptive_avg_pool2d(x: np.ndarray, output_size: Ints, out: np.ndarray | None = None) -> np.ndarray:
    """Average over a grid of `output_size` bins; see `adaptive_max_pool2d`."""
    return run("adaptive_avg_pool2d", {"output_size": output_size}, [x], out=out)


def adaptive_avg_pool1d(x: np.ndarray, output_size: int, out: np.ndarray | None = None) -> np.ndarray:
    """Average over `output_size` bins of the middle axis of (n, t, c); see `adaptive_max_pool2d`."""
    return run("adaptive_avg_pool1d", {"output_size": output_size}, [x], out=out)
