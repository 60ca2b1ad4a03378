"""Data sets, samplers, collation and the loader."""

import threading
from collections import namedtuple

import numpy as np
import pytest

import lamella
from lamella.utils import data
from lamella.utils.data import DataLoader, Dataset, TensorDataset


class Squares(Dataset):
    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return {"x": np.full(2, i, np.float32), "y": i * i, "name": str(i)}


def test_collate():
    Point = namedtuple("Point", "x y")
    batch = data.default_collate([(1, 2.5, "a", Point(np.ones(2), True)), (3, 4.5, "b", Point(np.zeros(2), False))])
    assert batch[0].dtype == lamella.int64 and batch[0].tolist() == [1, 3]
    assert batch[1].dtype == lamella.float64 and batch[2] == ["a", "b"]
    assert batch[3].x.shape == (2, 2) and batch[3].y.dtype == bool
    with pytest.raises(TypeError, match="expected tensors"):
        data.default_collate([object()])
    with pytest.raises(RuntimeError, match="equally many parts"):
        data.default_collate([(1, 2), (1,)])


def test_loader_of_dicts():
    batches = list(DataLoader(Squares(), batch_size=4))
    assert [len(b["name"]) for b in batches] == [4, 4, 2]
    assert batches[1]["x"].shape == (4, 2) and batches[1]["y"].tolist() == [16, 25, 36, 49]
    assert len(DataLoader(Squares(), batch_size=4, drop_last=True)) == 2


@pytest.mark.parametrize("workers", [0, 3])
def test_shuffle_is_fixed_by_the_seed(workers):
    def order():
        lamella.seed(4)
        loader = DataLoader(Squares(), batch_size=3, shuffle=True, num_workers=workers)
        return [b["y"].tolist() for _ in range(2) for b in loader]

    first = order()
    assert first == order()
    flat = [y for b in first for y in b]
    assert sorted(flat[:10]) == sorted(flat[10:]) == [i * i for i in range(10)] and flat[:10] != flat[10:]


def test_generator_is_its_own_stream():
    def order():
        g = lamella.Generator().manual_seed(1)
        return [b["y"].item() for b in DataLoader(Squares(), shuffle=True, generator=g)]

    lamella.seed(1)
    first = order()
    lamella.seed(2)
    assert first == order()


def test_array_batches_are_gathered():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    ds = TensorDataset(x, lamella.tensor(y))
    fast = [(a.tolist(), b.tolist()) for a, b in DataLoader(ds, batch_size=4)]
    slow = [(a.tolist(), b.tolist()) for a, b in DataLoader(ds, batch_size=4, collate_fn=data.default_collate)]
    assert fast == slow
    lamella.seed(0)
    for a, b in DataLoader(ds, batch_size=3, shuffle=True, drop_last=True):
        assert a.shape == (3, 2) and a[:, 0].tolist() == (b * 2).tolist()
    batch = next(iter(DataLoader(ds, batch_size=4)))[0]
    batch.zero_()
    assert x.any(), "a batch is a copy"


def test_subsets():
    ds = TensorDataset(np.arange(10))
    inner = data.Subset(ds, [5, 6, 7, 8])
    outer = data.Subset(inner, [3, 0])
    assert [b[0].tolist() for b in DataLoader(outer, batch_size=2)] == [[8, 5]]
    lamella.seed(0)
    a, b = data.random_split(ds, [0.75, 0.25])
    assert (len(a), len(b)) == (8, 2)
    assert sorted(v.item() for part in (a, b) for (v,) in part) == list(range(10))
    with pytest.raises(ValueError, match="expected a sum of 10"):
        data.random_split(ds, [3, 3])
    both = data.ConcatDataset([ds, inner])
    assert len(both) == 14 and both[-1][0].item() == 8 and both[10][0].item() == 5


def test_samplers():
    lamella.seed(0)
    weights = data.WeightedRandomSampler([0, 1, 3], 4000)
    counts = np.bincount(list(weights), minlength=3)
    # Binomial with p = 3/4: five standard errors of 4000 draws are 137.
    assert counts[0] == 0 and abs(counts[2] - 3000) < 137
    assert sorted(data.WeightedRandomSampler([1, 1, 1], 3, replacement=False)) == [0, 1, 2]
    assert len(list(data.RandomSampler(range(3), replacement=True, num_samples=7))) == 7
    assert sorted(data.SubsetRandomSampler([4, 9])) == [4, 9]
    assert list(data.BatchSampler(data.SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    loader = DataLoader(Squares(), batch_sampler=[[1, 2], [3]])
    assert [b["y"].tolist() for b in loader] == [[1, 4], [9]] and len(loader) == 2


def test_iterable_dataset():
    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Count(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="its own order"):
        DataLoader(Count(), shuffle=True)


def test_single_samples():
    assert [s["y"] for s in DataLoader(Squares(3), batch_size=None)] == [0, 1, 4]


def test_workers_load_ahead_in_order():
    names = set()

    class Slow(Squares):
        def __getitem__(self, i):
            names.add(threading.current_thread().name)
            return i

    started = []
    loader = DataLoader(Slow(20), batch_size=2, num_workers=2, worker_init_fn=started.append)
    assert [b.tolist() for b in loader] == [[i, i + 1] for i in range(0, 20, 2)]
    assert all(n.startswith("lamella-data") for n in names) and set(started) <= {0, 1}

    class Bad(Squares):
        def __getitem__(self, i):
            raise KeyError("no such sample")

    with pytest.raises(KeyError, match="no such sample"):
        list(DataLoader(Bad(), num_workers=1))


def test_refused_arguments():
    with pytest.raises(NotImplementedError, match="persistent_workers"):
        DataLoader(Squares(), num_workers=1, persistent_workers=True)
    with pytest.raises(ValueError, match="need num_workers"):
        DataLoader(Squares(), timeout=1)
    with pytest.raises(ValueError, match="batch_sampler"):
        DataLoader(Squares(), batch_sampler=[[1]], batch_size=2)
    with pytest.raises(ValueError, match="positive integer"):
        DataLoader(Squares(), batch_size=0)
    with pytest.raises(ValueError, match="equal length"):
        TensorDataset(np.ones(3), np.ones(4))
