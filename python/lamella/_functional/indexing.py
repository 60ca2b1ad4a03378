"""Reading and writing parts of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .._kernels._call import op as make_op

__all__ = ["fill_", "gather_rows", "getitem", "inplace", "setitem", "take"]

Tensor = Any


def _plain(index: Any) -> Any:
    """One entry of an index in NumPy's terms."""
    if isinstance(index, ag.Tensor):
        if index._data is None:
            index._refuse("indexing with a traced tensor")  # type: ignore[attr-defined]
        return index._data
    if isinstance(index, list):
        return np.asarray(index, dtype=None if index else np.int64)
    return index


def _normal(index: Any) -> tuple[tuple[Any, ...], bool]:
    """The index as a tuple with an Ellipsis (so that NumPy gives arrays, never scalars), and whether it is basic."""
    entries = tuple([_plain(i) for i in index]) if isinstance(index, tuple) else (_plain(index),)
    basic = not any(isinstance(i, (np.ndarray, bool)) for i in entries)
    if not any(i is Ellipsis for i in entries):
        entries = (*entries, Ellipsis)
    return entries, basic


class _IndexBackward:
    """Puts a gradient back where its elements were taken from."""

    __slots__ = ("basic", "index", "shape")

    def __init__(self, shape: tuple[int, ...], index: tuple[Any, ...], basic: bool) -> None:
        self.shape, self.index, self.basic = shape, index, basic

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        g = np.zeros(self.shape, grads[0].dtype)
        if self.basic or all(i.dtype == bool for i in self.index if isinstance(i, np.ndarray)):
            g[self.index] = grads[0]
        else:  # an element may have been taken several times
            np.add.at(g, self.index, grads[0])
        return [g]


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: integers, slices, None and Ellipsis give views; integer and bool arrays give copies."""
    entries, basic = _normal(index)
    if x._data is None:
        return _symbolic(x, entries, basic)
    if len(entries) == 2 and isinstance(entries[0], np.ndarray) and entries[0].dtype.kind == "i" and x._rg:
        return gather_rows(x, entries[0])
    out = ag.apply_view(x, x._data[entries], _IndexBackward(x.shape, entries, basic))
    if not basic:
        out._version = [0]
    return out


@lru_cache(maxsize=1)
def _embedding_op() -> Any:
    return make_op("embedding", {})


def gather_rows(x: Tensor, rows: np.ndarray) -> Tensor:
    """x[rows] for an integer array, whose gradient is summed by the embedding kernel."""
    n = x.shape[0]
    rows = rows.astype(np.int64, copy=False)
    if rows.size and (rows.min() < -n or rows.max() >= n):
        raise IndexError(f"getitem: index: expected -{n} <= index < {n}, got {rows.min()} to {rows.max()}")
    if rows.size and rows.min() < 0:
        rows = np.where(rows < 0, rows + n, rows)
    matrix = x if len(x.shape) == 2 else x.reshape(n, -1)
    return ag.apply(_embedding_op(), ag.wrap(rows), matrix).reshape(*rows.shape, *x.shape[1:])


@lru_cache(maxsize=512)
def _slice_op(starts: tuple[int, ...], stops: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    return make_op("slice", {"starts": starts, "stops": stops, "steps": steps})


@lru_cache(maxsize=8)
def _gather_op(axis: int) -> Any:
    return make_op("gather", {"axis": axis})


def take(x: Tensor, indices: np.ndarray, axis: int) -> Tensor:
    """The slices of x at these indices, along an axis counted from the front; known when a graph is traced."""
    if len(indices) == x.shape[axis] and (indices == np.arange(len(indices))).all():
        return x
    return ag.apply(_gather_op(axis), x, ag.wrap(indices))


def _symbolic(x: Tensor, entries: tuple[Any, ...], basic: bool) -> Tensor:
    if not basic:
        x._refuse("indexing with an array")
    rank = len(x.shape)
    given = sum(i is not None and i is not Ellipsis for i in entries)
    if given > rank:
        raise IndexError(f"getitem: index: expected at most {rank} entries, got {given}")
    full: list[Any] = []
    for i in entries:
        full.extend([slice(None)] * (rank - given) if i is Ellipsis else [i])
    starts, stops, steps, shape, dim = [], [], [], [], 0
    for i in full:
        if i is None:
            shape.append(1)
            continue
        n = x.shape[dim]
        if isinstance(i, slice):
            start, stop, step = i.indices(n)
            if step < 0:
                x._refuse("a slice with a negative step")
            shape.append(len(range(start, stop, step)))
            # An open end stays open, so that a later batch may have another size.
            stops.append(np.iinfo(np.int64).max if i.stop is None else max(stop, start))
        else:
            start, step = int(i), 1
            if not -n <= start < n:
                raise IndexError(f"getitem: index: expected -{n} <= index < {n}, got {start}")
            start %= n
            stops.append(start + 1)
        starts.append(start)
        steps.append(step)
        dim += 1
    out = x
    if (
        any(s != 0 for s in starts)
        or any(s != 1 for s in steps)
        or any(stop < n for stop, n in zip(stops, x.shape, strict=True))
    ):
        out = ag.apply(_slice_op(tuple(starts), tuple(stops), tuple(steps)), x)
    if tuple(shape) == out.shape:
        return out
    keeps_batch = bool(full) and full[0] == slice(None)
    return out.reshape(-1, *shape[1:]) if keeps_batch else out.reshape(*shape)


# --- writing -----------------------------------------------------------------------------------------------------


def _check_writable(x: Tensor, others: Sequence[Any]) -> bool:
    """Whether an in-place operation must be recorded; an error where it is not possible."""
    if x._data is None:
        x._refuse("an in-place operation")
    recorded = ag.is_grad_enabled() and (x._rg or any(isinstance(o, ag.Tensor) and o._rg for o in others))
    if recorded and x._rg and x._edge is None:
        raise RuntimeError(
            "in-place operation: a leaf tensor that requires a gradient cannot be changed in place while operations "
            "are recorded; use no_grad()"
        )
    return recorded


def _become(x: Tensor, new: Tensor) -> Tensor:
    """x stands for another value from now on; what was recorded of its old one stays intact."""
    if new.shape != x.shape or new.dtype != x.dtype:
        raise RuntimeError(f"in-place operation: expected {x.dtype} {x.shape}, got {new.dtype} {new.shape}")
    x._data, x._edge, x._rg, x._phys, x._version = new._data, new._edge, new._rg, new._phys, new._version
    return x


def inplace(x: Tensor, fn: Any, *args: Any) -> Tensor:
    """x = fn(x, *args), in the memory of x where nothing is recorded."""
    if _check_writable(x, args):
        return _become(x, fn(x, *args))
    with ag.no_grad():
        new = fn(x, *args)
    if new.shape != x.shape:
        raise RuntimeError(f"in-place operation: expected a result of shape {x.shape}, got {new.shape}")
    np.copyto(x._data, new._data, casting="same_kind")
    ag.written(x)
    return x


class _SetBackward:
    __slots__ = ("index", "shape")

    def __init__(self, index: Any, shape: tuple[int, ...]) -> None:
        self.index, self.shape = index, shape

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        g = grads[0]
        part = g[self.index]
        rest = None
        if wanted[0]:
            rest = g.copy()
            rest[self.index] = 0
        if wanted[1]:
            from .shape import _ExpandBackward

            lead = part.ndim - len(self.shape)
            shape = self.shape if lead >= 0 else self.shape[-lead:]
            part = _ExpandBackward(shape, part.shape).backward([part], [True])[0].reshape(self.shape)
        return [rest, part if wanted[1] else None]


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value."""
    entries, _ = _normal(index)
    if not _check_writable(x, [value]):
        x._data[entries] = ag.as_array(value)
        ag.written(x)
        return
    data = x._data.copy()
    given = value if isinstance(value, ag.Tensor) else ag.wrap(ag.as_array(value, x.dtype))
    data[entries] = given._data
    node = ag.Node(_SetBackward(entries, given.shape), [ag._edge_of(x), ag._edge_of(given)], None, 1, False)
    _become(x, ag.wrap(data, (node, 0)))


def fill_(x: Tensor, value: Any) -> Tensor:
    """x[...] = value."""
    setitem(x, ..., value)
    return x
