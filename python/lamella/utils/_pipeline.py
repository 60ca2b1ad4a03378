"""Pipelines of batches: what data sets from directories and from time series are."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .._errors import short
from ..autograd import Tensor

__all__ = ["AUTOTUNE", "Pipeline"]

AUTOTUNE = -1


def check_format(what: str, format: str) -> None:
    """Refuse other kinds of data sets than `Pipeline`, which is like those of tf.data."""
    if format != "tf":
        raise NotImplementedError(f"{what}: format: expected 'tf', got {short(format)}")


class Pipeline:
    """Batches that can be gone through again and again, and changed on their way.

    Parameters
    ----------
    source : callable
        Gives the batches of a pass as an iterator.
    length : int, optional
        How many there are.

    Attributes
    ----------
    class_names, file_paths : list of str or None
        Of data sets from directories.
    """

    class_names: list[str] | None = None
    file_paths: list[str] | None = None

    def __init__(self, source: Callable[[], Iterator[Any]], length: int | None = None) -> None:
        self._source, self._length = source, length

    @staticmethod
    def over(
        load: Callable[[Any], Any], rows: int, batch_size: int | None, shuffle: bool, seed: int | None
    ) -> Pipeline:
        """Batches of `load`, which is given the numbers of their rows, or one number where batch_size is None.

        With `shuffle` each pass has an order of its own, which the seed fixes.
        """
        passes = itertools.count()

        def source() -> Iterator[Any]:
            order = np.arange(rows)
            if shuffle:
                order = np.random.default_rng([seed or 0, next(passes)]).permutation(rows)
            if batch_size is None:
                return (load(int(i)) for i in order)
            return (load(order[i : i + batch_size]) for i in range(0, rows, batch_size))

        return Pipeline(source, rows if batch_size is None else -(-rows // batch_size))

    def __iter__(self) -> Iterator[Any]:
        return self._source()

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("Pipeline: its length is not known")
        return self._length

    def _then(self, source: Callable[[], Iterator[Any]], length: int | None) -> Pipeline:
        made = Pipeline(source, length)
        made.class_names, made.file_paths = self.class_names, self.file_paths
        return made

    def map(self, fn: Callable[..., Any], num_parallel_calls: int | None = None) -> Pipeline:
        """Batches that `fn` has changed; the parts of a tuple are its arguments.

        Parameters
        ----------
        fn : callable
        num_parallel_calls : int, optional
            Threads that call it; AUTOTUNE: as many as the package uses.
        """

        def one(batch: Any) -> Any:
            return fn(*batch) if isinstance(batch, tuple) else fn(batch)

        if num_parallel_calls is None or num_parallel_calls == 1:
            return self._then(lambda: map(one, self), self._length)
        if num_parallel_calls < 1 and num_parallel_calls != AUTOTUNE:
            raise ValueError(f"map: num_parallel_calls: expected a positive integer, got {short(num_parallel_calls)}")
        return self._then(lambda: _parallel(one, self, num_parallel_calls), self._length)

    def prefetch(self, buffer_size: int = AUTOTUNE) -> Pipeline:
        """The same batches, made by another thread up to `buffer_size` ahead (AUTOTUNE: 2)."""
        if buffer_size < 1 and buffer_size != AUTOTUNE:
            raise ValueError(f"prefetch: buffer_size: expected a positive integer, got {short(buffer_size)}")
        return self._then(lambda: _ahead(self, 2 if buffer_size == AUTOTUNE else buffer_size), self._length)

    def cache(self) -> Pipeline:
        """The batches of the first pass, kept in memory for the later ones."""
        kept: list[Any] = []
        whole = [False]

        def source() -> Iterator[Any]:
            if whole[0]:
                yield from kept
                return
            found = []
            for batch in self:
                found.append(batch)
                yield batch
            kept[:], whole[0] = found, True

        return self._then(source, self._length)

    def shuffle(self, buffer_size: int, seed: int | None = None) -> Pipeline:
        """Batches in random order, each drawn from the next `buffer_size` ones."""
        if not hasattr(buffer_size, "__index__") or buffer_size < 1:
            raise ValueError(f"shuffle: buffer_size: expected a positive integer, got {short(buffer_size)}")
        passes = itertools.count()

        def source() -> Iterator[Any]:
            from .. import _rng

            rng = _rng.default_generator.numpy() if seed is None else np.random.default_rng([seed, next(passes)])
            buffer: list[Any] = []
            for batch in self:
                buffer.append(batch)
                if len(buffer) > buffer_size - 1:
                    yield buffer.pop(int(rng.integers(len(buffer))))
            while buffer:
                yield buffer.pop(int(rng.integers(len(buffer))))

        return self._then(source, self._length)

    def take(self, count: int) -> Pipeline:
        """The first batches."""
        length = count if self._length is None else min(count, self._length)
        return self._then(lambda: itertools.islice(self, count), length)

    def skip(self, count: int) -> Pipeline:
        """The batches after the first ones."""
        length = None if self._length is None else max(self._length - count, 0)
        return self._then(lambda: itertools.islice(self, count, None), length)

    def repeat(self, count: int | None = None) -> Pipeline:
        """So many passes one after the other; without end if None."""

        def source() -> Iterator[Any]:
            for _ in itertools.count() if count is None else range(count):
                yield from self

        return self._then(source, None if count is None or self._length is None else count * self._length)

    def unbatch(self) -> Pipeline:
        """The samples of the batches, one by one."""

        def source() -> Iterator[Any]:
            for batch in self:
                if isinstance(batch, tuple):
                    yield from zip(*batch, strict=True)
                else:
                    yield from batch

        return self._then(source, None)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The batches of a pass as arrays."""

        def plain(part: Any) -> Any:
            if isinstance(part, dict):
                return {k: plain(v) for k, v in part.items()}
            if isinstance(part, tuple):
                return tuple(plain(p) for p in part)
            return part.numpy() if isinstance(part, Tensor) else part

        return (plain(batch) for batch in self)


def _parallel(fn: Callable[[Any], Any], batches: Iterable[Any], workers: int) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    from .. import _cpu

    if workers == AUTOTUNE:
        workers = max(_cpu.num_threads(), 1)
    pool = ThreadPoolExecutor(workers, "lamella-data")
    waiting: deque[Any] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(fn, batch))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ahead(batches: Iterable[Any], count: int) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    end = object()
    source = iter(batches)
    pool = ThreadPoolExecutor(1, "lamella-data")
    waiting: deque[Any] = deque()
    try:
        for _ in range(count):
            waiting.append(pool.submit(next, source, end))
        while (batch := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
