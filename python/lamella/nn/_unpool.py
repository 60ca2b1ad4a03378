"""Where maxima of windows were, and putting values back there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import autograd as ag
from .._function import Function
from .._functional.shape import squeeze, unsqueeze
from .._kernels._call import op as make_op
from ._layout import sizes

__all__ = ["max_unpool1d", "max_unpool2d"]

Tensor = Any


def places_of_maxima(
    x: Tensor, window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, dims: int
) -> Tensor:
    """For each window of channels-last x, where in its plane the maximum is; channels first, int64."""
    if x._data is None:
        x._refuse("return_indices of max pooling")
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    with ag.no_grad():
        _, saved = make_op(f"max_pool{dims}d", attrs).forward([x._data], True)
    taps = saved[0].astype(np.int64)  # the number of the element in its window
    width = window if dims == 1 else window[1]
    steps = [(taps // width, 1), (taps % width, 2)] if dims == 2 else [(taps, 1)]
    place: Any = 0
    for i, (tap, axis) in enumerate(steps):
        s, p, d = (v if dims == 1 else v[i] for v in (stride, padding, dilation))
        first = np.arange(taps.shape[axis]) * s - p
        shape = [1] * taps.ndim
        shape[axis] = -1
        place = place * x.shape[axis] + first.reshape(shape) + tap * d
    return ag.wrap(np.ascontiguousarray(np.moveaxis(place, -1, 1)))


class _Unpool(Function):
    @staticmethod
    def forward(ctx: Any, x: np.ndarray, places: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        y = np.zeros((*x.shape[:2], math.prod(size)), x.dtype)
        flat = places.reshape(*x.shape[:2], -1)
        np.put_along_axis(y, flat, x.reshape(flat.shape), 2)
        ctx.save_for_backward(flat)
        ctx.shape = x.shape
        return y.reshape(*x.shape[:2], *size)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (flat,) = ctx.saved_tensors
        g = grads[0].reshape(*ctx.shape[:2], -1)
        return np.take_along_axis(g, flat, 2).reshape(ctx.shape), None, None


def _unpool(
    name: str, dims: int, x: Tensor, places: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    if len(x.shape) == dims + 1:
        lifted = unsqueeze(x, 0), unsqueeze(places, 0)
        return squeeze(_unpool(name, dims, *lifted, kernel_size, stride, padding, output_size), 0)
    if len(x.shape) != dims + 2:
        raise ValueError(f"{name}: input: expected {dims + 1} or {dims + 2} dimensions, got shape {tuple(x.shape)}")
    if tuple(places.shape) != tuple(x.shape):
        raise ValueError(f"{name}: indices: expected shape {tuple(x.shape)}, got {tuple(places.shape)}")
    window = sizes(dims, kernel_size, name, "kernel_size", 1)
    step = window if stride is None else sizes(dims, stride, name, "stride", 1)
    around = sizes(dims, padding, name, "padding")
    usual = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], step, around, window, strict=True)]
    size = tuple(usual)
    if output_size is not None:
        size = tuple(int(d) for d in output_size)[-dims:]
        if len(size) != dims or any(abs(d - u) >= s for d, u, s in zip(size, usual, step, strict=True)):
            raise ValueError(f"{name}: output_size: expected sizes about {tuple(usual)}, got {tuple(output_size)}")
    most = int(places._data.max(initial=-1)) if places._data is not None else -1
    if most >= math.prod(size):
        raise ValueError(f"{name}: indices: expected less than {math.prod(size)}, got {most}")
    return _Unpool.apply(x, places, size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros with the values of (n, c, h, w) at the places that `max_pool2d` gave as indices."""
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros with the values of (n, c, w) at the places that `max_pool1d` gave as indices."""
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)
