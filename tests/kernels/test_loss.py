import numpy as np
import pytest
import reference_loss as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import _cpu
from lamella import kernels as K
from lamella._kernels._call import run, run_backward

DTYPES = [np.float32, np.float64]
CROSS_ENTROPIES = ["softmax_cross_entropy", "cross_entropy", "nll_loss"]
REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def scores(rng, name, shape, dtype):
    x = rng.standard_normal(shape) * 3
    if name == "cross_entropy":
        x = np.exp(x - x.max(-1, keepdims=True))
    if name == "nll_loss":
        x = ref.log_softmax(x)
    return x.astype(dtype)


def probabilities(rng, shape, dtype):
    return ref.softmax(rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CROSS_ENTROPIES)
@given(
    rows=st.sampled_from([(), (1,), (5,), (3, 4), (0,)]),
    classes=st.sampled_from([1, 2, 3, 10, 16, 17, 33, 300]),
    kind=st.sampled_from(["int32", "int64", "column", "dense"]),
    reduction=st.sampled_from(REDUCTIONS),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    ignore=st.sampled_from([None, -100, 0]),
    class_weight=st.booleans(),
    sample_weight=st.sampled_from([None, "full", "leading"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_cross_entropy(
    name, dtype, rows, classes, kind, reduction, smoothing, ignore, class_weight, sample_weight, seed
):
    rng = np.random.default_rng(seed)
    x = scores(rng, name, (*rows, classes), dtype)
    if kind == "dense":
        targets, ignore = probabilities(rng, x.shape, dtype), None
    else:
        targets = np.asarray(rng.integers(0, classes, rows), "int32" if kind == "int32" else "int64")
        if ignore is not None:
            targets = np.asarray(np.where(rng.random(rows) < 0.3, ignore, targets), targets.dtype)
        if kind == "column":
            targets = targets[..., None]
    cw = rng.random(classes).astype(dtype) + dtype(0.5) if class_weight else None
    sw = None
    if sample_weight and rows:
        sw = rng.random(rows if sample_weight == "full" else rows[:1]).astype(dtype)
    options = {"class_weight": cw, "sample_weight": sw, "reduction": reduction, "label_smoothing": smoothing}
    with np.errstate(all="ignore"):
        expected = ref.cross_entropy(name, x, targets, ignore_index=ignore, **options)
    got = getattr(K, name)(x, targets, ignore_index=ignore, **options)
    assert got.shape == np.shape(expected) and got.dtype == dtype
    # log-probabilities err by a few eps of their size (up to 30 here, 16 = -log(1e-7)), and the sum over the rows is
    # of that size too; weights are at most 1.5.
    scale = 30 * max(1.0, float(np.prod(rows)) if reduction == "sum" else 1.0)
    np.testing.assert_allclose(got, expected, rtol=20 * eps(dtype), atol=10 * eps(dtype) * scale)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("classes", [1, 4, 8, 15, 16, 17, 256, 257])
def test_every_row_has_its_own_logarithm(name, rows, classes):
    rng = np.random.default_rng(classes)
    x = scores(rng, name, (rows, classes), np.float32)
    labels = rng.integers(0, classes, rows)
    labels[rows // 3] = -100
    for smoothing in (0.0, 0.1):
        options = {"ignore_index": -100, "reduction": "none", "label_smoothing": smoothing}
        got, expected = getattr(K, name)(x, labels, **options), ref.cross_entropy(name, x, labels, **options)
        np.testing.assert_allclose(got, expected, rtol=20 * eps(np.float32), atol=300 * eps(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [3, 37])
@pytest.mark.parametrize("dense", [False, True])
def test_logits_gradient(classes, dense, dtype):
    rng = np.random.default_rng(5)
    x = scores(rng, "softmax_cross_entropy", (6, classes), dtype)
    t = probabilities(rng, x.shape, dtype) if dense else rng.integers(0, classes, 6)
    g = dtype(0.7)
    (dx, *_) = run_backward("softmax_cross_entropy", {}, [x, t], [np.array(g)], [True, False])
    one_hot = t if dense else np.eye(classes)[t]
    expected = (ref.softmax(x) * one_hot.sum(-1, keepdims=True, dtype=np.float64) - one_hot) / 6 * float(g)
    np.testing.assert_allclose(dx, expected, atol=10 * eps(dtype), rtol=10 * eps(dtype))


def test_logits_may_be_minus_infinity_where_not_wanted():
    x = np.array([[0.0, -np.inf, 1.0]], np.float32)
    hard = K.softmax_cross_entropy(x, np.array([2]))
    soft = K.softmax_cross_entropy(x, np.array([[0, 0, 1]], np.float32))
    np.testing.assert_allclose([hard, soft], [np.log1p(np.exp(-1))] * 2, rtol=1e-6)
    assert K.softmax_cross_entropy(x, np.array([1])) == np.inf
    (dx, _) = run_backward("softmax_cross_entropy", {}, [x, np.array([2])], [np.array(1, np.float32)], [True, False])
    assert np.isfinite(dx).all() and dx[0, 1] == 0


def test_nan_reaches_the_loss():
    x = np.zeros((2, 5), np.float32)
    x[1, 3] = np.nan
    t = np.array([0, 0])
    assert np.isnan(K.softmax_cross_entropy(x, t)) and np.isnan(K.cross_entropy(x, t))
    assert np.isnan(K.mse_loss(x, np.zeros_like(x)))
    assert np.isnan(K.bce_loss(x + np.float32(0.5), np.zeros_like(x)))
    assert np.isnan(K.huber_loss(x, np.zeros_like(x)))


def test_ignored_rows_have_no_gradient():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    t = np.array([1, -100, 2, -100])
    attrs = {"ignore_index": -100}
    (dx, _) = run_backward("softmax_cross_entropy", attrs, [x, t], [np.array(1, np.float32)], [True, False])
    assert not dx[[1, 3]].any() and dx[[0, 2]].all()
    none = np.full(4, -100)
    assert K.softmax_cross_entropy(x, none, ignore_index=-100) == 0
    assert np.isnan(K.softmax_cross_entropy(x, none, ignore_index=-100, reduction="weighted_mean"))


def test_keras_clips_probabilities():
    x = np.array([[1.0, 0.0], [0.0, 2.0]], np.float64)
    got = K.cross_entropy(x, np.array([1, 1]), reduction="none")
    np.testing.assert_allclose(got, [-np.log(1e-7), -np.log(1 - 1e-7)], rtol=1e-9)
    (dx, _) = run_backward("cross_entropy", {}, [x, np.array([1, 1])], [np.array(1.0)], [True, False])
    assert not dx.any()  # outside the bounds the loss is flat


ELEMENT_ATTRS = {
    "huber_loss": [{}, {"delta": 0.3}],
    "smooth_l1_loss": [{}, {"beta": 0.2}, {"beta": 0.0}],
    "bce_loss": [{}, {"epsilon": 0.0}, {"label_smoothing": 0.2}],
    "bce_with_logits_loss": [{}, {"label_smoothing": 0.2}],
    "poisson_loss": [{}, {"epsilon": 1e-3}],
}
POSITIVE = {"bce_loss", "poisson_loss", "kl_div_loss", "msle_loss"}


def pair(rng, name, shape, dtype):
    x, t = rng.standard_normal(shape) * 2, rng.standard_normal(shape) * 2
    if name in POSITIVE:
        x, t = rng.random(shape), rng.random(shape)
    if name in ("bce_with_logits_loss", "kl_div_log_loss"):
        t = rng.random(shape)
    if "hinge" in name:
        t = np.sign(t)
    return x.astype(dtype), t.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(ref.ELEMENT_LOSSES))
@given(
    shape=st.sampled_from([(), (1,), (7,), (5, 3), (2, 3, 17), (4, 1), (0, 3), (3, 300)]),
    which=st.integers(0, 2),
    reduction=st.sampled_from(REDUCTIONS),
    row_mean=st.booleans(),
    weight=st.sampled_from([None, "full", "leading", "scalar"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_element_loss(name, dtype, shape, which, reduction, row_mean, weight, seed):
    rng = np.random.default_rng(seed)
    options = ELEMENT_ATTRS.get(name, [{}])
    attrs = {"reduction": reduction, "row_mean": row_mean and bool(shape), **options[which % len(options)]}
    x, t = pair(rng, name, shape, dtype)
    w = None
    if weight:
        w = rng.random({"full": shape, "leading": shape[:1], "scalar": ()}[weight]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = ref.element_loss(name, x, t, w, **attrs)
        scale = np.abs(ref.element_loss(name, x, t, w, **{**attrs, "reduction": "none"}))
    got = K.element_loss(name, x, t, w, **attrs)
    assert got.shape == np.shape(expected) and got.dtype == dtype
    # Functions within a few ULP, arguments (differences, 1 - p) exact to half an ULP of values of about 8; and sums.
    size = max(8.0, scale.max(initial=0)) * (max(1, scale.size) if reduction == "sum" else 1)
    np.testing.assert_allclose(got, expected, rtol=20 * eps(dtype), atol=4 * eps(dtype) * size)


@pytest.mark.parametrize("cols", [1, 3, 20])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("row_mean", [False, True])
def test_pos_weight(cols, single, row_mean):
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((50, cols)), rng.random((50, cols))
    pos, w = rng.random(() if single else cols) + 0.5, rng.random(50)
    for reduction in REDUCTIONS:
        got = K.bce_with_logits_loss(x, t, w, pos, reduction=reduction, row_mean=row_mean)
        expected = ref.element_loss(
            "bce_with_logits_loss", x, t, w, pos_weight=pos, reduction=reduction, row_mean=row_mean
        )
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("name", sorted(ref.ELEMENT_LOSSES))
@pytest.mark.parametrize("n", [3, 40_001])
def test_element_gradients_in_float32(name, n):
    rng = np.random.default_rng(3)
    x, t = pair(rng, name, n, np.float32)
    attrs = {"reduction": "sum"}
    one = np.array(1)
    (got, *_) = run_backward(name, attrs, [x, t], [one.astype(np.float32)], [True, False])
    (want, *_) = run_backward(name, attrs, [x.astype(np.float64), t.astype(np.float64)], [one * 1.0], [True, False])
    # Slopes divide by p (1 - p), x or |t|, whose own rounding counts as much as they are small.
    smallest = max(1e-3, float(np.abs(np.concatenate([x, t, 1 - x])).min())) if name not in ("mse_loss",) else 1.0
    np.testing.assert_allclose(got, want, rtol=1e-6 / smallest, atol=1e-5)


def test_small_losses_keep_their_digits():
    x, t = np.array([20.0, -20.0], np.float32), np.array([1.0, 0.0], np.float32)
    np.testing.assert_allclose(K.bce_with_logits_loss(x, t, reduction="none"), np.exp(-20.0), rtol=1e-6)
    x = np.array([1e-3, 3.0, 200.0], np.float32)
    expected = [np.log(np.cosh(np.float64(np.float32(1e-3)))), np.log(np.cosh(3.0)), 200 - np.log(2.0)]
    np.testing.assert_allclose(K.element_loss("log_cosh_loss", x, 0 * x, reduction="none"), expected, rtol=1e-6)


def argmax_accuracy(x, labels, w):
    right = np.argmax(x, -1) == labels
    return float((right * w).sum()), float(np.broadcast_to(w, right.shape).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 10, 33, 1000])
def test_accuracy(classes, dtype):
    rng = np.random.default_rng(classes)
    x = rng.integers(0, 4, (200, classes)).astype(dtype)  # many ties: the first of them counts
    x[5, classes // 2] = np.nan
    labels = np.argmax(x, -1)
    labels[::3] = rng.integers(0, classes, labels[::3].shape)
    w = rng.random(200).astype(dtype)
    assert K.accuracy(x, labels) == argmax_accuracy(x, labels, np.ones(200))
    assert K.accuracy(x, labels.astype(np.int32)[:, None]) == argmax_accuracy(x, labels, np.ones(200))
    np.testing.assert_allclose(K.accuracy(x, labels, w), argmax_accuracy(x, labels, w.astype(np.float64)), rtol=1e-6)
    one_hot = np.eye(classes, dtype=dtype)[labels]
    assert K.accuracy(x, one_hot, kind="categorical") == K.accuracy(x, labels)
    assert K.accuracy(x, labels, ignore_index=0)[1] == (labels != 0).sum()


def test_top_k_and_binary_accuracy():
    x = np.array([[3, 1, 2], [3, 1, 2], [3, 1, 2], [0, np.nan, 0]], np.float32)
    t = np.array([0, 2, 1, 1])
    assert [K.accuracy(x, t, k=k)[0] for k in (1, 2, 3)] == [2.0, 2.0, 3.0]
    p = np.array([[0.2, 0.5, 0.7], [0.9, 0.1, 0.6]], np.float32)
    y = np.array([[0, 0, 1], [1, 1, 0]], np.float32)
    assert K.accuracy(p, y, kind="binary") == (4.0, 6.0)
    assert K.accuracy(p, y, kind="binary", threshold=0.65) == (5.0, 6.0)
    assert K.accuracy(p, y, np.array([1, 2], np.float32), kind="binary") == (5.0, 9.0)
    assert K.accuracy(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == (0.0, 0.0)


@pytest.mark.cpu  # devices find out later, and name the position
def test_labels_are_checked():
    x = np.zeros((4, 10), np.float32)
    good, bad = np.array([0, 9, 1, 2]), np.array([0, 9, 12, -1])
    K.softmax_cross_entropy(x, good)
    for name in ("softmax_cross_entropy", "cross_entropy", "nll_loss"):
        with pytest.raises(ValueError, match=r"label 12 in row 2 \(there are 10 classes\)"):
            getattr(K, name)(x, bad)
    with pytest.raises(ValueError, match="label -1 in row 3"):
        K.accuracy(x, np.array([0, 1, 2, -1], np.int32))
    with pytest.raises(ValueError, match="label 12 in row 2"):
        K.softmax_cross_entropy(x, bad, ignore_index=-1)
    many = np.zeros(1000, np.int64)
    many[777] = 2**40
    with pytest.raises(ValueError, match=f"label {2**40} in row 777"):
        K.softmax_cross_entropy(np.zeros((1000, 3)), many)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy", "nll_loss", "bce_with_logits_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_threads_give_the_same_bits(name, reduction):
    rng = np.random.default_rng(9)
    x = rng.random((3000, 50)).astype(np.float32)
    t = rng.random(x.shape).astype(np.float32)
    w = rng.random(3000).astype(np.float32)
    inputs = [x, t, w] if name.startswith("bce") else [x, t, None, w]
    attrs = {"reduction": reduction}
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        y = run(name, attrs, inputs)
        wanted = [True] + [False] * (len(inputs) - 1)
        results.append((y, run_backward(name, attrs, inputs, [np.ones_like(y)], wanted)[0]))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_attributes_round_trip():
    for name in [*CROSS_ENTROPIES, *ref.ELEMENT_LOSSES, "metric_accuracy"]:
        attrs = _cpu.Op(name).attrs
        assert _cpu.Op(name, attrs).attrs == attrs
