"""What follows from counting scores above thresholds: precision, recall, F scores, areas under curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from .._errors import short
from .._kernels._call import op
from .._loss_base import matched
from ..autograd import Tensor, apply, wrap
from .base import Metric, Term


class Counts(NamedTuple):
    """One number per threshold, or per threshold and label."""

    tp: np.ndarray
    fp: np.ndarray
    tn: np.ndarray
    fn: np.ndarray


def ratio(a: Any, b: Any) -> np.ndarray:
    """a / b, 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


class ThresholdMetric(Metric):
    """Counts of scores above thresholds, for positive and negative targets."""

    def __init__(
        self,
        name: str | None,
        dtype: Any,
        thresholds: Sequence[float],
        top_k: int | None = None,
        class_id: int | None = None,
        per_label: bool = False,
    ) -> None:
        super().__init__(dtype, name)
        what = type(self).__name__
        if top_k is not None and (isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"{what}: top_k: expected a positive integer, got {short(top_k)}")
        if class_id is not None and (isinstance(class_id, bool) or class_id < 0):
            raise ValueError(f"{what}: class_id: expected a class number, got {short(class_id)}")
        given = np.asarray(thresholds, np.float64)
        order = np.argsort(given, kind="stable")
        self._ascending, self._back = given[order], np.argsort(order)
        self._attrs = {"k": top_k, "column": class_id, "per_label": per_label}

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        y_true = matched(self.name, y_true, y_pred)
        inputs = [y_pred, F.contiguous(y_true), wrap(self._ascending.astype(y_pred.dtype))]
        if sample_weight is not None:
            inputs.append(sample_weight)
        return (apply(op("metric_threshold_counts", self._attrs), *inputs),)

    def counts(self) -> Counts:
        """The counts so far, in the order in which the thresholds were given."""
        n = len(self._ascending)
        bins = np.zeros((2, n + 1)) if self._sums is None else self._sums[0]
        above = bins[:, ::-1].cumsum(1)[:, ::-1][:, 1:][:, self._back]
        below = bins.cumsum(1)[:, :-1][:, self._back]
        return Counts(above[0], above[1], below[1], below[0])


def _thresholds(what: str, thresholds: Any, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    found = [float(t) for t in np.atleast_1d(np.asarray(thresholds, np.float64))]
    if not found or any(not 0 <= t <= 1 for t in found):
        raise ValueError(f"{what}: thresholds: expected numbers in [0, 1], got {short(thresholds)}")
    return found


class _Counted(ThresholdMetric):
    """One value per threshold, bare where there is one threshold."""

    def _values(self, c: Counts) -> np.ndarray:
        raise NotImplementedError

    def result(self) -> Any:
        values = self._values(self.counts())
        return float(values[0]) if len(values) == 1 else values


class _Cells(_Counted):
    def __init__(self, thresholds: Any, name: str | None, dtype: Any) -> None:
        super().__init__(name, dtype, _thresholds(type(self).__name__, thresholds, 0.5))
        self.thresholds = thresholds

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.thresholds}


_CELLS = """

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        In [0, 1]; a score above counts as positive. Default: 0.5. With several there are as many results.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """


class TruePositives(_Cells):
    __doc__ = "How many positive targets score above a threshold." + _CELLS

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return c.tp


class FalsePositives(_Cells):
    __doc__ = "How many negative targets score above a threshold." + _CELLS

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return c.fp


class TrueNegatives(_Cells):
    __doc__ = "How many negative targets do not score above a threshold." + _CELLS

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return c.tn


class FalseNegatives(_Cells):
    __doc__ = "How many positive targets do not score above a threshold." + _CELLS

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return c.fn


class _Retrieval(_Counted):
    def __init__(self, thresholds: Any, top_k: int | None, class_id: int | None, name: str | None, dtype: Any) -> None:
        # Of the k largest scores all are positive, whatever they are.
        found = _thresholds(type(self).__name__, thresholds, 0.5 if top_k is None else -np.inf)
        super().__init__(name, dtype, found, top_k, class_id)
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


