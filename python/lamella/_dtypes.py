"""Questions about dtypes. bfloat16 is that of the package `ml_dtypes`, which NumPy does not count among the floats."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_dtype", "bfloat16", "is_float", "is_half", "is_number", "promoted"]


def is_float(dtype: np.dtype) -> bool:
    """Whether numbers of this dtype can have gradients."""
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name == "bfloat16")


def is_number(dtype: np.dtype) -> bool:
    """Whether this is a dtype of integers, floats or bools."""
    return dtype.kind in "fiub" or is_float(dtype)


def is_half(dtype: np.dtype) -> bool:
    """Whether this is float16 or bfloat16: dtypes that numbers are stored in, and not computed with."""
    return dtype.itemsize == 2 and is_float(dtype)


def promoted(*dtypes: np.dtype) -> np.dtype:
    """The dtype that holds numbers of all of them: float32 for both kinds of 16-bit floats."""
    halves = {d for d in dtypes if is_half(d)}
    return np.result_type(*(np.dtype(np.float32) if d in halves and len(halves) > 1 else d for d in dtypes))


def bfloat16() -> np.dtype:
    """The dtype; an error says what is missing for it."""
    try:
        from ml_dtypes import bfloat16 as scalar  # type: ignore[import-not-found,unused-ignore]
    except ImportError as e:
        raise ImportError("bfloat16 arrays need the package ml_dtypes (pip install ml_dtypes)") from e
    return np.dtype(scalar)


def as_dtype(value: Any) -> np.dtype:
    """The dtype that a name, a scalar type or a dtype means."""
    return bfloat16() if isinstance(value, str) and value == "bfloat16" else np.dtype(value)
