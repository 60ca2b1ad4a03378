import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K

DTYPES = [np.float32, np.float64]


def threshold_counts(x, target, thresholds, weight=None, k=None, column=None, per_label=False):
    cols = x.shape[-1] if x.ndim else 1
    x, target = x.reshape(-1, cols).astype(np.float64), target.reshape(-1, cols).astype(np.float64)
    w = np.ones(x.shape) if weight is None else np.broadcast_to(weight, x.shape)
    counts = np.zeros((2, len(thresholds) + 1, cols))
    for r in range(len(x)):
        best = np.argsort(-x[r], kind="stable")[: cols if k is None else k]
        for c in range(cols) if column is None else [column]:
            bin = int((np.asarray(thresholds) < x[r, c]).sum()) if c in best else 0
            counts[0, bin, c] += w[r, c] * target[r, c]
            counts[1, bin, c] += w[r, c] * (1 - target[r, c])
    return counts if per_label else counts.sum(-1)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.sampled_from([0, 1, 3, 40]),
    cols=st.sampled_from([1, 2, 5, 9]),
    thresholds=st.sampled_from([0, 1, 2, 3, 7, 200]),
    k=st.sampled_from([None, 1, 2, 20]),
    column=st.booleans(),
    per_label=st.booleans(),
    weighted=st.sampled_from([None, "full", "rows"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_threshold_counts(dtype, rows, cols, thresholds, k, column, per_label, weighted, seed):
    rng = np.random.default_rng(seed)
    x = (np.round(rng.random((rows, cols)) * 8) / 8).astype(dtype)  # with ties, and scores at thresholds
    target = (rng.random((rows, cols)) < 0.4).astype(dtype)
    at = np.sort(np.round(rng.random(thresholds) * 8) / 8).astype(dtype)
    weight = None
    if weighted:  # eighths: sums are exact in any order
        weight = (rng.integers(0, 9, (rows, cols) if weighted == "full" else (rows, 1)) / 8).astype(dtype)
    c = int(rng.integers(cols)) if column else None
    got = K.threshold_counts(x, target, at, weight, k, c, per_label)
    expected = threshold_counts(x, target, at, weight, k, c, per_label)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)


def test_scores_that_are_no_numbers():
    x = np.array([[np.nan, 0.7, np.inf, -np.inf]], np.float32)
    counts = K.threshold_counts(x, np.ones_like(x), [0.5])
    np.testing.assert_array_equal(counts, [[2, 2], [0, 0]])
    counts = K.threshold_counts(x, np.ones_like(x), [0.5], k=3)
    np.testing.assert_array_equal(counts, [[2, 2], [0, 0]])


def test_shapes_of_any_rank():
    x = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    t = (x > 0.6).astype(np.float32)
    whole = K.threshold_counts(x, t, [0.3, 0.6], per_label=True)
    np.testing.assert_array_equal(whole, threshold_counts(x, t, [0.3, 0.6], per_label=True))
    weight = np.array([1.0, 3.0], np.float32)
    got = K.threshold_counts(x, t, [0.5], weight)
    first, second = (K.threshold_counts(x[i], t[i], [0.5]) for i in range(2))
    np.testing.assert_array_equal(got, first + 3 * second)
    np.testing.assert_array_equal(K.threshold_counts(x[0, 0, 0], t[0, 0, 0], [2.0]).sum(), 1)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [None, *DTYPES])
@pytest.mark.parametrize("shape", [(0,), (1,), (50,), (3, 4, 5)])
def test_confusion_matrix(index, dtype, shape):
    rng = np.random.default_rng(1)
    labels, predictions = (rng.integers(0, 4, shape).astype(index) for _ in range(2))
    labels[rng.random(shape) < 0.2] = -1
    weight = None if dtype is None else (rng.integers(0, 9, shape) / 8).astype(dtype)
    expected = np.zeros((4, 4))
    w = np.ones(shape) if weight is None else weight
    for a, b, v in zip(labels.flat, predictions.flat, w.flat, strict=True):
        if a >= 0:
            expected[a, b] += v
    got = K.confusion_matrix(labels, predictions, 4, weight, ignore_index=-1)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)


def test_errors():
    x = np.zeros((2, 3), np.float32)
    for call, message in [
        (lambda: K.threshold_counts(x, x[:1], [0.5]), r"target: expected shape \(2, 3\), got \(1, 3\)"),
        (lambda: K.threshold_counts(x, x, [0.5], column=3), "column: expected one of the 3 columns of x, got 3"),
        (lambda: K.threshold_counts(x, x, [0.5], k=0), "k: expected at least 1, got 0"),
        (lambda: K.threshold_counts(x, x, [0.5], np.zeros(3, np.float32)), r"sample_weight: expected shape \(2, 3\)"),
        (lambda: K.confusion_matrix(np.array([0]), np.array([2]), 2), r"in \[0, 2\), got (label )?2"),
        (lambda: K.confusion_matrix(np.array([0]), np.array([0, 1]), 2), r"predictions: expected shape \(1,\)"),
        (lambda: K.confusion_matrix(np.array([0]), np.array([0]), 0), "classes: expected a number in"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="labels: expected int32 or int64, got float32"):
        K.confusion_matrix(x, x, 2)


def test_one_and_two_threads_agree():
    rng = np.random.default_rng(2)
    x, t, w = (rng.random((4000, 8)).astype(np.float32) for _ in range(3))
    labels, predictions = (rng.integers(0, 5, 60_000) for _ in range(2))
    weight = rng.random(60_000).astype(np.float32)
    found = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        found.append(
            (
                K.threshold_counts(x, t, [0.2, 0.7], w, per_label=True),
                K.confusion_matrix(labels, predictions, 5, weight),
            )
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
