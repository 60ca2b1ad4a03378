"""The losses in NumPy float64, written for plainness."""

from __future__ import annotations

import math

import numpy as np


def softmax(x, axis=-1):
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    x = np.asarray(x, np.float64)
    d = x - x.max(axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis, keepdims=True))


def log_probabilities(x, scores, epsilon):
    if scores == "softmax_cross_entropy":
        return log_softmax(x)
    if scores == "nll_loss":
        return np.asarray(x, np.float64)
    x = np.asarray(x, np.float64)
    return np.log(np.clip(x / x.sum(-1, keepdims=True), epsilon, 1 - epsilon))


def reduce_loss(values, weights, counts, reduction):
    """values are weighted already."""
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.sum() / counts.sum() if counts.sum() else 0.0
    return values.sum() / weights.sum()


def cross_entropy(
    name,
    x,
    targets,
    class_weight=None,
    sample_weight=None,
    reduction="mean",
    label_smoothing=0.0,
    ignore_index=None,
    epsilon=1e-7,
):
    classes = x.shape[-1]
    log_p = log_probabilities(x, name, epsilon)
    cw = np.ones(classes) if class_weight is None else np.asarray(class_weight, np.float64)
    rows = x.shape[:-1]
    counts = np.ones(rows)
    weights = np.ones(rows)
    if targets.dtype.kind == "i":
        labels = targets.reshape(rows)
        if ignore_index is not None:
            counts = (labels != ignore_index).astype(np.float64)
            labels = np.where(labels == ignore_index, 0, labels)
        t = np.eye(classes)[labels]
        weights = cw[labels] * counts
    else:
        t = np.asarray(targets, np.float64)
    t = t * (1 - label_smoothing) + label_smoothing / classes
    q = t * cw
    with np.errstate(invalid="ignore"):
        values = np.where(q == 0, 0.0, -q * log_p).sum(-1) * counts
    if sample_weight is not None:
        w = np.asarray(sample_weight, np.float64)
        w = np.broadcast_to(w.reshape(w.shape + (1,) * (len(rows) - w.ndim)), rows)
        values = values * w
        weights = weights * w
    return reduce_loss(values, weights, counts, reduction)


def _smooth(t, s):
    return t * (1 - s) + 0.5 * s


def _bce(x, t, a):
    t = _smooth(t, a.get("label_smoothing", 0.0))
    epsilon = a.get("epsilon", 1e-7)
    if epsilon == 0:
        with np.errstate(divide="ignore"):
            return -(t * np.maximum(np.log(x), -100) + (1 - t) * np.maximum(np.log1p(-x), -100))
    p = np.clip(x, epsilon, 1 - epsilon)
    return -(t * np.log(p) + (1 - t) * np.log1p(-p))


def _bce_logits(x, t, a):
    t = _smooth(t, a.get("label_smoothing", 0.0))
    tail = np.log1p(np.exp(-np.abs(x)))
    return a.get("pos_weight", 1.0) * t * (np.maximum(-x, 0) + tail) + (1 - t) * (np.maximum(x, 0) + tail)


def _huber(x, t, a):
    d, delta = np.abs(x - t), a.get("delta", 1.0)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def _smooth_l1(x, t, a):
    d, beta = np.abs(x - t), a.get("beta", 1.0)
    if beta == 0:
        return d
    return np.where(d < beta, d * d / (2 * beta), d - beta / 2)


def _kl(x, t, a):
    e = a.get("epsilon", 1e-7)
    x, t = np.clip(x, e, 1), np.clip(t, e, 1)
    return t * np.log(t / x)


def _kl_log(x, t, a):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(t == 0, 0.0, t * (np.log(t) - x))


def _msle(x, t, a):
    e = a.get("epsilon", 1e-7)
    return (np.log1p(np.maximum(x, e)) - np.log1p(np.maximum(t, e))) ** 2


ELEMENT_LOSSES = {
    "mse_loss": lambda x, t, a: (x - t) ** 2,
    "mae_loss": lambda x, t, a: np.abs(x - t),
    "huber_loss": _huber,
    "smooth_l1_loss": _smooth_l1,
    "log_cosh_loss": lambda x, t, a: np.logaddexp(x - t, t - x) - math.log(2.0),
    "bce_loss": _bce,
    "bce_with_logits_loss": _bce_logits,
    "poisson_loss": lambda x, t, a: x - t * np.log(x + a.get("epsilon", 1e-7)),
    "kl_div_loss": _kl,
    "kl_div_log_loss": _kl_log,
    "hinge_loss": lambda x, t, a: np.maximum(0, 1 - t * x),
    "squared_hinge_loss": lambda x, t, a: np.maximum(0, 1 - t * x) ** 2,
    "mape_loss": lambda x, t, a: 100 * np.abs(x - t) / np.maximum(np.abs(t), a.get("epsilon", 1e-7)),
    "msle_loss": _msle,
}


def element_loss(name, x, target, weight=None, reduction="mean", row_mean=False, **attrs):
    x, target = np.asarray(x, np.float64), np.asarray(target, np.float64)
    values = ELEMENT_LOSSES[name](x, target, attrs)
    w = np.ones(x.shape)
    if weight is not None:
        weight = np.asarray(weight, np.float64)
        w = np.broadcast_to(weight.reshape(weight.shape + (1,) * (x.ndim - weight.ndim)), x.shape)
    values = values * w
    if row_mean:
        values, w = values.mean(-1), w.mean(-1)
    return reduce_loss(values, w, np.ones(values.shape), reduction)
