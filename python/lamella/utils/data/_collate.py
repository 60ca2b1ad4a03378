"""Samples joined to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import autograd as ag


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples joined: tensors, arrays and numbers are stacked; dicts, tuples and lists are joined part by part."""
    first = batch[0]
    if isinstance(first, ag.Tensor):
        return ag.wrap(np.stack([t._data for t in batch]))
    if isinstance(first, (np.ndarray, np.generic)):
        return ag.wrap(np.stack([np.asarray(a) for a in batch]))
    if isinstance(first, bool):
        return ag.wrap(np.array(batch, np.bool_))
    if isinstance(first, int):
        return ag.wrap(np.array(batch, np.int64))
    if isinstance(first, float):
        return ag.wrap(np.array(batch, np.float64))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(part) for part in zip(*batch, strict=True)))
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("default_collate: expected samples with equally many parts")
        return [default_collate(part) for part in zip(*batch, strict=True)]
    raise TypeError(
        "default_collate: expected tensors, arrays, numbers, strings, dicts, tuples or lists, "
        f"got {type(first).__name__}"
    )


def default_convert(data: Any) -> Any:
    """A sample alone: arrays become tensors, nothing is joined."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "fiub":
        return ag.wrap(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(part) for part in data))
    if isinstance(data, (tuple, list)):
        return type(data)([default_convert(part) for part in data])
    return data
