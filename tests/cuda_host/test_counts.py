"""Counts with more slots than a warp's shared memory holds, and of many warps' and blocks' pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella import kernels as K


def eighths(rng: np.random.Generator, n: Any) -> np.ndarray:
    """Weights whose sums are exact in any order."""
    return (rng.integers(0, 9, n) / 8).astype(np.float32)


# One range of slots and several, each with one piece of the elements and with many.
@pytest.mark.parametrize("n,classes", [(3000, 2), (40_000, 3), (5000, 50), (20_000, 55), (2000, 60), (40_000, 70)])
def test_confusion(n: int, classes: int) -> None:
    rng = np.random.default_rng(1)
    labels, predictions, w = rng.integers(0, classes, n), rng.integers(0, classes, n), eighths(rng, n)
    expected = np.zeros((classes, classes))
    np.add.at(expected, (labels, predictions), w)
    np.testing.assert_array_equal(K.confusion_matrix(labels, predictions, classes, w), expected)


@pytest.mark.parametrize("rows,cols,thresholds", [(9000, 1, 1), (9000, 2, 200), (500, 20, 100), (3000, 10, 300)])
@pytest.mark.parametrize("per_label", [False, True])
def test_thresholds(rows: int, cols: int, thresholds: int, per_label: bool) -> None:
    rng = np.random.default_rng(2)
    x, at = rng.random((rows, cols)).astype(np.float32), np.sort(rng.random(thresholds)).astype(np.float32)
    t, w = (rng.random(x.shape) < 0.4).astype(np.float32), eighths(rng, x.shape)
    bins = np.searchsorted(at, x)
    expected = np.zeros((2, thresholds + 1, cols))
    for k, v in enumerate((w * t, w * (1 - t))):
        np.add.at(expected[k], (bins, np.arange(cols)[None, :]), v)
    got = K.threshold_counts(x, t, at, w, per_label=per_label)
    np.testing.assert_array_equal(got, expected if per_label else expected.sum(-1))


@pytest.mark.parametrize("cols", [40, 700, 2500])
@pytest.mark.parametrize("k", [1, 3])
def test_the_largest_of_long_rows(cols: int, k: int) -> None:
    rng = np.random.default_rng(3)
    x = (rng.integers(0, 200, (11, cols)) / 200).astype(np.float32)
    x[3, 5:9] = np.nan
    x[4] = np.nan
    best = np.argsort(-x, axis=-1, kind="stable")[:, :k]
    kept = np.zeros_like(x)
    np.put_along_axis(kept, best, np.take_along_axis(x, best, -1), -1)
    t = np.ones_like(x)
    np.testing.assert_array_equal(K.threshold_counts(x, t, [0.5], k=k), K.threshold_counts(kept, t, [0.5]))


def test_general_weights_give_the_same_bits() -> None:
    rng = np.random.default_rng(4)
    labels, predictions, w = rng.integers(0, 3, 30_000), rng.integers(0, 3, 30_000), rng.random(30_000)
    first = K.confusion_matrix(labels, predictions, 3, w)
    expected = np.zeros((3, 3))
    np.add.at(expected, (labels, predictions), w)
    np.testing.assert_allclose(first, expected, rtol=1e-13)
    np.testing.assert_array_equal(K.confusion_matrix(labels, predictions, 3, w), first)
