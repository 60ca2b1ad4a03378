"""Losses, and the counts behind accuracy.

`reduction` is "none" (one value per row or element), "sum", "mean" (divided by their number; rows with `ignore_index`
do not count) or "weighted_mean" (divided by the sum of their weights).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._call import run
from ._function import Call, gradient, kernel

__all__ = [
    "accuracy",
    "bce_loss",
    "bce_loss_backward",
    "bce_with_logits_loss",
    "bce_with_logits_loss_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "element_loss",
    "element_loss_backward",
    "hinge_loss",
    "hinge_loss_backward",
    "huber_loss",
    "huber_loss_backward",
    "kl_div_log_loss",
    "kl_div_log_loss_backward",
    "kl_div_loss",
    "kl_div_loss_backward",
    "log_cosh_loss",
    "log_cosh_loss_backward",
    "mae_loss",
    "mae_loss_backward",
    "mape_loss",
    "mape_loss_backward",
    "mse_loss",
    "mse_loss_backward",
    "msle_loss",
    "msle_loss_backward",
    "nll_loss",
    "nll_loss_backward",
    "poisson_loss",
    "poisson_loss_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "squared_hinge_loss",
    "squared_hinge_loss_backward",
]

CONSTANT = "Targets and weights are constants."


@kernel
def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Call:
    """Cross-entropy of softmax(logits), classes last.

    Parameters
    ----------
    logits : ndarray, shape (..., classes)
    targets : ndarray
        int32 or int64 labels of shape (...), or probabilities of the dtype and shape of logits.
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
    weights = {"class_weight": class_weight, "sample_weight": sample_weight}
    return Call("softmax_cross_entropy", attrs, {"logits": logits, "targets": targets, **weights})


@kernel
def cross_entropy(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    epsilon: float = 1e-7,
) -> Call:
    """Cross-entropy of probabilities, divided by their sum and clipped to [epsilon, 1 - epsilon] first.

    Parameters
    ----------
    probabilities : ndarray, shape (..., classes)
    targets : ndarray
        int32 or int64 labels of shape (...), or probabilities of the dtype and shape of probabilities.
    class_weight : ndarray, shape (classes,), optional
    sample_weight : ndarray, optional
        Of shape (...) or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    label_smoothing : float
        The share of each target that is spread evenly over all classes.
    ignore_index : int, optional
        Rows with this label have no loss, no gradient and no weight.
    epsilon : float
        With 0 the logarithms are cut at -100 instead.

    Returns
    -------
    ndarray
        A scalar, or shape (...) for "none".
    """
    attrs = {
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "epsilon": epsilon,
    }
    weights = {"class_weight": class_weight, "sample_weight": sample_weight}
    return Call("cross_entropy", attrs, {"probabilities": probabilities, "targets": targets, **weights})


