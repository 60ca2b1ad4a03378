"""Metrics: running values over batches, from sums that native training steps compute on their way."""

from __future__ import annotations

import inspect
from typing import Any

from . import losses
from ._custom import custom, find, get_registered_name, named
from ._errors import short
from ._metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from ._metrics.base import LossMetric, Mean, MeanMetricWrapper, Metric, Sum
from ._metrics.confusion import BinaryIoU, ConfusionMatrix, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from ._metrics.functions import (
    binary_accuracy,
    categorical_accuracy,
    concordance_correlation,
    pearson_correlation,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from ._metrics.regression import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from ._metrics.thresholds import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from ._suggest import unknown_name
from .losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "ConfusionMatrix", "CosineSimilarity",
    "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence", "LogCoshError", "Mean",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanMetricWrapper", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson", "Precision",
    "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError", "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives",
    "binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy", "categorical_accuracy",
    "categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge", "concordance_correlation",
    "deserialize", "get", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "pearson_correlation",
    "poisson", "serialize", "sparse_categorical_accuracy", "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy", "squared_hinge", "top_k_categorical_accuracy",
]  # fmt: skip

_NAMED: dict[str, type[Metric]] = {
    "accuracy": Accuracy, "auc": AUC, "binary_accuracy": BinaryAccuracy, "binary_crossentropy": BinaryCrossentropy,
    "binary_io_u": BinaryIoU, "categorical_accuracy": CategoricalAccuracy,
    "categorical_crossentropy": CategoricalCrossentropy, "categorical_hinge": CategoricalHinge,
    "concordance_correlation": ConcordanceCorrelation, "confusion_matrix": ConfusionMatrix,
    "cosine_similarity": CosineSimilarity, "f1_score": F1Score, "f_beta_score": FBetaScore,
    "false_negatives": FalseNegatives, "false_positives": FalsePositives, "hinge": Hinge, "io_u": IoU,
    "kl_divergence": KLDivergence, "log_cosh_error": LogCoshError, "mean": Mean,
    "mean_absolute_error": MeanAbsoluteError, "mean_absolute_percentage_error": MeanAbsolutePercentageError,
    "mean_io_u": MeanIoU, "mean_squared_error": MeanSquaredError,
    "mean_squared_logarithmic_error": MeanSquaredLogarithmicError, "one_hot_io_u": OneHotIoU,
    "one_hot_mean_io_u": OneHotMeanIoU, "pearson_correlation": PearsonCorrelation, "poisson": Poisson,
    "precision": Precision, "precision_at_recall": PrecisionAtRecall, "r2_score": R2Score, "recall": Recall,
    "recall_at_precision": RecallAtPrecision, "root_mean_squared_error": RootMeanSquaredError,
    "sensitivity_at_specificity": SensitivityAtSpecificity, "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "specificity_at_sensitivity": SpecificityAtSensitivity, "squared_hinge": SquaredHinge, "sum": Sum,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy, "true_negatives": TrueNegatives,
    "true_positives": TruePositives,
}  # fmt: skip
_CLASSES: dict[str, type[Metric]] = {cls.__name__: cls for cls in _NAMED.values()}
_BY_NAME: dict[str, type[Metric]] = {
    **_NAMED,
    **{name: _NAMED[long] for short, long in losses.SHORT_NAMES.items() for name in (short, short.upper())},
    **{"fbeta_score": FBetaScore, "iou": IoU, "logcosh": LogCoshError, "mean_iou": MeanIoU},
    **{"kullback_leibler_divergence": KLDivergence, "rmse": RootMeanSquaredError, "RMSE": RootMeanSquaredError},
}
# What the functions are the values of: given to compile, they are these, which native steps compute.
_BY_FUNCTION: dict[Any, type[Metric]] = {
    function: _NAMED[function.__name__]
    for function in (
        binary_accuracy, categorical_accuracy, concordance_correlation, pearson_correlation,
        sparse_categorical_accuracy, sparse_top_k_categorical_accuracy, top_k_categorical_accuracy,
    )
}  # fmt: skip
_ACCURACIES = ("accuracy", "acc", "Accuracy")
_CROSS_ENTROPIES = ("crossentropy", "ce")


def _fitting(y_shape: tuple[int, ...], pred_shape: tuple[int, ...], loss: Any) -> str:
    """ "binary", "sparse" or "categorical", by loss and shapes."""
    if isinstance(loss, (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy)):
        return "binary"
    if pred_shape and pred_shape[-1] == 1:
        return "binary"
    sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    if sparse or len(y_shape) < len(pred_shape) or (y_shape and y_shape[-1] == 1):
        return "sparse"
    return "categorical"


def get(identifier: Any, y_shape: tuple[int, ...] = (), pred_shape: tuple[int, ...] = (), loss: Any = None) -> Metric:
    """A metric from its name, class, configuration, a function, or itself.

    "accuracy" (or "acc") and "crossentropy" (or "ce") mean what fits loss and shapes, as in Keras: binary for one
    output, sparse for class numbers, categorical for one-hot targets.
    """
    identifier = named(identifier)
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        if identifier in _ACCURACIES:
            kind = _fitting(y_shape, pred_shape, loss)
            name = identifier.lower()
            if kind == "binary":
                return BinaryAccuracy(name)
            return SparseCategoricalAccuracy(name) if kind == "sparse" else CategoricalAccuracy(name)
        if identifier in _CROSS_ENTROPIES:
            kind, logits = _fitting(y_shape, pred_shape, loss), bool(getattr(loss, "from_logits", False))
            if kind == "binary":
                return BinaryCrossentropy(identifier, from_logits=logits)
            if kind == "sparse":
                return SparseCategoricalCrossentropy(identifier, from_logits=logits)
            return CategoricalCrossentropy(identifier, from_logits=logits)
        cls = _BY_NAME.get(identifier) or _CLASSES.get(identifier)
        if cls is None:
            raise unknown_name("metric", identifier, [*_BY_NAME, *_CLASSES])
        try:
            return cls(name=identifier) if identifier in _BY_NAME else cls()
        except TypeError:
            raise ValueError(
                f"metric: {identifier!r} has arguments without defaults: pass a {cls.__name__} object"
            ) from None
    if isinstance(identifier, losses.Loss) and type(identifier).call is not losses.Loss.call:
        return LossMetric(identifier, identifier.name, identifier.dtype)
    if inspect.isfunction(identifier) and identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier]()
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise TypeError(f"metric: expected a name, a Metric or a function, got {type(identifier).__name__}")


def serialize(metric: Metric) -> dict[str, Any]:
    """The configuration from which `get` rebuilds the metric."""
    name = get_registered_name(type(metric))
    if find(name, _CLASSES) is None:
        raise TypeError(f"metric: only Lamella's own and registered metrics can be saved, got {short(metric)}")
    return {"class_name": name, "config": metric.get_config()}


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Metric:
    """A metric from what `serialize` gave, or from its name.

    Parameters
    ----------
    config : dict or str
    custom_objects : dict of str to class, optional
        The user's own metrics.
    """
    if not isinstance(config, dict):
        found = (custom_objects or {}).get(config)
        return get(config if found is None else found)
    cls = find(config.get("class_name"), _CLASSES, custom_objects)
    if cls is None:
        known = {**_CLASSES, **custom(), **(custom_objects or {})}
        raise unknown_name("metric", config.get("class_name"), known)
    return cls.from_config(config.get("config") or {})
