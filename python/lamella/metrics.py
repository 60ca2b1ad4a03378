"""Metrics: running means of what a batch gives, computed by the same ops in `fit`'s native steps and eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._kernels._call import op
from ._suggest import unknown_name
from .autograd import Tensor, apply, as_array, no_grad, wrap
from .losses import as_float, match_rank

__all__ = [
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "Mean", "MeanAbsoluteError", "MeanMetricWrapper",
    "MeanSquaredError", "Metric",
    "RootMeanSquaredError", "SparseCategoricalAccuracy", "get",
]  # fmt: skip


class Metric:
    """A running value over batches.

    Subclasses of users write `update_state`, `result` and `reset_state`; Lamella's own write `terms`, which gives the
    two scalars (weighted sum, total weight) of a batch from tensors, so that native training steps compute them too.
    """

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        if dtype not in (None, "float32"):
            raise NotImplementedError(f"metric: dtype: expected None, got {dtype!r}")
        self.name = name or type(self).__name__
        self.reset_state()

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """(sum, weight) of a batch as scalar tensors; None where the metric is only written in Python."""
        return None

    def add(self, total: float, weight: float) -> None:
        """Count a batch's terms."""
        self._total += total
        self._weight += weight

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch."""
        pred = y_pred if isinstance(y_pred, Tensor) else wrap(as_array(y_pred, np.float32))
        true = y_true if isinstance(y_true, Tensor) else wrap(np.atleast_1d(as_array(y_true)))
        weight = None if sample_weight is None else wrap(as_array(sample_weight, pred.dtype))
        with no_grad():
            found = self.terms(true, pred, weight)
        if found is None:
            raise NotImplementedError(f"{type(self).__name__}: neither terms nor update_state is defined")
        self.add(found[0].item(), found[1].item())

    def result(self) -> float:
        """The value so far; 0 before the first batch."""
        return self._total / self._weight if self._weight else 0.0

    def reset_state(self) -> None:
        """Start again."""
        self._total = self._weight = 0.0

    reset_states = reset_state

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class Mean(Metric):
    """The mean of values."""

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None, **_: Any) -> None:  # type: ignore[override]
        v = as_array(values).astype(np.float64)
        w = np.ones_like(v) if sample_weight is None else np.broadcast_to(as_array(sample_weight), v.shape)
        self.add(float((v * w).sum()), float(w.sum()))


class _AccuracyBase(Metric):
    _kind = ""

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        attrs, y_true = self._prepare(y_true, y_pred)
        inputs = (y_pred, y_true) if sample_weight is None else (y_pred, y_true, sample_weight)
        correct, total = apply(op("metric_accuracy", attrs), *inputs)
        return correct, total

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": self._kind}, y_true


def _labels(y_true: Tensor, y_pred: Tensor) -> Tensor:
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = apply(op("squeeze", {"axis": -1}), y_true)
    return y_true if y_true.dtype.kind == "i" else apply(op("cast", {"dtype": "int64"}), y_true)


class SparseCategoricalAccuracy(_AccuracyBase):
    """How often the largest output is at the label."""

    _kind = "sparse"

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "sparse"}, _labels(y_true, y_pred)


class CategoricalAccuracy(_AccuracyBase):
    """How often the largest output is where the one-hot target is largest."""

    _kind = "categorical"

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "categorical"}, as_float(y_true, y_pred)


class BinaryAccuracy(_AccuracyBase):
    """How often ``y_pred > threshold`` equals the target."""

    _kind = "binary"

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = float(threshold)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "binary", "threshold": self.threshold}, as_float(match_rank(y_true, y_pred), y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class Accuracy(Metric):
    """How often predicted class numbers equal the labels; under the name "accuracy" see `get`."""

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        hit = (as_array(y_true) == as_array(y_pred)).astype(np.float64)
        w = np.ones_like(hit) if sample_weight is None else np.broadcast_to(as_array(sample_weight), hit.shape)
        self.add(float((hit * w).sum()), float(w.sum()))


class _ErrorMetric(Metric):
    _op = ""

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        y_true = as_float(match_rank(y_true, y_pred), y_pred)
        inputs = (y_pred, y_true) if sample_weight is None else (y_pred, y_true, sample_weight)
        total = apply(op(self._op, {"reduction": "sum"}), *inputs)
        elements = int(np.prod(y_pred.shape))
        if sample_weight is None:
            return total, total * 0.0 + float(elements)
        return total, sample_weight.sum() * float(elements // max(int(y_pred.shape[0]), 1))


class MeanSquaredError(_ErrorMetric):
    """``mean((y_true - y_pred)**2)``."""

    _op = "mse_loss"

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class RootMeanSquaredError(MeanSquaredError):
    """The root of the mean squared error."""

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(_ErrorMetric):
    """``mean(|y_true - y_pred|)``."""

    _op = "mae_loss"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class MeanMetricWrapper(Metric):
    """The mean of what a function gives.

    Parameters
    ----------
    fn : callable
        Called with (y_true, y_pred); gives one value per sample, or the mean of the batch.
    name : str, optional
        Default: the function's name.
    """

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name or getattr(fn, "__name__", type(fn).__name__), dtype)
        self.fn = fn

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor] | None:
        values = self.fn(y_true, y_pred)
        if not isinstance(values, Tensor):
            if type(y_pred) is not Tensor:
                return None  # in NumPy: fit runs the step eagerly then
            values = wrap(np.asarray(values, y_pred.dtype))
        values = as_float(values, y_pred)
        rows = float(y_pred.shape[0])
        if not len(values.shape):
            return values * rows, values * 0.0 + rows
        count = float(np.prod(values.shape))
        if sample_weight is None:
            return values.sum(), values.sum() * 0.0 + count
        weight = sample_weight.reshape(sample_weight.shape[0], *[1] * (len(values.shape) - 1))
        return (values * weight).sum(), sample_weight.sum() * (count / rows)


_BY_NAME: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
}


_CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls for cls in (Accuracy, Mean, *_BY_NAME.values()) if isinstance(cls, type)
}


def get(identifier: Any, y_shape: tuple[int, ...] = (), pred_shape: tuple[int, ...] = (), loss: Any = None) -> Metric:
    """A metric from its name, class or itself.

    "accuracy" (or "acc") means what fits loss and shapes, as in Keras: binary for one output, sparse for class
    numbers, categorical for one-hot targets.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if identifier in ("accuracy", "acc"):
        kind = type(loss).__name__
        if kind == "BinaryCrossentropy" or (pred_shape and pred_shape[-1] == 1):
            return BinaryAccuracy(identifier)
        if kind == "SparseCategoricalCrossentropy" or len(y_shape) < len(pred_shape) or (y_shape and y_shape[-1] == 1):
            return SparseCategoricalAccuracy(identifier)
        return CategoricalAccuracy(identifier)
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise unknown_name("metric", identifier, [*_BY_NAME, "accuracy"])
        return _BY_NAME[identifier](identifier)
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise TypeError(f"metric: expected a name, a Metric or a function, got {type(identifier).__name__}")
