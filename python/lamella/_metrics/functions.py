"""Metrics as functions: one value per sample, or per element."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._errors import short
from .._loss_base import as_float, matched, prediction, tensor_like
from ..autograd import Tensor, as_array, wrap
from .accuracy import labels_of
from .regression import concordance, correlation


def _pair(name: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = prediction(y_pred, None)
    return matched(name, tensor_like(y_true, y_pred), y_pred), y_pred


def _hits(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    return F.cast(F.compare("equal", a, b), like.dtype)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """1 where ``y_pred > threshold`` equals the target, else 0."""
    y_true, y_pred = _pair("binary_accuracy", y_true, y_pred)
    return _hits(y_true, F.cast(F.compare("greater", y_pred, float(threshold)), y_pred.dtype), y_pred)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 for samples whose largest output is where the one-hot target is largest."""
    y_true, y_pred = _pair("categorical_accuracy", y_true, y_pred)
    return _hits(F.argmax(y_true, -1), F.argmax(y_pred, -1), y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 for samples whose largest output is at the label."""
    y_pred = prediction(y_pred, None)
    return _hits(labels_of(tensor_like(y_true, y_pred), y_pred), F.argmax(y_pred, -1), y_pred)


def _among_first(name: str, labels: Tensor, y_pred: Tensor, k: int) -> Tensor:
    if k < 1:
        raise ValueError(f"{name}: k: expected a positive integer, got {short(k)}")
    scores, at = as_array(y_pred), as_array(labels)
    if at.size and (at.min() < 0 or at.max() >= scores.shape[-1]):
        raise ValueError(
            f"{name}: y_true: expected class numbers below {scores.shape[-1]}, got {at.min()} to {at.max()}"
        )
    own = np.take_along_axis(scores, at[..., None], -1)
    return wrap(((scores > own).sum(-1) < k).astype(scores.dtype))


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 for samples where the largest entry of the one-hot target is among the k largest outputs."""
    y_true, y_pred = _pair("top_k_categorical_accuracy", y_true, y_pred)
    return _among_first("top_k_categorical_accuracy", F.argmax(y_true, -1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """1 for samples whose label is among the k largest outputs, or the first k class numbers of `y_pred`."""
    name = "sparse_top_k_categorical_accuracy"
    y_pred = prediction(y_pred, None)
    y_true = tensor_like(y_true, y_pred)
    if from_sorted_ids:
        labels = as_array(as_float(y_true, y_pred))
        labels = labels[..., 0] if labels.ndim == len(y_pred.shape) else labels
        return wrap((as_array(y_pred)[..., :k] == labels[..., None]).any(-1).astype(y_pred.dtype))
    return _among_first(name, labels_of(y_true, y_pred), y_pred, k)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The coefficient of correlation along an axis."""
    return correlation(*_pair("pearson_correlation", y_true, y_pred), axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The concordance along an axis: a correlation that wants equal means and spreads."""
    return concordance(*_pair("concordance_correlation", y_true, y_pred), axis)
