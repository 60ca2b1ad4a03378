"""PyTorch's loss functions: classes in dimension 1, names and defaults as there."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .._errors import short
from .._functional import elementwise as _e
from .._functional import losses as _losses
from .._functional import reduce as _r
from .._functional.shape import broadcast_shape, cast, expand, unsqueeze
from .._grad_mode import no_grad
from ._layout import channels_last

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "pairwise_distance",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

Tensor = Any
REDUCTIONS = ("mean", "sum", "none")


def reduction_name(
    op: str, reduction: str, size_average: Any = None, reduce: Any = None, known: Sequence[str] = REDUCTIONS
) -> str:
    """The reduction, or what PyTorch's old arguments `size_average` and `reduce` mean."""
    if size_average is not None or reduce is not None:
        means = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(f"{op}: size_average, reduce: deprecated; use reduction={means!r}", stacklevel=4)
        return means
    if reduction not in known:
        raise ValueError(f"{op}: reduction: expected one of {', '.join(known)}, got {short(reduction)}")
    return reduction


def _reduced(values: Tensor, reduction: str) -> Tensor:
    return _r.mean(values) if reduction == "mean" else _r.sum(values) if reduction == "sum" else values


def _by_target(loss: Tensor, target: Tensor, slope: Callable[[], Tensor], reduction: str, rows: bool = False) -> Tensor:
    """The loss with a gradient by its target, which its op has none for: plus a term of value zero with the slope.

    With `rows` the loss has one value for the last axis of the target.
    """
    if not target.requires_grad:
        return loss
    with no_grad():
        factor = slope()
    term = _e.mul(_e.sub(target, target.detach()), factor)
    return _e.add(loss, _reduced(_r.sum(term, -1) if rows else term, reduction))


# --- classes -----------------------------------------------------------------------------------------------------


def _classes_last(x: Tensor) -> Tensor:
    return channels_last(x)[0] if len(x.shape) > 2 else x


def _label_args(reduction: str, ignore_index: int, target: Tensor, weight: Tensor | None) -> dict[str, Any]:
    """PyTorch's mean over labels divides by the weights of those that count."""
    labels = not is_float(target.dtype)
    mean = "weighted_mean" if labels else "mean"
    return {
        "weight": weight,
        "reduction": mean if reduction == "mean" else reduction,
        "ignore_index": ignore_index if labels else None,
    }


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits.

    Parameters
    ----------
    input : Tensor, shape (n, classes) or (n, classes, ...) or (classes,)
        Logits.
    target : Tensor
        Class indices of shape (n, ...), or probabilities of the input's shape.
    weight : Tensor, optional
        One factor per class.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    ignore_index : int
        Samples with this class index count for nothing.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the weights of the samples that count.
    label_smoothing : float
        Share of the target that is spread evenly over the classes.
    """
    reduction = reduction_name("cross_entropy", reduction, size_average, reduce)
    x = _classes_last(input)
    if is_float(target.dtype) and target.shape == input.shape:
        target = _classes_last(target)
    args = _label_args(reduction, ignore_index, target, weight)
    loss = _losses.cross_entropy(x, target, label_smoothing=label_smoothing, **args)

    def slope() -> Tensor:
        factor = _e.mul(_r.log_softmax(x, -1), label_smoothing - 1.0)
        return factor if weight is None else _e.mul(factor, expand(cast(weight, x.dtype), x.shape))

    return _by_target(loss, target, slope, reduction, rows=True)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of log-probabilities of shape (n, classes, ...); see `cross_entropy`."""
    reduction = reduction_name("nll_loss", reduction, size_average, reduce)
    return _losses.nll_loss(_classes_last(input), target, **_label_args(reduction, ignore_index, target, weight))


