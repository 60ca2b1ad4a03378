"""The base of metrics, and those that are means."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import functional as F
from .. import initializers
from .._loss_base import Loss, NativeLoss, align_weight, as_float, float_dtype, prediction, tensor_like
from ..autograd import Tensor, as_array, no_grad, wrap, written
from ..layers._names import snake_case

# What a batch contributes to a sum: a tensor, or a number that is the same for every batch of that size.
Term = Any


class Variable(Tensor):
    """A number or an array that a metric of the user updates."""

    __slots__ = ("_start", "name")

    def __init__(self, start: np.ndarray, name: str) -> None:
        super().__init__(start.copy())
        self._start, self.name = start, name

    def assign(self, value: Any) -> Variable:
        """Take another value."""
        self._data[...] = as_array(value)
        written(self)
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the value."""
        return self.assign(self._data + as_array(value))

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the value."""
        return self.assign(self._data - as_array(value))

    def reset(self) -> None:
        """Go back to the first value."""
        self.assign(self._start)


class Metric:
    """A running value over batches.

    Subclasses of users write `update_state` and `result`, keeping what they need in variables from `add_weight`, or
    `reset_state` too. Lamella's own write `terms`, which gives the sums of a batch as tensors, so that native training
    steps compute them on their way, and `result` from the sums so far.

    Parameters
    ----------
    dtype : {"float32", "float64"}, optional
        What to compute in. Default: the dtype of the predictions.
    name : str, optional
        Default: made from the name of the class.
    """

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.dtype = float_dtype(type(self).__name__, dtype)
        self.name = name or snake_case(type(self).__name__)
        self._sums: list[Any] | None = None
        self._variables: list[Variable] = []

    # -- state --

    def add_variable(
        self, shape: Any, initializer: Any, dtype: Any = None, aggregation: Any = "sum", name: str | None = None
    ) -> Variable:
        """A variable that `reset_state` sets back.

        Parameters
        ----------
        shape : tuple of int
        initializer : str, Initializer or callable
        dtype : dtype, optional
            Default: float32.
        aggregation : str, optional
            Of replicas of the variable; there is always one.
        name : str, optional
        """
        shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
        start = np.array(initializers.get(initializer)(shape, dtype or self.dtype or "float32"))
        variable = Variable(start.reshape(shape), name or f"variable_{len(self._variables)}")
        self._variables.append(variable)
        return variable

    def add_weight(self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: Any = None) -> Variable:
        """As `add_variable`, with defaults."""
        if isinstance(shape, str):  # the name first, as in older Keras
            shape, name = (), shape
        return self.add_variable(shape, initializer or "zeros", dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        return list(self._variables)

    def reset_state(self) -> None:
        """Start again."""
        self._sums = None
        for v in self._variables:
            v.reset()

    reset_states = reset_state

    # -- batches --

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...] | None:
        """The sums of a batch, as tensors or numbers; None where the metric is only written in Python."""
        return None

    def add(self, *terms: Any) -> None:
        """Count a batch's terms: numbers and arrays."""
        self._sums = list(terms) if self._sums is None else [a + b for a, b in zip(self._sums, terms, strict=True)]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred : array_like
        sample_weight : array_like, optional
            One a sample, or one for every value.
        """
        pred = prediction(y_pred, self.dtype)
        true = tensor_like(y_true, pred)
        true = true if len(true.shape) else F.reshape(true, (1,))
        pred = pred if len(pred.shape) else F.reshape(pred, (1,))
        weight = None if sample_weight is None else as_float(tensor_like(sample_weight, pred), pred)
        if weight is not None and not len(weight.shape):
            weight = F.contiguous(F.expand(weight, true.shape[:1]))
        with no_grad():
            found = self.terms(true, pred, weight)
        if found is None:
            raise NotImplementedError(f"{type(self).__name__}: neither terms nor update_state is defined")
        self.add(*[_value(t) for t in found])

    def result(self) -> Any:
        """The value so far; 0 before the first batch."""
        if self._sums is None:
            return 0.0
        total, weight = self._sums
        return total / weight if weight else 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"

    def get_config(self) -> dict[str, Any]:
        """The arguments from which `from_config` makes an equal metric."""
        return {"name": self.name} if self.dtype is None else {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)


def is_native(metric: Metric) -> bool:
    """Whether `terms` says what the metric is, rather than an `update_state` that the user wrote later."""
    for cls in type(metric).__mro__:
        if "terms" in vars(cls):
            return cls is not Metric
        if "update_state" in vars(cls):
            return False
    return False


def sums_plainly(metric: Metric) -> bool:
    """Whether `add` does no more than add, so that native steps may do it."""
    return type(metric).add is Metric.add


def _value(term: Term) -> Any:
    if not isinstance(term, Tensor):
        return term
    array = as_array(term).astype(np.float64)
    return array if array.ndim else float(array)


def mean_terms(values: Tensor, sample_weight: Tensor | None) -> tuple[Term, Term]:
    """(weighted sum, total weight) of values of which the first axes are those of the weights."""
    if sample_weight is None:
        return F.sum(values), float(prod(values.shape))
    weight = align_weight(sample_weight, values)
    each = prod(values.shape) / max(prod(weight.shape), 1)
    total = F.sum(weight)
    return F.sum(F.mul(values, weight)), total if each == 1 else F.mul(total, float(each))


def _numbers(values: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
    v = np.asarray(as_array(values), np.float64)
    if sample_weight is None:
        return v, np.ones_like(v)
    w = np.asarray(as_array(sample_weight), np.float64)
    if w.ndim == v.ndim + 1 and w.shape[-1] == 1:
        w = w[..., 0]
    elif 0 < w.ndim < v.ndim:
        w = w.reshape(*w.shape, *[1] * (v.ndim - w.ndim))
    return v, np.broadcast_to(w, np.broadcast_shapes(v.shape, w.shape))


class Mean(Metric):
    """The mean of values."""

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        v, w = _numbers(values, sample_weight)
        self.add(float((v * w).sum()), float(w.sum()))


class Sum(Metric):
    """The sum of values."""

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        v, w = _numbers(values, sample_weight)
        self.add(float((v * w).sum()))

    def result(self) -> float:
        return 0.0 if self._sums is None else self._sums[0]


class MeanMetricWrapper(Metric):
    """The mean of what a function gives.

    Parameters
    ----------
    fn : callable
        Called with (y_true, y_pred); gives one value per sample, or the mean of the batch.
    name : str, optional
        Default: the function's name.
    dtype : {"float32", "float64"}, optional
    **kwargs
        Further arguments for `fn`.
    """

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(dtype, name or getattr(fn, "__name__", type(fn).__name__))
        self.fn, self.fn_kwargs = fn, kwargs

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...] | None:
        values = self.fn(y_true, y_pred, **self.fn_kwargs)
        if not isinstance(values, Tensor):
            if y_pred._data is None:
                return None  # in NumPy: the plan hands out what it needs
            values = wrap(np.asarray(values, y_pred.dtype))
        values = as_float(values, y_pred)
        if not len(values.shape):  # the mean of the batch: as many as there are samples
            rows = float(y_pred.shape[0])
            return F.mul(values, rows), rows
        return mean_terms(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fn": self.fn, **self.fn_kwargs}


class LossMetric(Metric):
    """The mean of a loss over samples."""

    def __init__(self, loss: Loss, name: str | None, dtype: Any) -> None:
        super().__init__(dtype, name)
        self._loss = loss

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        loss = self._loss
        if not isinstance(loss, NativeLoss):
            return mean_terms(loss.call(y_true, y_pred), sample_weight)
        y_true, y_pred = loss._arrange(y_true, y_pred)
        total = loss._apply(y_pred, y_true, sample_weight, "sum")
        shape = tuple(y_pred.shape[:-1])  # of the values
        if sample_weight is None:
            return total, float(prod(shape))
        each = prod(shape) / max(prod(sample_weight.shape), 1)
        weight = F.sum(sample_weight)
        return total, weight if each == 1 else F.mul(weight, float(each))

    def get_config(self) -> dict[str, Any]:
        config = self._loss.get_config()
        del config["reduction"]
        return {**config, **super().get_config()}
