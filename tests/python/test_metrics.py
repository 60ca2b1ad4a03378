"""Metrics alone, against plain NumPy, and in fit and evaluate."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import lamella
from lamella import layers, metrics, models

rng = np.random.default_rng(0)
SCORES = rng.random((40, 4)).astype(np.float32)
ONE_HOT = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 40)]
LABELS = ONE_HOT.argmax(1)
BINARY = (rng.random(50) < 0.4).astype(np.float32)
PROBS = np.clip(BINARY * 0.3 + rng.random(50) * 0.7, 0, 1).astype(np.float32)
WEIGHT = rng.random(50).astype(np.float32)


def value(metric: metrics.Metric, *args: Any) -> Any:
    metric.update_state(*args)
    return metric.result()


# Every metric with arguments for which (n, 4) one-hot targets and scores do, or labels where it says so.
EXAMPLES: dict[str, tuple[metrics.Metric, bool]] = {
    "BinaryIoU": (metrics.BinaryIoU(threshold=0.4), False),
    "ConfusionMatrix": (metrics.ConfusionMatrix(4, normalize="true"), True),
    "IoU": (metrics.IoU(4, [0, 2], sparse_y_pred=False), True),
    "MeanIoU": (metrics.MeanIoU(4, sparse_y_pred=False), True),
    "OneHotIoU": (metrics.OneHotIoU(4, [1]), False),
    "OneHotMeanIoU": (metrics.OneHotMeanIoU(4), False),
    "PrecisionAtRecall": (metrics.PrecisionAtRecall(0.5), False),
    "RecallAtPrecision": (metrics.RecallAtPrecision(0.3), False),
    "SensitivityAtSpecificity": (metrics.SensitivityAtSpecificity(0.5, num_thresholds=20), False),
    "SpecificityAtSensitivity": (metrics.SpecificityAtSensitivity(0.5, class_id=1), False),
    "SparseCategoricalAccuracy": (metrics.SparseCategoricalAccuracy(), True),
    "SparseCategoricalCrossentropy": (metrics.SparseCategoricalCrossentropy(ignore_class=2), True),
    "SparseTopKCategoricalAccuracy": (metrics.SparseTopKCategoricalAccuracy(2), True),
    "TopKCategoricalAccuracy": (metrics.TopKCategoricalAccuracy(2), False),
    "AUC": (metrics.AUC(30, "PR", multi_label=True, label_weights=[1, 2, 3, 4]), False),
    "FBetaScore": (metrics.FBetaScore("weighted", 2.0, 0.5), False),
    "Precision": (metrics.Precision([0.2, 0.6], top_k=2, class_id=1), False),
    "R2Score": (metrics.R2Score("variance_weighted_average", 2), False),
}
PLAIN = {"Mean", "Sum"}  # of values, not of targets and predictions
BASES = {"Metric", "MeanMetricWrapper"}
NAMES = [n for n in metrics.__all__ if isinstance(getattr(metrics, n), type) and n not in BASES | PLAIN]


def example(name: str) -> tuple[metrics.Metric, Any]:
    metric, labels = EXAMPLES.get(name) or (getattr(metrics, name)(), False)
    metric = type(metric).from_config(metric.get_config())
    return metric, LABELS if labels else ONE_HOT


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_configurations(name: str) -> None:
    """Two batches are one; a saved configuration gives the same; reset starts again."""
    metric, true = example(name)
    whole = np.asarray(value(metric, true, SCORES))
    assert np.isfinite(whole).all()
    metric.reset_state()
    metric.update_state(true[:15], SCORES[:15])
    halves = value(metric, true[15:], SCORES[15:])
    np.testing.assert_allclose(halves, whole, rtol=2e-5, atol=1e-6)
    again = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert type(again) is type(metric) and again.name == metric.name
    np.testing.assert_array_equal(value(again, true, SCORES), whole)
    weighted, twice = example(name)[0], example(name)[0]
    weights = rng.integers(1, 3, 40)
    repeated = np.repeat(np.arange(40), weights)
    if name not in ("Accuracy", "R2Score"):
        got = value(weighted, true, SCORES, weights.astype(np.float32))
        np.testing.assert_allclose(got, value(twice, true[repeated], SCORES[repeated]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_plans_compute_what_update_state_does(name: str) -> None:
    """In evaluate through native steps, and eagerly."""
    metric, true = example(name)
    results = []
    for eagerly in (False, True):
        metric = example(name)[0]
        model = models.Sequential([layers.Input((4,)), layers.Activation("linear")])
        loss = "sparse_categorical_crossentropy" if true is LABELS else "mse"
        model.compile("sgd", loss, metrics=[metric], run_eagerly=eagerly)
        results.append(model.evaluate(SCORES, true, batch_size=16, verbose=0, return_dict=True)[metric.name])
        step = next(iter(model._engine._steps.values()))
        assert (step is None) == eagerly
        assert eagerly or not step.watched
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    np.testing.assert_allclose(results[0], value(example(name)[0], true, SCORES), rtol=2e-5, atol=1e-6)


def test_mean_and_sum() -> None:
    mean, total = metrics.Mean(), metrics.Sum()
    for m in (mean, total):
        assert m.result() == 0
        m.update_state([1, 3, 5])
        m.update_state([10], sample_weight=[2])
    assert mean.result() == pytest.approx(29 / 5) and total.result() == 29
    mean.reset_state()
    assert mean([[1, 2], [3, 4]], sample_weight=[1, 0]) == 1.5


# --- thresholds --------------------------------------------------------------------------------------------------


def cells(threshold: float, weight: np.ndarray | None = None) -> tuple[float, float, float, float]:
    w = np.ones(50) if weight is None else weight.astype(np.float64)
    above, positive = threshold < PROBS, BINARY > 0
    return tuple(float((w * (a & b)).sum()) for a, b in (
        (above, positive), (above, ~positive), (~above, ~positive), (~above, positive)
    ))  # fmt: skip


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_cells_precision_recall(weight: Any) -> None:
    for threshold in (0.5, 0.2, [0.7, 0.1, 0.4]):
        found = [cells(t, weight) for t in np.atleast_1d(threshold)]
        tp, fp, tn, fn = (np.squeeze([f[i] for f in found]) for i in range(4))
        expected = {"TruePositives": tp, "FalsePositives": fp, "TrueNegatives": tn, "FalseNegatives": fn,
                    "Precision": tp / (tp + fp), "Recall": tp / (tp + fn)}  # fmt: skip
        for name, want in expected.items():
            got = value(getattr(metrics, name)(threshold), BINARY, PROBS, weight)
            np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=name)
            got = value(getattr(metrics, name)(threshold), BINARY[:, None], PROBS[:, None], weight)
            np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=name)


def test_top_k_and_class_id() -> None:
    true = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4]], np.float32)
    assert value(metrics.Precision(top_k=2), true, scores) == 2 / 4  # right: (0, 0), (1, 1)
    assert value(metrics.Recall(top_k=2), true, scores) == 2 / 3
    assert value(metrics.Recall(class_id=0), true, scores) == 1
    assert value(metrics.Precision(top_k=2, class_id=1), true, scores) == 1 / 2
    assert value(metrics.Precision(thresholds=0.35, top_k=2), true, scores) == 1 / 3


def test_auc_of_ranks() -> None:
    """With thresholds between all scores the ROC area is the share of pairs in the right order."""
    pairs = (PROBS[BINARY > 0][:, None] - PROBS[BINARY == 0][None, :]).ravel()
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    at = np.sort(PROBS)
    between = list((at[1:] + at[:-1]) / 2)
    assert value(metrics.AUC(thresholds=between), BINARY, PROBS) == pytest.approx(expected, rel=1e-9)
    logits = np.log(PROBS / (1 - PROBS + 1e-9) + 1e-9)
    assert value(metrics.AUC(1000, from_logits=True), BINARY, logits) == pytest.approx(expected, abs=0.01)
    assert value(metrics.AUC(), BINARY, BINARY) == pytest.approx(1.0)
    assert value(metrics.AUC(), BINARY, 1 - BINARY) == pytest.approx(0.0)


@pytest.mark.parametrize("curve", ["ROC", "PR", "PRGAIN"])
def test_auc_bounds(curve: str) -> None:
    low, mid, high = (
        value(metrics.AUC(50, curve, how), BINARY, PROBS, WEIGHT) for how in ("minoring", "interpolation", "majoring")
    )
    assert 0 <= low <= mid <= high <= 1.0001 and low < high


def test_f_scores() -> None:
    predicted = np.eye(4)[SCORES.argmax(1)]
    tp, fp, fn = ((predicted * ONE_HOT).sum(0), (predicted * (1 - ONE_HOT)).sum(0), ((1 - predicted) * ONE_HOT).sum(0))
    scores = 2 * tp / (2 * tp + fp + fn)
    np.testing.assert_allclose(value(metrics.F1Score(), ONE_HOT, SCORES), scores, rtol=1e-12)
    assert value(metrics.F1Score("macro"), ONE_HOT, SCORES) == pytest.approx(scores.mean())
    weighted = (scores * ONE_HOT.sum(0)).sum() / 40
    assert value(metrics.F1Score("weighted"), ONE_HOT, SCORES) == pytest.approx(weighted)
    assert value(metrics.F1Score("micro"), ONE_HOT, SCORES) == pytest.approx(tp.sum() / 40)
    beta = 5 * tp / (5 * tp + 4 * fn + fp)
    np.testing.assert_allclose(value(metrics.FBetaScore(beta=2.0), ONE_HOT, SCORES), beta, rtol=1e-12)


# --- classes -----------------------------------------------------------------------------------------------------


def test_confusion_matrix() -> None:
    expected = np.zeros((4, 4))
    np.add.at(expected, (LABELS, SCORES.argmax(1)), 1)
    for true in (LABELS, LABELS[:, None], ONE_HOT):
        np.testing.assert_array_equal(value(metrics.ConfusionMatrix(4), true, SCORES), expected)
    np.testing.assert_array_equal(value(metrics.ConfusionMatrix(4), LABELS, SCORES.argmax(1)), expected)
    rows = value(metrics.ConfusionMatrix(4, normalize="true"), LABELS, SCORES)
    np.testing.assert_allclose(rows.sum(1), 1)
    two = value(metrics.ConfusionMatrix(2), BINARY, PROBS[:, None])
    tp, fp, tn, fn = cells(0.5)
    np.testing.assert_array_equal(two, [[tn, fp], [fn, tp]])
    with pytest.raises(ValueError, match=r"class numbers in \[0, 3\), got label 3"):
        value(metrics.ConfusionMatrix(3), LABELS, SCORES.argmax(1))


def test_intersection_over_union() -> None:
    true, predicted = np.array([[0, 1], [1, 2]]), np.array([[0, 1], [2, 2]])
    assert value(metrics.MeanIoU(3), true, predicted) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert value(metrics.IoU(4, [0, 1]), true, predicted) == pytest.approx(0.75)
    assert value(metrics.MeanIoU(4), true, predicted) == pytest.approx(2 / 3)  # class 3 is nowhere
    assert value(metrics.MeanIoU(3, ignore_class=2), true, predicted) == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_top_k_accuracies() -> None:
    best = np.argsort(-SCORES, 1)
    for k in (1, 2, 3, 4):
        expected = (best[:, :k] == LABELS[:, None]).any(1).mean()
        assert value(metrics.TopKCategoricalAccuracy(k), ONE_HOT, SCORES) == pytest.approx(expected)
        assert value(metrics.SparseTopKCategoricalAccuracy(k), LABELS, SCORES) == pytest.approx(expected)
        sorted_ids = metrics.SparseTopKCategoricalAccuracy(k, from_sorted_ids=True)
        assert value(sorted_ids, LABELS, best) == pytest.approx(expected)


def test_accuracy_of_class_numbers() -> None:
    assert value(metrics.Accuracy(), [[1], [2], [3], [4]], [[0], [2], [3], [4]]) == 0.75
    assert value(metrics.Accuracy(), [1, 2], [0, 2], [1, 3]) == 0.75
    assert value(metrics.Accuracy(), [2**24 + 1], [2**24]) == 0


# --- regression --------------------------------------------------------------------------------------------------


def test_r2() -> None:
    y = rng.standard_normal((30, 2))
    p = y + 0.3 * rng.standard_normal((30, 2))
    spread = ((y - y.mean(0)) ** 2).sum(0)
    scores = 1 - ((y - p) ** 2).sum(0) / spread
    np.testing.assert_allclose(value(metrics.R2Score(None, dtype="float64"), y, p), scores, rtol=1e-10)
    assert value(metrics.R2Score(dtype="float64"), y, p) == pytest.approx(scores.mean())
    weighted = metrics.R2Score("variance_weighted_average", dtype="float64")
    assert value(weighted, y, p) == pytest.approx((scores * spread).sum() / spread.sum())
    adjusted = 1 - (1 - scores[:1]) * 29 / 26
    np.testing.assert_allclose(value(metrics.R2Score(None, 3), y[:, 0], p[:, 0]), adjusted, rtol=1e-5)
    with pytest.warns(UserWarning, match="num_regressors"):
        value(metrics.R2Score(num_regressors=70), y, p)


def test_correlations() -> None:
    y = rng.standard_normal((5, 20)).astype(np.float32)
    p = (y + 0.5 * rng.standard_normal((5, 20))).astype(np.float32) + 1
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(y, p, strict=True)])
    assert value(metrics.PearsonCorrelation(), y, p) == pytest.approx(expected, rel=1e-5)
    concordance = 2 * ((y - y.mean(1, keepdims=True)) * (p - p.mean(1, keepdims=True))).mean(1)
    concordance /= y.var(1) + p.var(1) + (y.mean(1) - p.mean(1)) ** 2
    assert value(metrics.ConcordanceCorrelation(), y, p) == pytest.approx(concordance.mean(), rel=1e-5)
    cosine = (y * p).sum(1) / np.linalg.norm(y, axis=1) / np.linalg.norm(p, axis=1)
    assert value(metrics.CosineSimilarity(), y, p) == pytest.approx(cosine.mean(), rel=1e-5)


# --- by name and in fit ------------------------------------------------------------------------------------------


def test_names() -> None:
    for name in (*metrics._BY_NAME, *metrics._CLASSES):
        try:
            found = metrics.get(name)
        except ValueError as e:
            assert "has arguments without defaults" in str(e)
            continue
        assert isinstance(found, metrics.Metric)
    assert metrics.get("mse").name == "mse" and metrics.get("AUC").name == "auc"
    assert isinstance(metrics.get("ce", (), (None, 3)), metrics.SparseCategoricalCrossentropy)
    with pytest.raises(ValueError, match="did you mean 'precision'"):
        metrics.get("precison")
    with pytest.raises(ValueError, match="'mean_io_u' has arguments without defaults: pass a MeanIoU object"):
        metrics.get("mean_io_u")


def _model(outputs: int = 4, activation: str = "softmax") -> Any:
    lamella.seed(3)
    return models.Sequential([layers.Input((6,)), layers.Dense(outputs, activation=activation)])


X = rng.standard_normal((40, 6)).astype(np.float32)


def test_fit_with_many() -> None:
    wanted = [
        "accuracy", "mse", metrics.AUC(), metrics.Precision(), metrics.Precision(top_k=1), metrics.F1Score(),
        metrics.ConfusionMatrix(4), "categorical_crossentropy", "kld", metrics.TopKCategoricalAccuracy(2),
    ]  # fmt: skip
    model = _model()
    model.compile("adam", "categorical_crossentropy", metrics=wanted)
    history = model.fit(X, ONE_HOT, epochs=2, batch_size=16, verbose=2, validation_data=(X, ONE_HOT)).history
    assert {"auc", "precision", "precision_1", "f1_score", "confusion_matrix", "kld", "val_auc"} <= set(history)
    assert history["confusion_matrix"][1].sum() == 40
    step = next(iter(model._engine._steps.values()))
    assert step is not None and not step.watched
    found = model.evaluate(X, ONE_HOT, verbose=0, return_dict=True)
    p = model.predict(X)
    for m in wanted:
        if isinstance(m, metrics.Metric):
            m.reset_state()
            np.testing.assert_allclose(value(m, ONE_HOT, p), found[m.name], rtol=1e-5)
    assert found["categorical_crossentropy"] == pytest.approx(found["loss"], rel=1e-5)


class Largest(metrics.Metric):
    """As Keras' guide writes metrics: variables, and update_state on tensors."""

    def __init__(self, name: str = "largest", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        error = abs(y_true - y_pred)
        if sample_weight is not None:
            error = error * sample_weight.reshape(-1, 1)
        self.total.assign_add(error.max())
        self.batches.assign_add(1)

    def result(self) -> Any:
        return self.total / self.batches


def test_metrics_in_python_leave_the_step_native() -> None:
    def in_numpy(y_true: Any, y_pred: Any) -> Any:
        return np.abs(np.asarray(y_true) - np.asarray(y_pred)).mean(-1)

    weight = rng.random(40).astype(np.float32)
    results = []
    for eagerly in (False, True):
        model = _model()
        model.compile("sgd", "mse", [0.5], ["mae", Largest(), in_numpy], [Largest("weighted")], run_eagerly=eagerly)
        lamella.seed(5)
        history = model.fit(X, ONE_HOT, sample_weight=weight, epochs=2, batch_size=16, verbose=0).history
        results.append([*history.values(), model.evaluate(X, ONE_HOT, 16, 0, weight)])
        step = next(iter(model._engine._steps.values()))
        assert step is None if eagerly else step.watched
        np.testing.assert_allclose(history["in_numpy"], history["mae"], rtol=1e-5)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    p = model.predict(X)
    errors = [np.abs(ONE_HOT[i : i + 16] - p[i : i + 16]).max() for i in range(0, 40, 16)]
    assert model.evaluate(X, ONE_HOT, 16, 0, return_dict=True)["largest"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_an_overridden_update_state_counts() -> None:
    class Strict(metrics.BinaryAccuracy):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            super().update_state(y_true, y_pred.numpy() * 0, sample_weight)

    model = _model(1, "sigmoid")
    model.compile("sgd", "binary_crossentropy", metrics=[Strict()])
    y = np.arange(40) % 4 == 0
    assert model.evaluate(X, y, verbose=0)[1] == 0.75


def test_several_outputs_and_results() -> None:
    class Both(metrics.Metric):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.rows = len(y_true.shape)

        def result(self) -> dict[str, float]:
            return {"a": 1.0, "b": 2.0}

    inputs = layers.Input((6,))
    model = models.Model(inputs, [layers.Dense(1, name="one")(inputs), layers.Dense(2, name="two")(inputs)])
    model.compile("sgd", ["mse", "mae"], metrics=[["mae"], [Both(), metrics.RootMeanSquaredError()]])
    y = [np.zeros((40, 1)), np.ones((40, 2))]
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    assert found["a"] == 1 and found["b"] == 2
    p = model.predict(X)
    assert found["one_mae"] == pytest.approx(np.abs(p[0]).mean(), rel=1e-5)
    assert found["root_mean_squared_error"] == pytest.approx(np.sqrt(((p[1] - 1) ** 2).mean()), rel=1e-5)


def test_saved_with_the_model(tmp_path: Any) -> None:
    model = _model()
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy", metrics.AUC(50, "PR"), Largest()])
    before = model.evaluate(X, ONE_HOT, verbose=0, return_dict=True)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", {"Largest": Largest})
    assert again.evaluate(X, ONE_HOT, verbose=0, return_dict=True) == pytest.approx(before)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: metrics.Precision(1.5), r"Precision: thresholds: expected numbers in \[0, 1\]"),
        (lambda: metrics.Recall(top_k=0), "Recall: top_k: expected a positive integer, got 0"),
        (lambda: metrics.AUC(1), "AUC: num_thresholds"),
        (lambda: metrics.AUC(curve="DET"), "AUC: curve: expected 'ROC', 'PR' or 'PRGAIN', got 'DET'"),
        (lambda: metrics.AUC(summation_method="mean"), "AUC: summation_method"),
        (lambda: metrics.F1Score("mean"), "F1Score: average"),
        (lambda: metrics.FBetaScore(beta=0), "FBetaScore: beta"),
        (lambda: metrics.PrecisionAtRecall(2.0), "PrecisionAtRecall: recall"),
        (lambda: metrics.IoU(2, [2]), r"IoU: target_class_ids: expected numbers in \[0, 2\)"),
        (lambda: metrics.BinaryAccuracy(threshold=1.0), "BinaryAccuracy: threshold"),
        (lambda: metrics.TopKCategoricalAccuracy(0), "TopKCategoricalAccuracy: k"),
        (lambda: metrics.MeanSquaredError(dtype="int8"), "dtype: expected None, 'float32' or 'float64', got 'int8'"),
        (lambda: metrics.R2Score("sum"), "R2Score: class_aggregation"),
        (lambda: value(metrics.F1Score(), LABELS, SCORES), "F1Score: y_true, y_pred: expected one shape"),
        (lambda: value(metrics.MeanSquaredError(), np.zeros((3, 2)), SCORES), "y_true: expected shape"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