def _lengths(value: Any) -> Tensor:
    if isinstance(value, ag.Tensor):
        return value if value.dtype.name in ("int32", "int64") else cast(value, np.int64)
    return ag.wrap(np.atleast_1d(np.asarray(value, np.int64)))


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification.

    Parameters
    ----------
    log_probs : Tensor, shape (steps, n, classes) or (steps, classes)
        What `log_softmax` gives.
    targets : Tensor, shape (n, width), or a vector of all targets one after another
        Class indices other than `blank`.
    input_lengths, target_lengths : Tensor or sequence of int, shape (n,)
        How many steps and labels of each sample count.
    blank : int
        The class that stands for no label.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by the length of its target first.
    zero_infinity : bool
        A target that does not fit into its steps loses 0, without a gradient, rather than infinity.
    """
    reduction_name("ctc_loss", reduction)
    single = len(log_probs.shape) == 2
    if single:
        log_probs = unsqueeze(log_probs, 1)
    if not isinstance(input_lengths, ag.Tensor) or len(input_lengths.shape) == 0:
        input_lengths = _lengths(np.atleast_1d(ag.as_array(input_lengths)))
    if not isinstance(target_lengths, ag.Tensor) or len(target_lengths.shape) == 0:
        target_lengths = _lengths(np.atleast_1d(ag.as_array(target_lengths)))
    input_lengths, target_lengths, targets = _lengths(input_lengths), _lengths(target_lengths), _lengths(targets)
    values = _losses.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity, True)
    if reduction == "mean":
        values = _e.div(values, _e.clamp(cast(target_lengths, values.dtype), min=1.0))
    values = values[0] if single else values
    return _reduced(values, reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """sum(max(0, margin - input[target] + input[j])**p) / classes over the classes j other than the target.

    Parameters
    ----------
    input : Tensor, shape (n, classes) or (classes,)
    target : Tensor, shape (n,) or ()
        Class indices.
    p : {1, 2}
    margin : float
    weight : Tensor, shape (classes,), optional
        The loss of each sample is multiplied by that of its class.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    reduction : {"mean", "sum", "none"}
    """
    reduction = reduction_name("multi_margin_loss", reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p: expected 1 or 2, got {short(p)}")
    classes = input.shape[-1]
    right = _losses.nll_loss(input, target, reduction="none")  # -input[target]
    gap = _e.add(_e.add(input, unsqueeze(right, -1)), float(margin))
    gap = _e.clamp(gap, min=0.0)
    own = max(float(margin), 0.0) ** p  # of the target itself, which the sum is not over
    values = _e.div(_e.sub(_r.sum(gap if p == 1 else _e.square(gap), -1), own), float(classes))
    if weight is not None:
        factors = expand(cast(weight, values.dtype), input.shape)
        values = _e.mul(values, _e.neg(_losses.nll_loss(factors, target, reduction="none")))
    return _reduced(values, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """sum(max(0, 1 - input[i] + input[j])) / classes over the targets i and all other classes j.

    Parameters
    ----------
    input : Tensor, shape (n, classes) or (classes,)
    target : Tensor of the same shape
        Class indices; the first negative one of a row ends it.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    reduction : {"mean", "sum", "none"}
    """
    reduction = reduction_name("multilabel_margin_loss", reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"multilabel_margin_loss: target: expected shape {input.shape}, got {target.shape}")
    if len(input.shape) == 1:
        value = multilabel_margin_loss(unsqueeze(input, 0), unsqueeze(target, 0), reduction="none")[0]
        return value
    labels, classes = target.numpy(), input.shape[-1]
    if labels.size and labels.max() >= classes:
        raise ValueError(f"multilabel_margin_loss: target: expected indices below {classes}, got {labels.max()}")
    counts = np.cumprod(labels >= 0, -1).astype(bool)
    is_target = np.zeros(labels.shape, input.dtype)
    rows = np.broadcast_to(np.arange(len(labels))[:, None], labels.shape)
    is_target[rows[counts], labels[counts]] = 1
    gap = _e.add(_e.sub(unsqueeze(input, -2), unsqueeze(input, -1)), 1.0)  # (n, i, j)
    pairs = ag.wrap(is_target[:, :, None] * (1 - is_target[:, None, :]))
    values = _e.div(_r.sum(_e.mul(_e.clamp(gap, min=0.0), pairs), (-2, -1)), float(classes))
    return _reduced(values, reduction)


# --- element by element ------------------------------------------------------------------------------------------


def _equal_shapes(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape == target.shape:
        return input, target
    try:
        shape = broadcast_shape(input.shape, target.shape)
    except ValueError:
        raise ValueError(f"{name}: target: expected shape {input.shape}, got {target.shape}") from None
    warnings.warn(
        f"{name}: target has shape {target.shape}, input {input.shape}: both are broadcast to {shape}, "
        "which is rarely wanted",
        stacklevel=4,
    )
    return expand(input, shape), expand(target, shape)


def _error(name: str, op: str, input: Tensor, target: Tensor, reduction: str, weight: Any, **attrs: Any) -> Tensor:
    input, target = _equal_shapes(name, input, target)
    if weight is None:
        return _losses.element_loss(op, input, target, reduction=reduction, **attrs)
    if weight.shape != input.shape:
        raise ValueError(f"{name}: weight: expected shape {input.shape}, got {weight.shape}")
    mean = "weighted_mean" if reduction == "mean" else reduction
    return _losses.element_loss(op, input, target, cast(weight, input.dtype), reduction=mean, **attrs)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2; with weights, "mean" divides by their sum."""
    reduction = reduction_name("mse_loss", reduction, size_average, reduce)
    return _error("mse_loss", "mse_loss", input, target, reduction, weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; with weights, "mean" divides by their sum."""
    reduction = reduction_name("l1_loss", reduction, size_average, reduce)
    return _error("l1_loss", "mae_loss", input, target, reduction, weight)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Half the squared difference up to delta, linear beyond; with weights, "mean" divides by their sum."""
    reduction_name("huber_loss", reduction)
    return _error("huber_loss", "huber_loss", input, target, reduction, weight, delta=float(delta))


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """The Huber loss divided by beta; |input - target| for beta 0."""
    reduction = reduction_name("smooth_l1_loss", reduction, size_average, reduce)
    return _error("smooth_l1_loss", "smooth_l1_loss", input, target, reduction, None, beta=float(beta))


def _weights(weight: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    return weight if weight is None or weight.shape == shape else expand(weight, shape)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of probabilities of two classes; logarithms are cut at -100."""
    reduction = reduction_name("binary_cross_entropy", reduction, size_average, reduce)
    if input.shape != target.shape:
        raise ValueError(f"binary_cross_entropy: target: expected shape {input.shape}, got {target.shape}")
    values = input._data
    if values is not None and values.size and (values.min() < 0 or values.max() > 1):
        worst = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"binary_cross_entropy: input: expected probabilities in [0, 1], got {worst}")
    weight = _weights(weight, input.shape)

    def slope() -> Tensor:
        logs = [_e.clamp(_e.log(p), min=-100.0) for p in (_e.sub(1.0, input), input)]
        factor = _e.sub(*logs)
        return factor if weight is None else _e.mul(factor, weight)

    return _by_target(_losses.binary_cross_entropy(input, target, weight, reduction), target, slope, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of logits of two classes; pos_weight scales the loss of the positive ones."""
    reduction = reduction_name("binary_cross_entropy_with_logits", reduction, size_average, reduce)
    if input.shape != target.shape:
        raise ValueError(f"binary_cross_entropy_with_logits: target: expected shape {input.shape}, got {target.shape}")
    weights = _weights(weight, input.shape)

    def slope() -> Tensor:
        factor = _e.neg(input)
        if pos_weight is not None:
            more = expand(_e.sub(cast(pos_weight, input.dtype), 1.0), input.shape)
            factor = _e.add(factor, _e.mul(more, _e.softplus(factor)))
        return factor if weights is None else _e.mul(factor, weights)

    loss = _losses.binary_cross_entropy_with_logits(input, target, weights, reduction, pos_weight)
    return _by_target(loss, target, slope, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities; reduction "batchmean" divides the sum by the batch size."""
    reduction = reduction_name("kl_div", reduction, size_average, reduce, (*REDUCTIONS, "batchmean"))
    if log_target:
        target = _e.exp(target)
    how = "sum" if reduction == "batchmean" else reduction

    def slope() -> Tensor:
        logs = _e.sub(_e.add(_e.log(target), 1.0), input)
        return _e.where(_e.compare("greater", target, 0.0), logs, 0.0)

    loss = _by_target(_losses.kl_div(input, target, how), target, slope, how)
    return _e.div(loss, input.shape[0]) if reduction == "batchmean" else loss


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The Poisson distribution's negative log-likelihood.

    Parameters
    ----------
    input, target : Tensor
    log_input : bool
        exp(input) - target * input rather than input - target * log(input + eps).
    full : bool
        Whether Stirling's approximation of log(target!) is added where the target is above 1.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    eps : float
    reduction : {"mean", "sum", "none"}
    """
    reduction = reduction_name("poisson_nll_loss", reduction, size_average, reduce)
    target = cast(target, input.dtype)
    if not log_input and not full and input.shape == target.shape:
        return _losses.element_loss("poisson_loss", input, target, reduction=reduction, epsilon=float(eps))
    if log_input:
        values = _e.sub(_e.exp(input), _e.mul(target, input))
    else:
        values = _e.sub(input, _e.mul(target, _e.log(_e.add(input, float(eps)))))
    if full:
        t = _e.clamp(target, min=1.0)
        stirling = _e.add(_e.sub(_e.mul(t, _e.log(t)), t), _e.mul(_e.log(_e.mul(t, 2 * math.pi)), 0.5))
        values = _e.add(values, _e.where(_e.compare("greater", target, 1.0), stirling, 0.0))
    return _reduced(values, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Half of log(var) + (input - target)^2 / var: the negative log-likelihood of a normal distribution.

    Parameters
    ----------
    input, target : Tensor
        The mean, and what was seen.
    var : Tensor or float
        The variance: one number, of the input's shape, or with its last dimension left out or of size 1.
    full : bool
        Whether log(2 pi) / 2 is added.
    eps : float
        The least variance; the gradient does not feel it.
    reduction : {"mean", "sum", "none"}
    """
    op = "gaussian_nll_loss"
    reduction_name(op, reduction)
    if not isinstance(var, ag.Tensor):
        var = ag.wrap(np.full(input.shape, float(var), input.dtype))
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = unsqueeze(var, -1)
        elif not (var.shape[:-1] == input.shape[:-1] and var.shape[-1:] == (1,)):
            raise ValueError(f"{op}: var: expected shape {input.shape}, or without its last dimension, got {var.shape}")
    if var._data is None:
        var = _e.clamp(var, min=float(eps))
    else:
        if var._data.size and var._data.min() < 0:
            raise ValueError(f"{op}: var: expected variances of at least 0, got {var._data.min()}")
        low = np.maximum(eps - var._data, 0).astype(var.dtype)
        var = _e.add(var, ag.wrap(low)) if low.any() else var
    values = _e.mul(_e.add(_e.log(var), _e.div(_e.square(_e.sub(input, target)), var)), 0.5)
    if full:
        values = _e.add(values, 0.5 * math.log(2 * math.pi))
    return _reduced(values, reduction)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-target * input)) for targets of -1 and 1."""
    reduction = reduction_name("soft_margin_loss", reduction, size_average, reduce)
    return _reduced(_e.softplus(_e.neg(_e.mul(cast(target, input.dtype), input))), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of the logits of each class, the mean over the last dimension for each sample.

    Parameters
    ----------
    input, target : Tensor, shape (n, classes)
        Logits, and 0 or 1.
    weight : Tensor, shape (classes,), optional
        One factor per class.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    reduction : {"mean", "sum", "none"}
    """
    op = "multilabel_soft_margin_loss"
    reduction = reduction_name(op, reduction, size_average, reduce)
    if input.shape != target.shape:
        raise ValueError(f"{op}: target: expected shape {input.shape}, got {target.shape}")
    weights = _weights(weight, input.shape)
    return _losses.element_loss("bce_with_logits_loss", input, target, weights, reduction=reduction, row_mean=True)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    reduction = reduction_name("hinge_embedding_loss", reduction, size_average, reduce)
    target = cast(target, input.dtype)
    near = _e.where(_e.compare("not_equal", target, -1.0), input, 0.0)
    far = _e.where(_e.compare("not_equal", target, 1.0), _e.clamp(_e.sub(float(margin), input), min=0.0), 0.0)
    return _reduced(_e.add(near, far), reduction)


# --- pairs and triplets ------------------------------------------------------------------------------------------


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)): a target of 1 wants the first input larger, -1 the second."""
    reduction = reduction_name("margin_ranking_loss", reduction, size_average, reduce)
    gap = _e.mul(cast(target, input1.dtype), _e.sub(input1, input2))
    return _reduced(_e.clamp(_e.sub(float(margin), gap), min=0.0), reduction)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between the vectors along a dimension; lengths count as at least eps."""
    lengths = [_e.clamp(_r.norm(x, 2, dim), min=float(eps)) for x in (x1, x2)]
    return _e.div(_r.sum(_e.mul(x1, x2), dim), _e.mul(lengths[0], lengths[1]))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(input1, input2) where the target is 1, max(0, cos(input1, input2) - margin) where it is -1.

    Parameters
    ----------
    input1, input2 : Tensor, shape (n, size) or (size,)
    target : Tensor, shape (n,) or ()
    margin : float
        In [-1, 1].
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    reduction : {"mean", "sum", "none"}
    """
    op = "cosine_embedding_loss"
    reduction = reduction_name(op, reduction, size_average, reduce)
    if len(input1.shape) != len(target.shape) + 1 or input1.shape != input2.shape:
        raise ValueError(
            f"{op}: expected inputs of one shape and targets of one dimension less, got {input1.shape}, "
            f"{input2.shape} and {target.shape}"
        )
    squares = [_e.add(_r.sum(_e.square(x), -1), 1e-12) for x in (input1, input2)]
    cosine = _e.mul(_r.sum(_e.mul(input1, input2), -1), _e.rsqrt(_e.mul(squares[0], squares[1])))
    target = cast(target, input1.dtype)
    near = _e.where(_e.compare("equal", target, 1.0), _e.sub(1.0, cosine), 0.0)
    far = _e.where(_e.compare("equal", target, -1.0), _e.clamp(_e.sub(cosine, float(margin)), min=0.0), 0.0)
    return _reduced(_e.add(near, far), reduction)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return _r.norm(_e.add(_e.sub(x1, x2), float(eps)), p, -1, keepdim)


def _triplet(op: str, distances: Callable[[Tensor, Tensor], Tensor], triplet: Any, margin: float, swap: bool) -> Tensor:
    if margin <= 0:
        raise ValueError(f"{op}: margin: expected a positive number, got {short(margin)}")
    anchor, positive, negative = triplet
    near, far = distances(anchor, positive), distances(anchor, negative)
    if swap:
        far = _e.minimum(far, distances(positive, negative))
    return _e.clamp(_e.add(_e.sub(near, far), float(margin)), min=0.0)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin).

    Parameters
    ----------
    anchor, positive, negative : Tensor, shape (n, size) or (size,)
    margin : float
    p, eps : float
        Of the distance d, `pairwise_distance`.
    swap : bool
        Whether the negative may be compared with the positive where those two are closer.
    size_average, reduce : bool, optional
        Deprecated; use `reduction`.
    reduction : {"mean", "sum", "none"}
    """
    op = "triplet_margin_loss"
    reduction = reduction_name(op, reduction, size_average, reduce)
    triplet = anchor, positive, negative
    return _reduced(_triplet(op, lambda a, b: pairwise_distance(a, b, p, eps), triplet, margin, swap), reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance of two tensors; default: `pairwise_distance`."""
    op = "triplet_margin_with_distance_loss"
    reduction_name(op, reduction)
    distances = pairwise_distance if distance_function is None else distance_function
    return _reduced(_triplet(op, distances, (anchor, positive, negative), margin, swap), reduction)
