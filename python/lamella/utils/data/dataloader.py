"""DataLoader: batches of a data set, gathered from arrays at once, sample by sample, or by worker processes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from ... import _rng
from ... import autograd as ag
from ..._errors import short
from ._collate import default_collate, default_convert
from ._workers import END, Workers
from .dataset import IterableDataset, Subset, TensorDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader"]

T = TypeVar("T")


class DataLoader(Generic[T]):
    """Batches of a data set.

    Batches of a TensorDataset, or of Subsets of one, are gathered from its arrays at once where nothing but their
    default joining is asked for, and no workers are started for them; `Model.fit` then reads the arrays itself and runs
    as fast as on arrays.

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
        Processes that load batches ahead; 0 loads them in the calling process. The batches and their order are the
        same. Each worker has its own copy of an IterableDataset, which should give it its share of the samples: see
        `get_worker_info`.
    collate_fn : callable, optional
        Joins a list of samples; `default_collate` by default.
    pin_memory : bool
        Accepted: on the CPU there is nothing to pin memory for.
    drop_last : bool
        Whether a last, shorter batch is left out.
    timeout : float
        Seconds to wait for a batch from the workers; 0 for ever.
    worker_init_fn : callable, optional
        Called with the worker's number at the start of each worker.
    multiprocessing_context : str or context, optional
        How workers are started: "fork", "spawn" or "forkserver"; by default as `multiprocessing` does. All but "fork"
        need a data set that can be pickled.
    generator : Generator, optional
        Where `shuffle` and the seeds of workers take random numbers from; `lamella.seed` fixes them by default.
    prefetch_factor : int, optional
        Batches that each worker loads ahead; 2 by default.
    persistent_workers : bool
        Whether workers stay for the next pass.
    pin_memory_device : str
        As `pin_memory`.
    in_order : bool
        Whether batches of workers come in the order of the sampler, rather than as they are ready.
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
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if not hasattr(num_workers, "__index__") or num_workers < 0:
            raise ValueError(f"DataLoader: num_workers: expected an integer >= 0, got {short(num_workers)}")
        if not isinstance(timeout, (int, float)) or not timeout >= 0:
            raise ValueError(f"DataLoader: timeout: expected a number of seconds >= 0, got {short(timeout)}")
        if prefetch_factor is not None and (not hasattr(prefetch_factor, "__index__") or prefetch_factor < 1):
            raise ValueError(f"DataLoader: prefetch_factor: expected a positive integer, got {short(prefetch_factor)}")
        if num_workers == 0:
            for name, given in (
                ("timeout", timeout),
                ("prefetch_factor", prefetch_factor is not None),
                ("persistent_workers", persistent_workers),
                ("multiprocessing_context", multiprocessing_context is not None),
            ):
                if given:
                    raise ValueError(f"DataLoader: {name}: needs num_workers > 0")
        for name, f in (("collate_fn", collate_fn), ("worker_init_fn", worker_init_fn)):
            if f is not None and not callable(f):
                raise TypeError(f"DataLoader: {name}: expected a callable, got {type(f).__name__}")
        self.dataset = dataset
        self.num_workers = int(num_workers)
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None else int(prefetch_factor)
        self.persistent_workers = bool(persistent_workers)
        self.in_order = bool(in_order)
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
        elif batch_size is not None and (not hasattr(batch_size, "__index__") or batch_size < 1):
            raise ValueError(f"DataLoader: batch_size: expected a positive integer or None, got {short(batch_size)}")
        self.batch_size = batch_size
        if sampler is None and not self._streams:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and not self._streams:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        self._batches = batch_size is not None or batch_sampler is not None
        self.collate_fn: Callable[[Any], Any] = collate_fn or (default_collate if self._batches else default_convert)
        self._pool: Workers | None = None  # of persistent workers
        self._pass: Any = None  # their current pass
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "_pass": None}

    def __len__(self) -> int:
        if self._streams:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)

    def __iter__(self) -> Iterator[Any]:
        key = (self.generator or _rng.default_generator)._key()  # drawn with or without workers: orders are the same
        if self.gathers():
            return self._gather(*self.array_order())
        if self.num_workers:
            batches = self._work(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
        else:
            fetch = self._make_fetch(self.dataset)
            batches = (fetch(key) for key in self._keys())
            if self._streams:
                batches = itertools.takewhile(lambda batch: batch is not END, batches)
        return self._count(batches) if self._streams else batches

    def _keys(self) -> Iterator[Any]:
        """What `_make_fetch`'s functions are called with."""
        if self._streams:
            return itertools.repeat(None)
        return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)

    @property
    def _make_fetch(self) -> Any:
        return _Fetching(self.collate_fn, self._streams, self._batches, self.batch_size, self.drop_last)

    def _work(self, seed: int) -> Iterator[Any]:
        pool = self._pool
        if pool is not None and self._pass is not None:
            self._pass.close()  # an earlier pass that has not come to its end
        if pool is None or not pool.workers:
            pool = Workers(
                self.num_workers, self.dataset, self._make_fetch, self.worker_init_fn, self.multiprocessing_context,
                self.timeout, seed,
            )  # fmt: skip
        running = pool.run(self._keys(), self.prefetch_factor, self.in_order, self.persistent_workers)
        if self.persistent_workers:
            self._pool, self._pass = pool, running
        return running

    def _count(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Warn where an iterable data set gives more than its length says: each worker gives all of it then."""
        try:
            expected = len(self)
        except (TypeError, NotImplementedError, AttributeError):
            yield from batches
            return
        for i, batch in enumerate(batches):
            if i == expected and not self._warned:
                self._warned = True
                hint = ": each worker must give its own share, see get_worker_info" if self.num_workers else ""
                warnings.warn(
                    f"DataLoader: dataset: expected {expected} batches, as its length says, got more{hint}",
                    stacklevel=2,
                )
            yield batch

    def gathers(self) -> bool:
        """Whether the data set is arrays and batches are nothing but their rows."""
        if (
            self._custom_collate
            or self.worker_init_fn is not None
            or type(self.batch_sampler) is not BatchSampler
            or not hasattr(self.sampler, "order")
        ):
            return False
        found = arrays_of(self.dataset)
        return found is not None and not any(t._rg for t in found[0])

    def array_order(self) -> tuple[list[np.ndarray], np.ndarray | None, int]:
        """(arrays, their rows in the order of the next pass, or None for all as they lie, rows a batch) of a loader
        that `gathers`. Draws the order where that is random."""
        arrays, rows = arrays_of(self.dataset)  # type: ignore[misc]
        sampler, size = self.sampler, self.batch_sampler.batch_size
        order: np.ndarray | None = sampler.order()
        if type(sampler) is SequentialSampler and rows is None and len(self) * size >= len(sampler):
            order = None
        elif rows is not None:
            order = rows[order]
        if order is not None and self.batch_sampler.drop_last:
            order = order[: len(order) // size * size]
        return [t._data for t in arrays], order, size

    def _gather(self, arrays: list[np.ndarray], order: np.ndarray | None, size: int) -> Iterator[Any]:
        rows = len(arrays[0]) if order is None else len(order)
        for start in range(0, rows, size):
            if order is None:
                yield [ag.wrap(a[start : start + size].copy()) for a in arrays]
            else:
                yield [ag.wrap(np.take(a, order[start : start + size], axis=0)) for a in arrays]


def arrays_of(dataset: Any) -> tuple[tuple[Any, ...], np.ndarray | None] | None:
    """The tensors behind a plain TensorDataset, or a Subset of one, and the rows of them that it has (None: all)."""
    rows: np.ndarray | None = None
    while type(dataset) is Subset:
        part = np.asarray(dataset.indices, np.int64)
        rows = part if rows is None else part[rows]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    if rows is not None:
        n = len(dataset)
        if rows.size and (rows.min() < -n or rows.max() >= n):
            raise IndexError(f"Subset: indices: expected -{n} <= index < {n}, got {rows.min()} to {rows.max()}")
        rows = np.where(rows < 0, rows + n, rows)
    return dataset.tensors, rows


class _Fetching:
    """Makes the function that loads one batch of a data set, here or in a worker."""

    def __init__(
        self, collate: Callable[[Any], Any], streams: bool, batches: bool, batch_size: int | None, drop_last: bool
    ) -> None:
        self.collate, self.streams, self.batches = collate, streams, batches
        self.batch_size, self.drop_last = batch_size, drop_last

    def __call__(self, dataset: Any) -> Callable[[Any], Any]:
        collate, size = self.collate, self.batch_size
        if not self.streams:
            if not self.batches:
                return lambda index: collate(dataset[index])
            whole = getattr(dataset, "__getitems__", None)
            if whole is not None:
                return lambda indices: collate(whole(indices))
            return lambda indices: collate([dataset[i] for i in indices])
        samples = iter(dataset)

        def following(_: Any) -> Any:
            if not self.batches:
                sample = next(samples, END)
                return END if sample is END else collate(sample)
            batch = list(itertools.islice(samples, size))
            if not batch or (self.drop_last and len(batch) < size):  # type: ignore[operator]
                return END
            return collate(batch)

        return following
