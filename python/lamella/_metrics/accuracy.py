"""How often predictions are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._dtypes import is_float
from .._errors import short
from .._kernels._call import op
from .._loss_base import as_float, match_rank, matched
from ..autograd import Tensor, apply, as_array
from .base import Metric, Term, mean_terms


class Accuracy(Metric):
    """How often predicted class numbers equal the labels; under the name "accuracy" see `get`."""

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        hits = F.compare("equal", matched(self.name, y_true, y_pred), y_pred)
        return mean_terms(F.cast(hits, y_pred.dtype), sample_weight)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        pred = y_pred if isinstance(y_pred, Tensor) else as_array(y_pred)
        # float64 tells all class numbers apart.
        super().update_state(y_true, pred if is_float(pred.dtype) else as_array(pred, np.float64), sample_weight)


class _Hits(Metric):
    """Accuracies that have a kernel."""

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        attrs, y_true = self._prepare(y_true, y_pred)
        inputs = (y_pred, y_true) if sample_weight is None else (y_pred, y_true, sample_weight)
        correct, total = apply(op("metric_accuracy", attrs), *inputs)
        return correct, total

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        raise NotImplementedError


def labels_of(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Class numbers as integers, without a last axis of size 1."""
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = apply(op("squeeze", {"axis": -1}), y_true)
    return integers(y_true)


def integers(t: Tensor) -> Tensor:
    """Class numbers as integers."""
    return t if t.dtype.kind == "i" else F.cast(t, np.int64)


class SparseCategoricalAccuracy(_Hits):
    """How often the largest output is at the label."""

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "sparse"}, labels_of(y_true, y_pred)


class CategoricalAccuracy(_Hits):
    """How often the largest output is where the one-hot target is largest."""

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(dtype, name)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "categorical"}, as_float(y_true, y_pred)


def _k(name: str, k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"{name}: k: expected a positive integer, got {short(k)}")
    return int(k)


class TopKCategoricalAccuracy(_Hits):
    """How often the largest entry of a one-hot target is among the k largest outputs.

    Parameters
    ----------
    k : int
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.k = _k("TopKCategoricalAccuracy", k)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "categorical", "k": self.k}, as_float(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class SparseTopKCategoricalAccuracy(_Hits):
    """How often the label is among the k largest outputs.

    Parameters
    ----------
    k : int
    name : str, optional
    dtype : {"float32", "float64"}, optional
    from_sorted_ids : bool
        Whether `y_pred` are class numbers, the most likely first, rather than scores.
    """

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(dtype, name)
        self.k, self.from_sorted_ids = _k("SparseTopKCategoricalAccuracy", k), bool(from_sorted_ids)

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        if not self.from_sorted_ids:
            return super().terms(y_true, y_pred, sample_weight)
        if len(y_true.shape) < len(y_pred.shape):
            y_true = F.unsqueeze(y_true, -1)
        first = y_pred[..., : self.k]
        hits = F.cast(F.compare("equal", F.expand(as_float(y_true, y_pred), first.shape), first), y_pred.dtype)
        return mean_terms(F.amax(hits, -1), sample_weight)

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "sparse", "k": self.k}, labels_of(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k, "from_sorted_ids": self.from_sorted_ids}


class BinaryAccuracy(_Hits):
    """How often ``y_pred > threshold`` equals the target.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64"}, optional
    threshold : float
        In (0, 1).
    """

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float | None = 0.5) -> None:
        super().__init__(dtype, name)
        self.threshold = 0.5 if threshold is None else float(threshold)
        if not 0 < self.threshold < 1:
            raise ValueError(f"BinaryAccuracy: threshold: expected a number in (0, 1), got {short(threshold)}")

    def _prepare(self, y_true: Tensor, y_pred: Tensor) -> tuple[dict[str, Any], Tensor]:
        return {"kind": "binary", "threshold": self.threshold}, as_float(match_rank(y_true, y_pred), y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
