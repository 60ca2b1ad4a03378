"""PyDataset: batches by index, in Keras' idiom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from .._errors import short

__all__ = ["PyDataset", "Sequence"]


def _same(batch: Any) -> Any:
    return batch


class PyDataset:
    """Batches by index: write `__getitem__`, which gives batch i, and `__len__`, the number of batches.

    Parameters
    ----------
    workers : int
        How many threads, or processes, load batches ahead; with 1 thread they are loaded as they are needed.
    use_multiprocessing : bool
        Processes rather than threads.
    max_queue_size : int
        Batches that are loaded ahead.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        for name, value in (("workers", workers), ("max_queue_size", max_queue_size)):
            if not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"PyDataset: {name}: expected a positive integer, got {short(value)}")
        self.workers, self.use_multiprocessing = int(workers), bool(use_multiprocessing)
        self.max_queue_size = int(max_queue_size)

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__ is not defined")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: __len__ is not defined")

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self)

    def on_epoch_end(self) -> None:
        """Called after each pass over the batches."""

    def _load(self, order: Iterable[int]) -> Iterator[Any]:
        """The batches in this order. Subclasses may not have called `__init__`."""
        workers, ahead = getattr(self, "workers", 1), getattr(self, "max_queue_size", 10)
        if getattr(self, "use_multiprocessing", False):
            from .data import DataLoader

            each = max(1, -(-ahead // workers))
            loader: Any = DataLoader(
                self, None, sampler=order, num_workers=workers, collate_fn=_same, prefetch_factor=each
            )
            return iter(loader)
        return self._threads(order, workers, ahead) if workers > 1 else (self[i] for i in order)

    def _threads(self, order: Iterable[int], workers: int, ahead: int) -> Iterator[Any]:
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(workers, "lamella-data")
        waiting: deque[Any] = deque()
        try:
            for i in order:
                waiting.append(pool.submit(self.__getitem__, i))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


Sequence = PyDataset  # as older programs call it
