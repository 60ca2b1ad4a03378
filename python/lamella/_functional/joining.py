"""Joining tensors, and parting them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float, promoted
from .._kernels._call import op as make_op
from .shape import axis_of, inverse, permute

__all__ = ["cat", "cut"]

Tensor = Any


@lru_cache(maxsize=64)
def _concat_op(axis: int) -> Any:
    return make_op("concat", {"axis": axis})


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension; their other dimensions must agree.

    Parameters
    ----------
    tensors : sequence of Tensor
        At least one.
    dim : int
        The dimension along which they lie in a row.
    """
    parts = list(tensors)
    if not parts:
        raise ValueError("cat: tensors: expected at least one, got none")
    axis = axis_of("cat", dim, len(parts[0].shape))
    dtype = promoted(*[t.dtype for t in parts])
    if not is_float(dtype):
        arrays = [t._data for t in parts]
        if any(a is None for a in arrays):
            next(t for t in parts if t._data is None)._refuse(f"cat of {dtype}")
        return ag.wrap(np.concatenate(arrays, axis))
    parts = [t if t.dtype == dtype else t.to(dtype) for t in parts]
    phys = parts[0]._phys
    if phys is None:
        return ag.apply(_concat_op(axis), *parts)
    perm = phys[1]
    back = inverse(perm)
    return permute(ag.apply(_concat_op(perm[axis]), *[permute(t, back) for t in parts]), perm)


@lru_cache(maxsize=256)
def _split_op(axis: int, sizes: tuple[int, ...]) -> Any:
    return make_op("split", {"axis": axis, "sizes": sizes})


def cut(x: Tensor, sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a dimension into parts of these sizes, each with memory of its own: their gradients meet once.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    sizes : sequence of int
        Sizes that sum to that of the dimension.
    dim : int
        The dimension.
    """
    parts = ag.apply(_split_op(axis_of("cut", dim, len(x.shape)), tuple(sizes)), x)
    return parts if isinstance(parts, tuple) else (parts,)
