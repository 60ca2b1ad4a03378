"""Sums, means and extrema over dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .._errors import short
from .._kernels._call import op as make_op
from .elementwise import _known
from .shape import axis_of, cast, permute

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "log_softmax",
    "max",
    "mean",
    "min",
    "norm",
    "softmax",
    "std",
    "sum",
    "test",
    "var",
]

Tensor = Any
Dim = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """Extrema and where they are."""

    values: Any
    indices: Any


@lru_cache(maxsize=512)
def _reduce_op(name: str, axes: tuple[int, ...] | None, keepdims: bool, extra: tuple[Any, ...] = ()) -> Any:
    return make_op(name, {"axes": axes, "keepdims": keepdims, **dict(extra)})


def _axes(name: str, x: Tensor, dim: Dim) -> tuple[int, ...] | None:
    if dim is None or dim == ():
        return None
    rank = len(x.shape)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if rank == 0:
        return None
    axes = tuple(sorted(axis_of(name, d, rank) for d in dims))
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: dim: expected each dimension at most once, got {short(dim)}")
    return axes


def _reduce(name: str, x: Tensor, dim: Dim, keepdim: bool, extra: tuple[Any, ...] = ()) -> Tensor:
    axes = _axes(name, x, dim)
    if x._phys is None:
        return ag.apply(_reduce_op(name, axes, keepdim, extra), x)
    source, perm = x._phys
    if axes is None:
        y = ag.apply(_reduce_op(name, None, keepdim, extra), source)
        return y
    inner = tuple(sorted(perm[a] for a in axes))
    y = permute(ag.apply(_reduce_op(name, inner, True, extra), source), perm)
    if keepdim:
        return y
    return y.reshape([d for i, d in enumerate(y.shape) if i not in axes])


def _numpy_reduce(fn: Any, name: str, x: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    return ag.wrap(ag.as_result(fn(_known(name, x), axis=_axes(name, x, dim), keepdims=keepdim)))


def sum(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The sum of all elements, or over some dimensions; integers and bools give int64."""
    if not is_float(x.dtype):
        return _numpy_reduce(np.sum, "sum", x, dim, keepdim)
    return _reduce("sum", x, dim, keepdim)


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The mean of all elements, or over some dimensions."""
    if not is_float(x.dtype):
        raise TypeError(f"mean: expected a float tensor, got {x.dtype}; use float()")
    return _reduce("mean", x, dim, keepdim)


def var(x: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The variance; `unbiased` divides by the count less one."""
    return _reduce("var", x, dim, keepdim, (("ddof", 1 if unbiased else 0),))


def std(x: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The standard deviation; `unbiased` divides by the count less one."""
    return _reduce("std", x, dim, keepdim, (("ddof", 1 if unbiased else 0),))


def norm(x: Tensor, p: Any = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The p-norm of all elements, or over some dimensions.

    Parameters
    ----------
    x : Tensor
        Any float tensor.
    p : float or "fro"
        The order; inf for the largest absolute value.
    dim : int or sequence of int, optional
        The dimensions to reduce; all if None.
    keepdim : bool
        Whether they stay, with size 1.
    """
    from . import elementwise as e

    if p in (2, "fro"):
        return _reduce("norm", x, dim, keepdim)
    if p == 1:
        return sum(e.abs(x), dim, keepdim)
    if p == float("inf"):
        return amax(e.abs(x), dim, keepdim)
    return e.pow(sum(e.pow(e.abs(x), float(p)), dim, keepdim), 1.0 / float(p))


def amax(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest element over some dimensions; equal ones share the gradient."""
    if not is_float(x.dtype):
        return _numpy_reduce(np.max, "amax", x, dim, keepdim)
    return _reduce("max", x, dim, keepdim)


def amin(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest element over some dimensions; equal ones share the gradient."""
    if not is_float(x.dtype):
        return _numpy_reduce(np.min, "amin", x, dim, keepdim)
    return _reduce("min", x, dim, keepdim)


def max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; over a dimension the pair (values, indices); of two tensors the larger of each pair."""
    if isinstance(dim, ag.Tensor):
        from .elementwise import maximum

        return maximum(x, dim)
    if dim is None:
        return amax(x)
    return ValuesIndices(amax(x, dim, keepdim), argmax(x, dim, keepdim))


def min(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; over a dimension the pair (values, indices); of two tensors the smaller of each pair."""
    if isinstance(dim, ag.Tensor):
        from .elementwise import minimum

        return minimum(x, dim)
    if dim is None:
        return amin(x)
    return ValuesIndices(amin(x, dim, keepdim), argmin(x, dim, keepdim))


@lru_cache(maxsize=64)
def _arg_op(name: str, axis: int, keepdims: bool) -> Any:
    return make_op(name, {"axis": axis, "keepdims": keepdims})


def _arg(name: str, fn: Any, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if not is_float(x.dtype):
        return ag.wrap(ag.as_result(fn(_known(name, x), axis=dim, keepdims=keepdim)))
    if dim is None:
        flat = ag.apply(_arg_op(name, 0, False), x.detach().reshape(-1) if x._data is not None else x.reshape(-1))
        return flat.reshape((1,) * len(x.shape)) if keepdim else flat
    rank = len(x.shape)
    if rank == 0:
        return ag.wrap(np.zeros((), np.int64))
    with ag.no_grad():
        return ag.apply(_arg_op(name, axis_of(name, dim, rank), keepdim), x)


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element is; the first of equal ones, the first NaN if there is one."""
    return _arg("argmax", np.argmax, x, dim, keepdim)


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element is; the first of equal ones, the first NaN if there is one."""
    return _arg("argmin", np.argmin, x, dim, keepdim)


def test(name: str, x: Tensor) -> Tensor:
    """A scalar bool: whether "any" or "all" elements are not zero."""
    return ag.wrap(ag.as_result(getattr(np, name)(_known(name, x))))


def any(x: Tensor) -> Tensor:
    """Whether an element is not zero."""
    return test("any", x)


def all(x: Tensor) -> Tensor:
    """Whether no element is zero."""
    return test("all", x)


# --- softmax -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _softmax_op(name: str, axis: int) -> Any:
    return make_op(name, {"axis": axis})


def _softmax(name: str, x: Tensor, dim: int) -> Tensor:
    if not is_float(x.dtype):
        x = cast(x, np.float32)
    if x._phys is None:
        return ag.apply(_softmax_op(name, dim), x)
    source, perm = x._phys
    return permute(ag.apply(_softmax_op(name, perm[axis_of(name, dim, len(perm))]), source), perm)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) divided by its sum over a dimension."""
    return _softmax("softmax", x, dim)


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """The logarithm of softmax over a dimension."""
    return _softmax("log_softmax", x, dim)
