"""Vectors of length one, and the names of dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import short
from ..autograd import Tensor

__all__ = ["normalize", "standardize_dtype"]

_PYTHON = {bool: "bool", int: "int64", float: "float32"}


def normalize(x: Any, axis: int = -1, order: Any = 2) -> Any:
    """Divide by the norms along an axis; zeros stay.

    Parameters
    ----------
    x : array_like or Tensor
    axis : int
    order : int or float
        Of the norm; `numpy.inf` for the largest magnitude.

    Returns
    -------
    array or Tensor
        As `x` is.
    """
    rank = np.ndim(x)
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -rank <= axis < rank:
        raise ValueError(f"normalize: axis: expected an axis of {np.shape(x)}, got {short(axis)}")
    if isinstance(x, Tensor):
        from ..nn.functional import normalize as of_tensor

        return of_tensor(x, order, int(axis))
    values = np.asarray(x)
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    norms = np.linalg.norm(values, order, axis, keepdims=True)
    return values / np.where(norms == 0, 1, norms).astype(values.dtype)


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype: "float32" for None and float, "int64" for int.

    Parameters
    ----------
    dtype : str, dtype or type, optional
    """
    if dtype is None:
        return "float32"
    try:
        name = _PYTHON.get(dtype) or np.dtype(dtype).name
    except TypeError:
        name = ""
    if np.dtype(name or "O").kind not in "biuf":
        raise ValueError(f"standardize_dtype: dtype: expected one of numbers, such as 'float32', got {short(dtype)}")
    return name
