"""Data sets, samplers and loaders in PyTorch's idiom."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from .. import _rng
from .. import autograd as ag

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]

T = TypeVar("T")


# --- data sets ---------------------------------------------------------------------------------------------------


class Dataset(Generic[T]):
    """Samples by index: write `__getitem__` and `__len__`."""

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ is not defined")

    def __add__(self, other: Dataset[T]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Samples in a row: write `__iter__`."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__}: __iter__ is not defined")


class TensorDataset(Dataset[tuple[ag.Tensor, ...]]):
    """Rows of tensors of equal length.

    Parameters
    ----------
    *tensors : Tensor or array
        Sample i is the tuple of their rows i.
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: expected at least one tensor, got none")
        self.tensors = tuple(t if isinstance(t, ag.Tensor) else ag.wrap(ag.as_array(t)) for t in tensors)
        lengths = [t.shape[0] if t.shape else None for t in self.tensors]
        if None in lengths or len(set(lengths)) > 1:
            raise ValueError(
                f"TensorDataset: expected tensors of equal length, got shapes {[t.shape for t in tensors]}"
            )

    def __getitem__(self, index: Any) -> tuple[ag.Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class ConcatDataset(Dataset[Any]):
    """Data sets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets: expected at least one, got none")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index: expected -{n} <= index < {n}, got {index}")
        index %= n
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class Subset(Dataset[T]):
    """Some samples of a data set, by their indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset[Any]]:
    """Cut a data set at random.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int, or of float that sum to 1
        The sizes of the parts, or their shares; what rounding leaves is dealt out one by one.
    generator : Generator, optional
        Where random numbers come from.
    """
    n = len(dataset)
    if math.isclose(sum(lengths), 1) and all(0 <= x <= 1 for x in lengths):
        sizes = [math.floor(n * x) for x in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(x) for x in lengths]
    if sum(sizes) != n:
        raise ValueError(f"random_split: lengths: expected a sum of {n} or of 1, got {list(lengths)}")
    order = _rng.permutation(n, generator).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


# --- samplers ----------------------------------------------------------------------------------------------------


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
            raise ValueError(f"BatchSampler: batch_size: expected a positive integer, got {batch_size!r}")
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


# --- joining samples ---------------------------------------------------------------------------------------------


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


# --- the loader --------------------------------------------------------------------------------------------------


