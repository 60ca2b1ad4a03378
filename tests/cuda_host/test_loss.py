"""Losses of the sizes and addresses that take the device's other paths: long rows, many rows, sums of many blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_loss as ref

from lamella import kernels as K
from lamella._kernels._call import run_backward

DTYPES = [np.float32, np.float64]


def eps(dtype: Any) -> float:
    return float(np.finfo(dtype).eps)


def unaligned(x: np.ndarray, by: int) -> np.ndarray:
    """The same numbers, `by` elements after an address that 64 divides."""
    room = np.empty(x.size + by + 64, x.dtype)
    skip = (-room.ctypes.data % 64) // x.itemsize + by
    view = room[skip : skip + x.size].reshape(x.shape)
    view[...] = x
    return view


def gradient(x: np.ndarray, q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of the sum over rows of weights * sum(q * -log softmax(x))."""
    return (ref.softmax(x) * q.sum(-1, keepdims=True) - q) * weights[:, None]


# Rows of lanes with and without 16 bytes at once, of blocks because they are long or few, and cut into pieces.
SHAPES = [(300, 5), (70, 128), (70, 131), (1100, 513), (5, 600), (3, 2500), (2, 9001), (2, 20_002)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_and_labels(dtype: Any, shape: tuple[int, int], shift: int, smoothing: float) -> None:
    rng = np.random.default_rng(1)
    rows, classes = shape
    x = unaligned((rng.standard_normal(shape) * 3).astype(dtype), shift)
    labels = rng.integers(0, classes, rows)
    labels[rows // 2] = -1
    class_weight, weight = (rng.random(classes) + 0.5).astype(dtype), rng.random(rows).astype(dtype)
    options = {"class_weight": class_weight, "sample_weight": weight, "label_smoothing": smoothing, "ignore_index": -1}
    q = np.full(shape, smoothing / classes)
    q[np.arange(rows), labels] += 1 - smoothing
    q = q * class_weight * (labels >= 0)[:, None]
    values = -(q * ref.log_softmax(x)).sum(-1) * weight
    expected = {"none": values, "sum": values.sum(), "mean": values.sum() / (labels >= 0).sum()}
    for reduction in expected:
        got = K.softmax_cross_entropy(x, labels, reduction=reduction, **options)
        scale = 30 * (rows if reduction == "sum" else 1)
        np.testing.assert_allclose(got, expected[reduction], rtol=20 * eps(dtype), atol=10 * eps(dtype) * scale)
    attrs = {"reduction": "sum", "label_smoothing": smoothing, "ignore_index": -1}
    inputs = [x, labels, class_weight, weight]
    (dx, *_) = run_backward("softmax_cross_entropy", attrs, inputs, [np.array(2, dtype)], [True, False, False, False])
    # The sum of the weights over the classes has an error that grows with their number, slowly.
    np.testing.assert_allclose(dx, 2 * gradient(x, q, weight.astype(np.float64)), atol=30 * eps(dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0, 1])
def test_logits_and_probabilities(shape: tuple[int, int], shift: int) -> None:
    rng = np.random.default_rng(2)
    dtype = np.float32
    x = unaligned((rng.standard_normal(shape) * 3).astype(dtype), shift)
    t = unaligned(ref.softmax(rng.standard_normal(shape)).astype(dtype), shift)
    got = K.softmax_cross_entropy(x, t, reduction="none")
    expected = ref.cross_entropy("softmax_cross_entropy", x, t, reduction="none")
    np.testing.assert_allclose(got, expected, rtol=20 * eps(dtype), atol=300 * eps(dtype))
    seeds = rng.random(shape[0]).astype(dtype)
    (dx, _) = run_backward("softmax_cross_entropy", {"reduction": "none"}, [x, t], [seeds], [True, False])
    expected = gradient(x, t.astype(np.float64), seeds.astype(np.float64))
    np.testing.assert_allclose(dx, expected, atol=30 * eps(dtype))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("shape", [(300, 5), (70, 131), (5, 600), (3, 2500)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dense", [False, True])
def test_probabilities_and_their_logarithms(name: str, shape: tuple[int, int], smoothing: float, dense: bool) -> None:
    rng = np.random.default_rng(3)
    rows, classes = shape
    x = ref.softmax(rng.standard_normal(shape)).astype(np.float32)
    if name == "nll_loss":
        x = np.log(x)
    t = ref.softmax(rng.standard_normal(shape)).astype(np.float32) if dense else rng.integers(0, classes, rows)
    options = {"reduction": "mean", "label_smoothing": smoothing}
    got, expected = getattr(K, name)(x, t, **options), ref.cross_entropy(name, x, t, **options)
    np.testing.assert_allclose(got, expected, rtol=20 * eps(np.float32))
    one, wide = np.ones(()), x.astype(np.float64)
    (dx, _) = run_backward(name, options, [x, t], [one.astype(np.float32)], [True, False])
    t = t.astype(np.float64) if dense else t
    (exact, _) = run_backward(name, options, [wide, t], [one], [True, False])
    np.testing.assert_allclose(dx, exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max())


def test_rows_that_cannot_be() -> None:
    for classes in (3, 200, 600, 3000):
        x = np.zeros((3, classes), np.float32)
        x[0] = -np.inf
        x[1, 1:] = -np.inf
        x[2, 2] = np.inf
        got = K.softmax_cross_entropy(x, np.zeros(3, np.int64), reduction="none")
        assert np.isnan(got[0]) and got[1] == 0 and np.isnan(got[2])


@pytest.mark.parametrize("n", [16_384, 16_390, 600_001])
@pytest.mark.parametrize("shift", [0, 1])
def test_element_losses_of_many_blocks(n: int, shift: int) -> None:
    rng = np.random.default_rng(4)
    x = unaligned(rng.standard_normal(n).astype(np.float32), shift)
    t, w = rng.standard_normal(n).astype(np.float32), rng.random(n).astype(np.float32)
    values = (x.astype(np.float64) - t) ** 2
    np.testing.assert_allclose(K.mse_loss(x, t), values.mean(), rtol=1e-6)
    weighted = K.mse_loss(x, t, w, reduction="weighted_mean")
    np.testing.assert_allclose(weighted, (values * w).sum() / w.sum(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(K.mse_loss(x, t, reduction="none"), values, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(2000, 3), (9, 5, 130), (3, 1000), (2, 5000)])
@pytest.mark.parametrize("shift", [0, 1])
def test_element_losses_by_rows_and_groups(shape: tuple[int, ...], shift: int) -> None:
    rng = np.random.default_rng(5)
    x, t = (unaligned(rng.random(shape).astype(np.float32), shift) for _ in range(2))
    w, pos = rng.random(shape[:1]).astype(np.float32), (rng.random(shape[-1]) + 0.5).astype(np.float32)
    for row_mean in (False, True):
        for reduction in ("none", "sum"):
            attrs = {"reduction": reduction, "row_mean": row_mean}
            got = K.bce_with_logits_loss(x, t, w, pos, **attrs)
            expected = ref.element_loss("bce_with_logits_loss", x, t, w, pos_weight=pos, **attrs)
            np.testing.assert_allclose(got, expected, rtol=4e-6, atol=1e-7)
            seed = rng.random(np.shape(expected)).astype(np.float32)
            inputs = [x, t, w, pos]
            wanted = [True, False, False, False]
            (got, *_) = run_backward("bce_with_logits_loss", attrs, inputs, [seed], wanted)
            exact = [a.astype(np.float64) for a in (*inputs, seed)]
            (expected, *_) = run_backward("bce_with_logits_loss", attrs, exact[:4], exact[4:], wanted)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("rows,classes", [(20_000, 3), (2000, 40), (1100, 700), (4, 5000)])
def test_accuracy_of_many_rows(rows: int, classes: int) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(0, 50, (rows, classes)).astype(np.float32)
    labels = np.argmax(x, -1)
    labels[::3] = rng.integers(0, classes, labels[::3].shape)
    w = (rng.integers(0, 9, rows) / 8).astype(np.float32)
    right = np.argmax(x, -1) == labels
    assert K.accuracy(x, labels, w) == ((right * w).sum(dtype=np.float64), w.sum(dtype=np.float64))
    ahead = (x > x[np.arange(rows), labels][:, None]).sum(-1)
    assert K.accuracy(x, labels, k=3)[0] == (ahead < 3).sum()
    p, y = rng.random(rows * 3).astype(np.float32), rng.integers(0, 2, rows * 3).astype(np.float32)
    assert K.accuracy(p, y, kind="binary") == (((p > 0.5) == y).sum(), rows * 3)


def test_labels_out_of_range() -> None:
    x, labels = np.zeros((1000, 3), np.float32), np.zeros(1000, np.int64)
    labels[777] = 2**40
    for name in ("softmax_cross_entropy", "cross_entropy", "nll_loss", "accuracy"):
        with pytest.raises(ValueError, match=rf"labels: .* got (label )?{2**40} (at position|in row) 777"):
            getattr(K, name)(x, labels)
        assert np.isfinite(K.softmax_cross_entropy(x, labels % 3))  # the error is over
    labels[777] = -1
    with pytest.raises(ValueError, match=r"got (label )?-1 (at position|in row) 777"):
        K.softmax_cross_entropy(x, labels.astype(np.int32), ignore_index=-2)
    K.softmax_cross_entropy(x, labels, ignore_index=-1)