@kernel
def nll_loss(
    log_probabilities: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Call:
    """Cross-entropy of log-probabilities.

    Parameters
    ----------
    log_probabilities : ndarray, shape (..., classes)
    targets : ndarray
        int32 or int64 labels of shape (...), or probabilities of the dtype and shape of log_probabilities.
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
    weights = {"class_weight": class_weight, "sample_weight": sample_weight}
    return Call("nll_loss", attrs, {"log_probabilities": log_probabilities, "targets": targets, **weights})


@kernel
def element_loss(name: str, x: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None, **attrs: Any) -> Call:
    """A loss that compares a prediction with a target element by element.

    Parameters
    ----------
    name : str
        "mse_loss", "mae_loss", "huber_loss" (delta), "smooth_l1_loss" (beta), "log_cosh_loss", "bce_loss" (epsilon,
        label_smoothing), "bce_with_logits_loss" (label_smoothing), "poisson_loss" (epsilon), "kl_div_loss" (epsilon),
        "kl_div_log_loss", "hinge_loss", "squared_hinge_loss", "mape_loss" (epsilon) or "msle_loss" (epsilon).
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    **attrs
        reduction (default "mean"); row_mean (default False): average over the last axis first; and those named above.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    return Call(name, attrs, {"x": x, "target": target, "weight": weight})


@kernel
def mse_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """Squared difference.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("mse_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def mae_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """Absolute difference.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("mae_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def huber_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    delta: float = 1.0,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """Half the squared difference up to `delta`, linear from there.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    delta : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"delta": delta, "reduction": reduction, "row_mean": row_mean}
    return Call("huber_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def smooth_l1_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    beta: float = 1.0,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """Half the squared difference over `beta` up to `beta`, linear from there.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    beta : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"beta": beta, "reduction": reduction, "row_mean": row_mean}
    return Call("smooth_l1_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def log_cosh_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """The logarithm of the difference's hyperbolic cosine.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("log_cosh_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def poisson_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """x - target * log(x + epsilon).

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    epsilon : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"epsilon": epsilon, "reduction": reduction, "row_mean": row_mean}
    return Call("poisson_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def kl_div_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """target * log(target / x), both clipped to [epsilon, 1] first.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    epsilon : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"epsilon": epsilon, "reduction": reduction, "row_mean": row_mean}
    return Call("kl_div_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def kl_div_log_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """target * (log(target) - x), x being log-probabilities.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("kl_div_log_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def hinge_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """max(0, 1 - target * x) for targets of -1 and 1.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("hinge_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def squared_hinge_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """The square of `hinge_loss`.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean}
    return Call("squared_hinge_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def mape_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """100 * |x - target| / max(|target|, epsilon).

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    epsilon : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"epsilon": epsilon, "reduction": reduction, "row_mean": row_mean}
    return Call("mape_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def msle_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    epsilon: float = 1e-7,
    reduction: str = "mean",
    row_mean: bool = False,
) -> Call:
    """The squared difference of log(1 + max(x, epsilon)) and the same of the target.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    epsilon : float
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"epsilon": epsilon, "reduction": reduction, "row_mean": row_mean}
    return Call("msle_loss", attrs, {"x": x, "target": target, "weight": weight})


@kernel
def bce_loss(
    probabilities: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
    label_smoothing: float = 0.0,
    epsilon: float = 1e-7,
) -> Call:
    """Binary cross-entropy of probabilities clipped to [epsilon, 1 - epsilon].

    Parameters
    ----------
    probabilities, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of probabilities or of some of its leading axes.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.
    label_smoothing : float
        The share of the target that is moved to one half.
    epsilon : float
        With 0 the logarithms are cut at -100 instead.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean, "label_smoothing": label_smoothing, "epsilon": epsilon}
    return Call("bce_loss", attrs, {"probabilities": probabilities, "target": target, "weight": weight})


@kernel
def bce_with_logits_loss(
    logits: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    pos_weight: np.ndarray | None = None,
    reduction: str = "mean",
    row_mean: bool = False,
    label_smoothing: float = 0.0,
) -> Call:
    """Binary cross-entropy of sigmoid(logits).

    Parameters
    ----------
    logits, target : ndarray of float32 or float64
        Of one shape and dtype.
    weight : ndarray, optional
        Of the shape of logits or of some of its leading axes.
    pos_weight : ndarray, optional
        A scalar, or one per column: multiplies the targets.
    reduction : {"mean", "sum", "none", "weighted_mean"}
    row_mean : bool
        Average over the last axis first.
    label_smoothing : float
        The share of the target that is moved to one half.

    Returns
    -------
    ndarray
        A scalar; for "none" one loss per element, or per row with `row_mean`.
    """
    attrs = {"reduction": reduction, "row_mean": row_mean, "label_smoothing": label_smoothing}
    return Call(
        "bce_with_logits_loss", attrs, {"logits": logits, "target": target, "weight": weight, "pos_weight": pos_weight}
    )


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


softmax_cross_entropy_backward = gradient(softmax_cross_entropy, "logits", note=CONSTANT)
cross_entropy_backward = gradient(cross_entropy, "probabilities", note=CONSTANT)
nll_loss_backward = gradient(nll_loss, "log_probabilities", note=CONSTANT)
element_loss_backward = gradient(element_loss, "x", note=CONSTANT)
mse_loss_backward = gradient(mse_loss, "x", note=CONSTANT)
mae_loss_backward = gradient(mae_loss, "x", note=CONSTANT)
huber_loss_backward = gradient(huber_loss, "x", note=CONSTANT)
bce_loss_backward = gradient(bce_loss, "probabilities", note=CONSTANT)
bce_with_logits_loss_backward = gradient(bce_with_logits_loss, "logits", note=CONSTANT)
smooth_l1_loss_backward = gradient(smooth_l1_loss, "x", note=CONSTANT)
log_cosh_loss_backward = gradient(log_cosh_loss, "x", note=CONSTANT)
poisson_loss_backward = gradient(poisson_loss, "x", note=CONSTANT)
kl_div_loss_backward = gradient(kl_div_loss, "x", note=CONSTANT)
kl_div_log_loss_backward = gradient(kl_div_log_loss, "x", note=CONSTANT)
hinge_loss_backward = gradient(hinge_loss, "x", note=CONSTANT)
squared_hinge_loss_backward = gradient(squared_hinge_loss, "x", note=CONSTANT)
mape_loss_backward = gradient(mape_loss, "x", note=CONSTANT)
msle_loss_backward = gradient(msle_loss, "x", note=CONSTANT)
