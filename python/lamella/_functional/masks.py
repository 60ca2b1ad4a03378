"""Masks, as the ops take them: bool in eager mode, uint8 in a graph, where comparisons alone make them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .shape import cast

__all__ = ["both", "counting", "inverted"]

Tensor = Any


def _as_tensor(mask: Any) -> Tensor:
    return mask if isinstance(mask, ag.Tensor) else ag.wrap(np.asarray(mask))


def counting(mask: Any) -> Tensor:
    """True where the mask is not zero."""
    mask = _as_tensor(mask)
    if mask.dtype.kind == "b" or mask.dtype == np.uint8:
        return mask
    if mask._data is not None:
        return ag.wrap(mask._data != 0)
    return (mask if is_float(mask.dtype) else cast(mask, np.float32)) != 0


def inverted(mask: Any) -> Tensor:
    """True where the mask is zero."""
    mask = _as_tensor(mask)
    if mask._data is not None:
        return ag.wrap(mask._data == 0)
    return (mask if is_float(mask.dtype) else cast(mask, np.float32)) == 0


def both(a: Any, b: Any) -> Any:
    """True where both masks are; they broadcast, and None is true everywhere."""
    if a is None or b is None:
        found = b if a is None else a
        return None if found is None else counting(found)
    a, b = counting(a), counting(b)
    if a._data is not None and b._data is not None:
        return ag.wrap((a._data != 0) & (b._data != 0))
    return cast(a, np.float32) * cast(b, np.float32) > 0
