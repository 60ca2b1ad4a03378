"""Losses, from predictions and targets to a scalar or to one value per sample."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .._kernels._call import op as make_op
from .shape import cast

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_cross_entropy",
    "cross_entropy",
    "ctc_loss",
    "element_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]

Tensor = Any

_LABEL_TYPES = (np.dtype(np.int64), np.dtype(np.int32))


@lru_cache(maxsize=256)
def _loss_op(name: str, attrs: tuple[tuple[str, Any], ...]) -> Any:
    return make_op(name, dict(attrs))


def _labels(target: Tensor, like: Tensor) -> Tensor:
    """Class indices as the kernels take them, probabilities in the dtype of the scores."""
    if target.dtype.kind == "f":
        return cast(target, like.dtype)
    if target._data is not None and target.dtype not in _LABEL_TYPES:
        return ag.wrap(target._data.astype(np.int64))
    return target


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of logits, classes last.

    Parameters
    ----------
    x : Tensor
        Logits of shape (..., classes).
    target : Tensor
        Class indices of shape (...), or probabilities of shape (..., classes).
    weight : Tensor, optional
        One factor per class.
    sample_weight : Tensor, optional
        One factor per sample.
    reduction : {"mean", "sum", "none", "weighted_mean"}
        How the values become a scalar; "weighted_mean" divides by the sum of the weights.
    label_smoothing : float
        Share of the target that is spread evenly over the classes.
    ignore_index : int, optional
        Samples with this class index count for nothing.
    """
    attrs: tuple[tuple[str, Any], ...] = (("reduction", reduction), ("label_smoothing", float(label_smoothing)))
    if ignore_index is not None:
        attrs += (("ignore_index", ignore_index),)
    return ag.apply(_loss_op("softmax_cross_entropy", attrs), x, _labels(target, x), weight, sample_weight)


def nll_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of log-probabilities, classes last; see `cross_entropy`."""
    attrs: tuple[tuple[str, Any], ...] = (("reduction", reduction),)
    if ignore_index is not None:
        attrs += (("ignore_index", ignore_index),)
    return ag.apply(_loss_op("nll_loss", attrs), x, _labels(target, x), weight, sample_weight)


def categorical_cross_entropy(
    x: Tensor,
    target: Tensor,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of probabilities, classes last; see `cross_entropy`."""
    attrs: tuple[tuple[str, Any], ...] = (("reduction", reduction), ("label_smoothing", float(label_smoothing)))
    if ignore_index is not None:
        attrs += (("ignore_index", ignore_index),)
    return ag.apply(_loss_op("cross_entropy", attrs), x, _labels(target, x), None, sample_weight)


def element_loss(
    name: str, x: Tensor, target: Tensor, weight: Tensor | None = None, extra: Tensor | None = None, **attrs: Any
) -> Tensor:
    """A loss that compares element by element, by the name of its op.

    Parameters
    ----------
    name : str
        "mse_loss", "mae_loss", "huber_loss", "bce_loss", ...
    x, target : Tensor
        Of equal shape; the target takes the dtype of `x`.
    weight : Tensor, optional
        Factors, one per element or per leading index.
    extra : Tensor, optional
        The op's further input (bce_with_logits_loss: pos_weight).
    **attrs
        Attributes of the op: reduction, row_mean, delta, ...
    """
    if not isinstance(target, ag.Tensor):
        target = ag.wrap(ag.as_array(target, x.dtype))
    target = cast(target, x.dtype)
    op = _loss_op(name, tuple(sorted(attrs.items())))
    if weight is None and extra is None:
        a, b = x._phys, target._phys
        if a is not None and b is not None and a[1] == b[1] and attrs.get("reduction", "mean") != "none":
            return ag.apply(op, a[0], b[0])
        return ag.apply(op, x, target)
    if extra is None:
        return ag.apply(op, x, target, weight)
    return ag.apply(op, x, target, weight, extra)


def mse_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x - target)^2."""
    return element_loss("mse_loss", x, target, reduction=reduction)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - target|."""
    return element_loss("mae_loss", x, target, reduction=reduction)


def huber_loss(x: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half the squared difference where it is within delta, linear beyond."""
    return element_loss("huber_loss", x, target, reduction=reduction, delta=float(delta))


def smooth_l1_loss(x: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """The Huber loss divided by beta."""
    return element_loss("smooth_l1_loss", x, target, reduction=reduction, beta=float(beta))


def binary_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", epsilon: float = 0.0
) -> Tensor:
    """Cross-entropy of probabilities of two classes; logarithms are cut at -100 where epsilon is 0."""
    return element_loss("bce_loss", x, target, weight, reduction=reduction, epsilon=float(epsilon))


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of logits of two classes."""
    return element_loss("bce_with_logits_loss", x, target, weight, pos_weight, reduction=reduction)


def kl_div(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Kullback-Leibler divergence; x are log-probabilities, target probabilities."""
    return element_loss("kl_div_log_loss", x, target, reduction=reduction)


def ctc_loss(
    x: Tensor,
    target: Tensor,
    input_lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    time_first: bool = False,
) -> Tensor:
    """Connectionist temporal classification of log-probabilities, one value per sample.

    Parameters
    ----------
    x : Tensor, shape (n, steps, classes)
        Log-probabilities; (steps, n, classes) with `time_first`.
    target : Tensor, shape (n, width), or a vector of all targets one after another
        Class numbers other than `blank`.
    input_lengths : Tensor, shape (n,), optional
        How many steps count. Default: all.
    target_lengths : Tensor, shape (n,), optional
        Default: as many as are not `blank`. Needed for a vector of targets.
    blank : int
        The class that stands for no label.
    zero_infinity : bool
        A target that does not fit into its steps loses 0, without a gradient, rather than infinity.
    time_first : bool
        Whether the first dimension of `x` is that of the steps.
    """
    op = _loss_op("ctc_loss", (("blank", blank), ("zero_infinity", zero_infinity), ("time_first", time_first)))
    return ag.apply(op, x, target, input_lengths, target_lengths)
