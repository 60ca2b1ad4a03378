"""Resizing by separable filters: each axis is multiplied by a matrix of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .indexing import take
from .layers import matmul

__all__ = ["resize"]

Tensor = Any


def _triangle(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(t), 0)


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' cubic convolution."""

    def weights(t: np.ndarray) -> np.ndarray:
        t = np.abs(t)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return np.where(t <= 1, near, np.where(t < 2, far, 0.0))

    return weights


def _lanczos(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: np.where(np.abs(t) < radius, np.sinc(t) * np.sinc(t / radius), 0.0)


def _box(t: np.ndarray) -> np.ndarray:
    return ((t > -0.5) & (t <= 0.5)).astype(np.float64)


# By name: the filter, and how far it reaches.
_FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_cubic(-0.5), 2),
    "bicubic_sharp": (_cubic(-0.75), 2),
    "lanczos3": (_lanczos(3), 3),
    "lanczos5": (_lanczos(5), 5),
}


@lru_cache(maxsize=128)
def _matrix(
    before: int, after: int, mode: str, step: float, align_corners: bool, antialias: bool, clamp: bool, dtype: str
) -> Any:
    """(after, before): the weights of the old pixels in each new one.

    step: old pixels a new one. clamp: pixels beyond the border are those at the border; else they count for nothing.
    """
    o = np.arange(after)
    at = (o + 0.5) * step - 0.5
    if align_corners:
        at = o * ((before - 1) / (after - 1) if after > 1 else 0.0)
    weigh, reach = _FILTERS[mode]
    stretch = max(step, 1.0) if antialias else 1.0
    if mode == "bilinear" and clamp and not antialias:
        at = np.clip(at, 0, before - 1)  # between border and first centre there is nothing to interpolate
    first = np.floor(at - reach * stretch).astype(np.int64)
    m = np.zeros((after, before))
    for k in range(2 * math.ceil(reach * stretch) + 2):
        old = first + k
        w = weigh((old - at) / stretch)
        inside = (old >= 0) & (old < before)
        if clamp:
            np.add.at(m, (o, np.clip(old, 0, before - 1)), w)
        else:
            m[o[inside], old[inside]] += w[inside]
    if not clamp:
        m /= m.sum(1, keepdims=True)
    return ag.wrap(m.astype(dtype))


def resize(
    x: Tensor,
    size: tuple[int, int],
    mode: str,
    *,
    steps: tuple[float, float] | None = None,
    align_corners: bool = False,
    antialias: bool = False,
    clamp: bool = False,
) -> Tensor:
    """(n, h, w, c) as (n, size[0], size[1], c).

    Parameters
    ----------
    x : Tensor
    size : (int, int)
    mode : {"nearest", "nearest-exact", "bilinear", "bicubic", "bicubic_sharp", "lanczos3", "lanczos5"}
    steps : (float, float), optional
        Old pixels a new one along each axis, by default the quotient of the sizes.
    align_corners : bool
        Whether the corner pixels of both grids coincide; by default their outer edges do.
    antialias : bool
        Whether the filter grows where the image shrinks.
    clamp : bool
        Whether pixels beyond the border are those at the border. By default they count for nothing.
    """
    _, h, w, c = x.shape
    (oh, ow), dtype = size, x.dtype.name
    step_h, step_w = steps or (h / oh, w / ow)
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        return take(take(x, _nearest(h, oh, step_h, shift), 1), _nearest(w, ow, step_w, shift), 2)
    rest = (align_corners, antialias, clamp, dtype)
    if (oh, step_h) != (h, 1.0):
        x = matmul(_matrix(h, oh, mode, step_h, *rest), x.reshape(-1, h, w * c)).reshape(-1, oh, w, c)
    if (ow, step_w) != (w, 1.0):
        x = matmul(_matrix(w, ow, mode, step_w, *rest), x.reshape(-1, w, c)).reshape(-1, oh, ow, c)
    return x


@lru_cache(maxsize=128)
def _nearest(before: int, after: int, step: float, shift: float) -> np.ndarray:
    """Which old pixel each new one shows."""
    return np.clip(np.floor((np.arange(after) + shift) * step), 0, before - 1).astype(np.int64)
