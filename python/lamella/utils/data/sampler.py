"""The order in which samples come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ... import _rng
from ..._errors import short

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T = TypeVar("T")


class Sampler(Generic[T]):
    """Indices in some order: write `__iter__`, and `__len__` if it is known."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__}: __iter__ is not defined")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)

    def order(self) -> np.ndarray:
        """All indices at once."""
        return np.arange(len(self))


class RandomSampler(Sampler[int]):
    """Indices at random.

    Parameters
    ----------
    data_source : Dataset
    replacement : bool
        Whether an index may come again.
    num_samples : int, optional
        How many; the length of the data set by default.
    generator : Generator, optional
        Where random numbers come from; `lamella.seed` fixes them by default.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ) -> None:
        if num_samples is not None and num_samples <= 0:
            raise ValueError(f"RandomSampler: num_samples: expected a positive number, got {num_samples}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many indices come."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> np.ndarray:
        """All indices at once, drawn anew."""
        n = len(self.data_source)
        if self.replacement:
            return (self.generator or _rng.default_generator).numpy().integers(0, n, self.num_samples)
        rounds = [_rng.permutation(n, self.generator) for _ in range(-(-self.num_samples // max(n, 1)))]
        return np.concatenate(rounds)[: self.num_samples] if rounds else np.zeros(0, np.int64)


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in _rng.permutation(len(self.indices), self.generator).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices at random, each with a probability in proportion to its weight.

    Parameters
    ----------
    weights : sequence of float
        One per index.
    num_samples : int
        How many indices come.
    replacement : bool
        Whether an index may come again.
    generator : Generator, optional
        Where random numbers come from.
    """

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or (self.weights < 0).any() or not self.weights.sum() > 0:
            raise ValueError("WeightedRandomSampler: weights: expected numbers >= 0, not all zero, in one dimension")
        if not replacement and num_samples > np.count_nonzero(self.weights):
            raise ValueError(
                f"WeightedRandomSampler: num_samples: expected at most {np.count_nonzero(self.weights)} "
                f"without replacement, got {num_samples}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> np.ndarray:
        """All indices at once, drawn anew."""
        rng = (self.generator or _rng.default_generator).numpy()
        p = self.weights / self.weights.sum()
        return rng.choice(len(p), self.num_samples, self.replacement, p)


class BatchSampler(Sampler[list[int]]):
    """Another sampler's indices in lists.

    Parameters
    ----------
    sampler : iterable of int
    batch_size : int
    drop_last : bool
        Whether a last, shorter list is left out.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        if not hasattr(batch_size, "__index__") or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"BatchSampler: batch_size: expected a positive integer, got {short(batch_size)}")
        self.sampler = sampler
        self.batch_size = int(batch_size)
        self.drop_last = bool(drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
