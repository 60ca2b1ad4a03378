"""Losses, and the counts behind accuracy.

`reduction` is "none" (one value per row or element), "sum", "mean" (divided by their number; rows with `ignore_index`
do not count) or "weighted_mean" (divided by the sum of their weights).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._call import run

__all__ = [
    "accuracy",
    "bce_loss",
    "bce_with_logits_loss",
    "cross_entropy",
    "element_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div_log_loss",
    "kl_div_loss",
    "log_cosh_loss",
    "mae_loss",
    "mape_loss",
    "mse_loss",
    "msle_loss",
    "nll_loss",
    "poisson_loss",
    "smooth_l1_loss",
    "softmax_cross_entropy",
    "squared_hinge_loss",
]


def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> np.ndarray:
    """Cross-entropy of softmax(logits), classes last.

    Parameters
    ----------
    logits : ndarray, shape (..., classes)
    targets : ndarray
        int32 or int64 labels of shape (...), or probabilities of the logits' dtype and shape.
    class_weight : ndarray, shape (classes,), optional
    sample_weight : ndarray, optional
        Of shape (...) or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    label_smoothing : float
        The share of each target that is spread evenly over all classes.
    ignore_index : int, optional
        Rows with this label have no loss, no gradient and no weight.

    Returns
    -------
    ndarray
        A scalar, or shape (...) for "none".
    """
    attrs = {"reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignore_index}
    return run("softmax_cross_entropy", attrs, [logits, targets, class_weight, sample_weight])


def cross_entropy(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    epsilon: float = 1e-7,
) -> np.ndarray:
    """Cross-entropy of probabilities, divided by their sum and clipped to [epsilon, 1 - epsilon] first.

    See `softmax_cross_entropy` for the arguments.
    """
    attrs = {
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "epsilon": epsilon,
    }
    return run("cross_entropy", attrs, [probabilities, targets, class_weight, sample_weight])


def nll_loss(
    log_probabilities: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> np.ndarray:
    """Cross-entropy of log-probabilities; see `softmax_cross_entropy`."""
    attrs = {"reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignore_index}
    return run("nll_loss", attrs, [log_probabilities, targets, class_weight, sample_weight])


def element_loss(
    name: str, x: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None, **attrs: Any
) -> np.ndarray:
    """A loss that compares a prediction with a target element by element.

    Parameters
    ----------
    name : str
        "mse_loss", "mae_loss", "huber_loss" (delta), "smooth_l1_loss" (beta), "log_cosh_loss", "bce_loss" (epsilon,
        label_smoothing), "bce_with_logits_loss" (label_smoothing), "poisson_loss" (epsilon), "kl_div_loss" (epsilon),
        "kl_div_log_loss", "hinge_loss", "squared_hinge_loss", "mape_loss" (epsilon) or "msle_loss" (epsilon).
    x, target : ndarray
        Of equal shape and dtype.
    weight : ndarray, optional
        Of the shape of `x` or of some of its leading axes.
    **attrs
        reduction (default "mean"); row_mean (default False): average over the last axis first; and those named above.
    """
    return run(name, attrs, [x, target, weight])


def mse_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """Squared difference; see `element_loss`."""
    return element_loss("mse_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def mae_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """Absolute difference; see `element_loss`."""
    return element_loss("mae_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def huber_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    delta: float = 1.0,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """Half the squared difference up to `delta`, linear from there; see `element_loss`."""
    return element_loss("huber_loss", x, target, weight, delta=delta, reduction=reduction, row_mean=row_mean)


def smooth_l1_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    beta: float = 1.0,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """Half the squared difference over `beta` up to `beta`, linear from there; see `element_loss`."""
    return element_loss("smooth_l1_loss", x, target, weight, beta=beta, reduction=reduction, row_mean=row_mean)


def log_cosh_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """The logarithm of the difference's hyperbolic cosine; see `element_loss`."""
    return element_loss("log_cosh_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def poisson_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """x - target * log(x + epsilon); see `element_loss`."""
    return element_loss("poisson_loss", x, target, weight, epsilon=epsilon, reduction=reduction, row_mean=row_mean)


def kl_div_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """target * log(target / x), both clipped to [epsilon, 1] first; see `element_loss`."""
    return element_loss("kl_div_loss", x, target, weight, epsilon=epsilon, reduction=reduction, row_mean=row_mean)


def kl_div_log_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """target * (log(target) - x), x being log-probabilities; see `element_loss`."""
    return element_loss("kl_div_log_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def hinge_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """max(0, 1 - target * x) for targets of -1 and 1; see `element_loss`."""
    return element_loss("hinge_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def squared_hinge_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """The square of `hinge_loss`; see `element_loss`."""
    return element_loss("squared_hinge_loss", x, target, weight, reduction=reduction, row_mean=row_mean)


def mape_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """100 * |x - target| / max(|target|, epsilon); see `element_loss`."""
    return element_loss("mape_loss", x, target, weight, epsilon=epsilon, reduction=reduction, row_mean=row_mean)


def msle_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> np.ndarray:
    """The squared difference of log(1 + max(x, epsilon)) and the same of the target; see `element_loss`."""
    return element_loss("msle_loss", x, target, weight, epsilon=epsilon, reduction=reduction, row_mean=row_mean)


def bce_loss(
    probabilities: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
    label_smoothing: float = 0.0,
    epsilon: float = 1e-7,
) -> np.ndarray:
    """Binary cross-entropy of probabilities clipped to [epsilon, 1 - epsilon]; see `element_loss`.

    With epsilon 0 the logarithms are cut at -100 instead.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean, "label_smoothing": label_smoothing, "epsilon": epsilon}
    return run("bce_loss", attrs, [probabilities, target, weight])


def bce_with_logits_loss(
    logits: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    pos_weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Binary cross-entropy of sigmoid(logits); `pos_weight`, a scalar or one per column, multiplies the targets."""
    attrs = {"reduction": reduction, "row_mean": row_mean, "label_smoothing": label_smoothing}
    return run("bce_with_logits_loss", attrs, [logits, target, weight, pos_weight])


def accuracy(
    x: np.ndarray,
    targets: np.ndarray,
    sample_weight: np.ndarray | None = None,
    kind: str = "sparse",
    k: int | None = None,
    threshold: float | None = None,
    ignore_index: int | None = None,
) -> tuple[float, float]:
    """The weighted number of right predictions and the sum of the weights.

    Parameters
    ----------
    x : ndarray
        Scores of shape (..., classes); for "binary", probabilities of any shape.
    targets : ndarray
        "sparse": int32 or int64 labels of shape (...); else of x's dtype and shape.
    sample_weight : ndarray, optional
        One per row ("binary": per element), or per leading index.
    kind : {"sparse", "categorical", "binary"}
    k : int, optional
        Right is also what is among the k largest (default 1). Not for "binary".
    threshold : float, optional
        Of "binary" alone (default 0.5).
    ignore_index : int, optional
        Rows with this label do not count. Of "sparse" alone.
    """
    attrs = {"kind": kind, "k": k, "threshold": threshold, "ignore_index": ignore_index}
    correct, total = run("metric_accuracy", attrs, [x, targets, sample_weight])
    return float(correct), float(total)
