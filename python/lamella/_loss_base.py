"""What Keras' losses share: shapes of targets, weights and reductions."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from . import functional as F
from ._errors import short
from ._kernels._call import op
from ._suggest import unknown_name
from .autograd import Tensor, apply, as_array, wrap

# Keras' reductions and the ops'.
REDUCTIONS = {
    "sum_over_batch_size": "mean", "mean": "mean", "sum": "sum", "mean_with_sample_weight": "weighted_mean",
    None: "none", "none": "none",
}  # fmt: skip


def float_dtype(what: str, dtype: Any) -> str | None:
    """The name of a float dtype that kernels know; None stays."""
    if dtype is None:
        return None
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in ("float32", "float64"):
        raise ValueError(f"{what}: dtype: expected None, 'float32' or 'float64', got {short(dtype)}")
    return name


def tensor_like(value: Any, like: Tensor) -> Tensor:
    """A tensor; floats and bools in the dtype of `like`."""
    if isinstance(value, Tensor):
        return value
    array = as_array(value)
    return wrap(array.astype(like.dtype) if array.dtype.kind in "fub" and array.dtype != like.dtype else array)


def prediction(value: Any, dtype: str | None) -> Tensor:
    """What a model gave, as a float tensor."""
    if isinstance(value, Tensor):
        return value if dtype is None else F.cast(value, dtype)
    array = as_array(value)
    if dtype is None and array.dtype.kind == "f":
        return wrap(array)
    return wrap(array.astype(dtype or np.float32))


def as_float(t: Tensor, like: Tensor) -> Tensor:
    """`t` in the float type of `like`."""
    return t if t.dtype == like.dtype else F.cast(t, like.dtype)


def match_rank(y_true: Any, y_pred: Any) -> Any:
    """`y_true` with a trailing axis of size 1 added or dropped so that it has the rank of `y_pred`."""
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        return apply(op("expand_dims", {"axis": -1}), y_true)
    if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
        return apply(op("squeeze", {"axis": -1}), y_true)
    return y_true


def matched(name: str, y_true: Tensor, y_pred: Tensor) -> Tensor:
    """`y_true` in the dtype and shape of `y_pred`; axes of size 1 are repeated."""
    y_true = as_float(match_rank(y_true, y_pred), y_pred)
    have, want = tuple(y_true.shape), tuple(y_pred.shape)
    if have == want:
        return y_true
    if len(have) != len(want) or any(a not in (1, b) for a, b in zip(have, want, strict=True)):
        raise ValueError(f"{name}: y_true: expected shape {want}, got {have}")
    return F.expand(y_true, want)


def axis_last(t: Tensor, axis: int, what: str) -> Tensor:
    """`t` with the axis moved to the end."""
    rank = len(t.shape)
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -rank <= axis < rank:
        raise ValueError(f"{what}: axis: expected an axis of {tuple(t.shape)}, got {short(axis)}")
    axis = int(axis) % rank
    if axis == rank - 1:
        return t
    return F.contiguous(F.permute(t, [*range(axis), *range(axis + 1, rank), axis]))


def align_weight(weight: Tensor, values: Tensor) -> Tensor:
    """Sample weights with the rank of the values: one for each along their leading axes."""
    have, rank = len(weight.shape), len(values.shape)
    if have == rank + 1 and weight.shape[-1] == 1:
        return apply(op("squeeze", {"axis": -1}), weight)
    return F.reshape(weight, (*weight.shape, *[1] * (rank - have))) if 0 < have < rank else weight


def reduce(values: Tensor, weight: Tensor | None, how: str) -> Tensor:
    """Weigh the losses of samples, and reduce them."""
    total = None
    if weight is not None:
        weight = align_weight(weight, values)
        values = F.mul(values, weight)
        if how == "weighted_mean":
            total = F.mul(F.sum(weight), float(prod(values.shape) / max(prod(weight.shape), 1)))
    if how == "none":
        return values
    if how == "sum":
        return F.sum(values)
    return F.mean(values) if total is None else F.div(F.sum(values), total)


class Loss:
    """The base of losses; subclasses of users write `call(y_true, y_pred)` giving one value per sample.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none"}
        How the values of samples become one: their mean, weights having been multiplied in; the sum divided by the
        sum of the weights; the sum; or not at all.
    dtype : {"float32", "float64"}, optional
        What to compute in. Default: the dtype of the predictions.
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        if reduction not in REDUCTIONS:
            raise unknown_name(f"{type(self).__name__}: reduction", reduction, [r for r in REDUCTIONS if r])
        self.name = name or type(self).__name__
        self.reduction = reduction
        self.dtype = float_dtype(type(self).__name__, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__}: call is not defined")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = prediction(y_pred, self.dtype)
        values = self.call(tensor_like(y_true, y_pred), y_pred)
        if not isinstance(values, Tensor):
            values = prediction(values, self.dtype)
        weight = None if sample_weight is None else as_float(tensor_like(sample_weight, values), values)
        return reduce(values, weight, REDUCTIONS[self.reduction])

    def get_config(self) -> dict[str, Any]:
        """The arguments from which `from_config` makes an equal loss."""
        config = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else {**config, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)


