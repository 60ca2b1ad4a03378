"""PyTorch's normalisation and dropout functions beside those of whole batches and layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._errors import short
from .._functional import elementwise as _e
from .._functional import layers as _layers
from .._functional.shape import on_memory, permute
from .._kernels._call import op as make_op
from ._layout import channels_last

__all__ = ["alpha_dropout", "feature_alpha_dropout", "instance_norm", "local_response_norm", "rms_norm"]

Tensor = Any


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of (n, c, ...) over its positions.

    Parameters
    ----------
    input : Tensor
    running_mean, running_var : Tensor, optional
        Moved towards the mean of the samples' statistics, or used instead of them.
    weight, bias : Tensor, optional
        One entry a channel.
    use_input_stats : bool
        Whether the statistics are the samples' own.
    momentum : float
        Share of the new statistics in the running ones.
    eps : float
        Added to the variance.
    """
    if len(input.shape) < 3:
        raise ValueError(f"instance_norm: input: expected at least 3 dimensions, got shape {tuple(input.shape)}")
    x, back = channels_last(input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: running_mean, running_var: needed without use_input_stats, got None")
        y = _layers.batch_norm(x, weight, bias, running_mean, running_var, False, 1 - momentum, eps)
        return permute(y, back)
    if running_mean is not None and running_var is not None:
        _run_statistics(x, running_mean, running_var, momentum)
    y = ag.apply(make_op("instance_norm", {"eps": float(eps)}), x, weight, bias)
    return permute(y, back)


def _run_statistics(x: Tensor, mean: Tensor, var: Tensor, momentum: float) -> None:
    if x._data is None:
        x._refuse("running statistics of instance norm")
    with ag.no_grad():
        axes = tuple(range(1, len(x.shape) - 1))
        for running, now in ((mean, x.mean(axes).mean(0)), (var, x.var(axes, unbiased=True).mean(0))):
            running._data *= 1 - momentum
            running._data += momentum * now._data
            ag.written(running)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divide by the root of the mean square over the last dimensions, whose sizes are normalized_shape.

    Parameters
    ----------
    input : Tensor
    normalized_shape : int or sequence of int
    weight : Tensor, optional
        Of that shape.
    eps : float, optional
        Added to the mean square; by default what the dtype can tell from 1.
    """
    shape = (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)
    if not shape or tuple(input.shape[len(input.shape) - len(shape) :]) != shape:
        raise ValueError(f"rms_norm: input: expected last dimensions {shape}, got shape {tuple(input.shape)}")
    small = float(np.finfo(input.dtype).eps) if eps is None else float(eps)
    return ag.apply(make_op("rms_norm", {"axes": len(shape), "eps": small}), input, weight)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide (n, c, ...) by ``(k + alpha * mean square over size neighbouring channels) ** beta``."""
    if not hasattr(size, "__index__") or int(size) < 1:
        raise ValueError(f"local_response_norm: size: expected a positive integer, got {short(size)}")
    if len(input.shape) < 3:
        raise ValueError(f"local_response_norm: input: expected at least 3 dimensions, got shape {tuple(input.shape)}")
    x, back = channels_last(input)
    rank, c = len(x.shape), x.shape[-1]
    sides = [(0, 0)] * (rank - 1) + [(size // 2, (size - 1) // 2)]
    squares = _layers.pad(_e.square(x), sides)
    total = squares[..., 0:c]
    for i in range(1, size):
        total = total + squares[..., i : i + c]
    return permute(x / _e.pow(total * (alpha / size) + k, beta), back)


def _checked(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p: expected a probability, got {short(p)}")
    return float(p)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of selu's outputs; nothing unless training."""
    if _checked("alpha_dropout", p) == 0 or not training:
        return input
    return _e.mul(input, 0.0) if p == 1 else on_memory(lambda x: _layers.alpha_dropout(x, p), input)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels of (n, c, ...)."""
    rank = len(input.shape)
    if rank < 2:
        raise ValueError(f"feature_alpha_dropout: input: expected at least 2 dimensions, got shape {input.shape}")
    if _checked("feature_alpha_dropout", p) == 0 or not training:
        return input
    if p == 1:
        return _e.mul(input, 0.0)
    x, back = channels_last(input)
    y = _layers.alpha_dropout(x, p, (-1, *(1,) * (rank - 2), -1))
    return permute(y, back) if rank > 2 else y
