"""Sequences of equal length from sequences of any, and windows of time series."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import short
from ..autograd import as_array, wrap
from ._pipeline import Pipeline, check_format

__all__ = ["pad_sequences", "timeseries_dataset_from_array"]


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences as rows of one array.

    Parameters
    ----------
    sequences : list of sequences
    maxlen : int, optional
        Length of the rows; by default that of the longest sequence.
    dtype : dtype
    padding, truncating : {"pre", "post"}
        Where shorter sequences are filled up, and longer ones cut.
    value : float or str
        What fills them up.

    Returns
    -------
    ndarray
        (sequences, maxlen), and the shape of an element behind that.
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"pad_sequences: {name}: expected 'pre' or 'post', got {short(given)}")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"pad_sequences: sequences: expected a list of sequences, got {type(sequences).__name__}")
    for i, s in enumerate(sequences):
        if not hasattr(s, "__len__"):
            raise ValueError(f"pad_sequences: sequences: expected sequences, got {short(s)} at position {i}")
    if maxlen is None:
        maxlen = max((len(s) for s in sequences), default=0)
    if not hasattr(maxlen, "__index__") or maxlen < 0:
        raise ValueError(f"pad_sequences: maxlen: expected an integer >= 0, got {short(maxlen)}")
    dtype = np.dtype(dtype)
    if isinstance(value, str) and dtype.kind not in "OUS":
        raise ValueError(f"pad_sequences: value: expected a number for dtype {dtype}, got {short(value)}")
    shape = next((np.asarray(s).shape[1:] for s in sequences if len(s)), ())
    rows = np.full((len(sequences), maxlen, *shape), value, dtype)
    for i, s in enumerate(sequences):
        part = np.asarray(s[-maxlen or len(s) :] if truncating == "pre" else s[:maxlen], dtype)
        if not len(part):
            continue
        if part.shape[1:] != shape:
            raise ValueError(
                f"pad_sequences: sequences: expected elements of shape {shape}, got {part.shape[1:]} at position {i}"
            )
        if padding == "post":
            rows[i, : len(part)] = part
        else:
            rows[i, maxlen - len(part) :] = part
    return rows


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> Pipeline:
    """Batches of windows that slide over time steps.

    Parameters
    ----------
    data : array
        (steps, ...).
    targets : array or None
        targets[i] belongs to the window that begins at step i.
    sequence_length : int
        Steps of a window.
    sequence_stride : int
        Steps from the beginning of one window to that of the next.
    sampling_rate : int
        Every so many steps one goes into a window.
    batch_size : int or None
        None gives single windows.
    shuffle : bool
        Whether windows come in random order, anew for each pass.
    seed : int, optional
        Fixes the order.
    start_index, end_index : int, optional
        Steps before the first, and from the second on, are not used.
    format : {"tf"}
        The batches come from a `Pipeline`, whose methods are those of tf.data.

    Returns
    -------
    Pipeline
        Of windows (n, sequence_length, ...), or of tuples (windows, targets).
    """
    what = "timeseries_dataset_from_array"
    check_format(what, format)
    steps = np.asarray(as_array(data))
    for name, given in (
        ("sequence_length", sequence_length), ("sequence_stride", sequence_stride), ("sampling_rate", sampling_rate),
    ):  # fmt: skip
        if not hasattr(given, "__index__") or not 1 <= given <= max(len(steps), 1):
            raise ValueError(
                f"{what}: {name}: expected an integer from 1 to {len(steps)}, the steps, got {short(given)}"
            )
    if batch_size is not None and (not hasattr(batch_size, "__index__") or batch_size < 1):
        raise ValueError(f"{what}: batch_size: expected a positive integer or None, got {short(batch_size)}")
    first = 0 if start_index is None else start_index
    end = len(steps) if end_index is None else end_index
    if not 0 <= first < len(steps):
        raise ValueError(
            f"{what}: start_index: expected an integer from 0 to {len(steps) - 1}, got {short(start_index)}"
        )
    if not first < end <= len(steps):
        raise ValueError(
            f"{what}: end_index: expected an integer from {first + 1} to {len(steps)}, got {short(end_index)}"
        )
    count = end - first - (sequence_length - 1) * sampling_rate
    wanted = None if targets is None else np.asarray(as_array(targets))
    if wanted is not None:
        count = min(count, len(wanted) - first)
    starts = first + np.arange(0, max(count, 0), sequence_stride)
    if not len(starts):
        raise ValueError(
            f"{what}: data: expected at least one window of {sequence_length} steps, got {end - first} steps"
        )
    offsets = np.arange(sequence_length) * sampling_rate
    if shuffle and seed is None:
        seed = int(np.random.randint(10**6))

    def load(rows: Any) -> Any:
        begin = starts[rows]
        windows = wrap(steps[begin[..., None] + offsets])
        return windows if wanted is None else (windows, wrap(np.array(wanted[begin])))

    return Pipeline.over(load, len(starts), batch_size, shuffle, seed)
