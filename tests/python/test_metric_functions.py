"""Metrics as functions: one value a sample."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import layers, losses, metrics, models

SCORES = np.float32([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
LABELS = np.array([1, 2, 0])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype(np.float32)])
def test_sparse(labels):
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(labels, SCORES).numpy(), [1, 0, 0])
    top = metrics.sparse_top_k_categorical_accuracy(labels, SCORES, k=2)
    np.testing.assert_array_equal(top.numpy(), np.reshape([1, 1, 0], labels.shape))


def test_categorical():
    np.testing.assert_array_equal(metrics.categorical_accuracy(ONE_HOT, SCORES).numpy(), [1, 0, 0])
    np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(ONE_HOT, SCORES, k=2).numpy(), [1, 1, 0])
    np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(ONE_HOT, SCORES).numpy(), [1, 1, 1])


def test_sequences_and_sorted_ids():
    scores, labels = np.stack([SCORES, SCORES[::-1]]), np.stack([LABELS, LABELS])
    found = metrics.sparse_top_k_categorical_accuracy(labels, scores, 1).numpy()
    np.testing.assert_array_equal(found, metrics.sparse_categorical_accuracy(labels, scores).numpy())
    ids = np.array([[1, 2, 0], [0, 1, 2], [0, 1, 2]])
    found = metrics.sparse_top_k_categorical_accuracy(LABELS, ids, 2, from_sorted_ids=True)
    np.testing.assert_array_equal(found.numpy(), [1, 0, 1])


def test_nan_is_no_hit():
    scores = np.full((1, 3), np.nan, np.float32)
    assert metrics.top_k_categorical_accuracy(ONE_HOT[:1], scores, 2).numpy() == 0


def test_binary():
    y_true, y_pred = [[1.0], [0.0], [1.0]], [[0.4], [0.1], [0.9]]
    assert metrics.binary_accuracy(y_true, y_pred).numpy().tolist() == [[0], [1], [1]]
    assert metrics.binary_accuracy(y_true, y_pred, threshold=0.3).numpy().tolist() == [[1], [1], [1]]
    assert metrics.binary_accuracy(np.array([1, 0, 1]), np.float32(y_pred)).shape == (3, 1)


def test_correlations():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 4, 5))
    wanted = [np.corrcoef(a, b)[0, 1] for a, b in zip(y, p, strict=True)]
    np.testing.assert_allclose(metrics.pearson_correlation(y, p).numpy(), wanted)
    np.testing.assert_allclose(metrics.pearson_correlation(y.T, p.T, axis=0).numpy(), wanted)
    np.testing.assert_allclose(metrics.concordance_correlation(y, y).numpy(), 1, rtol=1e-6)


def test_losses_are_there_too():
    assert metrics.mean_squared_error is losses.mean_squared_error
    assert metrics.huber is losses.huber


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: metrics.categorical_accuracy(LABELS, SCORES), "categorical_accuracy: y_true"),
        (lambda: metrics.sparse_categorical_accuracy(LABELS[:2], SCORES), "sparse_categorical_accuracy: y_true"),
        (lambda: metrics.top_k_categorical_accuracy(ONE_HOT, SCORES, 0), "top_k_categorical_accuracy: k"),
        (lambda: metrics.binary_accuracy(np.ones((3, 2)), np.ones((3, 4))), "binary_accuracy: y_true"),
        (lambda: metrics.pearson_correlation(SCORES, SCORES, axis=2), "pearson_correlation: axis"),
    ],
)
def test_bad_arguments(call, names):
    with pytest.raises(ValueError, match=names):
        call()


def test_given_to_compile_they_are_the_classes():
    model = models.Sequential([layers.Dense(3, activation="softmax", input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metrics.sparse_categorical_accuracy])
    logs = model.evaluate(SCORES, LABELS, verbose=0, return_dict=True)
    wanted = metrics.sparse_categorical_accuracy(LABELS, model.predict(SCORES, verbose=0)).numpy().mean()
    assert logs["sparse_categorical_accuracy"] == pytest.approx(wanted)
    assert isinstance(metrics.get(metrics.sparse_categorical_accuracy), metrics.SparseCategoricalAccuracy)
    again = models.model_from_json(model.to_json())
    assert "sparse_categorical_accuracy" in again.evaluate(SCORES, LABELS, verbose=0, return_dict=True)
