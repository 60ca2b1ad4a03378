"""Convolutions and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._device import namespace
from .._errors import short
from ._call import an_array, as_arrays, op
from ._function import Call, gradient, kernel

__all__ = [
    "conv1d",
    "conv1d_backward",
    "conv1d_transpose",
    "conv1d_transpose_backward",
    "conv2d",
    "conv2d_backward",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "conv2d_transpose",
    "conv2d_transpose_backward",
    "depthwise_conv2d",
    "depthwise_conv2d_backward",
]


def _call(name: str, x: Any, weight: Any, bias: Any, settings: tuple[Any, ...], **more: Any) -> Call:
    names = ("stride", "padding", "dilation", "groups", "activation", "alpha", "algorithm")
    attrs = dict(zip(names, settings, strict=True))
    return Call(name, attrs | more, {"x": x, "weight": weight, "bias": bias})


def _channels(a: Any) -> int:
    """The size of the last axis; of arrays without one, which the op refuses, anything."""
    return int(np.shape(a)[-1]) if np.ndim(a) else 1


@kernel
def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
) -> Call:
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
        Name of an activation, applied to the result.
    alpha : float, optional
        The activation's parameter: the slope of "leaky_relu".
    algorithm : str
        'auto', or the name of one algorithm ('igemm', 'reference', ...), refused where it cannot run.

    Returns
    -------
    ndarray, shape (n, oh, ow, oc)
    """
    settings = (stride, padding, dilation, groups, activation, alpha, algorithm)
    return _call("conv2d", x, weight, bias, settings)


@kernel
def conv1d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
) -> Call:
    """1-D convolution with fused bias and activation.

    Parameters
    ----------
    x : ndarray, shape (n, t, c)
    weight : ndarray, shape (k, c // groups, oc)
    bias : ndarray, shape (oc,), optional
    stride, dilation : int
    padding : 'valid', 'same', 'causal' or int or (left, right)
        'causal' pads on the left alone, so that no output sees later inputs.
    groups, activation, alpha, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, ot, oc)
    """
    settings = (stride, padding, dilation, groups, activation, alpha, algorithm)
    return _call("conv1d", x, weight, bias, settings)


@kernel
def conv2d_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    output_padding: int | Sequence[int] | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
) -> Call:
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
    groups, activation, alpha, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, oh, ow, oc)
    """
    settings = (stride, padding, dilation, groups, activation, alpha, algorithm)
    return _call("conv2d_transpose", x, weight, bias, settings, output_padding=output_padding)


@kernel
def conv1d_transpose(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: str | int | Sequence[int] = "valid",
    output_padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
) -> Call:
    """1-D transposed convolution: the exact adjoint of the `conv1d` with the same weight and arguments.

    Parameters
    ----------
    x : ndarray, shape (n, t, c)
    weight : ndarray, shape (k, oc // groups, c)
    bias : ndarray, shape (oc,), optional
    stride, dilation : int
    padding : 'valid', 'same' or int or (left, right)
        What the adjoint convolution pads, and so what is cut off here. 'same' gives t * stride outputs.
    output_padding : int, optional
        Further steps at the end.
    groups, activation, alpha, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, ot, oc)
    """
    settings = (stride, padding, dilation, groups, activation, alpha, algorithm)
    return _call("conv1d_transpose", x, weight, bias, settings, output_padding=output_padding)


@kernel
def depthwise_conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    activation: str = "identity",
    alpha: float | None = None,
    algorithm: str = "auto",
) -> Call:
    """2-D convolution of every channel on its own.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    weight : ndarray, shape (kh, kw, 1, c * multiplier)
        Output channels [i * multiplier, (i + 1) * multiplier) see input channel i.
    bias : ndarray, shape (c * multiplier,), optional
    stride, padding, dilation, activation, alpha, algorithm
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (n, oh, ow, c * multiplier)
    """
    settings = (stride, padding, dilation, _channels(x), activation, alpha, algorithm)
    return _call("conv2d", x, weight, bias, settings)


conv2d_backward = gradient(conv2d, "x", "weight", "bias")
conv1d_backward = gradient(conv1d, "x", "weight", "bias")
conv2d_transpose_backward = gradient(conv2d_transpose, "x", "weight", "bias")
conv1d_transpose_backward = gradient(conv1d_transpose, "x", "weight", "bias")
depthwise_conv2d_backward = gradient(depthwise_conv2d, "x", "weight", "bias")


def _gradient(at: int, dy: Any, x: Any, weight: Any, out: Any, **attrs: Any) -> Any:
    """The gradient of conv2d by input `at` alone."""
    places = None if out is None else [out if i == at else None for i in range(2)]
    wanted = [i == at for i in range(2)]
    return op("conv2d", attrs).backward(as_arrays([x, weight]), None, None, as_arrays([dy]), wanted, places)[at]


def conv2d_backward_data(
    dy: np.ndarray,
    weight: np.ndarray,
    x_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of `conv2d` by its input, which need not be at hand.

    Parameters
    ----------
    dy : ndarray, shape (n, oh, ow, oc)
        The gradient by the result.
    weight : ndarray, shape (kh, kw, c // groups, oc)
    x_shape : (n, h, w, c)
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : ndarray, optional
        Where to put the gradient.

    Returns
    -------
    ndarray, shape (n, h, w, c)
    """
    weight = an_array(weight)
    x = namespace(weight).empty(tuple(x_shape), weight.dtype)  # only its shape is looked at
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "algorithm": algorithm}
    return _gradient(0, dy, x, weight, out, **settings)


def conv2d_backward_weight(
    x: np.ndarray,
    dy: np.ndarray,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of `conv2d` by its weights, which need not be at hand.

    Parameters
    ----------
    x : ndarray, shape (n, h, w, c)
    dy : ndarray, shape (n, oh, ow, oc)
        The gradient by the result.
    kernel_size : int or (kh, kw)
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : ndarray, optional
        Where to put the gradient.

    Returns
    -------
    ndarray, shape (kh, kw, c // groups, oc)
    """
    x = an_array(x)
    kernel = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(kernel) != 2 or min(kernel) < 1:
        raise ValueError(f"conv2d: kernel_size: expected a positive integer or two of them, got {short(kernel_size)}")
    shape = (*kernel, _channels(x) // max(groups, 1), _channels(dy))
    weight = namespace(x).empty(shape, x.dtype)  # only its shape is looked at
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "algorithm": algorithm}
    return _gradient(1, dy, x, weight, out, **settings)
