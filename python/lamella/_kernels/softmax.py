"""Softmax over one axis."""

from __future__ import annotations

import numpy as np

from ._function import Call, gradient, kernel

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]


@kernel(in_place="x")
def softmax(x: np.ndarray, axis: int = -1) -> Call:
    """exp(x) divided by its sum along an axis.

    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int

    Returns
    -------
    ndarray
        Of x's shape. A row that holds NaN or +inf, or nothing but -inf, is all NaN.
    """
    return Call("softmax", {"axis": axis}, {"x": x})


@kernel(in_place="x")
def log_softmax(x: np.ndarray, axis: int = -1) -> Call:
    """The logarithm of softmax, accurate where softmax itself would vanish.

    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int

    Returns
    -------
    ndarray
        Of x's shape; NaN as in `softmax`.
    """
    return Call("log_softmax", {"axis": axis}, {"x": x})


softmax_backward = gradient(softmax, "x", y=True)
log_softmax_backward = gradient(log_softmax, "x", y=True)
