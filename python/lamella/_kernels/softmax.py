"""Softmax over one axis."""

from __future__ import annotations

import numpy as np

from ._call import run

__all__ = ["log_softmax", "softmax"]


def softmax(x: np.ndarray, axis: int = -1, out: np.ndarray | None = None) -> np.ndarray:
    """exp(x) divided by its sum along an axis.

    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape. A row that holds NaN or +inf, or nothing but -inf, is all NaN.
    """
    return run("softmax", {"axis": axis}, [x], out=out)


def log_softmax(x: np.ndarray, axis: int = -1, out: np.ndarray | None = None) -> np.ndarray:
    """The logarithm of softmax, accurate where softmax itself would vanish; see `softmax`."""
    return run("log_softmax", {"axis": axis}, [x], out=out)
