"""Losses as metrics, and what tells how predictions and targets go together."""

from __future__ import annotations

import warnings
from math import prod, sqrt
from typing import Any

import numpy as np

from .. import functional as F
from .. import losses
from .._errors import short
from .._loss_base import align_weight, as_float, matched
from ..autograd import Tensor
from .accuracy import labels_of
from .base import LossMetric, Metric, Term, mean_terms
from .thresholds import ratio


def _of(name: str, loss: Any, default: str, doc: str) -> Any:
    """A metric class that is the mean of a loss without arguments."""

    def __init__(self: Any, name: str | None = default, dtype: Any = None) -> None:
        LossMetric.__init__(self, loss(), name or default, dtype)

    def get_config(self: Any) -> dict[str, Any]:
        return Metric.get_config(self)

    doc += '\n\nParameters\n----------\nname : str, optional\ndtype : {"float32", "float64"}, optional\n'
    body = {"__init__": __init__, "get_config": get_config, "__doc__": doc, "__module__": __name__}
    return type(name, (LossMetric,), body)


MeanSquaredError = _of(
    "MeanSquaredError", losses.MeanSquaredError, "mean_squared_error", "``mean((y_true - y_pred)**2)``."
)
MeanAbsoluteError = _of(
    "MeanAbsoluteError", losses.MeanAbsoluteError, "mean_absolute_error", "``mean(|y_true - y_pred|)``."
)
MeanAbsolutePercentageError = _of(
    "MeanAbsolutePercentageError", losses.MeanAbsolutePercentageError, "mean_absolute_percentage_error",
    "``100 * mean(|y_true - y_pred| / |y_true|)``.",
)  # fmt: skip
MeanSquaredLogarithmicError = _of(
    "MeanSquaredLogarithmicError", losses.MeanSquaredLogarithmicError, "mean_squared_logarithmic_error",
    "``mean((log(1 + y_true) - log(1 + y_pred))**2)``.",
)  # fmt: skip
LogCoshError = _of("LogCoshError", losses.LogCosh, "logcosh", "``mean(log(cosh(y_pred - y_true)))``.")
KLDivergence = _of("KLDivergence", losses.KLDivergence, "kl_divergence", "``sum(y_true * log(y_true / y_pred))``.")
Poisson = _of("Poisson", losses.Poisson, "poisson", "``mean(y_pred - y_true * log(y_pred))``.")
Hinge = _of("Hinge", losses.Hinge, "hinge", "``mean(max(0, 1 - y_true * y_pred))``.")
SquaredHinge = _of("SquaredHinge", losses.SquaredHinge, "squared_hinge", "``mean(max(0, 1 - y_true * y_pred)**2)``.")
CategoricalHinge = _of(
    "CategoricalHinge", losses.CategoricalHinge, "categorical_hinge",
    "``max(0, 1 + max((1 - y_true) * y_pred) - sum(y_true * y_pred))``.",
)  # fmt: skip


