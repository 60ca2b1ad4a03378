"""CategoryEncoding, Discretization and Hashing."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import layers, models

IDS = np.array([[0, 1, 1], [3, 0, 2]])


def test_category_encoding():
    rows = np.eye(4, dtype=np.float32)[IDS]
    found = {m: layers.CategoryEncoding(4, m)(IDS).numpy() for m in ("multi_hot", "one_hot", "count")}
    np.testing.assert_array_equal(found["multi_hot"], rows.max(1))
    np.testing.assert_array_equal(found["one_hot"], rows)
    np.testing.assert_array_equal(found["count"], rows.sum(1))
    weights = np.array([[0.5, 1, 2], [1, 1, 3]])
    found = layers.CategoryEncoding(4, "count")(IDS, count_weights=weights).numpy()
    np.testing.assert_array_equal(found, (rows * weights[..., None]).sum(1))
    assert layers.CategoryEncoding(4, "one_hot")(IDS[:, :1]).shape == (2, 4)
    assert layers.CategoryEncoding(4)([3, 2]).numpy().tolist() == [0, 0, 1, 1]
    assert layers.CategoryEncoding(4, "one_hot")([[3], [2]]).shape == (2, 4)
    assert layers.CategoryEncoding(4, dtype="float64")(IDS).dtype == np.float64


def test_category_encoding_in_models(tmp_path):
    inputs = layers.Input((3,), dtype="int64")
    outputs = layers.Dense(2)(layers.CategoryEncoding(4, "count")(inputs))
    model = models.Model(inputs, outputs)
    assert model.layers[1].output.shape == (None, 4)
    model.compile("sgd", "mse")
    model.fit(IDS, np.zeros((2, 2)), verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(IDS, verbose=0), model.predict(IDS, verbose=0))


X = np.float32([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, np.nan]])
EDGES = [0.0, 1.0, 2.0]


def test_discretization():
    bins = np.digitize(X, EDGES)
    layer = layers.Discretization(EDGES)
    found = layer(X).numpy()
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, bins)
    np.testing.assert_array_equal(layer([1, 2, 5]).numpy(), [2, 3, 3])
    rows = np.eye(4, dtype=np.float32)[bins]
    for mode, wanted in (("one_hot", rows), ("multi_hot", rows.max(1)), ("count", rows.sum(1))):
        np.testing.assert_array_equal(layers.Discretization(EDGES, output_mode=mode)(X).numpy(), wanted)


def test_adapted_bins_are_equally_full():
    data = np.random.default_rng(0).exponential(size=(40, 250)).astype(np.float32)
    for given in (data, [row for row in data], iter(data)):
        layer = layers.Discretization(num_bins=5)
        layer.adapt(given)
        shares = np.bincount(layer(data).numpy().ravel(), minlength=5) / data.size
        np.testing.assert_allclose(shares, 0.2, atol=0.02)  # epsilon is 0.01 at each edge
    few = layers.Discretization(num_bins=4)
    few.adapt(np.arange(1.0, 9.0), steps=None)
    assert few.bin_boundaries == [2, 4, 6]
    again = layers.Discretization.from_config(few.get_config())
    np.testing.assert_array_equal(again(X).numpy(), few(X).numpy())
    first = layers.Discretization(num_bins=2)
    first.adapt((np.full(3, v) for v in (1.0, 100.0)), steps=1)
    assert first.bin_boundaries == [1]


def test_hashing():
    words = [["a"], ["b"], ["c"], ["a"]]
    layer = layers.Hashing(50)
    found = layer(words).numpy()
    assert found.shape == (4, 1)
    assert found[0] == found[3]
    np.testing.assert_array_equal(layers.Hashing.from_config(layer.get_config())(words).numpy(), found)
    many = layers.Hashing(8)(np.arange(4000)).numpy()
    assert np.bincount(many, minlength=8).min() > 400
    assert (layers.Hashing(8, salt=3)(np.arange(4000)).numpy() != many).mean() > 0.5
    assert layers.Hashing(8, salt=3).salt == [3, 3]
    masked = layers.Hashing(5, mask_value="")(["", *map(str, range(200))]).numpy()
    assert masked[0] == 0
    assert set(masked[1:]) == {1, 2, 3, 4}
    assert layers.Hashing(3, output_mode="one_hot")(words).numpy().sum(1).tolist() == [1] * 4
    assert layers.Hashing(3, output_mode="count")([["a", "a", "b"]]).numpy().sum() == 3


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: layers.CategoryEncoding(), "CategoryEncoding: num_tokens"),
        (lambda: layers.CategoryEncoding(3, "int"), "CategoryEncoding: output_mode"),
        (lambda: layers.CategoryEncoding(3)(IDS), r"inputs: expected integers in \[0, 3\)"),
        (lambda: layers.CategoryEncoding(3, sparse=True), "CategoryEncoding: sparse"),
        (lambda: layers.CategoryEncoding(4)(IDS, count_weights=IDS), "count_weights"),
        (lambda: layers.Discretization(), "Discretization: bin_boundaries, num_bins"),
        (lambda: layers.Discretization([1.0], 2), "Discretization: bin_boundaries, num_bins"),
        (lambda: layers.Discretization([2.0, 1.0]), "Discretization: bin_boundaries"),
        (lambda: layers.Discretization(num_bins=2, epsilon=0.0), "Discretization: epsilon"),
        (lambda: layers.Discretization(num_bins=2)(X), "bin_boundaries: call adapt"),
        (lambda: layers.Discretization([1.0]).adapt(X), "adapt"),
        (lambda: layers.Hashing(0), "Hashing: num_bins"),
        (lambda: layers.Hashing(3, salt=[1, 2, 3]), "Hashing: salt"),
        (lambda: layers.Hashing(3)([None]), "inputs: expected strings or integers"),
    ],
)
def test_bad_arguments(call, names):
    with pytest.raises((ValueError, TypeError, RuntimeError, NotImplementedError), match=names):
        call()
