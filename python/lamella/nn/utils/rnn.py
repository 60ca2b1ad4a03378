"""Sequences of different lengths in one batch: padded, or packed without their padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import autograd as ag
from ..._dtypes import is_float
from ..._errors import short
from ..._functional.elementwise import where
from ..._functional.indexing import gather_rows
from ..._functional.joining import cat
from ..._functional.shape import cast, permute, unsqueeze

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]

Tensor = Any


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Packed):
    """Sequences one time step after the other, the longest first: what recurrent layers take in a tensor's place.

    Made by `pack_padded_sequence` and `pack_sequence`.

    Attributes
    ----------
    data : Tensor, shape (steps of all sequences, ...)
        The steps at time 0 of all sequences, then those at time 1 of the ones that have it, and so on.
    batch_sizes : Tensor of int64
        How many sequences have each time.
    sorted_indices, unsorted_indices : Tensor of int64 or None
        Which sequences stand in the places here, and where each sequence stands; None where they came sorted.
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise ValueError("PackedSequence: batch_sizes: expected a tensor, got None")
            data, batch_sizes = data
        if unsorted_indices is None and sorted_indices is not None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With the data in another dtype; see `Tensor.to`."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self) -> PackedSequence:
        """This very object: its memory is the host's."""
        return self

    def float(self) -> PackedSequence:
        return self.to(np.dtype(np.float32))

    def double(self) -> PackedSequence:
        return self.to(np.dtype(np.float64))

    @property
    def is_cuda(self) -> bool:
        return False


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one; None stays None."""
    if permutation is None:
        return None
    order = np.asarray(permutation)
    found = np.empty_like(order)
    found[order] = np.arange(len(order))
    return ag.wrap(found)


def _lengths(name: str, lengths: Any, count: int, most: int) -> np.ndarray:
    found = np.asarray(lengths._data if isinstance(lengths, ag.Tensor) else lengths)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"{name}: lengths: expected integers in one dimension, got {found.dtype} {found.shape}")
    if len(found) != count:
        raise ValueError(f"{name}: lengths: expected {count}, one a sequence, got {len(found)}")
    if count == 0 or found.min() < 1 or found.max() > most:
        raise ValueError(f"{name}: lengths: expected numbers from 1 to {most}, got {found.tolist()}")
    return found.astype(np.int64)


def lengths_of(batch_sizes: Any) -> np.ndarray:
    """The lengths of the sequences, longest first, from how many have each time."""
    sizes = np.asarray(batch_sizes._data if isinstance(batch_sizes, ag.Tensor) else batch_sizes)
    return (sizes[:, None] > np.arange(sizes[0])).sum(0)


def _places(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mask (t, n) of what is no padding, rows of packed data in its places) for sequences sorted by length."""
    real = np.arange(lengths.max())[:, None] < lengths
    rows = np.zeros(real.shape, np.int64)
    rows[real] = np.arange(real.sum())
    return real, rows


def take(x: Tensor, order: Any, dim: int) -> Tensor:
    """x with the entries of dimension 0 or 1 in another order; the same where that is None."""
    if order is None:
        return x
    rows = np.asarray(order._data if isinstance(order, ag.Tensor) else order)
    if dim == 0:
        return rows_of(x, rows)
    swap = (1, 0, *range(2, len(x.shape)))
    return permute(rows_of(permute(x, swap), rows), swap)


def rows_of(x: Tensor, rows: np.ndarray) -> Tensor:
    """x[rows], in a graph too."""
    if not is_float(x.dtype):
        return x[rows]
    return gather_rows(x, rows)


def to_padded(packed: PackedSequence) -> tuple[Tensor, np.ndarray]:
    """(steps (t, n, ...) with anything in place of the padding, lengths) in the packed order."""
    lengths = lengths_of(packed.batch_sizes)
    return rows_of(packed.data, _places(lengths)[1]), lengths