class DataLoader(Generic[T]):
    """Batches of a data set.

    Parameters
    ----------
    dataset : Dataset, IterableDataset or sequence
        Anything with `__getitem__` and `__len__`, or an IterableDataset.
    batch_size : int or None
        Samples per batch; None gives single samples.
    shuffle : bool
        Whether the order is drawn anew for each pass.
    sampler : Sampler or iterable of int, optional
        The order instead of `shuffle`.
    batch_sampler : Sampler or iterable of lists of int, optional
        The batches instead of batch_size, shuffle, sampler and drop_last.
    num_workers : int
        Threads that load batches ahead; 0 loads them in the calling thread. The batches and their order are the same.
    collate_fn : callable, optional
        Joins a list of samples; `default_collate` by default.
    pin_memory : bool
        Without a GPU there is nothing to pin: True gives a warning.
    drop_last : bool
        Whether a last, shorter batch is left out.
    timeout : float
        Seconds to wait for a batch from the workers; 0 for ever.
    worker_init_fn : callable, optional
        Called with the worker's number at the start of each worker thread.
    generator : Generator, optional
        Where `shuffle` takes random numbers from; `lamella.seed` fixes them by default.
    prefetch_factor : int, optional
        Batches that each worker loads ahead; 2 by default.
    persistent_workers : bool
        Must be False: threads are started for each pass.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if not hasattr(num_workers, "__index__") or num_workers < 0:
            raise ValueError(f"DataLoader: num_workers: expected an integer >= 0, got {num_workers!r}")
        if persistent_workers:
            raise NotImplementedError("DataLoader: persistent_workers: expected False, got True; not supported")
        if num_workers == 0 and (timeout or worker_init_fn or prefetch_factor is not None):
            raise ValueError("DataLoader: timeout, worker_init_fn, prefetch_factor: need num_workers > 0")
        if num_workers and isinstance(dataset, IterableDataset):
            raise NotImplementedError("DataLoader: num_workers: expected 0 for an IterableDataset; it has one order")
        if pin_memory:
            warnings.warn("DataLoader: pin_memory: there is no GPU to pin memory for", stacklevel=2)
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.prefetch_factor = 2 if prefetch_factor is None else prefetch_factor
        self.dataset = dataset
        self.num_workers = int(num_workers)
        self.drop_last = drop_last
        self.generator = generator
        self._custom_collate = collate_fn is not None
        self._streams = isinstance(dataset, IterableDataset)
        if self._streams and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader: shuffle, sampler, batch_sampler: an IterableDataset comes in its own order")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: expected sampler or shuffle, got both")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "DataLoader: batch_sampler: batch_size, shuffle, sampler and drop_last must not be given with it"
                )
            batch_size = getattr(batch_sampler, "batch_size", None)
        elif batch_size is None and drop_last:
            raise ValueError("DataLoader: drop_last: needs a batch_size")
        self.batch_size = batch_size
        if sampler is None and not self._streams:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and not self._streams:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        batches = batch_size is not None or batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batches else _single)

    def __len__(self) -> int:
        if self._streams:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)

    def __iter__(self) -> Iterator[Any]:
        if self._streams:
            return self._stream()
        arrays = self._arrays()
        if arrays is not None:
            return self._gather(*arrays)
        return self._fetch_ahead() if self.num_workers else self._fetch()

    def _stream(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            for sample in samples:
                yield self.collate_fn(sample)
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _load(self, key: Any) -> Any:
        dataset = self.dataset
        if self.batch_sampler is None:
            return self.collate_fn(dataset[key])
        whole = getattr(dataset, "__getitems__", None)
        return self.collate_fn(whole(key) if whole is not None else [dataset[i] for i in key])

    def _fetch(self) -> Iterator[Any]:
        for key in self.sampler if self.batch_sampler is None else self.batch_sampler:
            yield self._load(key)

    def _fetch_ahead(self) -> Iterator[Any]:
        from concurrent.futures import ThreadPoolExecutor

        numbers = itertools.count()

        def start() -> None:
            if self.worker_init_fn is not None:
                self.worker_init_fn(next(numbers))

        pool = ThreadPoolExecutor(self.num_workers, "lamella-data", start)
        waiting: deque[Future[Any]] = deque()
        try:
            keys = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
            waiting.extend(
                pool.submit(self._load, key) for key in itertools.islice(keys, self.num_workers * self.prefetch_factor)
            )
            while waiting:
                batch = waiting.popleft().result(self.timeout or None)
                waiting.extend(pool.submit(self._load, key) for key in itertools.islice(keys, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown(wait=False)

    def _arrays(self) -> tuple[list[np.ndarray], np.ndarray | None] | None:
        """The arrays behind a plain TensorDataset (or a Subset of one), and the rows: batches are gathered at once."""
        if self._custom_collate or type(self.batch_sampler) is not BatchSampler or not hasattr(self.sampler, "order"):
            return None
        dataset, rows = self.dataset, None
        while type(dataset) is Subset:
            part = np.asarray(dataset.indices)
            rows = part if rows is None else part[rows]
            dataset = dataset.dataset
        if type(dataset) is not TensorDataset or any(t._rg for t in dataset.tensors):
            return None
        return [t._data for t in dataset.tensors], rows

    def _gather(self, arrays: list[np.ndarray], rows: np.ndarray | None) -> Iterator[Any]:
        order = self.sampler.order()
        if rows is not None:
            order = rows[order]
        size = self.batch_sampler.batch_size
        in_a_row = rows is None and type(self.sampler) is SequentialSampler
        end = len(order) // size * size if self.drop_last else len(order)
        for start in range(0, end, size):
            if in_a_row:
                yield [ag.wrap(a[start : start + size].copy()) for a in arrays]
            else:
                batch = order[start : start + size]
                yield [ag.wrap(np.take(a, batch, axis=0)) for a in arrays]


def _single(sample: Any) -> Any:
    """A sample alone: arrays and numbers become tensors, nothing is joined."""
    if isinstance(sample, np.ndarray):
        return ag.wrap(sample)
    if isinstance(sample, Mapping):
        return {key: _single(value) for key, value in sample.items()}
    if isinstance(sample, (tuple, list)):
        return type(sample)([_single(part) for part in sample])
    return sample
