"""Losses of `lamella.losses` beside Keras': reductions, sample weights, logits, smoothing, ignored classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella import losses

from .compare import close, dtypes, normal, parity, seeds
from .keras_side import TOLERANCE, keras, theirs_of, torch

pytestmark = pytest.mark.usefixtures("keras_in_float64")

reductions = st.sampled_from(["sum_over_batch_size", "sum", "none", None])
flags = st.booleans()
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=3)


def check(name, y_true, y_pred, weight=None, *, dtype, **kwargs):
    """The same values, and gradients by the predictions. Keras clips probabilities at 1e-7: stay away from there."""
    ours = getattr(losses, name)(**kwargs)
    theirs = getattr(keras.losses, name)(**kwargs, dtype="float64")
    x, z = lamella.tensor(y_pred.astype(dtype), requires_grad=True), theirs_of(y_pred, True)
    given_weight = None if weight is None else weight.astype(dtype)
    y = ours(y_true if y_true.dtype.kind != "f" else y_true.astype(dtype), x, sample_weight=given_weight)
    wanted = theirs(theirs_of(y_true), z, sample_weight=None if weight is None else theirs_of(weight))
    close(y, wanted, name, TOLERANCE[dtype])
    factors = np.random.default_rng(1).normal(size=tuple(wanted.shape)).astype(np.float32)
    (y * lamella.tensor(factors.astype(dtype))).sum().backward()
    (wanted * torch.tensor(factors.astype(np.float64))).sum().backward()
    close(x.grad, z.grad, f"{name}: gradient", TOLERANCE[dtype])


def sample_weights(seed, weighted, shape):
    return np.float32(np.random.default_rng(seed).uniform(0.1, 2.0, shape[:-1])).astype(float) if weighted else None


@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError", "Huber"])
@parity
@given(shape=shapes, reduction=reductions, weighted=flags, delta=st.sampled_from([1.0, 0.3]), dtype=dtypes, seed=seeds)
def test_regression(name, shape, reduction, weighted, delta, dtype, seed):
    kwargs = {"delta": delta} if name == "Huber" else {}
    weight = sample_weights(seed, weighted, shape)
    check(name, normal(seed, *shape), normal(seed + 1, *shape), weight, dtype=dtype, reduction=reduction, **kwargs)


@parity
@given(shapes, reductions, flags, flags, st.sampled_from([0.0, 0.2]), dtypes, seeds)
def test_binary_crossentropy(shape, reduction, weighted, from_logits, smoothing, dtype, seed):
    y_true = np.random.default_rng(seed).integers(0, 2, shape).astype(float)
    y_pred = normal(seed, *shape, scale=2.0)
    if not from_logits:
        y_pred = np.float32(1 / (1 + np.exp(-y_pred))).astype(float)
    check("BinaryCrossentropy", y_true, y_pred, sample_weights(seed, weighted, shape), dtype=dtype,
          reduction=reduction, from_logits=from_logits, label_smoothing=smoothing)  # fmt: skip


def scores(seed, from_logits, *shape):
    y_pred = normal(seed, *shape, scale=2.0)
    if from_logits:
        return y_pred
    y_pred = np.exp(y_pred)
    return np.float32(y_pred / y_pred.sum(-1, keepdims=True)).astype(float)


@parity
@given(st.lists(st.integers(1, 4), min_size=1, max_size=2), st.integers(2, 6), reductions, flags, flags,
       st.sampled_from([0.0, 0.2]), dtypes, seeds)  # fmt: skip
def test_categorical_crossentropy(leading, classes, reduction, weighted, from_logits, smoothing, dtype, seed):
    labels = np.random.default_rng(seed).integers(0, classes, leading)
    check("CategoricalCrossentropy", np.eye(classes)[labels], scores(seed, from_logits, *leading, classes),
          sample_weights(seed, weighted, (*leading, classes)), dtype=dtype, reduction=reduction,
          from_logits=from_logits, label_smoothing=smoothing)  # fmt: skip


@parity
@given(st.lists(st.integers(1, 4), min_size=1, max_size=2), st.integers(2, 6), reductions, flags, flags,
       st.sampled_from([None, 0, 1]), dtypes, seeds)  # fmt: skip
def test_sparse_categorical_crossentropy(leading, classes, reduction, weighted, from_logits, ignore, dtype, seed):
    labels = np.random.default_rng(seed).integers(0, classes, leading)
    check("SparseCategoricalCrossentropy", labels, scores(seed, from_logits, *leading, classes),
          sample_weights(seed, weighted, (*leading, classes)), dtype=dtype,
          reduction=reduction, from_logits=from_logits, ignore_class=ignore)  # fmt: skip


@pytest.mark.parametrize("name", [
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_hinge", "cosine_similarity", "dice", "hinge", "huber", "kl_divergence", "log_cosh",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "squared_hinge", "tversky",
])  # fmt: skip
@parity
@given(leading=st.lists(st.integers(1, 4), min_size=1, max_size=2), seed=seeds)
def test_functions(name, leading, seed):
    """One value per sample."""
    y_pred = scores(seed, False, *leading, 4)
    y_true = np.eye(4)[np.random.default_rng(seed).integers(0, 4, leading)]
    ours = getattr(losses, name)(lamella.tensor(y_true), lamella.tensor(y_pred))
    close(ours, getattr(keras.losses, name)(theirs_of(y_true), theirs_of(y_pred)), name, 2e-6)


@parity
@given(st.lists(st.integers(1, 4), min_size=1, max_size=2), st.sampled_from([None, 1]), seeds)
def test_sparse_function(leading, ignore, seed):
    y_pred = scores(seed, False, *leading, 4)
    y_true = np.random.default_rng(seed).integers(0, 4, leading)
    ours = losses.sparse_categorical_crossentropy(lamella.tensor(y_true), lamella.tensor(y_pred), ignore_class=ignore)
    theirs = keras.losses.sparse_categorical_crossentropy(theirs_of(y_true), theirs_of(y_pred), ignore_class=ignore)
    close(ours, theirs, "sparse_categorical_crossentropy", 2e-6)
