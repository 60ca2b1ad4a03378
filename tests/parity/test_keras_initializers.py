"""Initializers beside Keras': shapes, moments and bounds."""

import math
import random

import numpy as np
import pytest

import lamella
from lamella import initializers

from .compare import array
from .keras_side import keras

pytestmark = pytest.mark.usefixtures("keras_in_float64")

SHAPES = [(60, 80), (5, 5, 16, 24), (40, 7)]

CASES = {
    "GlorotNormal": [{}],
    "GlorotUniform": [{}],
    "HeNormal": [{}],
    "HeUniform": [{}],
    "LecunNormal": [{}],
    "LecunUniform": [{}],
    "RandomNormal": [{}, {"mean": 1.0, "stddev": 0.3}],
    "RandomUniform": [{}, {"minval": -1.0, "maxval": 3.0}],
    "TruncatedNormal": [{}, {"mean": 1.0, "stddev": 0.3}],
    "VarianceScaling": [{}, {"scale": 2.0, "mode": "fan_out", "distribution": "uniform"},
                        {"mode": "fan_avg", "distribution": "untruncated_normal"}],
    "Zeros": [{}],
    "Ones": [{}],
    "Constant": [{"value": 0.3}],
    "Orthogonal": [{}, {"gain": 2.0}],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_moments_and_bounds(name, shape):
    lamella.seed(1)
    random.seed(1)  # from which Keras draws its seeds
    for kwargs in CASES[name]:
        a = np.asarray(getattr(initializers, name)(**kwargs)(shape))
        b = array(getattr(keras.initializers, name)(**kwargs)(shape, dtype="float32"))
        assert a.shape == b.shape and a.dtype == b.dtype
        n = math.prod(shape)
        # Both are samples: mean and deviation within five times what their own spread allows, extremes within a tenth.
        spread = b.std() / math.sqrt(n)
        assert abs(a.mean() - b.mean()) <= 5 * math.sqrt(2) * spread + 1e-7
        assert abs(a.std() - b.std()) <= 5 * spread + 1e-7
        if "Uniform" in name or kwargs.get("distribution") == "uniform":
            np.testing.assert_allclose([a.min(), a.max()], [b.min(), b.max()], atol=0.1 * np.abs(b).max())
        if "Normal" in name and name != "RandomNormal":  # cut at two deviations of the uncut distribution
            edge = np.abs(b - b.mean()).max()
            assert np.abs(a - a.mean()).max() <= 1.05 * edge


def test_identity():
    for shape in [(4, 4), (3, 5)]:
        ours = np.asarray(initializers.Identity(1.5)(shape))
        np.testing.assert_array_equal(ours, array(keras.initializers.Identity(1.5)(shape)))


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (3, 3, 2, 5)])
def test_orthogonal_columns(shape):
    a = np.asarray(initializers.Orthogonal()(shape)).reshape(-1, shape[-1]).astype(float)
    gram = a.T @ a if a.shape[0] >= a.shape[1] else a @ a.T
    np.testing.assert_allclose(gram, np.eye(min(a.shape)), atol=1e-5)


@pytest.mark.parametrize("name", ["zeros", "ones", "glorot_uniform", "glorot_normal", "he_normal", "he_uniform",
                                  "lecun_normal", "lecun_uniform", "random_normal", "random_uniform",
                                  "truncated_normal", "variance_scaling", "orthogonal", "identity", "uniform",
                                  "normal"])  # fmt: skip
def test_names(name):
    ours, theirs = initializers.get(name), keras.initializers.get(name)
    assert type(ours).__name__ == type(theirs).__name__
    wanted = theirs.get_config()
    for key, value in ours.get_config().items():
        assert key == "seed" or wanted.get(key, value) == value


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "LSTM", "GRU", "SimpleRNN", "Embedding", "BatchNormalization"])
def test_layers_start_alike(name):
    """Fresh weights of both: the same shapes, and means and deviations as of one distribution."""
    lamella.seed(2)
    random.seed(2)  # from which Keras draws its seeds
    args = {"Conv2D": (32, 3), "Embedding": (50, 40), "BatchNormalization": ()}.get(name, (48,))
    shape = {"Conv2D": (1, 8, 8, 16), "LSTM": (1, 3, 40), "GRU": (1, 3, 40), "SimpleRNN": (1, 3, 40)}.get(name, (1, 40))
    ours, theirs = getattr(lamella.layers, name)(*args), getattr(keras.layers, name)(*args)
    x = np.zeros(shape, np.int64 if name == "Embedding" else np.float32)
    ours(x), theirs(x)
    for w, a, b in zip(theirs.weights, ours.get_weights(), theirs.get_weights(), strict=True):
        assert a.shape == b.shape, w.name
        spread = b.std() / math.sqrt(b.size)
        assert abs(a.mean() - b.mean()) <= 8 * spread + 1e-7, w.name
        assert abs(a.std() - b.std()) <= 8 * spread + 1e-7, w.name
