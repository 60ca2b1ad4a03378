"""DataLoader's worker processes: order, errors, death, time limits, what they are told."""

import os
import pickle
import signal
import time

import numpy as np
import pytest

import lamella
from lamella.utils import data
from lamella.utils.data import DataLoader, Dataset


class Rows(Dataset):
    """Rows that are large enough to travel outside the message, with their number."""

    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return np.full((40, 40), i, np.float32), i


class Numbers(Rows):
    def __getitem__(self, i):
        return i


def processes(loader):
    return [b.tolist() for b in loader]


@pytest.mark.parametrize("context", [None, "spawn"])
def test_batches_are_those_of_one_process(context):
    here = list(DataLoader(Rows(), batch_size=3))
    there = list(DataLoader(Rows(), batch_size=3, num_workers=2, multiprocessing_context=context))
    assert len(here) == len(there) == 7
    for (x, y), (x2, y2) in zip(here, there, strict=True):
        assert (x.numpy() == x2.numpy()).all() and y.tolist() == y2.tolist()
        x2.zero_()  # its memory is the batch's own


def test_the_order_is_the_same_with_any_number_of_workers():
    def two_passes(workers, **kwargs):
        lamella.seed(4)
        loader = DataLoader(Numbers(), batch_size=3, shuffle=True, num_workers=workers, **kwargs)
        return [processes(loader) for _ in range(2)]

    first = two_passes(0)
    assert first[0] != first[1]
    assert first == two_passes(1) == two_passes(3) == two_passes(2, persistent_workers=True, prefetch_factor=4)


def test_batches_in_any_order():
    class Late(Numbers):
        def __getitem__(self, i):
            time.sleep(0.3 if i == 0 else 0)
            return i

    got = processes(DataLoader(Late(), batch_size=2, num_workers=2, in_order=False))
    assert sorted(got) == [[i, i + 1] for i in range(0, 20, 2)] and got[0] != [0, 1]


def test_what_workers_are_told():
    class Told(Numbers):
        def __getitem__(self, i):
            info = data.get_worker_info()
            return info.id, info.num_workers, info.seed, len(info.dataset), os.getpid(), self.marked

    def mark(i):
        data.get_worker_info().dataset.marked = 10 + i

    assert data.get_worker_info() is None
    ids, workers, seeds, lengths, pids, marks = next(
        iter(DataLoader(Told(), batch_size=20, num_workers=1, worker_init_fn=mark))
    )
    assert set(ids.tolist()) == {0} and set(workers.tolist()) == {1} and set(lengths.tolist()) == {20}
    assert set(marks.tolist()) == {10} and os.getpid() not in pids.tolist() and len(set(seeds.tolist())) == 1


def test_random_streams_of_workers_differ_and_repeat():
    class Noise(Numbers):
        def __getitem__(self, i):
            return float(np.random.rand()), lamella.rand(1).item()

    def draw():
        lamella.seed(1)
        loader = DataLoader(Noise(), batch_size=5, num_workers=2)
        return [[a.tolist(), b.tolist()] for _ in range(2) for a, b in loader]

    first = draw()
    assert first == draw()
    for k in range(2):
        values = [v for pair in first for v in pair[k]]
        assert len(set(values)) == len(values) == 40


def test_an_exception_comes_over_with_its_traceback():
    class Bad(Numbers):
        def __getitem__(self, i):
            if i == 7:
                raise KeyError("no such sample")
            return i

    loader = DataLoader(Bad(), batch_size=2, num_workers=2, persistent_workers=True)
    for _ in range(2):  # and the workers live on
        seen = []
        with pytest.raises(KeyError, match="no such sample") as caught:
            for b in loader:
                seen.append(b.tolist())
        assert seen == [[0, 1], [2, 3], [4, 5]]
        assert "in DataLoader worker 1" in str(caught.value.__cause__) and "__getitem__" in str(caught.value.__cause__)

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__("text")

    class Worse(Numbers):
        def __getitem__(self, i):
            raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Odd: text"):
        next(iter(DataLoader(Worse(), num_workers=1)))
    with pytest.raises(ZeroDivisionError):
        next(iter(DataLoader(Numbers(), num_workers=1, worker_init_fn=lambda i: 1 // 0)))
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match=r"pickle|local object"):
        next(iter(DataLoader(Numbers(), num_workers=1, collate_fn=lambda b: lambda: 0)))


def test_a_dead_worker_is_an_error():
    class Deadly(Numbers):
        def __getitem__(self, i):
            if i == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            return i

    seen = []
    with pytest.raises(RuntimeError, match=r"worker 0 \(pid \d+\) was killed by SIGKILL"):
        for b in DataLoader(Deadly(), batch_size=2, num_workers=2):
            seen.append(b.tolist())
    assert seen[:2] == [[0, 1], [2, 3]]

    class Leaving(Numbers):
        def __getitem__(self, i):
            os._exit(3)

    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        list(DataLoader(Leaving(), num_workers=1))


def test_a_time_limit():
    class Slow(Numbers):
        def __getitem__(self, i):
            time.sleep(60)

    started = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"worker 0 gave no batch within 0\.2 seconds"):
        list(DataLoader(Slow(), num_workers=1, timeout=0.2))
    assert time.perf_counter() - started < 20  # the worker is not waited for


def test_a_pass_that_is_left_early():
    for persistent in (False, True):
        loader = DataLoader(Rows(), batch_size=2, num_workers=2, persistent_workers=persistent)
        left = iter(loader)
        assert next(left)[1].tolist() == [0, 1]
        assert [y.tolist() for _, y in loader] == [[i, i + 1] for i in range(0, 20, 2)]
        if persistent:
            assert [w.process.is_alive() for w in loader._pool.workers] == [True, True]
            pids = [w.process.pid for w in loader._pool.workers]
            list(loader)
            assert pids == [w.process.pid for w in loader._pool.workers]


def test_iterable_data_sets_in_shares():
    class Count(data.IterableDataset):
        def __init__(self, n):
            self.n = n

        def __iter__(self):
            info = data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            return iter(range(first, self.n, step))

    assert processes(DataLoader(Count(10), batch_size=2, num_workers=2)) == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]
    assert processes(DataLoader(Count(10), batch_size=2, num_workers=2, drop_last=True))[-1] == [5, 7]
    assert sorted(DataLoader(Count(5), batch_size=None, num_workers=2)) == [0, 1, 2, 3, 4]
    assert processes(DataLoader(data.ChainDataset([Count(2), Count(1)]) + Count(1), batch_size=9)) == [[0, 1, 0, 0]]

    class Everything(Count):
        def __iter__(self):
            return iter(range(self.n))

        def __len__(self):
            return self.n

    with pytest.warns(UserWarning, match="expected 2 batches.*own share"):
        list(DataLoader(Everything(4), batch_size=2, num_workers=2))