_RETRIEVAL = """

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        In [0, 1]; a score above counts as positive. Default: 0.5, or none with `top_k`. With several there are as many
        results.
    top_k : int, optional
        Only the k largest scores of a sample can be positive.
    class_id : int, optional
        Only this class counts.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """


class Precision(_Retrieval):
    __doc__ = "How much of what scores above a threshold is positive." + _RETRIEVAL

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return ratio(c.tp, c.tp + c.fp)


class Recall(_Retrieval):
    __doc__ = "How much of what is positive scores above a threshold." + _RETRIEVAL

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name, dtype)

    def _values(self, c: Counts) -> np.ndarray:
        return ratio(c.tp, c.tp + c.fn)


# --- the best of one at a bound for the other --------------------------------------------------------------------


class _AtBound(ThresholdMetric):
    """The largest of one ratio where another is at least a bound, over evenly spaced thresholds."""

    _bound = ""  # the name of the argument

    def __init__(self, bound: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any) -> None:
        what = type(self).__name__
        if not 0 <= bound <= 1:
            raise ValueError(f"{what}: {self._bound}: expected a number in [0, 1], got {short(bound)}")
        if num_thresholds < 1:
            raise ValueError(f"{what}: num_thresholds: expected a positive integer, got {short(num_thresholds)}")
        even = [0.5] if num_thresholds == 1 else [i / (num_thresholds - 1) for i in range(num_thresholds)]
        super().__init__(name, dtype, even, None, class_id)
        self.value, self.num_thresholds, self.class_id = float(bound), num_thresholds, class_id

    def _pair(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        """(what is bound, what is wanted large)"""
        raise NotImplementedError

    def result(self) -> float:
        bound, wanted = self._pair(self.counts())
        return float(np.where(bound >= self.value, wanted, 0.0).max(initial=0.0))

    def get_config(self) -> dict[str, Any]:
        own = {self._bound: self.value, "num_thresholds": self.num_thresholds, "class_id": self.class_id}
        return {**super().get_config(), **own}


_AT_BOUND = """

    Parameters
    ----------
    {} : float
        The bound, in [0, 1].
    num_thresholds : int
        How many thresholds to try, evenly spaced from 0 to 1.
    class_id : int, optional
        Only this class counts.
    name : str, optional
    dtype : {{"float32", "float64"}}, optional
    """


def _sensitivity(c: Counts) -> np.ndarray:
    return ratio(c.tp, c.tp + c.fn)


def _specificity(c: Counts) -> np.ndarray:
    return ratio(c.tn, c.tn + c.fp)


def _precision(c: Counts) -> np.ndarray:
    return ratio(c.tp, c.tp + c.fp)


class SensitivityAtSpecificity(_AtBound):
    __doc__ = "The best sensitivity at a specificity of at least a bound." + _AT_BOUND.format("specificity")
    _bound = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name or "sensitivity_at_specificity", dtype)

    def _pair(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        return _specificity(c), _sensitivity(c)


class SpecificityAtSensitivity(_AtBound):
    __doc__ = "The best specificity at a sensitivity of at least a bound." + _AT_BOUND.format("sensitivity")
    _bound = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name or "specificity_at_sensitivity", dtype)

    def _pair(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        return _sensitivity(c), _specificity(c)


class PrecisionAtRecall(_AtBound):
    __doc__ = "The best precision at a recall of at least a bound." + _AT_BOUND.format("recall")
    _bound = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name or "precision_at_recall", dtype)

    def _pair(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        return _sensitivity(c), _precision(c)


class RecallAtPrecision(_AtBound):
    __doc__ = "The best recall at a precision of at least a bound." + _AT_BOUND.format("precision")
    _bound = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name or "recall_at_precision", dtype)

    def _pair(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        return _precision(c), _sensitivity(c)


# --- F scores ----------------------------------------------------------------------------------------------------


class FBetaScore(ThresholdMetric):
    """The weighted harmonic mean of precision and recall, of the classes of (n, classes).

    Parameters
    ----------
    average : {"micro", "macro", "weighted"}, optional
        None: one score a class. "micro": of all classes' counts together. "macro": the mean over the classes.
        "weighted": that by how often each class is true.
    beta : float
        How much more recall weighs than precision.
    threshold : float, optional
        In (0, 1]; a score above is positive. Default: the largest score of a sample is.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        what = type(self).__name__
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"{what}: average: expected None, 'micro', 'macro' or 'weighted', got {short(average)}")
        if not beta > 0:
            raise ValueError(f"{what}: beta: expected a positive number, got {short(beta)}")
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"{what}: threshold: expected a number in (0, 1], got {short(threshold)}")
        super().__init__(
            name, dtype, [-np.inf if threshold is None else threshold], 1 if threshold is None else None, None, True
        )
        self.average, self.beta, self.threshold = average, float(beta), threshold

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        if len(y_pred.shape) != 2 or tuple(y_true.shape) != tuple(y_pred.shape):
            raise ValueError(
                f"{type(self).__name__}: y_true, y_pred: expected one shape (n, classes), got {tuple(y_true.shape)} "
                f"and {tuple(y_pred.shape)}"
            )
        return super().terms(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        if self._sums is None:
            return 0.0
        c = self.counts()
        tp, fp, fn = c.tp[0], c.fp[0], c.fn[0]
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        precision, recall, square = ratio(tp, tp + fp), ratio(tp, tp + fn), self.beta**2
        scores = ratio(precision * recall * (square + 1), precision * square + recall)
        if self.average is None:
            return scores
        if self.average == "weighted":
            return float((scores * ratio(tp + fn, (tp + fn).sum())).sum())
        return float(scores.mean())

    def get_config(self) -> dict[str, Any]:
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {**super().get_config(), **own}


class F1Score(FBetaScore):
    """The harmonic mean of precision and recall, of the classes of (n, classes).

    Parameters
    ----------
    average, threshold, name, dtype
        See `FBetaScore`.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config


# --- areas under curves ------------------------------------------------------------------------------------------


class AUC(ThresholdMetric):
    """The area under a curve of two ratios over thresholds.

    Parameters
    ----------
    num_thresholds : int
        How many thresholds stand for all, evenly spaced.
    curve : {"ROC", "PR", "PRGAIN"}
        Sensitivity over false positive rate, precision over recall, or their gains.
    summation_method : {"interpolation", "minoring", "majoring"}
        What a curve is between two thresholds: a straight line (with "PR": what lines in the counts give), the lower
        or the higher of its ends.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    thresholds : sequence of float, optional
        In place of evenly spaced ones; 0 and 1 are added.
    multi_label : bool
        The mean of the areas for each column of (n, labels), rather than the area for all scores together.
    num_labels : int, optional
        Checked against the predictions.
    label_weights : sequence of float, optional
        With `multi_label` weights of that mean, else of the columns' scores.
    from_logits : bool
        Whether scores are logits rather than probabilities.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        self.curve, self.summation_method = str(curve).upper(), str(summation_method).lower()
        if self.curve not in ("ROC", "PR", "PRGAIN"):
            raise ValueError(f"AUC: curve: expected 'ROC', 'PR' or 'PRGAIN', got {short(curve)}")
        if self.summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                "AUC: summation_method: expected 'interpolation', 'minoring' or 'majoring', "
                f"got {short(summation_method)}"
            )
        if num_labels is not None and not multi_label:
            raise ValueError("AUC: num_labels: expected None without multi_label, got a number")
        self._given = thresholds if thresholds is None else [float(t) for t in thresholds]
        if self._given is not None:
            inner = sorted(self._given)
        elif num_thresholds < 2:
            raise ValueError(f"AUC: num_thresholds: expected an integer above 1, got {short(num_thresholds)}")
        else:
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        # Beyond both ends, so that rounding leaves no score of 0 or 1 out.
        super().__init__(name or "auc", dtype, [-1e-7, *inner, 1 + 1e-7], per_label=bool(multi_label))
        self.num_thresholds, self.multi_label, self.num_labels = len(inner) + 2, bool(multi_label), num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in np.asarray(label_weights)]
        self.from_logits = bool(from_logits)

    @property
    def thresholds(self) -> list[float]:
        return [float(t) for t in self._ascending]

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        shape = tuple(y_pred.shape)
        if self.multi_label and (len(shape) != 2 or self.num_labels not in (None, shape[1])):
            raise ValueError(f"AUC: y_pred: expected shape (n, {self.num_labels or 'labels'}), got {shape}")
        if self.label_weights is not None and len(self.label_weights) != shape[-1]:
            raise ValueError(f"AUC: label_weights: expected {shape[-1]} numbers, one a label")
        if self.label_weights is not None and not self.multi_label:
            labels = F.expand(wrap(np.asarray(self.label_weights, y_pred.dtype)), shape)
            if sample_weight is not None:
                extra = [1] * (len(shape) - len(sample_weight.shape))
                labels = F.mul(labels, F.reshape(sample_weight, (*sample_weight.shape, *extra)))
            sample_weight = F.contiguous(labels)
        return super().terms(y_true, F.sigmoid(y_pred) if self.from_logits else y_pred, sample_weight)

    def result(self) -> float:
        areas = self._areas(self.counts())
        if not self.multi_label or areas.ndim == 0:
            return float(areas)
        if self.label_weights is None:
            return float(areas.mean())
        return float(ratio((areas * self.label_weights).sum(), np.sum(self.label_weights)))

    def _areas(self, c: Counts) -> np.ndarray:
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._interpolated_pr(c)
        x, y = self._curve(c)
        left, right = y[:-1], y[1:]
        heights = {"interpolation": (left + right) / 2, "minoring": np.minimum(left, right),
                   "majoring": np.maximum(left, right)}[self.summation_method]  # fmt: skip
        return ((x[:-1] - x[1:]) * heights).sum(0)

    def _curve(self, c: Counts) -> tuple[np.ndarray, np.ndarray]:
        if self.curve == "ROC":
            return ratio(c.fp, c.fp + c.tn), _sensitivity(c)
        if self.curve == "PR":
            return _sensitivity(c), _precision(c)
        odds = ratio(c.tp + c.fn, c.tn + c.fp)
        none = c.tp == 0
        recall = np.where(none, 0.0, 1.0 - odds * ratio(c.fn, c.tp))
        return np.maximum(recall, 0.0), np.where(none, 1.0, 1.0 - odds * ratio(c.fp, c.tp))

    @staticmethod
    def _interpolated_pr(c: Counts) -> np.ndarray:
        """Davis and Goadrich (2006): between two thresholds true positives are linear in all positives p, so the area
        is the integral of (tp_b + slope * (p - p_b)) / p d tp."""
        p = c.tp + c.fp
        more_tp, more = c.tp[:-1] - c.tp[1:], p[:-1] - p[1:]
        slope = ratio(more_tp, np.maximum(more, 0.0))
        offset = c.tp[1:] - slope * p[1:]
        both = (p[:-1] > 0) & (p[1:] > 0)
        growth = np.where(both, ratio(p[:-1], np.where(both, p[1:], 1.0)), 1.0)
        return ratio(slope * (more_tp + offset * np.log(growth)), c.tp[1:] + c.fn[1:]).sum(0)

    def get_config(self) -> dict[str, Any]:
        names = ("num_thresholds", "curve", "summation_method", "multi_label", "num_labels", "label_weights",
                 "from_logits")  # fmt: skip
        config = {**super().get_config(), **{n: getattr(self, n) for n in names}}
        return config if self._given is None else {**config, "thresholds": self._given}
