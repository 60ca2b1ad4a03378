"""Losses in Keras' idiom: called with (y_true, y_pred)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ._kernels._call import op
from ._suggest import unknown_name
from .activations import logits_of
from .autograd import Tensor, apply, as_array, wrap

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "MeanAbsoluteError", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get", "huber",
    "mean_absolute_error", "mean_squared_error", "serialize", "sparse_categorical_crossentropy",
]  # fmt: skip

_REDUCTIONS = {"sum_over_batch_size": "mean", "mean": "mean", "sum": "sum", None: "none", "none": "none"}


def _tensor(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = as_array(value)
    return wrap(array.astype(like.dtype) if array.dtype.kind in "fub" and array.dtype != like.dtype else array)


def match_rank(y_true: Any, y_pred: Any) -> Any:
    """`y_true` with a trailing axis of size 1 added or dropped so that it has the rank of `y_pred`."""
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        return apply(op("expand_dims", {"axis": -1}), y_true)
    if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
        return apply(op("squeeze", {"axis": -1}), y_true)
    return y_true


class Loss:
    """The base of losses; subclasses of users write `call(y_true, y_pred)` giving one value per sample.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "sum", "none"}
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise unknown_name("loss: reduction", reduction, [r for r in _REDUCTIONS if r])
        if dtype not in (None, "float32"):
            raise NotImplementedError(f"loss: dtype: expected None, got {dtype!r}")
        self.name = name or type(self).__name__
        self.reduction = reduction

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__}: call is not defined")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = y_pred if isinstance(y_pred, Tensor) else wrap(as_array(y_pred, np.float32))
        values = self.call(_tensor(y_true, y_pred), y_pred)
        if sample_weight is not None:
            values = values * as_float(_tensor(sample_weight, y_pred), y_pred)
        how = _REDUCTIONS[self.reduction]
        return values if how == "none" else values.sum() if how == "sum" else values.mean()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}


class _Native(Loss):
    """A loss that is one op, weights and reduction included."""

    _op = ""

    def _attrs(self) -> dict[str, Any]:
        return {}

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return match_rank(y_true, y_pred)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = y_pred if isinstance(y_pred, Tensor) else wrap(as_array(y_pred, np.float32))
        y_true = self._prepare(_tensor(y_true, y_pred), y_pred)
        attrs = {**self._attrs(), "reduction": _REDUCTIONS[self.reduction]}
        weight = None if sample_weight is None else as_float(_tensor(sample_weight, y_pred), y_pred)
        return self._apply(attrs, y_pred, y_true, weight)

    def _op_name(self) -> str:
        return self._op

    def _apply(self, attrs: dict[str, Any], y_pred: Tensor, y_true: Tensor, weight: Tensor | None) -> Tensor:
        inputs = (y_pred, y_true) if weight is None else (y_pred, y_true, weight)
        return apply(op(self._op_name(), attrs), *inputs)


