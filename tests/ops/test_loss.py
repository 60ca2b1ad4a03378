import numpy as np
import pytest
import reference_loss as ref
from gradcheck import check_gradients

from lamella import _cpu

REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_gradients(name, reduction, dense, weights, smoothing):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 4))
    if name == "cross_entropy":
        x = rng.random(x.shape) + 0.1  # not normalised
    t = rng.random(x.shape) if dense else rng.integers(0, 4, (2, 3))
    attrs = {"reduction": reduction, "label_smoothing": smoothing}
    if not dense:
        attrs["ignore_index"] = 2
    inputs = [x, t]
    if weights:
        inputs += [rng.random(4) + 0.5, rng.random(2) + 0.5]
    check_gradients(name, attrs, inputs, wanted=[0])


CASES = [(name, {}) for name in sorted(ref.ELEMENT_LOSSES)] + [
    ("huber_loss", {"delta": 0.4}),
    ("smooth_l1_loss", {"beta": 0.4}),
    ("smooth_l1_loss", {"beta": 0.0}),
    ("bce_loss", {"epsilon": 0.0}),
    ("bce_loss", {"label_smoothing": 0.3}),
    ("bce_with_logits_loss", {"label_smoothing": 0.3}),
]


@pytest.mark.parametrize("name,attrs", CASES)
@pytest.mark.parametrize("row_mean", [False, True])
@pytest.mark.parametrize("weight", [None, (), (3,), (3, 4)])
def test_element_gradients(name, attrs, row_mean, weight):
    rng = np.random.default_rng(2)
    # Away from the kinks: |x - t| of 0 or delta, |t| of 0, t x of 1, and inside the clips.
    x, t = rng.random((3, 4)) * 0.5 + 0.1, rng.random((3, 4)) * 0.3 + 0.65
    if "hinge" in name:
        t = np.where(rng.random((3, 4)) < 0.5, -1.0, 1.0)
    x += 3.0 if name == "mape_loss" else 0.0
    for reduction in REDUCTIONS:
        inputs = [x, t] if weight is None else [x, t, rng.random(weight) + 0.5]
        check_gradients(name, {**attrs, "reduction": reduction, "row_mean": row_mean}, inputs)


@pytest.mark.parametrize("pos", [(), (4,)])
def test_pos_weight_gradients(pos):
    rng = np.random.default_rng(3)
    x, t, w = rng.standard_normal((3, 4)), rng.random((3, 4)), rng.random(3)
    for row_mean in (False, True):
        for reduction in REDUCTIONS:
            attrs = {"reduction": reduction, "row_mean": row_mean}
            check_gradients("bce_with_logits_loss", attrs, [x, t, w, rng.random(pos) + 0.5], wanted=[0])
            check_gradients("bce_with_logits_loss", attrs, [x, t, None, rng.random(pos) + 0.5], wanted=[0])


def test_symmetric_losses_have_target_gradients():
    assert _cpu.Op("mse_loss").differentiable(1) and not _cpu.Op("bce_loss").differentiable(1)


F4 = ("float32", (2, 3))


@pytest.mark.parametrize(
    "name,attrs,specs,error,text",
    [
        ("softmax_cross_entropy", {"reduction": "avg"}, [F4, F4], ValueError, "'weighted_mean', got 'avg'"),
        ("softmax_cross_entropy", {"label_smoothing": 1.5}, [F4, F4], ValueError, "label_smoothing"),
        ("softmax_cross_entropy", {"smoothing": 0.1}, [F4, F4], ValueError, "label_smoothing"),
        ("softmax_cross_entropy", {}, [F4], ValueError, "2 to 4 arrays, got 1"),
        ("softmax_cross_entropy", {}, [F4, ("float32", (2, 4))], ValueError, "targets"),
        ("softmax_cross_entropy", {}, [F4, ("float64", (2, 3))], TypeError, "int32 or int64 labels"),
        ("softmax_cross_entropy", {}, [F4, ("int64", (3,))], ValueError, "labels"),
        ("softmax_cross_entropy", {}, [F4, F4, ("float32", (2,))], ValueError, "class_weight"),
        ("softmax_cross_entropy", {}, [F4, F4, None, ("float32", (3,))], ValueError, "sample_weight"),
        ("softmax_cross_entropy", {"ignore_index": 0}, [F4, F4], ValueError, "ignore_index"),
        ("softmax_cross_entropy", {}, [("float32", (2, 0)), ("int64", (2,))], ValueError, "at least one class"),
        ("cross_entropy", {"epsilon": 0.7}, [F4, F4], ValueError, "epsilon"),
        ("mse_loss", {}, [F4, ("float32", (2, 1))], ValueError, "target"),
        ("mse_loss", {}, [F4, ("int32", (2, 3))], TypeError, "target"),
        ("mse_loss", {}, [F4, F4, ("float32", (3,))], ValueError, "weight"),
        ("mse_loss", {"delta": 1.0}, [F4, F4], ValueError, "delta"),
        ("huber_loss", {"delta": 0.0}, [F4, F4], ValueError, "delta"),
        ("mse_loss", {}, [F4, F4, None, F4], ValueError, "2 to 3 arrays"),
        ("bce_with_logits_loss", {}, [F4, F4, None, ("float32", (2,))], ValueError, "pos_weight"),
        ("metric_accuracy", {"kind": "argmax"}, [F4, F4], ValueError, "'categorical'"),
        ("metric_accuracy", {"threshold": 0.5}, [F4, ("int64", (2,))], ValueError, "threshold"),
        ("metric_accuracy", {"kind": "binary", "k": 2}, [F4, F4], ValueError, "'k'"),
        ("metric_accuracy", {"k": 0}, [F4, ("int64", (2,))], ValueError, "at least 1"),
        ("metric_accuracy", {}, [F4, F4], TypeError, "int32 or int64"),
    ],
)
def test_errors(name, attrs, specs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op(name, attrs).infer(specs)
