"""Losses in both idioms against plain NumPy: values, reductions, weights, gradients, plans, configurations."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import reference_ctc
from gradcheck import central_differences

import lamella
from lamella import layers, losses, metrics, models, nn
from lamella.nn import functional as F

rng = np.random.default_rng(0)
N, C = 6, 4
LOGITS = rng.standard_normal((N, C))
PROBS = rng.dirichlet(np.ones(C), N)
TARGETS = rng.dirichlet(np.ones(C), N)
BITS = (rng.random((N, C)) < 0.5).astype(np.float64)
LABELS = rng.integers(0, C, N)
ONE_HOT = np.eye(C)[LABELS]
WEIGHT = rng.random(N) + 0.5


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def bce(y: np.ndarray, p: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    y = y * (1 - smoothing) + smoothing / 2
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def focal(y: np.ndarray, p: np.ndarray, gamma: float, alpha: float | None = None) -> np.ndarray:
    p_t = y * p + (1 - y) * (1 - p)
    out = (1 - p_t) ** gamma * bce(y, p)
    return (out if alpha is None else out * (y * alpha + (1 - y) * (1 - alpha))).mean(-1)


def cosine(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


# Name, loss, y_true, y_pred, the loss of each sample.
KERAS: list[tuple[losses.Loss, np.ndarray, np.ndarray, np.ndarray]] = [
    (losses.MeanSquaredError(), TARGETS, LOGITS, ((TARGETS - LOGITS) ** 2).mean(-1)),
    (losses.MeanAbsoluteError(), TARGETS, LOGITS, np.abs(TARGETS - LOGITS).mean(-1)),
    (losses.MeanAbsolutePercentageError(), TARGETS, LOGITS, 100 * np.abs((TARGETS - LOGITS) / TARGETS).mean(-1)),
    (losses.MeanSquaredLogarithmicError(), TARGETS, PROBS, (np.log1p(TARGETS) - np.log1p(PROBS)).__pow__(2).mean(-1)),
    (losses.LogCosh(), TARGETS, LOGITS, np.log(np.cosh(LOGITS - TARGETS)).mean(-1)),
    (losses.Huber(0.6), TARGETS, LOGITS, np.where(np.abs(TARGETS - LOGITS) <= 0.6, (TARGETS - LOGITS) ** 2 / 2,
                                                  0.6 * np.abs(TARGETS - LOGITS) - 0.18).mean(-1)),
    (losses.Poisson(), TARGETS, PROBS, (PROBS - TARGETS * np.log(PROBS + 1e-7)).mean(-1)),
    (losses.KLDivergence(), TARGETS, PROBS, (TARGETS * np.log(TARGETS / PROBS)).sum(-1)),
    (losses.Hinge(), BITS, LOGITS, np.maximum(0, 1 - (2 * BITS - 1) * LOGITS).mean(-1)),
    (losses.Hinge(), 2 * BITS - 1, LOGITS, np.maximum(0, 1 - (2 * BITS - 1) * LOGITS).mean(-1)),
    (losses.SquaredHinge(), BITS, LOGITS, (np.maximum(0, 1 - (2 * BITS - 1) * LOGITS) ** 2).mean(-1)),
    (losses.CategoricalHinge(), ONE_HOT, LOGITS,
     np.maximum(0, 1 + ((1 - ONE_HOT) * LOGITS).max(-1) - (ONE_HOT * LOGITS).sum(-1))),
    (losses.CosineSimilarity(), TARGETS, LOGITS, -cosine(TARGETS, LOGITS)),
    (losses.CosineSimilarity(axis=0), TARGETS, LOGITS, -cosine(TARGETS, LOGITS, 0)),
    (losses.BinaryCrossentropy(), BITS, PROBS, bce(BITS, PROBS).mean(-1)),
    (losses.BinaryCrossentropy(axis=0), BITS, PROBS, bce(BITS, PROBS).mean(0)),
    (losses.BinaryCrossentropy(True, 0.2), BITS, LOGITS, bce(BITS, sigmoid(LOGITS), 0.2).mean(-1)),
    (losses.BinaryFocalCrossentropy(), BITS, PROBS, focal(BITS, PROBS, 2)),
    (losses.BinaryFocalCrossentropy(True, 0.3, 1.5, True), BITS, LOGITS, focal(BITS, sigmoid(LOGITS), 1.5, 0.3)),
    (losses.CategoricalCrossentropy(), TARGETS, PROBS, -(TARGETS * np.log(PROBS)).sum(-1)),
    (losses.CategoricalCrossentropy(True, 0.1), ONE_HOT, LOGITS,
     -((ONE_HOT * 0.9 + 0.1 / C) * np.log(softmax(LOGITS))).sum(-1)),
    (losses.CategoricalCrossentropy(axis=0), ONE_HOT, PROBS / PROBS.sum(0),
     -(ONE_HOT * np.log(PROBS / PROBS.sum(0))).sum(0)),
    (losses.SparseCategoricalCrossentropy(), LABELS, PROBS, -np.log(PROBS[np.arange(N), LABELS])),
    (losses.SparseCategoricalCrossentropy(True, axis=0), np.arange(C), LOGITS,
     -np.log(softmax(LOGITS.T)[np.arange(C), np.arange(C)])),
    (losses.CategoricalFocalCrossentropy(), ONE_HOT, PROBS,
     -(0.25 * ONE_HOT * (1 - PROBS) ** 2 * np.log(PROBS)).sum(-1)),
    (losses.CategoricalFocalCrossentropy([1, 2, 3, 4], 1.5, True, 0.1), ONE_HOT, LOGITS,
     -(np.arange(1, 5) * (ONE_HOT * 0.9 + 0.1 / C) * (1 - softmax(LOGITS)) ** 1.5 * np.log(softmax(LOGITS))).sum(-1)),
    (losses.CategoricalGeneralizedCrossEntropy(0.3), LABELS, PROBS, (1 - PROBS[np.arange(N), LABELS] ** 0.3) / 0.3),
    (losses.Dice(axis=-1), BITS, PROBS, 1 - 2 * (BITS * PROBS).sum(-1) / (BITS.sum(-1) + PROBS.sum(-1) + 1e-7)),
    (losses.Tversky(0.3, 0.6, axis=[1]), BITS, PROBS, 1 - (BITS * PROBS).sum(-1) / (
        (BITS * PROBS).sum(-1) + 0.3 * (BITS * (1 - PROBS)).sum(-1) + 0.6 * ((1 - BITS) * PROBS).sum(-1) + 1e-7)),
]  # fmt: skip
IDS = [f"{type(k[0]).__name__}{i}" for i, k in enumerate(KERAS)]


@pytest.mark.parametrize("case", KERAS, ids=IDS)
def test_keras_losses(case: Any) -> None:
    """Values, reductions, weights, dtypes, configurations; in float64, where sums agree to many digits."""
    loss, y, p, expected = case
    cls, config = type(loss), loss.get_config()
    weight = rng.random(len(expected))
    for reduction, plain, weighted in [
        ("none", expected, expected * weight),
        ("sum", expected.sum(), (expected * weight).sum()),
        ("sum_over_batch_size", expected.mean(), (expected * weight).mean()),
        ("mean_with_sample_weight", expected.mean(), (expected * weight).sum() / weight.sum()),
    ]:
        made = cls(**{**config, "reduction": reduction})
        np.testing.assert_allclose(made(y, p), plain, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(made(y, p, weight), weighted, rtol=1e-9, atol=1e-12)
    single = loss(y.astype(np.float32) if y.dtype.kind == "f" else y, p.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected.mean(), rtol=2e-5)
    assert cls(**{**config, "dtype": "float64"})(y, p.astype(np.float32)).dtype == np.float64
    again = losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))
    assert again.get_config() == config and again(y, p).item() == loss(y, p).item()


@pytest.mark.parametrize("case", KERAS, ids=IDS)
def test_keras_gradients(case: Any) -> None:
    loss, y, p, _ = case
    t = lamella.tensor(p, requires_grad=True)
    loss(y, t, None).backward()
    q = p.copy()
    expected = central_differences(lambda: loss(y, q).item(), q)
    np.testing.assert_allclose(t.grad, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


BY_SAMPLE = [i for i, (_, y, _, expected) in enumerate(KERAS) if expected.shape == (N,) and len(y) == N]


@pytest.mark.parametrize("case", [KERAS[i] for i in BY_SAMPLE], ids=[IDS[i] for i in BY_SAMPLE])
def test_keras_losses_in_plans(case: Any) -> None:
    """Traced, with and without weights; nothing falls back to the tape."""
    loss, y, p, expected = case
    model = models.Sequential([layers.Input((C,)), layers.Activation("linear")])
    model.compile("sgd", loss)
    data = p.astype(np.float32), y.astype(np.float32) if y.dtype.kind == "f" else y
    np.testing.assert_allclose(model.evaluate(*data, verbose=0), expected.mean(), rtol=2e-5)
    got = model.evaluate(*data, verbose=0, sample_weight=WEIGHT)
    np.testing.assert_allclose(got, (expected * WEIGHT).mean(), rtol=2e-5)
    assert all(s is not None for s in model._engine._steps.values())


def test_keras_functions_and_names() -> None:
    for loss, y, p, expected in KERAS:
        function = next(f for f, cls in losses._BY_FUNCTION.items() if cls is type(loss))
        arguments = {k: v for k, v in loss.get_config().items() if k not in ("name", "reduction")}
        np.testing.assert_allclose(function(y, p, **arguments), expected, rtol=1e-9, atol=1e-12)
        assert type(losses.get(function)) is type(losses.get(function.__name__)) is type(loss)
        assert type(losses.get(type(loss).__name__)) is type(losses.get(type(loss))) is type(loss)
    for short, name in [("bce", "BinaryCrossentropy"), ("MSE", "MeanSquaredError"), ("mae", "MeanAbsoluteError"),
                        ("mape", "MeanAbsolutePercentageError"), ("MSLE", "MeanSquaredLogarithmicError"),
                        ("kld", "KLDivergence"), ("log_cosh", "LogCosh")]:  # fmt: skip
        assert type(losses.get(short)).__name__ == name
    with pytest.raises(ValueError, match="did you mean 'hinge'"):
        losses.get("hinje")


def test_sequences_and_masks() -> None:
    """(n, t, c) predictions with weights a sample, a step, and labels to ignore."""
    p = rng.dirichlet(np.ones(C), (N, 3))
    labels = rng.integers(0, C, (N, 3))
    each = -np.log(np.take_along_axis(p, labels[..., None], -1))[..., 0]
    loss = losses.SparseCategoricalCrossentropy(reduction="none")
    np.testing.assert_allclose(loss(labels, p, WEIGHT), each * WEIGHT[:, None], rtol=1e-9)
    steps = rng.random((N, 3))
    np.testing.assert_allclose(loss(labels, p, steps), each * steps, rtol=1e-9)
    keep = labels != 2
    ignoring = losses.SparseCategoricalCrossentropy(ignore_class=2)
    np.testing.assert_allclose(ignoring(labels, p), each[keep].mean(), rtol=1e-9)
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=2, dtype="float64")
    metric.update_state(labels, p, steps)
    assert metric.result() == pytest.approx((each * steps)[keep].sum() / steps[keep].sum(), rel=1e-9)
    focal_loss = losses.CategoricalFocalCrossentropy(reduction="none")
    y = np.eye(C)[labels]
    expected = -(0.25 * y * (1 - p) ** 2 * np.log(p)).sum(-1) * WEIGHT[:, None]
    np.testing.assert_allclose(focal_loss(y, p, WEIGHT), expected, rtol=1e-9)


def test_user_losses() -> None:
    class Fourth(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return ((y_true - y_pred) ** 4).mean(-1)

    expected = ((TARGETS - LOGITS) ** 4).mean(-1)
    np.testing.assert_allclose(Fourth()(TARGETS, LOGITS, WEIGHT), (expected * WEIGHT).mean(), rtol=1e-9)
    assert Fourth(reduction="none")(TARGETS, LOGITS).shape == (N,)
    custom = {"class_name": "Fourth", "config": {"reduction": "sum"}}
    assert losses.deserialize(custom, {"Fourth": Fourth})(TARGETS, LOGITS).item() == pytest.approx(expected.sum())


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: losses.MeanSquaredError("avg"), "MeanSquaredError: reduction: expected one of"),
        (lambda: losses.MeanSquaredError(dtype="int32"), "MeanSquaredError: dtype"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "CategoricalCrossentropy: label_smoothing"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(1.0), "q: expected a number in"),
        (lambda: losses.BinaryCrossentropy(axis=2)(BITS, PROBS), "BinaryCrossentropy: axis"),
        (lambda: losses.MeanSquaredError()(np.zeros((N, 3)), LOGITS), "mean_squared_error: y_true: expected shape"),
        (lambda: losses.CategoricalFocalCrossentropy([1, 2])(ONE_HOT, PROBS), "alpha: expected 4 numbers"),
        (lambda: losses.CTC()(LABELS, LOGITS), "ctc: y_true, y_pred: expected shapes"),
    ],
)
def test_keras_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- CTC ---------------------------------------------------------------------------------------------------------


def test_ctc() -> None:
    logits = rng.standard_normal((3, 7, 5))
    log_p = np.log(softmax(logits))
    y = np.array([[1, 2, 0], [4, 4, 1], [3, 0, 0]])
    rows = [[1, 2], [4, 4, 1], [3]]
    expected = np.array([reference_ctc.ctc_loss(log_p[i], rows[i]) for i in range(3)])
    np.testing.assert_allclose(losses.CTC()(y, logits), expected.mean(), rtol=1e-9)
    np.testing.assert_allclose(losses.ctc(y, logits), expected, rtol=1e-9)
    lengths = [2, 3, 1]
    t = lamella.tensor(log_p.transpose(1, 0, 2))
    for targets in (lamella.tensor(y), lamella.tensor(np.array([1, 2, 4, 4, 1, 3]))):
        for steps in ((7, 7, 7), lamella.tensor(np.array([7, 7, 7], np.int32))):
            mean = nn.CTCLoss()(t, targets, steps, lengths)
            np.testing.assert_allclose(mean, (expected / lengths).mean(), rtol=1e-9)
            each = nn.CTCLoss(reduction="none")(t, targets, steps, lamella.tensor(np.array(lengths)))
            np.testing.assert_allclose(each, expected, rtol=1e-9)
    one = F.ctc_loss(t[:, 1], lamella.tensor(y[1]), 7, 3, reduction="sum")
    np.testing.assert_allclose(one, expected[1], rtol=1e-9)


def test_ctc_learns_in_fit() -> None:
    x = rng.standard_normal((8, 10, 6)).astype(np.float32)
    y = rng.integers(1, 4, (8, 3))
    lamella.seed(0)
    model = models.Sequential([layers.Input((10, 6)), layers.LSTM(16, return_sequences=True), layers.Dense(4)])
    model.compile("adam", "ctc")
    model.optimizer.learning_rate = 0.02
    history = model.fit(x, y, epochs=30, verbose=0, batch_size=8).history["loss"]
    assert history[-1] < 0.5 * history[0]
    assert all(s is not None for s in model._engine._steps.values())


# --- PyTorch -----------------------------------------------------------------------------------------------------

SIGNS = 2 * BITS - 1
A, B, D = (rng.standard_normal((N, C)) for _ in range(3))


def distance(a: np.ndarray, b: np.ndarray, p: float = 2) -> np.ndarray:
    return (np.abs(a - b + 1e-6) ** p).sum(-1) ** (1 / p)


def multi_margin(p: int, margin: float, weight: Any = None) -> np.ndarray:
    out = []
    for i, y in enumerate(LABELS):
        gaps = [max(0, margin - LOGITS[i, y] + LOGITS[i, j]) ** p for j in range(C) if j != y]
        out.append(sum(gaps) / C * (1 if weight is None else weight[y]))
    return np.array(out)


COS = cosine(A, B)
STIRLING = np.where(A**2 > 1, A**2 * np.log(A**2) - A**2 + 0.5 * np.log(2 * np.pi * A**2), 0)
CLASS_WEIGHT = np.array([0.5, 1.0, 2.0, 0.1])
TORCH: list[tuple[Any, tuple[np.ndarray, ...], np.ndarray]] = [
    (nn.SoftMarginLoss(), (LOGITS, SIGNS), np.log1p(np.exp(-SIGNS * LOGITS))),
    (nn.HingeEmbeddingLoss(0.7), (LOGITS, SIGNS), np.where(SIGNS > 0, LOGITS, np.maximum(0, 0.7 - LOGITS))),
    (nn.PoissonNLLLoss(), (A, B**2), np.exp(A) - B**2 * A),
    (nn.PoissonNLLLoss(False), (PROBS, A**2), PROBS - A**2 * np.log(PROBS + 1e-8)),
    (nn.PoissonNLLLoss(full=True), (B, A**2), np.exp(B) - A**2 * B + STIRLING),
    (nn.GaussianNLLLoss(), (A, B, PROBS + 0.1), 0.5 * (np.log(PROBS + 0.1) + (A - B) ** 2 / (PROBS + 0.1))),
    (nn.GaussianNLLLoss(full=True), (A, B, PROBS[:, :1]),
     0.5 * (np.log(PROBS[:, :1]) + (A - B) ** 2 / PROBS[:, :1]) + 0.5 * np.log(2 * np.pi)),
    (nn.MultiLabelSoftMarginLoss(), (LOGITS, BITS), bce(BITS, sigmoid(LOGITS)).mean(-1)),
    (nn.MultiMarginLoss(), (LOGITS, LABELS), multi_margin(1, 1.0)),
    (nn.MultiMarginLoss(2, 0.5, lamella.tensor(CLASS_WEIGHT)), (LOGITS, LABELS), multi_margin(2, 0.5, CLASS_WEIGHT)),
    (nn.MarginRankingLoss(0.2), (A, B, SIGNS), np.maximum(0, 0.2 - SIGNS * (A - B))),
    (nn.CosineEmbeddingLoss(0.1), (A, B, SIGNS[:, 0]), np.where(SIGNS[:, 0] > 0, 1 - COS, np.maximum(0, COS - 0.1))),
    (nn.TripletMarginLoss(), (A, B, D), np.maximum(0, distance(A, B) - distance(A, D) + 1)),
    (nn.TripletMarginLoss(0.5, 3.0, swap=True), (A, B, D),
     np.maximum(0, distance(A, B, 3) - np.minimum(distance(A, D, 3), distance(B, D, 3)) + 0.5)),
    (nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1)), (A, B, D),
     np.maximum(0, np.abs(A - B).sum(-1) - np.abs(A - D).sum(-1) + 1)),
    (nn.KLDivLoss(log_target=True), (np.log(PROBS), np.log(TARGETS)), TARGETS * np.log(TARGETS / PROBS)),
]  # fmt: skip


@pytest.mark.parametrize("case", TORCH, ids=[f"{type(c[0]).__name__}{i}" for i, c in enumerate(TORCH)])
def test_torch_losses(case: Any) -> None:
    """Values, reductions, the gradients by the first input."""
    loss, arrays, expected = case
    tensors = [lamella.tensor(a) for a in arrays]
    for reduction, value in [("none", expected), ("sum", expected.sum()), ("mean", expected.mean())]:
        loss.reduction = reduction
        np.testing.assert_allclose(loss(*tensors), value, rtol=1e-9, atol=1e-9)
    x = lamella.tensor(arrays[0], requires_grad=True)
    loss(x, *tensors[1:]).backward()
    q = arrays[0].copy()
    found = central_differences(lambda: loss(lamella.tensor(q), *tensors[1:]).item(), q)
    np.testing.assert_allclose(x.grad, found, rtol=1e-5, atol=1e-7)


def test_multilabel_margin() -> None:
    x = lamella.tensor([[0.1, 0.2, 0.4, 0.8]])
    y = lamella.tensor(np.array([[3, 0, -1, 1]]))
    # Of PyTorch's documentation.
    np.testing.assert_allclose(nn.MultiLabelMarginLoss()(x, y), 0.85, rtol=1e-6)
    np.testing.assert_allclose(F.multilabel_margin_loss(x[0], y[0]), 0.85, rtol=1e-6)


def test_weighted_errors_and_old_reductions() -> None:
    a, b, w = (lamella.tensor(t) for t in (A, B, PROBS))
    for function, each in [(F.mse_loss, (A - B) ** 2), (F.l1_loss, np.abs(A - B))]:
        np.testing.assert_allclose(function(a, b, weight=w), (each * PROBS).sum() / PROBS.sum(), rtol=1e-9)
        np.testing.assert_allclose(function(a, b, weight=w, reduction="sum"), (each * PROBS).sum(), rtol=1e-9)
    with pytest.warns(UserWarning, match="size_average, reduce: deprecated; use reduction='sum'"):
        np.testing.assert_allclose(F.mse_loss(a, b, False), ((A - B) ** 2).sum(), rtol=1e-9)
    with pytest.warns(UserWarning, match="use reduction='none'"):
        assert nn.MSELoss(reduce=False).reduction == "none"
    with pytest.warns(UserWarning, match="use reduction='mean'"):
        assert nn.CTCLoss.__mro__[1]("sum", True).reduction == "mean"


def test_gaussian_bounds() -> None:
    a, b = lamella.tensor(A), lamella.tensor(B)
    var = lamella.tensor(np.zeros((N, C)), requires_grad=True)
    loss = F.gaussian_nll_loss(a, b, var, eps=0.5)
    np.testing.assert_allclose(loss, (0.5 * (np.log(0.5) + (A - B) ** 2 / 0.5)).mean(), rtol=1e-9)
    loss.backward()
    np.testing.assert_allclose(var.grad, 0.5 * (1 / 0.5 - (A - B) ** 2 / 0.25) / (N * C), rtol=1e-9)
    assert F.gaussian_nll_loss(a, b, 2.0).item() == pytest.approx((0.5 * (np.log(2) + (A - B) ** 2 / 2)).mean())


def test_distances() -> None:
    a, b = lamella.tensor(A), lamella.tensor(B)
    np.testing.assert_allclose(nn.CosineSimilarity()(a, b), COS, rtol=1e-9)
    np.testing.assert_allclose(nn.CosineSimilarity(0)(a, b), cosine(A, B, 0), rtol=1e-9)
    np.testing.assert_allclose(nn.PairwiseDistance(keepdim=True)(a, b), distance(A, B)[:, None], rtol=1e-9)
    np.testing.assert_allclose(F.pairwise_distance(a, b, 1.0), distance(A, B, 1), rtol=1e-9)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: nn.MSELoss(reduction="batchmean"), "MSELoss: reduction: expected one of mean, sum, none"),
        (lambda: F.multi_margin_loss(lamella.tensor(A), lamella.tensor(LABELS), p=3), "p: expected 1 or 2, got 3"),
        (lambda: nn.TripletMarginLoss(0), "TripletMarginLoss: margin: expected a positive number"),
        (lambda: F.gaussian_nll_loss(*(lamella.tensor(t) for t in (A, B, -PROBS))), "var: expected variances"),
        (lambda: F.gaussian_nll_loss(*(lamella.tensor(t) for t in (A, B, A[:2]))), "var: expected shape"),
        (lambda: F.mse_loss(lamella.tensor(A), lamella.tensor(B), weight=lamella.tensor(WEIGHT)), "weight: expected"),
        (lambda: F.cosine_embedding_loss(*[lamella.tensor(A)] * 3), "cosine_embedding_loss: expected inputs"),
    ],
)
def test_torch_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_compiled_steps_have_these_losses() -> None:
    """Torch losses trace: the same values from a graph."""
    from lamella._trace import trace

    for loss, arrays, expected in TORCH:
        loss.reduction = "mean"
        if isinstance(loss, nn.TripletMarginWithDistanceLoss):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            traced = trace(loss, [(a.dtype.name, a.shape) for a in arrays])
        from lamella import _cpu

        plan = _cpu.Plan(traced.graph, [(a.dtype.name, a.shape) for a in arrays], traced.outputs)
        (got,) = plan.run([np.ascontiguousarray(a) for a in arrays])
        np.testing.assert_allclose(got, expected.mean(), rtol=1e-9, atol=1e-9)
