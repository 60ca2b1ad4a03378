"""Losses and metrics beside PyTorch's and Keras': values and gradients over random arguments."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

import lamella  # noqa: E402
from lamella import losses, metrics, nn  # noqa: E402

rng = np.random.default_rng(0)
N, C = 7, 5
X = rng.standard_normal((N, C)).astype(np.float32)
P = rng.dirichlet(np.ones(C), N).astype(np.float32)
T = rng.dirichlet(np.ones(C), N).astype(np.float32)
BITS = (rng.random((N, C)) < 0.5).astype(np.float32)
LABELS = rng.integers(0, C, N)
ONE_HOT = np.eye(C, dtype=np.float32)[LABELS]
W = rng.random(N).astype(np.float32)
CW = rng.random(C).astype(np.float32)
S = 2 * BITS - 1
A, B, D = (rng.standard_normal((N, C)).astype(np.float32) for _ in range(3))
SEVERAL = np.where(rng.random((N, C)) < 0.4, -1, rng.permuted(np.tile(np.arange(C), (N, 1)), axis=1))

TORCH: list[tuple[str, dict[str, Any], tuple[np.ndarray, ...]]] = [
    ("MSELoss", {}, (A, B)), ("L1Loss", {}, (A, B)), ("HuberLoss", {"delta": 0.4}, (A, B)),
    ("SmoothL1Loss", {"beta": 0.4}, (A, B)), ("BCELoss", {"weight": CW}, (P, BITS)),
    ("BCEWithLogitsLoss", {"weight": CW, "pos_weight": CW + 1}, (X, BITS)),
    ("CrossEntropyLoss", {"weight": CW, "ignore_index": 2, "label_smoothing": 0.1}, (X, LABELS)),
    ("CrossEntropyLoss", {"weight": CW, "label_smoothing": 0.1}, (X, T)),
    ("NLLLoss", {"weight": CW, "ignore_index": 1}, (np.log(P), LABELS)),
    ("KLDivLoss", {}, (np.log(P), T)), ("KLDivLoss", {"log_target": True}, (np.log(P), np.log(T))),
    ("PoissonNLLLoss", {}, (A, B**2)), ("PoissonNLLLoss", {"log_input": False, "full": True}, (P, 3 * T)),
    ("GaussianNLLLoss", {"full": True}, (A, B, P)), ("GaussianNLLLoss", {"eps": 0.3}, (A, B, P[:, 0])),
    ("SoftMarginLoss", {}, (X, S)), ("HingeEmbeddingLoss", {"margin": 0.5}, (X, S)),
    ("MultiLabelSoftMarginLoss", {"weight": CW}, (X, BITS)),
    ("MultiMarginLoss", {}, (X, LABELS)), ("MultiMarginLoss", {"p": 2, "margin": 0.3, "weight": CW}, (X, LABELS)),
    ("MultiLabelMarginLoss", {}, (X, SEVERAL)),
    ("MarginRankingLoss", {"margin": 0.1}, (A, B, S)), ("CosineEmbeddingLoss", {"margin": 0.2}, (A, B, S[:, 0])),
    ("TripletMarginLoss", {"swap": True}, (A, B, D)), ("TripletMarginLoss", {"p": 1.0, "margin": 2.0}, (A, B, D)),
    ("TripletMarginWithDistanceLoss", {}, (A, B, D)),
]  # fmt: skip


@pytest.mark.parametrize("case", TORCH, ids=[f"{c[0]}{i}" for i, c in enumerate(TORCH)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torch_losses(case: Any, reduction: str) -> None:
    name, arguments, arrays = case
    made, theirs = (
        getattr(module, name)(
            **{k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}, reduction=reduction
        )
        for module, tensor in ((nn, lamella.tensor), (torch.nn, torch.tensor))
    )
    x, t = lamella.tensor(arrays[0], requires_grad=True), torch.tensor(arrays[0], requires_grad=True)
    got = made(x, *[lamella.tensor(a) for a in arrays[1:]])
    want = theirs(t, *[torch.tensor(a) for a in arrays[1:]])
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=2e-5, atol=2e-6)
    (got * lamella.tensor(np.ones(got.shape, np.float32))).sum().backward()
    want.sum().backward()
    np.testing.assert_allclose(x.grad, t.grad, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc(reduction: str, zero_infinity: bool) -> None:
    for _ in range(10):
        steps, n, width = int(rng.integers(8, 20)), int(rng.integers(1, 5)), int(rng.integers(1, 8))
        logits = rng.standard_normal((steps, n, C)).astype(np.float32)
        blank = int(rng.integers(C))
        targets = rng.choice([c for c in range(C) if c != blank], (n, width))
        inputs, lengths = rng.integers(8, steps + 1, n), rng.integers(1, width + 1, n)
        if zero_infinity:
            inputs[0], lengths[0] = min(inputs[0], 8), width
        ours = nn.CTCLoss(blank, reduction, zero_infinity)
        theirs = torch.nn.CTCLoss(blank, reduction, zero_infinity)
        x, t = lamella.tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
        got = ours(x.log_softmax(-1), *[lamella.tensor(a) for a in (targets, inputs, lengths)])
        want = theirs(t.log_softmax(-1), *[torch.tensor(a) for a in (targets, inputs, lengths)])
        np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-5)
        if np.isfinite(want.detach().numpy()).all():
            got.sum().backward()
            want.sum().backward()
            np.testing.assert_allclose(x.grad, t.grad, rtol=1e-4, atol=1e-5)


KERAS: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray]] = [
    ("MeanSquaredError", {}, T, X), ("MeanAbsoluteError", {}, T, X), ("MeanAbsolutePercentageError", {}, T, X),
    ("MeanSquaredLogarithmicError", {}, T, P), ("LogCosh", {}, T, X), ("Huber", {"delta": 0.5}, T, X),
    ("Poisson", {}, T, P), ("KLDivergence", {}, T, P), ("Hinge", {}, BITS, X), ("SquaredHinge", {}, S, X),
    ("CategoricalHinge", {}, ONE_HOT, X), ("CosineSimilarity", {}, T, X), ("CosineSimilarity", {"axis": 0}, T, X),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, BITS, P), ("BinaryCrossentropy", {"from_logits": True}, BITS, X),
    ("BinaryCrossentropy", {"axis": 0}, BITS, P),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.3, "label_smoothing": 0.1}, BITS, P),
    ("BinaryFocalCrossentropy", {"from_logits": True}, BITS, X),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, T, P),
    ("CategoricalCrossentropy", {"from_logits": True, "axis": 0}, T, X),
    ("SparseCategoricalCrossentropy", {}, LABELS, P),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, LABELS, X),
    ("CategoricalFocalCrossentropy", {"alpha": 0.4, "label_smoothing": 0.1}, ONE_HOT, P),
    ("CategoricalFocalCrossentropy", {"gamma": 1.3, "from_logits": True}, ONE_HOT, X),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, LABELS, P),
    ("Dice", {}, BITS, P), ("Dice", {"axis": 1}, BITS, P), ("Tversky", {"alpha": 0.2, "axis": 1}, BITS, P),
]  # fmt: skip


@pytest.mark.parametrize("case", KERAS, ids=[f"{c[0]}{i}" for i, c in enumerate(KERAS)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_keras_losses(case: Any, reduction: str, weighted: bool) -> None:
    name, arguments, y, p = case
    if weighted and (arguments.get("axis") == 0 or (name == "Dice" and not arguments)):
        return  # not one value per sample
    if weighted and "ignore_class" in arguments and reduction == "mean_with_sample_weight":
        return  # Keras divides by the weights of ignored samples, too
    weight = W if weighted else None
    x, t = lamella.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    got = getattr(losses, name)(**arguments, reduction=reduction)(y, x, weight)
    want = getattr(keras.losses, name)(**arguments, reduction=reduction)(y, t, weight)
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=5e-5, atol=2e-6)
    got.sum().backward()
    want.sum().backward()
    np.testing.assert_allclose(x.grad, t.grad, rtol=1e-4, atol=5e-6)


def test_keras_ctc() -> None:
    logits = rng.standard_normal((4, 12, 6)).astype(np.float32)
    y = np.array([[1, 2, 0, 0], [3, 3, 5, 1], [4, 0, 0, 0], [2, 1, 2, 0]])
    got, want = losses.CTC(reduction="none")(y, logits), keras.losses.CTC(reduction="none")(y, logits)
    np.testing.assert_allclose(got, want, rtol=1e-5)


SCORES = rng.random((60, C)).astype(np.float32)
MANY = np.eye(C, dtype=np.float32)[rng.integers(0, C, 60)]
CLASSES = MANY.argmax(1)
YES = (rng.random(60) < 0.4).astype(np.float32)
MAYBE = np.clip(0.3 * YES + 0.7 * rng.random(60), 0, 1).astype(np.float32)
WEIGHTS = rng.random(60).astype(np.float32)
METRICS: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray]] = [
    *[("AUC", {"curve": c, "summation_method": s, "num_thresholds": 37}, YES, MAYBE)
      for c in ("ROC", "PR", "PRGAIN") for s in ("interpolation", "minoring", "majoring")],
    ("AUC", {}, YES, MAYBE), ("AUC", {"thresholds": [0.1, 0.15, 0.8]}, YES, MAYBE),
    ("AUC", {"multi_label": True, "curve": "PR"}, MANY, SCORES),
    ("AUC", {"multi_label": True, "label_weights": [1.0, 2.0, 3.0, 0.5, 0.0]}, MANY, SCORES),
    ("AUC", {"label_weights": [1.0, 2.0, 3.0, 0.5, 0.0]}, MANY, SCORES),
    ("AUC", {"from_logits": True}, YES, MAYBE * 4 - 2),
    *[(m, a, MANY, SCORES) for m in ("Precision", "Recall")
      for a in ({}, {"thresholds": [0.7, 0.2]},
                {"top_k": 2}, {"class_id": 1}, {"top_k": 3, "class_id": 0, "thresholds": 0.5})],
    *[(m, {"thresholds": [0.3, 0.9, 0.5]}, YES, MAYBE)
      for m in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")],
    ("SensitivityAtSpecificity", {"specificity": 0.6}, YES, MAYBE),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 11}, YES, MAYBE),
    ("PrecisionAtRecall", {"recall": 0.6}, YES, MAYBE), ("RecallAtPrecision", {"precision": 0.5}, YES, MAYBE),
    *[("FBetaScore", {"average": a, "beta": 2.0, "threshold": t}, MANY, SCORES)
      for a in (None, "micro", "macro", "weighted") for t in (None, 0.5)],
    ("F1Score", {"average": "macro"}, MANY, SCORES),
    ("MeanSquaredError", {}, MANY, SCORES), ("RootMeanSquaredError", {}, MANY, SCORES),
    ("MeanAbsoluteError", {}, MANY, SCORES), ("MeanAbsolutePercentageError", {}, MANY + 1, SCORES),
    ("MeanSquaredLogarithmicError", {}, MANY, SCORES), ("LogCoshError", {}, MANY, SCORES),
    ("KLDivergence", {}, SCORES[::-1].copy(), SCORES), ("Poisson", {}, MANY, SCORES), ("Hinge", {}, MANY, SCORES),
    ("SquaredHinge", {}, MANY, SCORES), ("CategoricalHinge", {}, MANY, SCORES),
    ("CosineSimilarity", {}, MANY, SCORES), ("R2Score", {}, MANY, SCORES),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 3}, MANY, SCORES),
    ("R2Score", {"class_aggregation": None}, MANY, SCORES),
    ("PearsonCorrelation", {}, SCORES[::-1].copy(), SCORES),
    ("ConcordanceCorrelation", {}, SCORES[::-1].copy(), SCORES),
    ("BinaryAccuracy", {"threshold": 0.3}, YES, MAYBE), ("CategoricalAccuracy", {}, MANY, SCORES),
    ("SparseCategoricalAccuracy", {}, CLASSES, SCORES), ("TopKCategoricalAccuracy", {"k": 2}, MANY, SCORES),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, CLASSES, SCORES),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, MANY, SCORES),
    ("CategoricalCrossentropy", {"from_logits": True}, MANY, SCORES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, CLASSES, SCORES),
    ("MeanIoU", {"num_classes": C, "sparse_y_pred": False}, CLASSES, SCORES),
    ("IoU", {"num_classes": C, "target_class_ids": [0, 3], "sparse_y_pred": False, "ignore_class": 2}, CLASSES, SCORES),
    ("OneHotMeanIoU", {"num_classes": C}, MANY, SCORES), ("BinaryIoU", {"threshold": 0.6}, YES, MAYBE),
]  # fmt: skip


@pytest.mark.parametrize("case", METRICS, ids=[f"{c[0]}{i}" for i, c in enumerate(METRICS)])
@pytest.mark.parametrize("weighted", [False, True])
def test_keras_metrics(case: Any, weighted: bool) -> None:
    name, arguments, y, p = case
    if weighted and "IoU" in name:
        return  # Keras rounds weights to integers there
    ours, theirs = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    for rows in (slice(0, 25), slice(25, 60)):
        weight = WEIGHTS[rows] if weighted else None
        ours.update_state(y[rows], p[rows], weight)
        keras_weight = weight
        if weighted and y.ndim == 2 and name in ("Precision", "Recall", "AUC"):
            columns = 1 if "class_id" in arguments else C
            keras_weight = np.tile(weight[:, None], columns)  # Keras wants the rank of y_true
        theirs.update_state(y[rows], p[rows], keras_weight)
    np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=1e-4, atol=1e-5)
    assert set(theirs.get_config()) - {"dtype", "num_thresholds", "fn"} <= set(ours.get_config()) or "IoU" in name


def test_keras_names() -> None:
    """Whatever Keras finds by name is found here."""
    from keras.src import losses as keras_losses
    from keras.src import metrics as keras_metrics

    for module, known in ((losses, keras_losses.ALL_OBJECTS_DICT), (metrics, keras_metrics.ALL_OBJECTS_DICT)):
        ours = {**module._BY_NAME, **module._CLASSES}
        abstract = {"Loss", "LossFunctionWrapper", "Metric", "metric", "MeanMetricWrapper", "mean_metric_wrapper"}
        assert set(known) - set(ours) - abstract - {"Circle", "circle"} == set()
