"""Data in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import short
from ..autograd import as_array
from ._pipeline import Pipeline
from .data import Subset, TensorDataset

__all__ = ["split_dataset"]


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Any, Any]:
    """Split samples in two, as for training and testing.

    Parameters
    ----------
    dataset : array, tuple or list of arrays, or Dataset
    left_size, right_size : int or float, optional
        So many samples, or this share of them; of the one that is not given, the rest.
    shuffle : bool
        Whether the samples are drawn at random rather than taken in their order.
    seed : int, optional
        Fixes the draw.
    preferred_backend : {"torch", None}
        The parts are PyTorch's kind of data sets.

    Returns
    -------
    tuple of Subset
    """
    if preferred_backend not in (None, "torch"):
        raise NotImplementedError(
            f"split_dataset: preferred_backend: expected None or 'torch', got {short(preferred_backend)}"
        )
    if isinstance(dataset, Pipeline):
        raise TypeError("split_dataset: dataset: expected arrays or a Dataset, got a Pipeline: use its take and skip")
    if isinstance(dataset, np.ndarray):
        dataset = TensorDataset(dataset)
    elif isinstance(dataset, (tuple, list)):
        dataset = TensorDataset(*(as_array(a) for a in dataset))
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise TypeError(f"split_dataset: dataset: expected arrays or a Dataset, got {type(dataset).__name__}")
    count = len(dataset)
    left, right = _size("left_size", left_size, count), _size("right_size", right_size, count)
    if isinstance(left_size, float) and isinstance(right_size, float) and left_size + right_size <= 1:
        right = min(right or 0, count - (left or 0))  # both may have been rounded up
    if left is None and right is None:
        raise ValueError("split_dataset: left_size, right_size: expected at least one of them, got None twice")
    left = count - right if left is None and right is not None else left
    right = count - left if right is None and left is not None else right
    assert left is not None and right is not None
    if left + right > count:
        raise ValueError(
            f"split_dataset: left_size, right_size: expected at most {count} samples together, got {left} and {right}"
        )
    order = np.arange(count)
    if shuffle:
        from .. import _rng

        rng = _rng.default_generator.numpy() if seed is None else np.random.default_rng(seed)
        order = rng.permutation(count)
    return Subset(dataset, order[:left].tolist()), Subset(dataset, order[count - right :].tolist())


def _size(name: str, value: Any, count: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 < value < count:
        return int(value)
    if isinstance(value, (float, np.floating)) and 0 < value < 1:
        return round(value * count)
    raise ValueError(
        f"split_dataset: {name}: expected a share between 0 and 1 or fewer than {count} samples, got {short(value)}"
    )