class RootMeanSquaredError(LossMetric):
    """The root of the mean squared error.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.MeanSquaredError(), name or "root_mean_squared_error", dtype)

    get_config = Metric.get_config

    def result(self) -> float:
        return sqrt(super().result())


_CROSS_ENTROPY = """

    Parameters
    ----------
    name : str, optional
    dtype : {{"float32", "float64"}}, optional
    from_logits : bool
        Whether predictions are logits rather than probabilities.
    label_smoothing : float
    {}"""


class BinaryCrossentropy(LossMetric):
    __doc__ = "The mean cross-entropy of two classes." + _CROSS_ENTROPY.format("")

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["axis"]
        return config


class CategoricalCrossentropy(LossMetric):
    __doc__ = "The mean cross-entropy for one-hot targets." + _CROSS_ENTROPY.format(
        "axis : int\n        That of the classes.\n    "
    )

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing, axis), name, dtype)


class SparseCategoricalCrossentropy(LossMetric):
    """The mean cross-entropy for class numbers as targets.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    from_logits : bool
        Whether predictions are logits rather than probabilities.
    ignore_class : int, optional
        A label that counts for nothing.
    axis : int
        That of the classes.
    """

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis), name, dtype)
        self._ignored = ignore_class

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        found = super().terms(y_true, y_pred, sample_weight)
        if self._ignored is None:
            return found
        labels = as_float(labels_of(y_true, y_pred), y_pred)
        counted = F.cast(F.compare("not_equal", labels, float(self._ignored)), y_pred.dtype)
        return found[0], mean_terms(counted, sample_weight)[0]


class CosineSimilarity(Metric):
    """The mean cosine of the angle between targets and predictions.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    axis : int
        That of the vectors.
    """

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(dtype, name)
        self.axis = axis

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        return mean_terms(losses.cosine(matched(self.name, y_true, y_pred), y_pred, self.axis), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def correlation(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """The coefficient of correlation along an axis."""
    a, b = (F.sub(t, F.mean(t, axis, True)) for t in (a, b))
    spread = F.mul(F.sum(F.square(a), axis), F.sum(F.square(b), axis))
    return F.mul(F.sum(F.mul(a, b), axis), F.rsqrt(spread))


def concordance(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Twice the covariance along an axis, over both variances and the squared difference of the means."""
    means = [F.mean(t, axis, True) for t in (a, b)]
    a, b = F.sub(a, means[0]), F.sub(b, means[1])
    gap = F.mean(F.square(F.sub(means[0], means[1])), axis)
    spread = F.add(F.mean(F.square(a), axis), F.mean(F.square(b), axis))
    return F.div(F.mul(F.mean(F.mul(a, b), axis), 2.0), F.add(F.add(spread, gap), 1e-7))


class PearsonCorrelation(CosineSimilarity):
    """The mean coefficient of correlation of targets and predictions along an axis.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    axis : int
    """

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis)

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        return mean_terms(correlation(matched(self.name, y_true, y_pred), y_pred, self.axis), sample_weight)


class ConcordanceCorrelation(CosineSimilarity):
    """The mean concordance of targets and predictions along an axis: a correlation that wants equal means and spreads.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    axis : int
    """

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(name, dtype, axis)

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        return mean_terms(concordance(matched(self.name, y_true, y_pred), y_pred, self.axis), sample_weight)


class R2Score(Metric):
    """The coefficient of determination of (n, outputs): one minus the squared error over the targets' variance.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average"}, optional
        How the scores of the outputs become one; None: one score each.
    num_regressors : int
        Above 0 the score is adjusted for so many independent variables.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        known = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in known:
            raise ValueError(f"R2Score: class_aggregation: expected one of {known}, got {short(class_aggregation)}")
        if isinstance(num_regressors, bool) or num_regressors < 0:
            raise ValueError(f"R2Score: num_regressors: expected an integer of at least 0, got {short(num_regressors)}")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        if len(y_pred.shape) == 1:
            y_pred = F.reshape(y_pred, (-1, 1))
        y_true = matched(self.name, y_true, y_pred)
        if len(y_pred.shape) != 2:
            raise ValueError(f"R2Score: y_pred: expected shape (n, outputs), got {tuple(y_pred.shape)}")
        weighted, error = y_true, F.square(F.sub(y_true, y_pred))
        total: Any = float(y_pred.shape[0])
        if sample_weight is not None:
            weight = align_weight(sample_weight, y_pred)
            weighted, error, total = F.mul(y_true, weight), F.mul(error, weight), F.sum(weight, 0)
        sums = [F.sum(t, 0) for t in (weighted, F.mul(weighted, y_true), error)]
        return (*sums, total, float(prod(y_pred.shape)))

    def result(self) -> Any:
        if self._sums is None:
            return 0.0
        total, squares, error, weight, samples = (np.asarray(s, np.float64) for s in self._sums)
        spread = squares - total * ratio(total, weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1 - error / spread
        scores = np.where(np.isinf(scores), 0.0, scores)
        value: Any = scores
        if self.class_aggregation == "uniform_average":
            value = float(scores.mean())
        elif self.class_aggregation == "variance_weighted_average":
            value = float(ratio((spread * scores).sum(), spread.sum()))
        if not self.num_regressors:
            return value
        left = float(samples) - 1 - self.num_regressors
        if left <= 0:
            warnings.warn(
                f"R2Score: num_regressors: expected fewer than the {int(samples) - 1} samples but one, got "
                f"{self.num_regressors}: the score is not adjusted",
                stacklevel=2,
            )
            return value
        return 1 - (1 - value) * (float(samples) - 1) / left

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
