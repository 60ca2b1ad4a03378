"""Metrics of `lamella.metrics` beside Keras': running values over random batches with sample weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella import metrics

from .compare import array, parity, seeds
from .keras_side import keras, theirs_of

pytestmark = pytest.mark.usefixtures("keras_in_float64")

flags = st.booleans()


def labels(rng, n):
    return rng.integers(0, 4, n)


def one_hot(rng, n):
    return np.eye(4, dtype=np.float32)[labels(rng, n)]


def scores(rng, n):
    y = np.exp(rng.normal(size=(n, 4)))
    return np.float32(y / y.sum(-1, keepdims=True))


def numbers(rng, n):
    return rng.normal(size=(n, 3)).astype(np.float32)


def bits(rng, n):
    return rng.integers(0, 2, (n, 3)).astype(np.float32)


def probabilities(rng, n):
    return rng.uniform(size=(n, 3)).astype(np.float32)


CASES = {
    "Accuracy": ({}, labels, labels),
    "BinaryAccuracy": ({"threshold": st.sampled_from([0.5, 0.3])}, bits, probabilities),
    "CategoricalAccuracy": ({}, one_hot, scores),
    "SparseCategoricalAccuracy": ({}, labels, scores),
    "MeanSquaredError": ({}, numbers, numbers),
    "RootMeanSquaredError": ({}, numbers, numbers),
    "MeanAbsoluteError": ({}, numbers, numbers),
}


@pytest.mark.parametrize("name", CASES)
@parity
@given(data=st.data(), batches=st.lists(st.integers(1, 7), min_size=1, max_size=4), weighted=flags, seed=seeds)
def test_streams(name, data, batches, weighted, seed):
    arguments, truth, prediction = CASES[name]
    kwargs = data.draw(st.fixed_dictionaries(arguments))
    rng = np.random.default_rng(seed)
    ours, theirs = getattr(metrics, name)(**kwargs), getattr(keras.metrics, name)(**kwargs)
    assert ours.name == theirs.name
    for n in batches:
        y_true, y_pred = truth(rng, n), prediction(rng, n)
        weight = rng.uniform(0, 2, n).astype(np.float32) if weighted else None
        ours.update_state(y_true, y_pred, sample_weight=weight)
        theirs.update_state(
            *(theirs_of(a).float() if a.dtype.kind == "f" else theirs_of(a) for a in (y_true, y_pred)),
            sample_weight=weight,
        )
        # Keras adds in float32.
        np.testing.assert_allclose(ours.result(), float(array(theirs.result())), rtol=2e-5, atol=1e-6)
    ours.reset_state()
    theirs.reset_state()
    assert ours.result() == float(array(theirs.result())) == 0.0


@parity
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), flags, seeds)
def test_mean(sizes, weighted, seed):
    rng = np.random.default_rng(seed)
    ours, theirs = metrics.Mean(), keras.metrics.Mean()
    for n in sizes:
        values = rng.normal(size=n).astype(np.float32) if n else np.float32(rng.normal())
        weight = rng.uniform(0, 2, np.shape(values)).astype(np.float32) if weighted else None
        ours.update_state(values, sample_weight=weight)
        theirs.update_state(values, sample_weight=weight)
        np.testing.assert_allclose(ours.result(), float(array(theirs.result())), rtol=2e-5, atol=1e-6)


@parity
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), flags, seeds)
def test_wrapped_function(sizes, weighted, seed):
    rng = np.random.default_rng(seed)
    ours = metrics.MeanMetricWrapper(lambda y_true, y_pred: ((y_true - y_pred) ** 2).mean(-1), name="error")
    theirs = keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: ((y_true - y_pred) ** 2).mean(-1), name="error")
    for n in sizes:
        y_true, y_pred = numbers(rng, n), numbers(rng, n)
        weight = rng.uniform(0, 2, n).astype(np.float32) if weighted else None
        ours.update_state(y_true, y_pred, sample_weight=weight)
        theirs.update_state(theirs_of(y_true).float(), theirs_of(y_pred).float(), sample_weight=weight)
        np.testing.assert_allclose(ours.result(), float(array(theirs.result())), rtol=2e-5, atol=1e-6)


FUNCTIONS = {
    "binary_accuracy": (bits, probabilities, [{}, {"threshold": 0.3}]),
    "categorical_accuracy": (one_hot, scores, [{}]),
    "sparse_categorical_accuracy": (labels, scores, [{}]),
    "top_k_categorical_accuracy": (one_hot, scores, [{"k": 1}, {"k": 2}, {"k": 4}]),
    "sparse_top_k_categorical_accuracy": (labels, scores, [{"k": 1}, {"k": 3}, {"k": 4}]),
    "pearson_correlation": (numbers, numbers, [{}, {"axis": 0}]),
    "concordance_correlation": (numbers, numbers, [{}, {"axis": 0}]),
    "mean_squared_error": (numbers, numbers, [{}]),
    "squared_hinge": (bits, numbers, [{}]),
    "categorical_focal_crossentropy": (one_hot, scores, [{}, {"gamma": 1.0}]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@parity
@given(st.integers(2, 7), seeds)
def test_functions(name, n, seed):
    truth, prediction, cases = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    y_true, y_pred = truth(rng, n), prediction(rng, n)
    for kwargs in cases:
        ours = getattr(metrics, name)(y_true, y_pred, **kwargs)
        # Along an axis of two numbers a correlation is 1 or -1 up to the rounding of float32, which Keras computes in.
        theirs = getattr(keras.metrics, name)(theirs_of(y_true).float(), theirs_of(y_pred).float(), **kwargs)
        np.testing.assert_allclose(array(ours), array(theirs), rtol=2e-4, atol=2e-5)


def test_sorted_ids():
    y_true, ids = np.array([1, 2, 0]), np.array([[1, 0, 2], [0, 1, 2], [2, 0, 1]])
    for k in (1, 2, 3):
        ours = metrics.sparse_top_k_categorical_accuracy(y_true, ids, k, from_sorted_ids=True)
        theirs = keras.metrics.sparse_top_k_categorical_accuracy(y_true, ids, k, from_sorted_ids=True)
        np.testing.assert_array_equal(array(ours), array(theirs))
