"""Between PyTorch's layouts and the kernels' own, without copies where the memory lies right already."""

from __future__ import annotations

from typing import Any

from .. import autograd as ag
from .._errors import short
from .._functional.shape import permute, transpose_op

Tensor = Any

NHWC = (0, 2, 3, 1)
NCHW = (0, 3, 1, 2)
NWC = (0, 2, 1)


def _moved(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    """x permuted: a view where it is dense, else moved once by the kernel rather than by every op that reads it."""
    y = permute(x, perm)
    if y._phys is None or y._data is None or y._data.flags.c_contiguous:
        return y
    return ag.apply(transpose_op(y._phys[1]), y._phys[0])


def to_nhwc(x: Tensor) -> Tensor:
    """(n, c, h, w) as (n, h, w, c)."""
    phys = x._phys
    return phys[0] if phys is not None and phys[1] == NCHW else _moved(x, NHWC)


def from_nhwc(x: Tensor) -> Tensor:
    """(n, h, w, c) as (n, c, h, w)."""
    return permute(x, NCHW)


def to_nwc(x: Tensor) -> Tensor:
    """(n, c, w) as (n, w, c)."""
    phys = x._phys
    return phys[0] if phys is not None and phys[1] == NWC else _moved(x, NWC)


def from_nwc(x: Tensor) -> Tensor:
    """(n, w, c) as (n, c, w)."""
    return permute(x, NWC)


def channels_last(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """(n, c, ...) as (n, ..., c), and the permutation that leads back."""
    rank = len(x.shape)
    back = (0, rank - 1, *range(1, rank - 1))
    phys = x._phys
    if phys is not None and phys[1] == back:
        return phys[0], back
    return (_moved(x, (0, *range(2, rank), 1)) if rank > 2 else x), back


def pair(value: Any, op: str, argument: str, least: int = 0) -> tuple[int, int]:
    """An integer or two of them, as two."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(items) != 2 or not all(hasattr(v, "__index__") and int(v) >= least for v in items):
        raise ValueError(f"{op}: {argument}: expected an integer >= {least} or two of them, got {short(value)}")
    return int(items[0]), int(items[1])


def single(value: Any, op: str, argument: str, least: int = 0) -> int:
    """An integer, bare or in a tuple of one."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) != 1 or not hasattr(items[0], "__index__") or int(items[0]) < least:
        raise ValueError(f"{op}: {argument}: expected an integer >= {least}, got {short(value)}")
    return int(items[0])


def numbers(dims: int, value: Any, op: str, argument: str, least: int = 0) -> Any:
    """One integer for each of the axes that an op runs over, as ops want them: two as a pair, one bare."""
    return (pair if dims == 2 else single)(value, op, argument, least)


def sizes(dims: int, value: Any, op: str, argument: str, least: int = 0) -> tuple[int, ...]:
    """The same as a tuple."""
    return pair(value, op, argument, least) if dims == 2 else (single(value, op, argument, least),)


def to_last(dims: int, x: Tensor) -> Tensor:
    """(n, c, ...) over `dims` axes as (n, ..., c)."""
    return to_nhwc(x) if dims == 2 else to_nwc(x)


def from_last(dims: int, x: Tensor) -> Tensor:
    """(n, ..., c) over `dims` axes as (n, c, ...)."""
    return from_nhwc(x) if dims == 2 else from_nwc(x)