class NativeLoss(Loss):
    """A loss that is one op, weights and reduction included."""

    _op = ""

    def _attrs(self) -> dict[str, Any]:
        return {}

    def _arrange(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return matched(self.name, y_true, y_pred), y_pred

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = prediction(y_pred, self.dtype)
        y_true, y_pred = self._arrange(tensor_like(y_true, y_pred), y_pred)
        weight = None if sample_weight is None else as_float(tensor_like(sample_weight, y_pred), y_pred)
        return self._apply(y_pred, y_true, weight, REDUCTIONS[self.reduction])

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = self._arrange(y_true, y_pred)
        return self._apply(y_pred, y_true, None, "none")

    def _op_name(self) -> str:
        return self._op

    def _apply(self, y_pred: Tensor, y_true: Tensor, weight: Tensor | None, how: str) -> Tensor:
        """The mean over the last axis for each sample; reduced."""
        attrs = {**self._attrs(), "reduction": how, "row_mean": len(y_pred.shape) > 0}
        inputs = (y_pred, y_true) if weight is None else (y_pred, y_true, weight)
        return apply(op(self._op_name(), attrs), *inputs)


class RowSums(NativeLoss):
    """One whose value for a sample is the sum over the last axis."""

    def _apply(self, y_pred: Tensor, y_true: Tensor, weight: Tensor | None, how: str) -> Tensor:
        inputs = (y_pred, y_true) if weight is None else (y_pred, y_true, weight)
        attrs = {**self._attrs(), "reduction": "sum" if how == "mean" else how}
        out = apply(op(self._op_name(), attrs), *inputs)
        cols = y_pred.shape[-1] if len(y_pred.shape) else 1
        if how == "none":
            return F.sum(out, -1)
        if how == "weighted_mean":
            return F.mul(out, float(cols))
        return out if how == "sum" else F.mul(out, 1.0 / max(prod(y_pred.shape[:-1]), 1))


class Wrapped(Loss):
    """A user's function of (y_true, y_pred) as a loss: one value per sample, or a scalar."""

    def __init__(self, fn: Any) -> None:
        super().__init__(name=getattr(fn, "__name__", "loss"))
        self.fn = fn

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.fn(y_true, y_pred)


def signed_labels(y_true: Tensor) -> Tensor:
    """-1 and 1 for labels of which all are 0 or 1; others as they are."""
    if not prod(y_true.shape):
        return y_true
    neither = F.amax(F.abs(F.mul(y_true, F.sub(y_true, 1.0))))
    binary = F.cast(F.compare("equal", neither, 0.0), y_true.dtype)
    return F.add(y_true, F.mul(binary, F.sub(y_true, 1.0)))
