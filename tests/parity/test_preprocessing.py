"""What prepares data, against Keras and PyTorch."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella import layers, preprocessing, utils

from .compare import array, parity, seeds

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

rng = np.random.default_rng(0)
WORDS = ["apple", "pear", "plum", "fig", "kiwi", "lime", "date", "nut"]


def value(t):
    return np.asarray(t.detach().numpy() if hasattr(t, "detach") else t)


def texts(n):
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) + rng.choice(["", ".", "!?", ", YES"]) for _ in range(n)]


@pytest.mark.parametrize("mode", ["int", "multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize("ngrams", [None, 2, (1, 3)])
def test_text_vectorization(mode, ngrams):
    pytest.importorskip("tensorflow")
    for trial in range(3):
        known, new = texts(20), [*texts(5), "never seen words"]
        kwargs = {"output_mode": mode, "ngrams": ngrams, "max_tokens": [None, 8, 30][trial]}
        if mode == "int":
            kwargs["output_sequence_length"] = [None, 4, 12][trial]
        ours, theirs = layers.TextVectorization(**kwargs), keras.layers.TextVectorization(**kwargs)
        ours.adapt(known)
        theirs.adapt(known)
        assert ours.get_vocabulary() == theirs.get_vocabulary()
        np.testing.assert_allclose(ours(new).numpy(), value(theirs(np.array(new))), rtol=1e-6)


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count", "tf_idf"])
def test_lookups(mode):
    pytest.importorskip("tensorflow")
    for mask in (None, ""):
        data = rng.choice(WORDS, (10, 4))
        kwargs = {"output_mode": mode, "mask_token": mask}
        ours, theirs = layers.StringLookup(**kwargs), keras.layers.StringLookup(**kwargs)
        ours.adapt(data[:6])
        theirs.adapt(data[:6])
        assert ours.get_vocabulary() == theirs.get_vocabulary()
        if mode == "one_hot":
            data = data[:, :1]
        np.testing.assert_allclose(ours(data).numpy(), value(theirs(data)), rtol=1e-6)
    numbers = rng.integers(0, 9, (10, 3))
    ours, theirs = (m.IntegerLookup(num_oov_indices=2, output_mode=mode) for m in (layers, keras.layers))
    ours.adapt(numbers[:3])
    theirs.adapt(numbers[:3])
    if mode == "one_hot":
        numbers = numbers[:, 0]
    np.testing.assert_allclose(ours(numbers).numpy(), value(theirs(numbers)), rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, None, (1, 2)])
def test_normalization(axis):
    x = rng.normal(3, 2, (7, 4, 5, 3)).astype(np.float32)
    ours, theirs = layers.Normalization(axis), keras.layers.Normalization(axis)
    ours.adapt(x)
    theirs.adapt(x)
    np.testing.assert_allclose(ours(x).numpy(), value(theirs(x)), rtol=1e-4, atol=1e-5)


def test_sizes_and_scales():
    for _ in range(8):
        h, w, oh, ow = (int(v) for v in rng.integers(3, 20, 4))
        x = rng.uniform(0, 255, (2, h, w, 3)).astype(np.float32)
        for kwargs in ({}, {"crop_to_aspect_ratio": True}):
            ours, theirs = layers.Resizing(oh, ow, **kwargs), keras.layers.Resizing(oh, ow, **kwargs)
            np.testing.assert_allclose(ours(x).numpy(), value(theirs(x)), rtol=1e-4, atol=1e-2)
        if oh <= h and ow <= w:
            np.testing.assert_array_equal(
                layers.CenterCrop(oh, ow)(x).numpy(), value(keras.layers.CenterCrop(oh, ow)(x))
            )
        np.testing.assert_allclose(
            layers.Rescaling(1 / 127.5, -1)(x).numpy(), value(keras.layers.Rescaling(1 / 127.5, -1)(x)), atol=1e-6
        )


FIXED = [
    (lambda m: m.RandomRotation((0.1, 0.1), "constant"), 1e-2),
    (lambda m: m.RandomRotation((-0.3, -0.3), "nearest"), 1e-2),
    (lambda m: m.RandomZoom((0.3, 0.3), (-0.2, -0.2), "nearest"), 1e-2),
    (lambda m: m.RandomTranslation((0.25, 0.25), (-0.125, -0.125), "constant"), 1e-2),
    (lambda m: m.RandomBrightness((0.3, 0.3)), 1e-3),
]


@pytest.mark.parametrize("make,tolerance", FIXED)
def test_changes_that_are_not_random(make, tolerance):
    # Ranges of one number: both change every image alike. Coordinates at the border may fall on either side of it.
    x = rng.uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    ours, theirs = make(layers)(x, training=True).numpy(), value(make(keras.layers)(x, training=True))
    assert (np.abs(ours - theirs) > tolerance * 255).mean() < 0.03


def test_mel_spectrograms():
    for kwargs in (
        {"fft_length": 256, "sequence_stride": 64, "sampling_rate": 8000, "num_mel_bins": 20},
        {"fft_length": 512, "sequence_stride": 100, "sequence_length": 400, "mag_exp": 1.0, "power_to_db": False},
    ):
        x = rng.standard_normal((2, 2000)).astype(np.float32)
        ours, theirs = layers.MelSpectrogram(**kwargs), keras.layers.MelSpectrogram(**kwargs)
        np.testing.assert_allclose(ours(x).numpy(), value(theirs(x)), rtol=1e-3, atol=1e-2)


def test_sequences():
    for _ in range(20):
        rows = [rng.integers(1, 9, rng.integers(0, 6)).tolist() for _ in range(4)] + [[1]]
        kwargs = {
            "maxlen": [None, 3, 7][rng.integers(3)], "padding": rng.choice(["pre", "post"]),
            "truncating": rng.choice(["pre", "post"]), "value": int(rng.integers(3)),
        }  # fmt: skip
        np.testing.assert_array_equal(
            preprocessing.sequence.pad_sequences(rows, **kwargs), keras.utils.pad_sequences(rows, **kwargs)
        )


def test_time_series():
    pytest.importorskip("tensorflow")
    steps, targets = rng.standard_normal((50, 3)), rng.standard_normal(50)
    for kwargs in ({}, {"sequence_stride": 3, "sampling_rate": 2}):
        ours = utils.timeseries_dataset_from_array(steps, targets, 5, batch_size=8, **kwargs)
        theirs = keras.utils.timeseries_dataset_from_array(steps, targets, 5, batch_size=8, **kwargs)
        for (x, y), (x2, y2) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(x.numpy(), np.asarray(x2))
            np.testing.assert_array_equal(y.numpy(), np.asarray(y2))


class Square:
    def __len__(self):
        return 11

    def __getitem__(self, i):
        return {"x": np.full(3, i, np.float32), "y": i * i, "name": str(i)}


@pytest.mark.parametrize("kwargs", [{}, {"drop_last": True}, {"num_workers": 2}, {"batch_sampler": [[1, 5], [2]]}])
def test_loaders(kwargs):
    if "batch_sampler" not in kwargs:
        kwargs = {"batch_size": 4, **kwargs}
    ours, theirs = utils.data.DataLoader(Square(), **kwargs), torch.utils.data.DataLoader(Square(), **kwargs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a["name"] == b["name"]
        for key in ("x", "y"):
            np.testing.assert_array_equal(a[key].numpy(), b[key].numpy())
            assert str(a[key].dtype) == str(b[key].dtype).removeprefix("torch.")


@pytest.mark.parametrize("mode", ["multi_hot", "one_hot", "count"])
@parity
@given(n=st.integers(1, 5), t=st.integers(1, 4), weighted=st.booleans(), seed=seeds)
def test_category_encoding(mode, n, t, weighted, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 6, (n, t))
    kwargs = {"count_weights": rng.uniform(size=(n, t)).astype(np.float32)} if weighted and mode == "count" else {}
    wanted = array(keras.layers.CategoryEncoding(6, mode)(ids, **kwargs))
    np.testing.assert_allclose(layers.CategoryEncoding(6, mode)(ids, **kwargs).numpy(), wanted, rtol=1e-6)


@parity
@given(n=st.integers(1, 30), bins=st.integers(1, 5), seed=seeds)
def test_discretization_adapted(n, bins, seed):
    pytest.importorskip("tensorflow")  # Keras looks whether the data are one of its data sets
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    ours, theirs = (m.Discretization(num_bins=bins) for m in (layers, keras.layers))
    ours.adapt(x)
    theirs.adapt(x)
    np.testing.assert_allclose(ours.bin_boundaries, theirs.bin_boundaries, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@parity
@given(n=st.integers(1, 30), seed=seeds)
def test_discretization(mode, n, seed):
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    ours, theirs = (m.Discretization([-1.0, 0.0, 0.5], output_mode=mode) for m in (layers, keras.layers))
    np.testing.assert_array_equal(ours(x).numpy(), array(theirs(x)))
