"""Accuracies of single samples, as functions of (y_true, y_pred)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .._loss_base import as_float, axis_last, match_rank, matched, prediction, tensor_like
from ..autograd import Tensor, wrap
from .accuracy import _k, labels_of
from .regression import concordance, correlation


def _both(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = prediction(y_pred, None)
    return tensor_like(y_true, y_pred), y_pred


def _equal(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    return F.cast(F.compare("equal", a, b), like.dtype)


def _check(what: str, y_true: Tensor, y_pred: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(y_true.shape) != shape:
        raise ValueError(
            f"{what}: y_true: expected shape {shape} for y_pred of shape {tuple(y_pred.shape)}, got "
            f"{tuple(y_true.shape)}"
        )


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """1 where ``y_pred > threshold`` equals the target, else 0; of the shape of `y_pred`.

    Parameters
    ----------
    y_true, y_pred : array_like
    threshold : float
    """
    y_true, y_pred = _both(y_true, y_pred)
    y_true = matched("binary_accuracy", match_rank(y_true, y_pred), y_pred)
    return _equal(y_true, as_float(F.compare("greater", y_pred, float(threshold)), y_pred), y_pred)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 for each sample whose largest output is where the one-hot target is largest, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like
        (..., classes).
    """
    y_true, y_pred = _both(y_true, y_pred)
    _check("categorical_accuracy", y_true, y_pred, tuple(y_pred.shape))
    return _equal(F.argmax(y_true, -1), F.argmax(y_pred, -1), y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 for each sample whose largest output is at the label, else 0.

    Parameters
    ----------
    y_true : array_like of int
        (...,) or (..., 1).
    y_pred : array_like
        (..., classes).
    """
    y_true, y_pred = _both(y_true, y_pred)
    labels = labels_of(y_true, y_pred)
    _check("sparse_categorical_accuracy", labels, y_pred, tuple(y_pred.shape[:-1]))
    return _equal(labels, F.argmax(y_pred, -1), y_pred)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """1 for each sample where the largest entry of the one-hot target is among the k largest outputs, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like
        (..., classes).
    k : int
    """
    y_true, y_pred = _both(y_true, y_pred)
    _check("top_k_categorical_accuracy", y_true, y_pred, tuple(y_pred.shape))
    what = "top_k_categorical_accuracy"
    return _among(what, F.argmax(y_true, -1), y_pred, _k(what, k))


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Tensor:
    """1 for each sample whose label is among the k largest outputs, else 0; of the shape of `y_true`.

    Parameters
    ----------
    y_true : array_like of int
        (...,) or (..., 1).
    y_pred : array_like
        (..., classes).
    k : int
    from_sorted_ids : bool
        Whether `y_pred` are class numbers, the most likely first, rather than scores.
    """
    what = "sparse_top_k_categorical_accuracy"
    y_true, y_pred = _both(y_true, y_pred)
    shape, labels, k = tuple(y_true.shape), labels_of(y_true, y_pred), _k(what, k)
    _check(what, labels, y_pred, tuple(y_pred.shape[:-1]))
    if from_sorted_ids:
        first = y_pred[..., :k]
        hits = F.amax(_equal(F.expand(F.unsqueeze(as_float(labels, y_pred), -1), first.shape), first, y_pred), -1)
    else:
        hits = _among(what, labels, y_pred, k)
    return F.reshape(hits, shape)


def _among(what: str, labels: Tensor, scores: Tensor, k: int) -> Tensor:
    """Whether fewer than k scores are above that of the label; a NaN is no hit."""
    known = labels._data
    if known is not None and known.size and not 0 <= known.min() <= known.max() < scores.shape[-1]:
        raise ValueError(
            f"{what}: y_true: expected class numbers below {scores.shape[-1]}, got {known.min()} to {known.max()}"
        )
    classes = wrap(np.arange(scores.shape[-1]))
    at = F.compare("equal", F.unsqueeze(labels, -1), classes)
    own = F.amax(F.where(at, scores, -np.inf), -1, True)
    above = F.sum(F.cast(F.compare("greater", scores, own), scores.dtype), -1)
    return F.mul(F.cast(F.compare("less", above, float(k)), scores.dtype), _equal(own, own, scores)[..., 0])


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The coefficients of correlation of targets and predictions along an axis.

    Parameters
    ----------
    y_true, y_pred : array_like
    axis : int
    """
    return _along("pearson_correlation", correlation, y_true, y_pred, axis)


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """The concordance of targets and predictions along an axis: a correlation that wants equal means and spreads.

    Parameters
    ----------
    y_true, y_pred : array_like
    axis : int
    """
    return _along("concordance_correlation", concordance, y_true, y_pred, axis)


def _along(what: str, fn: Any, y_true: Any, y_pred: Any, axis: int) -> Tensor:
    y_true, y_pred = _both(y_true, y_pred)
    y_true = matched(what, y_true, y_pred)
    return fn(axis_last(y_true, axis, what), axis_last(y_pred, axis, what), -1)  # type: ignore[no-any-return]