class _CrossEntropy(_Native):
    _ops = ("cross_entropy", "softmax_cross_entropy")  # from probabilities, from logits
    _from = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if axis != -1:
            raise NotImplementedError(f"{type(self).__name__}: axis: expected -1, got {axis}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"{type(self).__name__}: label_smoothing: expected a number in [0, 1], got {label_smoothing}"
            )
        self.from_logits, self.label_smoothing = bool(from_logits), float(label_smoothing)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        if not self.from_logits:
            logits = logits_of(y_pred, self._from)
            if logits is not None:  # exact where probabilities would have to be kept off 0
                exact = copy.copy(self)
                exact.from_logits = True
                return exact(y_true, logits, sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def _op_name(self) -> str:
        return self._ops[self.from_logits]

    def _attrs(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing}

    def _apply(self, attrs: dict[str, Any], y_pred: Tensor, y_true: Tensor, weight: Tensor | None) -> Tensor:
        inputs = (y_pred, y_true) if weight is None else (y_pred, y_true, None, weight)  # the third: class weights
        return apply(op(self._op_name(), attrs), *inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(_CrossEntropy):
    """``-sum(y_true * log(y_pred))`` for one-hot or probability targets.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` are logits rather than probabilities.
    label_smoothing : float
    """

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if tuple(y_true.shape) != tuple(y_pred.shape):
            raise ValueError(
                f"categorical_crossentropy: y_true: expected the shape of y_pred, {tuple(y_pred.shape)} (one-hot "
                f"rows; for class numbers use sparse_categorical_crossentropy), got {tuple(y_true.shape)}"
            )
        return as_float(y_true, y_pred)


class SparseCategoricalCrossentropy(_CrossEntropy):
    """``-log(y_pred[label])`` for class numbers as targets.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` are logits rather than probabilities.
    ignore_class : int, optional
        A label that counts for nothing.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype)
        self.ignore_class = ignore_class

    def _attrs(self) -> dict[str, Any]:
        return {"ignore_index": self.ignore_class}

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        rank = len(y_pred.shape)
        if len(y_true.shape) == rank and y_true.shape[-1] == 1:
            y_true = apply(op("squeeze", {"axis": -1}), y_true)
        if tuple(y_true.shape) != tuple(y_pred.shape[:-1]):
            raise ValueError(
                f"sparse_categorical_crossentropy: y_true: expected class numbers of shape {tuple(y_pred.shape[:-1])}, "
                f"got {tuple(y_true.shape)}"
            )
        if y_true.dtype.kind not in "i":
            y_true = apply(op("cast", {"dtype": "int64"}), y_true)
        return y_true

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction, "from_logits": self.from_logits,
                "ignore_class": self.ignore_class}  # fmt: skip


class BinaryCrossentropy(_CrossEntropy):
    """``-y log(p) - (1 - y) log(1 - p)``, the mean over the last axis."""

    _ops = ("bce_loss", "bce_with_logits_loss")
    _from = "sigmoid"
    _apply = _Native._apply

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return as_float(match_rank(y_true, y_pred), y_pred)


class _Elementwise(_Native):
    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return as_float(match_rank(y_true, y_pred), y_pred)


def as_float(t: Tensor, like: Tensor) -> Tensor:
    """`t` in the float type of `like`."""
    return t if t.dtype == like.dtype else apply(op("cast", {"dtype": like.dtype.name}), t)


class MeanSquaredError(_Elementwise):
    """``mean((y_true - y_pred)**2)``."""

    _op = "mse_loss"


class MeanAbsoluteError(_Elementwise):
    """``mean(|y_true - y_pred|)``."""

    _op = "mae_loss"


class Huber(_Elementwise):
    """Quadratic up to `delta`, linear beyond."""

    _op = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = float(delta)

    def _attrs(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


def _per_sample(loss: Loss, y_true: Any, y_pred: Any) -> Tensor:
    values = loss(y_true, y_pred)
    return values if len(values.shape) < len(y_pred.shape) or len(y_pred.shape) < 2 else values.mean(-1)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: Any = None
) -> Tensor:
    """One value per sample; see SparseCategoricalCrossentropy."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class, reduction="none")(y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """One value per sample; see CategoricalCrossentropy."""
    return CategoricalCrossentropy(from_logits, label_smoothing, reduction="none")(y_true, y_pred)


def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> Tensor:
    """One value per sample; see BinaryCrossentropy."""
    return _per_sample(BinaryCrossentropy(from_logits, label_smoothing, reduction="none"), y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """One value per sample; see MeanSquaredError."""
    return _per_sample(MeanSquaredError(reduction="none"), y_true, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """One value per sample; see MeanAbsoluteError."""
    return _per_sample(MeanAbsoluteError(reduction="none"), y_true, y_pred)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """One value per sample; see Huber."""
    return _per_sample(Huber(delta, reduction="none"), y_true, y_pred)


_CLASSES: dict[str, type[Loss]] = {
    c.__name__: c
    for c in (BinaryCrossentropy, CategoricalCrossentropy, Huber, MeanAbsoluteError, MeanSquaredError,
              SparseCategoricalCrossentropy)
}  # fmt: skip
_BY_NAME: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "huber": Huber,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
_BY_FUNCTION = {
    binary_crossentropy: BinaryCrossentropy, categorical_crossentropy: CategoricalCrossentropy, huber: Huber,
    mean_absolute_error: MeanAbsoluteError, mean_squared_error: MeanSquaredError,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}  # fmt: skip


class Wrapped(Loss):
    """A user's function of (y_true, y_pred) as a loss: one value per sample, or a scalar."""

    def __init__(self, fn: Any) -> None:
        super().__init__(name=getattr(fn, "__name__", "loss"))
        self.fn = fn

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.fn(y_true, y_pred)


def get(identifier: Any) -> Loss:
    """A loss from its name, class, function, configuration, or itself."""
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, dict):
        name = identifier.get("class_name")
        if name not in _CLASSES:
            raise unknown_name("loss", name, _CLASSES)
        return _CLASSES[name](**identifier.get("config", {}))
    if isinstance(identifier, str):
        known = {**_BY_NAME, **_CLASSES}
        if identifier not in known:
            raise unknown_name("loss", identifier, known)
        return known[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier]()
    if callable(identifier):
        return Wrapped(identifier)
    raise TypeError(f"loss: expected a name, a Loss or a callable, got {type(identifier).__name__}")


def serialize(loss: Loss) -> dict[str, Any]:
    """The configuration from which `get` rebuilds the loss."""
    if type(loss).__name__ not in _CLASSES:
        raise TypeError(f"loss: only Lamella's own losses can be saved, got {loss!r}")
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
