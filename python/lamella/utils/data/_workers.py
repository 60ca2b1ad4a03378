"""Processes that load batches.

Each worker has a pipe of its own in either direction: in one it is told what to load, in the other it answers, in the
same order. So the parent always knows whose answer it waits for, and a worker that dies closes its pipe.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import random
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_PIPE_BYTES = 1 << 20  # of a pipe's buffer, where the system lets it be set
_F_SETPIPE_SZ = 1031


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker process this is.

    Attributes
    ----------
    id : int
        From 0 to num_workers - 1.
    num_workers : int
    seed : int
        What the worker's random streams were started from: another one for each worker, and each time they start.
    dataset : Dataset
        This process's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker this process is; None in a process that is none."""
    return _info


class RemoteTraceback(Exception):
    """The cause of an exception that comes from a worker: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


END = object()  # what a fetch gives after the last batch of an iterable data set

_IN_BAND = 1 << 14  # arrays of fewer bytes travel inside the message


def _send(connection: Any, kind: str, value: Any) -> None:
    """An answer: ("batch", batch), ("end", None) or ("error", (exception, text)). The memory of large arrays follows
    the message as it is."""
    views: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _IN_BAND:
            return True
        views.append(view)
        return False

    message = pickle.dumps((kind, value), 5, buffer_callback=in_band)
    connection.send((message, [v.nbytes for v in views]))
    for view in views:
        if not hasattr(os, "readv"):
            connection.send_bytes(view)
            continue
        while view.nbytes:
            view = view[os.write(connection.fileno(), view) :]


def _receive(connection: Any) -> tuple[str, Any]:
    message, sizes = connection.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if not hasattr(os, "readv"):
            connection.recv_bytes_into(buffer)
            continue
        view = memoryview(buffer)  # type: ignore[arg-type]
        while view.nbytes:
            got = os.readv(connection.fileno(), [view])
            if got == 0:
                raise EOFError
            view = view[got:]
    return pickle.loads(message, buffers=buffers)  # type: ignore[no-any-return]


def _failure(error: BaseException, worker: int) -> tuple[BaseException, str]:
    """An exception and its traceback; a RuntimeError in place of one that cannot be pickled."""
    text = f"\nin DataLoader worker {worker}:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, text


def _wide(connection: Any) -> None:
    """Let a pipe hold more than the usual 64 KiB, where the system knows how."""
    try:
        import fcntl

        fcntl.fcntl(connection.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, OSError, ValueError):
        pass


def _work(
    worker: int,
    workers: int,
    seed: int,
    dataset: Any,
    make_fetch: Callable[[Any], Any],
    init_fn: Callable[[int], Any] | None,
    tasks: Any,
    answers: Any,
) -> None:
    """The life of a worker: tasks are ("start", seed) at the beginning of a pass, ("load", key), and None to stop."""
    global _info
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its workers
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def write() -> None:
        while (answer := outgoing.get()) is not None:
            try:
                try:
                    _send(answers, *answer)
                except OSError:
                    raise
                except Exception as e:  # what cannot be pickled
                    _send(answers, "error", _failure(e, worker))
            except OSError:  # nobody reads any more
                return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    error: Any = None
    fetch: Any = None
    try:
        from ... import _cpu

        _cpu.set_num_threads(1)
        _seed(seed)
        _info = WorkerInfo(worker, workers, seed, dataset)
        if init_fn is not None:
            init_fn(worker)
    except Exception as e:
        error = _failure(e, worker)
    while True:
        try:
            task = tasks.recv()
        except (EOFError, OSError):
            break
        if task is None:
            break
        kind, key = task
        try:
            if error is None and kind == "start":
                fetch = make_fetch(dataset)
            elif error is None:
                batch = fetch(key)
                outgoing.put(("end", None) if batch is END else ("batch", batch))
                continue
        except Exception as e:
            if kind == "load":
                outgoing.put(("error", _failure(e, worker)))
                continue
            error = _failure(e, worker)
        if kind == "load":
            outgoing.put(("error", error))
    outgoing.put(None)
    writer.join()


def _seed(seed: int) -> None:
    import lamella

    random.seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    lamella.seed(seed)


class _Worker:
    def __init__(self, process: Any, tasks: Any, answers: Any) -> None:
        self.process, self.tasks, self.answers = process, tasks, answers
        self.waiting: deque[int] = deque()  # numbers of the tasks that it has not answered
        self.ended = False  # whether an iterable data set has given all its samples


class Workers:
    """A group of processes with their tasks.

    Parameters
    ----------
    count : int
    dataset : Dataset
    make_fetch : callable
        Called in the worker at the beginning of a pass, with its data set; gives the function that loads one batch.
    init_fn : callable or None
        Called with the worker's number when it starts.
    context : str, context or None
        The start method of the processes.
    timeout : float
        Seconds to wait for a batch; 0 for ever.
    seed : int
        That of worker i is seed + i.
    """

    def __init__(
        self,
        count: int,
        dataset: Any,
        make_fetch: Callable[[Any], Any],
        init_fn: Callable[[int], Any] | None,
        context: Any,
        timeout: float,
        seed: int,
    ) -> None:
        self.workers: list[_Worker] = []
        self.timeout = timeout
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        try:
            for i in range(count):
                tasks_in, tasks_out = context.Pipe(duplex=False)
                answers_in, answers_out = context.Pipe(duplex=False)
                _wide(answers_out)
                process = context.Process(
                    target=_work,
                    args=(i, count, seed + i, dataset, make_fetch, init_fn, tasks_in, answers_out),
                    name=f"lamella-data-{i}",
                    daemon=True,
                )
                process.start()
                # Before the next worker can inherit them: a pipe ends only when its last writer has closed it.
                tasks_in.close()
                answers_out.close()
                self.workers.append(_Worker(process, tasks_out, answers_in))
        except BaseException:
            self.close()
            raise

    def _tell(self, i: int, task: Any) -> None:
        try:
            self.workers[i].tasks.send(task)
        except OSError:
            raise self._death(i) from None

    def _death(self, i: int) -> RuntimeError:
        process = self.workers[i].process
        process.join(5)
        code = process.exitcode
        how = "is gone" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        self.close()
        return RuntimeError(f"DataLoader: worker {i} (pid {process.pid}) {how} before it gave its batch")

    def _answer(self, i: int) -> tuple[str, Any]:
        worker = self.workers[i]
        ready = multiprocessing.connection.wait([worker.answers, worker.process.sentinel], self.timeout or None)
        if not ready:
            self.close()
            raise RuntimeError(f"DataLoader: timeout: worker {i} gave no batch within {self.timeout:g} seconds")
        try:
            if worker.answers not in ready and not worker.answers.poll():
                raise EOFError
            return _receive(worker.answers)
        except (EOFError, OSError):
            raise self._death(i) from None

    def run(self, keys: Iterator[Any], ahead: int, in_order: bool, drain: bool) -> Iterator[Any]:
        """The batches for these keys, `ahead` of which each worker is given beforehand.

        in_order: batches come in the order of the keys; otherwise as workers finish them.
        drain: wait for what is still being loaded if the caller stops early, so that another pass can follow.
        """
        live = list(range(len(self.workers)))
        numbers = itertools.count()
        owner: dict[int, int] = {}  # task to worker
        try:
            for i in live:
                self.workers[i].ended = False
                self._tell(i, ("start", None))

            def give(i: int) -> bool:
                for key in itertools.islice(keys, 1):
                    number = next(numbers)
                    self._tell(i, ("load", key))
                    self.workers[i].waiting.append(number)
                    owner[number] = i
                    return True
                return False

            for _ in range(ahead):
                for i in live:
                    give(i)
            turn = 0
            while owner:
                if in_order:
                    while turn not in owner:
                        turn += 1
                    i = owner[turn]
                else:
                    i = self._any()
                number = self.workers[i].waiting.popleft()
                del owner[number]
                kind, value = self._answer(i)
                if kind == "error":
                    raise value[0] from RemoteTraceback(value[1])
                if kind == "end":
                    self.workers[i].ended = True
                    continue
                if not self.workers[i].ended:
                    give(i)
                yield value
        finally:
            if drain:
                for i in live:
                    while self.workers and self.workers[i].waiting:
                        self.workers[i].waiting.popleft()
                        self._answer(i)
            else:
                self.close()

    def _any(self) -> int:
        """A worker that has an answer, or has died."""
        busy = {}
        for i, w in enumerate(self.workers):
            if w.waiting:
                busy[w.answers] = busy[w.process.sentinel] = i
        ready = multiprocessing.connection.wait(list(busy), self.timeout or None)
        return busy[ready[0]] if ready else next(iter(busy.values()))

    def close(self) -> None:
        """End the processes, whatever they do."""
        workers, self.workers = self.workers, []
        for w in workers:
            with contextlib.suppress(OSError):
                w.tasks.send(None)
            w.tasks.close()
            w.answers.close()  # whoever writes into it now fails
        for w in workers:
            w.process.join(0.2)
            if w.process.is_alive():
                w.process.terminate()
                w.process.join(5)
                if w.process.is_alive():
                    w.process.kill()
                    w.process.join()

    def __del__(self) -> None:
        self.close()