def to_packed(x: Tensor, like: PackedSequence) -> PackedSequence:
    """The steps (t, n, ...), in the packed order, packed as `like`."""
    real, _ = _places(lengths_of(like.batch_sizes))
    data = rows_of(x.reshape(-1, *x.shape[2:]), np.flatnonzero(real))
    return PackedSequence(data, *like[1:])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Parameters
    ----------
    input : Tensor, shape (t, n, ...), or (n, t, ...) if batch_first
    lengths : Tensor or sequence of int
        The length of each sequence, from 1 to t.
    batch_first : bool
    enforce_sorted : bool
        Whether lengths that do not decrease are an error; else sequences are sorted, and recurrent layers bring their
        states back into the order given.

    Returns
    -------
    PackedSequence
    """
    name = "pack_padded_sequence"
    if len(input.shape) < 2:
        raise ValueError(f"{name}: input: expected at least 2 dimensions, got shape {input.shape}")
    x = permute(input, (1, 0, *range(2, len(input.shape)))) if batch_first else input
    found = _lengths(name, lengths, x.shape[1], x.shape[0])
    order = None
    if enforce_sorted:
        if (np.diff(found) > 0).any():
            raise ValueError(
                f"{name}: lengths: expected decreasing numbers, got {found.tolist()}; enforce_sorted=False sorts them"
            )
    else:
        order = np.argsort(-found, kind="stable")
        found = found[order]
    real, _ = _places(found)
    t, n = real.shape
    columns = np.broadcast_to(np.arange(n) if order is None else order, (t, n))[real]
    times = np.broadcast_to(np.arange(t)[:, None], (t, n))[real]
    if x._phys is not None and x._phys[1][:2] == (1, 0):  # rows of the memory as it lies
        memory = x._phys[0]
        rows = columns * memory.shape[1] + times
    else:
        memory, rows = x, times * n + columns
    data = rows_of(memory.reshape(-1, *memory.shape[2:]), rows)
    return PackedSequence(data, ag.wrap(real.sum(1)), None if order is None else ag.wrap(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`.

    Parameters
    ----------
    sequence : PackedSequence
    batch_first : bool
        Whether the result is (n, t, ...) rather than (t, n, ...).
    padding_value : float
    total_length : int, optional
        Pad to this length rather than that of the longest sequence.

    Returns
    -------
    (Tensor, Tensor)
        The padded batch and the lengths, in the order before packing.
    """
    lengths = lengths_of(sequence.batch_sizes)
    real, rows = _places(lengths)
    if total_length is not None:
        if total_length < len(real):
            raise ValueError(
                f"pad_packed_sequence: total_length: expected at least {len(real)}, the longest, got {total_length}"
            )
        more = ((0, total_length - len(real)), (0, 0))
        real, rows = np.pad(real, more), np.pad(rows, more)
    if sequence.unsorted_indices is not None:
        order = np.asarray(sequence.unsorted_indices._data)
        real, rows, lengths = real[:, order], rows[:, order], lengths[order]
    if batch_first:
        real, rows = real.T, rows.T
    data = sequence.data
    steps = rows_of(data, np.ascontiguousarray(rows))
    keep = np.ascontiguousarray(real).reshape(*real.shape, *[1] * (len(data.shape) - 1))
    if not is_float(data.dtype):
        return ag.wrap(np.where(keep, steps._data, np.asarray(padding_value, data.dtype))), ag.wrap(lengths)
    return where(ag.wrap(keep), steps, ag.wrap(np.asarray(padding_value, data.dtype))), ag.wrap(lengths)


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (t_i, ...) as one batch (t, n, ...), or (n, t, ...) if batch_first, where t is the longest.

    Parameters
    ----------
    sequences : list of Tensor
    batch_first : bool
    padding_value : float
    padding_side : {"right", "left"}
    """
    if padding_side not in ("right", "left"):
        raise ValueError(f"pad_sequence: padding_side: expected 'right' or 'left', got {short(padding_side)}")
    parts = list(sequences)
    if not parts:
        raise ValueError("pad_sequence: sequences: expected at least one, got none")
    t = max(p.shape[0] for p in parts)
    rows = []
    for p in parts:
        missing = t - p.shape[0]
        if missing:
            fill = ag.wrap(np.full((missing, *p.shape[1:]), padding_value, p.dtype))
            p = _join([p, fill] if padding_side == "right" else [fill, p])
        rows.append(unsqueeze(p, 0 if batch_first else 1))
    return _join(rows, 0 if batch_first else 1)


def _join(parts: list[Tensor], dim: int = 0) -> Tensor:
    dtype = np.result_type(*[p.dtype for p in parts])
    return cat([cast(p, dtype) for p in parts], dim)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each with its own length."""
    x = padded_sequences if batch_first else permute(padded_sequences, (1, 0, *range(2, len(padded_sequences.shape))))
    sizes = np.asarray(lengths._data if isinstance(lengths, ag.Tensor) else lengths)
    return [x[i][: int(n)] for i, n in enumerate(sizes)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (t_i, ...); see `pack_padded_sequence` for `enforce_sorted`."""
    lengths = np.asarray([s.shape[0] for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undo `pack_sequence`."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
