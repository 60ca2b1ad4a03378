"""Convolutions and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._call import op, run

__all__ = [
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "conv2d_transpose",
    "depthwise_conv2d",
]

Ints = int | Sequence[int]


def _attrs(stride: Ints, padding: str | Ints, dilation: Ints, groups: int, **more: Any) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **more}


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D convolution (cross-correlation) with fused bias and activation.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    weight : ndarray, shape (kh, kw, c // groups, oc)
    bias : ndarray, shape (oc,), optional
    stride, dilation : int or (int, int)
    padding : 'valid', 'same' or int, (h, w) or (top, bottom, left, right)
        'same' gives ceil(size / stride) outputs, with the odd pixel of padding at the bottom and right.
    groups : int
        Channels are cut into so many groups that do not see each other.
    activation : str
        Name of an activation, applied to the result; `alpha` is its parameter.
    algorithm : str
        'auto', or the name of one algorithm ('igemm', 'reference', ...), refused where it cannot run.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (n, oh, ow, oc)
    """
    attrs = _attrs(stride, padding, dilation, groups, activation=activation, alpha=alpha, algorithm=algorithm)
    return run("conv2d", attrs, [x, weight, bias], out=out)


def conv2d_backward_data(
    dy: np.ndarray,
    weight: np.ndarray,
    x_shape: Sequence[int],
    *,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Gradient of `conv2d` to its input.

    Parameters
    ----------
    dy : ndarray, shape (n, oh, ow, oc)
        Gradient of the output.
    weight : ndarray, shape (kh, kw, c // groups, oc)
    x_shape : (n, h, w, c)
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, h, w, c)
    """
    o = op("conv2d", _attrs(stride, padding, dilation, groups, algorithm=algorithm))
    x = np.empty(tuple(x_shape), dtype=np.asarray(weight).dtype)  # only its shape is looked at
    return o.backward([x, weight], [None], [], [dy], [True, False])[0]


def conv2d_backward_weight(
    x: np.ndarray,
    dy: np.ndarray,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Gradient of `conv2d` to its weights.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    dy : ndarray, shape (n, oh, ow, oc)
        Gradient of the output.
    kernel_size : int or (kh, kw)
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (kh, kw, c // groups, oc)
    """
    x = np.asarray(x)
    kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    o = op("conv2d", _attrs(stride, padding, dilation, groups, algorithm=algorithm))
    weight = np.empty((kh, kw, x.shape[-1] // groups, np.shape(dy)[-1]), dtype=x.dtype)  # only its shape is looked at
    return o.backward([x, weight], [None], [], [dy], [False, True])[1]


def conv1d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: str | Ints = "valid",
    dilation: int = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """1-D convolution with fused bias and activation.

    Parameters
    ----------
    x : ndarray, shape (n, t, c)
    weight : ndarray, shape (k, c // groups, oc)
    bias : ndarray, shape (oc,), optional
    stride, dilation : int
    padding : 'valid', 'same', 'causal' or int or (left, right)
        'causal' pads on the left alone, so that no output sees later inputs.
    groups, activation, alpha, algorithm, out
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, ot, oc)
    """
    attrs = _attrs(stride, padding, dilation, groups, activation=activation, alpha=alpha, algorithm=algorithm)
    return run("conv1d", attrs, [x, weight, bias], out=out)


def conv2d_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    output_padding: Ints | None = None,
    dilation: Ints = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D transposed convolution: the exact adjoint of the `conv2d` with the same weight and arguments.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    weight : ndarray, shape (kh, kw, oc // groups, c)
    bias : ndarray, shape (oc,), optional
    stride, dilation : int or (int, int)
    padding : 'valid', 'same' or int, (h, w) or (top, bottom, left, right)
        What the adjoint convolution pads, and so what is cut off here. 'same' gives size * stride outputs.
    output_padding : int or (int, int), optional
        Further rows and columns at the bottom and right.
    groups, activation, alpha, algorithm, out
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, oh, ow, oc)
    """
    attrs = _attrs(stride, padding, dilation, groups, activation=activation, alpha=alpha, algorithm=algorithm)
    return run("conv2d_transpose", {**attrs, "output_padding": output_padding}, [x, weight, bias], out=out)


def conv1d_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: str | Ints = "valid",
    output_padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """1-D transposed convolution: x (n, t, c), weight (k, oc // groups, c); otherwise as `conv2d_transpose`."""
    attrs = _attrs(stride, padding, dilation, groups, activation=activation, alpha=alpha, algorithm=algorithm)
    return run("conv1d_transpose", {**attrs, "output_padding": output_padding}, [x, weight, bias], out=out)


def depthwise_conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """2-D convolution of every channel on its own.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    weight : ndarray, shape (kh, kw, 1, c * multiplier)
        Output channels [i * multiplier, (i + 1) * multiplier) see input channel i.
    bias : ndarray, shape (c * multiplier,), optional
    stride, padding, dilation, activation, alpha, algorithm, out
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, oh, ow, c * multiplier)
    """
    groups = int(np.shape(x)[-1])
    attrs = _attrs(stride, padding, dilation, groups, activation=activation, alpha=alpha, algorithm=algorithm)
    return run("conv2d", attrs, [x, weight, bias], out=out)
