"""Tensors that show another's memory: permuted, reshaped, sliced, broadcast. Free in eager mode; ops of the graph when
traced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .._device import place
from .._dtypes import as_dtype, is_float, is_half
from .._errors import short
from .._kernels._call import op as make_op

__all__ = [
    "broadcast_shape",
    "cast",
    "chunk",
    "clone",
    "contiguous",
    "expand",
    "flatten",
    "inverse",
    "on_memory",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unflatten",
    "unsqueeze",
]

Tensor = Any  # autograd.Tensor or a tracing Symbol


def axis_of(op: str, dim: int, rank: int) -> int:
    """The dimension counted from the front."""
    if not -rank <= dim < rank:
        raise IndexError(f"{op}: dim: expected -{rank} <= dim < {rank}, got {dim}")
    return dim % rank


# --- permutations ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `perm`."""
    inv = [0] * len(perm)
    for i, p in enumerate(perm):
        inv[p] = i
    return tuple(inv)


@lru_cache(maxsize=512)
def _checked(dims: tuple[int, ...], rank: int) -> tuple[int, ...]:
    perm = tuple(d + rank if d < 0 else d for d in dims)
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"permute: dims: expected each of {rank} dimensions once, got {short(dims)}")
    return perm


@lru_cache(maxsize=512)
def transpose_op(perm: tuple[int, ...]) -> Any:
    return make_op("transpose", {"perm": perm})


class PermuteBackward:
    """Carries gradients from a permuted view to the array itself."""

    __slots__ = ("inverse",)

    def __init__(self, inv: tuple[int, ...]) -> None:
        self.inverse = inv

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        return [grads[0].transpose(self.inverse)]


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Reorder the dimensions; the result shows the same memory.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    dims : sequence of int
        `dims[i]` is the dimension of `x` that becomes dimension i.
    """
    perm = _checked(tuple(dims), len(x.shape))
    source = x
    if x._phys is not None:
        source, before = x._phys
        perm = tuple([before[p] for p in perm])
    if perm == tuple(range(len(perm))):
        return source
    if source._data is None:
        return source._permuted(perm)
    out = ag.apply_view(source, source._data.transpose(perm), PermuteBackward(inverse(perm)))
    out._phys = (source, perm)
    return out


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two dimensions; the result shows the same memory."""
    rank = len(x.shape)
    dims = list(range(rank))
    if rank:
        a, b = axis_of("transpose", dim0, rank), axis_of("transpose", dim1, rank)
        dims[a], dims[b] = b, a
    return permute(x, dims)


def on_memory(fn: Any, x: Tensor) -> Tensor:
    """fn(x) for a function that works element by element, run on the memory as it lies."""
    phys = x._phys
    if phys is None:
        return fn(x)
    return permute(fn(phys[0]), phys[1])


def contiguous(x: Tensor) -> Tensor:
    """The tensor in C order: itself where it is so already."""
    if x._phys is not None:
        return ag.apply(transpose_op(x._phys[1]), x._phys[0])
    if x._data is None or x._data.flags.c_contiguous:
        return x
    return _copied(x, x._data.copy(order="C"), _SameBackward())


class _MoveBackward:
    def __init__(self, home: Any) -> None:
        self.home = home

    def backward(self, grads: list[Any], wanted: list[bool]) -> list[Any]:
        return [place(grads[0], self.home)]


def to_device(x: Tensor, where: Any) -> Tensor:
    """x on a device; itself where it lies there."""
    if x._data is None or x.device.type == where.type:
        return x
    if x._phys is not None:  # the dense memory moves, and the view stays one
        source, perm = x._phys
        return permute(to_device(source, where), perm)
    return _copied(x, place(x._data, where), _MoveBackward(x.device))


def _copied(x: Tensor, data: np.ndarray, fn: Any) -> Tensor:
    out = ag.apply_view(x, data, fn)
    out._version = [0]
    return out


# --- shapes ------------------------------------------------------------------------------------------------------


class _SameBackward:
    __slots__ = ()

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        return [grads[0]]


