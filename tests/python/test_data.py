"""Data sets, samplers, collation and the loader."""

from collections import namedtuple

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models
from lamella.utils import PyDataset, data
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


def test_refused_arguments():
    for name, value in (("timeout", 1), ("prefetch_factor", 2), ("persistent_workers", True)):
        with pytest.raises(ValueError, match=f"{name}: needs num_workers"):
            DataLoader(Squares(), **{name: value})
    for name, value in (("num_workers", -1), ("timeout", -1), ("prefetch_factor", 0), ("batch_size", 0)):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            DataLoader(Squares(), **{"num_workers": 1, name: value})
    with pytest.raises(TypeError, match="collate_fn: expected a callable"):
        DataLoader(Squares(), collate_fn=3)


def test_stacked_data_sets():
    ds = TensorDataset(np.arange(4))
    pairs = data.StackDataset(ds, Squares(4))
    assert len(pairs) == 4 and pairs[2][0][0].item() == 2 and pairs[2][1]["y"] == 4
    assert data.StackDataset(a=ds)[3]["a"][0].item() == 3
    with pytest.raises(ValueError, match="equal length"):
        data.StackDataset(ds, Squares(3))
    with pytest.raises(ValueError, match="got both"):
        data.StackDataset(ds, b=ds)


def test_default_convert():
    point = namedtuple("Point", "x y")(np.ones(2), [np.float32(1)])
    got = data.default_convert({"p": point, "s": "text"})
    assert isinstance(got["p"].x, lamella.Tensor) and got["p"].y[0].item() == 1 and got["s"] == "text"


# --- what fit, evaluate and predict make of them ---


def model(seed=3):
    lamella.seed(seed)
    m = models.Sequential([layers.Dense(4, activation="tanh", input_shape=(3,)), layers.Dense(1)])
    m.compile("adam", "mse", metrics=["mae"])
    return m


def arrays(n=50):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)).astype(np.float32), rng.standard_normal((n, 1)).astype(np.float32)


def trained(x, **kwargs):
    m = model()
    lamella.seed(9)
    history = m.fit(x, epochs=3, verbose=0, **kwargs).history
    return m, history


class Listed:
    """A loader's batches, without its type."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return iter(self.loader)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("subset", [False, True])
def test_fit_reads_the_arrays_of_a_loader(shuffle, drop_last, subset):
    ds = TensorDataset(*arrays())
    if subset:
        ds = data.Subset(data.Subset(ds, list(range(40, 0, -1))), list(range(-30, 0)))

    def loader():
        return DataLoader(ds, batch_size=8, shuffle=shuffle, drop_last=drop_last)

    a, b = trained(loader())
    c, d = trained(Listed(loader()))  # its batches, one by one
    if shuffle:  # the random orders are others, for a pass over batches takes one stream more
        assert b["loss"] == pytest.approx(d["loss"], rel=0.5)
    else:
        assert b == d
        for p, q in zip(a.get_weights(), c.get_weights(), strict=True):
            assert (p == q).all()
    assert a.evaluate(loader(), verbose=0) == pytest.approx(a.evaluate(Listed(loader()), verbose=0), rel=0.5)
    if not shuffle:
        assert (a.predict(loader()) == a.predict(Listed(loader()))).all()
        assert a.evaluate(loader(), verbose=0) == pytest.approx(a.evaluate(Listed(loader()), verbose=0), rel=1e-6)


def test_a_tensor_data_set_is_its_arrays():
    x, y = arrays()
    ds = TensorDataset(x, y)
    _, from_arrays = trained(x, y=y, batch_size=16)
    _, from_set = trained(ds, batch_size=16)
    assert from_arrays == from_set
    m, _ = trained(data.Subset(ds, [3, 1, 4]), batch_size=2)
    assert m.predict(data.Subset(ds, [3, 1])).shape == (2, 1)
    weights = np.ones(50, np.float32)
    assert (
        trained(TensorDataset(x, y, weights), batch_size=16)[1]
        == trained(x, y=y, sample_weight=weights, batch_size=16)[1]
    )
    with pytest.raises(ValueError, match="an iterable yields its own"):
        model().fit(ds, y)
    with pytest.raises(ValueError, match="an iterable yields its own"):
        model().evaluate(ds, y)


def test_data_sets_of_batches():
    x, y = arrays()
    ended = []

    class Batched:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]

        def on_epoch_end(self):
            ended.append(1)

    m, one = trained(Batched(), shuffle=False)
    _, two = trained(x, y=y, batch_size=10, shuffle=False)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-6) and len(ended) == 3
    assert m.predict(Batched()).shape == (50, 1)
    steps = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: steps.append(b))
    model().fit(Batched(), validation_data=Batched(), verbose=0, callbacks=[watch])
    assert watch.params["steps"] == 5 and steps == list(range(5))


@pytest.mark.parametrize(
    "kwargs", [{}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True, "max_queue_size": 3}]
)
def test_py_datasets(kwargs):
    x, y = arrays()

    class Batched(PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]

    _, one = trained(Batched(**kwargs), shuffle=False)
    _, two = trained(x, y=y, batch_size=10, shuffle=False)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-6) and Batched().num_batches == 5
    _, shuffled = trained(Batched(**kwargs))
    assert shuffled["loss"] != one["loss"]
    with pytest.raises(ValueError, match="PyDataset: workers: expected a positive integer, got 0"):
        PyDataset(workers=0)