class _ReshapeBackward:
    __slots__ = ("shape",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        return [grads[0].reshape(self.shape)]


@lru_cache(maxsize=512)
def _reshape_op(shape: tuple[int, ...]) -> Any:
    return make_op("reshape", {"shape": shape})


def _check_reshape(shape: tuple[int, ...], new: tuple[int, ...]) -> None:
    size, known = math.prod(shape), math.prod(d for d in new if d != -1)
    if new.count(-1) > 1 or min(new, default=0) < -1:
        raise ValueError(f"reshape: shape: expected at most one -1 and no other negative size, got {new}")
    if size != known if -1 not in new else (known == 0 or size % known):
        raise ValueError(f"reshape: shape: expected {size} elements as in {shape}, got {new}")


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Another shape for the same elements in C order.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    shape : sequence of int
        The wanted shape; one -1 stands for what is left.
    """
    new = tuple(shape)
    if x._phys is not None:
        x = _without_order(x)
    if x._data is None:
        return x if new == x.shape else ag.apply(_reshape_op(new), x)
    try:
        data = x._data.reshape(new)
    except ValueError:
        _check_reshape(x.shape, new)
        raise
    return ag.apply_view(x, data, _ReshapeBackward(x._data.shape))


def _without_order(x: Tensor) -> Tensor:
    """A tensor with the elements of permuted `x` in the same order, in C order in memory if that needs no copy."""
    source, perm = x._phys
    long = [p for p in perm if source.shape[p] != 1]
    return reshape(source, x.shape) if long == sorted(long) else contiguous(x)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from start_dim to end_dim."""
    rank = len(x.shape)
    if rank == 0:
        return reshape(x, (1,))
    start, end = axis_of("flatten", start_dim, rank), axis_of("flatten", end_dim, rank)
    if start > end:
        raise ValueError(f"flatten: end_dim: expected a dimension not before start_dim {start}, got {end}")
    if start == end:
        return x
    shape = x.shape
    # A later batch may have another size: where dimension 0 stays, the joined one has a known size and the batch -1.
    joined = math.prod(shape[start : end + 1])
    front = (-1, *shape[1:start]) if start > 0 and x._data is None else shape[:start]
    return reshape(x, (*front, joined, *shape[end + 1 :]))


def unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one dimension into several."""
    dim = axis_of("unflatten", dim, len(x.shape))
    sizes = tuple(sizes)
    if -1 in sizes:
        known = math.prod(s for s in sizes if s != -1)
        sizes = tuple(x.shape[dim] // max(known, 1) if s == -1 else s for s in sizes)
    if math.prod(sizes) != x.shape[dim]:
        raise ValueError(f"unflatten: sizes: expected a product of {x.shape[dim]}, got {short(sizes)}")
    front = (-1, *x.shape[1:dim]) if dim > 0 and x._data is None else x.shape[:dim]
    return reshape(x, (*front, *sizes, *x.shape[dim + 1 :]))


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """A new dimension of size 1 before dimension `dim`."""
    dim = axis_of("unsqueeze", dim, len(x.shape) + 1)
    new = (*x.shape[:dim], 1, *x.shape[dim:])
    if x._data is None:
        return reshape(x, (-1, *new[1:]) if dim > 0 else new)
    return ag.apply_view(x, np.expand_dims(x._data, dim), _ReshapeBackward(x.shape))


def squeeze(x: Tensor, dim: int | None = None) -> Tensor:
    """Drop dimensions of size 1: all of them, or this one if its size is 1."""
    if dim is None:
        gone = [i for i, d in enumerate(x.shape) if d == 1]
    else:
        dim = axis_of("squeeze", dim, len(x.shape))
        gone = [dim] if x.shape[dim] == 1 else []
    if not gone:
        return x
    new = tuple(d for i, d in enumerate(x.shape) if i not in gone)
    if x._data is None:
        return reshape(x, (-1, *new[1:]) if gone[0] > 0 and new else new)
    return ag.apply_view(x, np.squeeze(x._data, tuple(gone)), _ReshapeBackward(x.shape))


# --- broadcasting ------------------------------------------------------------------------------------------------


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all of these broadcast."""
    return np.broadcast_shapes(*shapes)


@lru_cache(maxsize=512)
def _sum_op(axes: tuple[int, ...]) -> Any:
    return make_op("sum", {"axes": axes, "keepdims": True})


class _ExpandBackward:
    __slots__ = ("axes", "shape")

    def __init__(self, shape: tuple[int, ...], new: tuple[int, ...]) -> None:
        extra = len(new) - len(shape)
        self.shape = shape
        self.axes = tuple(i for i, d in enumerate(new) if i < extra or (shape[i - extra] == 1 and d != 1))

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        g = grads[0]
        if self.axes:
            g = _sum_op(self.axes).forward([g])[0][0]
        return [g.reshape(self.shape)]


def expand(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Repeat dimensions of size 1 without copying; -1 keeps a dimension, new ones come first."""
    extra = len(sizes) - len(x.shape)
    if extra < 0:
        raise ValueError(f"expand: sizes: expected at least {len(x.shape)} dimensions, got {tuple(sizes)}")
    new = tuple(x.shape[i - extra] if s == -1 and i >= extra else s for i, s in enumerate(sizes))
    if x._data is None:
        # Broadcasting in a graph is arithmetic's: add zeros that have the repeated dimensions alone.
        zeros = np.zeros([d if i < extra or x.shape[i - extra] == 1 else 1 for i, d in enumerate(new)], x.dtype)
        return ag.apply(make_op("add"), x, ag.wrap(zeros))
    try:
        data = np.broadcast_to(x._data, new)
    except ValueError:
        raise ValueError(f"expand: sizes: expected sizes to which {x.shape} can be repeated, got {new}") from None
    return ag.apply_view(x, data, _ExpandBackward(x.shape, new))


# --- copies ------------------------------------------------------------------------------------------------------


class _CastBackward:
    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def backward(self, grads: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        return [grads[0].astype(self.dtype)]


@lru_cache(maxsize=16)
def _cast_op(dtype: str) -> Any:
    return make_op("cast", {"dtype": dtype})


def cast(x: Tensor, dtype: Any) -> Tensor:
    """A tensor of another dtype; a float's gradient comes back in the dtype of `x`."""
    dtype = as_dtype(dtype)
    if dtype == x.dtype:
        return x
    if x._data is None or is_half(dtype) or is_half(x.dtype):
        if x._phys is None:
            return ag.apply(_cast_op(dtype.name), x)
        perm = x._phys[1]
        return permute(ag.apply(_cast_op(dtype.name), permute(x, inverse(perm))), perm)
    data = x._data.astype(dtype)
    return _copied(x, data, _CastBackward(x.dtype)) if is_float(dtype) else ag.wrap(data)


def clone(x: Tensor) -> Tensor:
    """A copy, inside the graph."""
    if x._data is None:
        return x
    return _copied(x, x._data.copy(order="K"), _SameBackward())


# --- cutting and joining -----------------------------------------------------------------------------------------


def split(x: Tensor, size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a dimension into parts of `size` (the last may be smaller), or into parts of these sizes."""
    dim = axis_of("split", dim, len(x.shape))
    n = x.shape[dim]
    if isinstance(size, int):
        if size <= 0:
            raise ValueError(f"split: size: expected a positive number, got {short(size)}")
        sizes = [min(size, n - i) for i in range(0, n, size)] or [0]
    else:
        sizes = list(size)
        if sum(sizes) != n:
            raise ValueError(f"split: size: expected sizes that sum to {n}, got {short(sizes)}")
    parts, start = [], 0
    for s in sizes:
        parts.append(x[(slice(None),) * dim + (slice(start, start + s),)])
        start += s
    return tuple(parts)


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a dimension into at most `chunks` parts of equal size (the last may be smaller)."""
    if chunks <= 0:
        raise ValueError(f"chunk: chunks: expected a positive number, got {chunks}")
    n = x.shape[axis_of("chunk", dim, len(x.shape))]
    return split(x, max(1, -(-n // chunks)), dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new dimension."""
    from .joining import cat

    tensors = list(tensors)
    if not tensors:
        raise ValueError("stack: tensors: expected at least one, got none")
    dim = axis_of("stack", dim, len(tensors[0].shape) + 1)
    return cat([unsqueeze(t, dim) for t in tensors], dim)
