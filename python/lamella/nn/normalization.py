"""Normalisation and dropout layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import as_dtype
from .._errors import short
from .._functional.shape import squeeze, unsqueeze
from . import functional as F
from . import init
from .linear import new_parameter, positive
from .module import Module

__all__ = [
    "AlphaDropout", "BatchNorm1d", "BatchNorm2d", "Dropout", "Dropout1d", "Dropout2d", "FeatureAlphaDropout",
    "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip


def _reset_affine(module: Module) -> None:
    params = module._parameters
    if params["weight"] is not None:
        init.ones_(params["weight"])
    if params["bias"] is not None:
        init.zeros_(params["bias"])


class _BatchNorm(Module):
    _ranks: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        positive(type(self).__name__, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, new_parameter((num_features,), device, dtype) if wanted else None)
        kind = as_dtype(np.float32 if dtype is None else dtype)
        if track_running_stats:
            self.register_buffer("running_mean", ag.wrap(np.zeros(num_features, kind)))
            self.register_buffer("running_var", ag.wrap(np.ones(num_features, kind)))
            self.register_buffer("num_batches_tracked", ag.wrap(np.zeros((), np.int64)))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Start again."""
        self.reset_running_stats()
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        if len(input.shape) not in self._ranks:
            raise ValueError(
                f"{type(self).__name__}: input: expected {' or '.join(map(str, self._ranks))} dimensions, "
                f"got shape {input.shape}"
            )
        if input.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: input: expected {self.num_features} channels, got shape {input.shape}"
            )
        training = self.training or self.running_mean is None
        momentum = self.momentum
        if self.training and self.running_mean is not None and input._data is not None:
            count = self.num_batches_tracked._data
            count += 1
            if momentum is None:
                momentum = 1.0 / float(count)
        if momentum is None:
            if input._data is None and training:
                input._refuse("the cumulative average of BatchNorm(momentum=None)")
            momentum = 0.0
        mean, var = self.running_mean, self.running_var
        out = F.batch_norm(input, mean, var, self.weight, self.bias, training, momentum, self.eps)
        if training and mean is not None and input._data is not None:
            ag.written(mean)
            ag.written(var)
        return out

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Normalise each channel of (n, c) or (n, c, w) by its mean and variance over the batch.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Share of a batch in the running statistics; None for their average over all batches.
    affine : bool
        Whether a weight and a bias per channel follow.
    track_running_stats : bool
        Whether running statistics are kept for evaluation.
    device, dtype
        "cpu"; float32 or float64.
    bias : bool
        Whether there is a bias with the weight.
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of (n, c, h, w) by its mean and variance over the batch; see `BatchNorm1d`."""

    _ranks = (4,)


class LayerNorm(Module):
    """Normalise over the last dimensions.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The sizes of those dimensions.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether a weight and a bias per element follow.
    bias : bool
        Whether there is a bias with the weight.
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", new_parameter(shape, device, dtype) if elementwise_affine else None)
        has_bias = elementwise_affine and bias
        self.register_parameter("bias", new_parameter(shape, device, dtype) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again."""
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalise each sample of (n, c, ...) over its positions and a group of its channels.

    Parameters
    ----------
    num_groups, num_channels : int
        The channels are cut into so many groups.
    eps : float
        Added to the variance.
    affine : bool
        Whether a weight and a bias per channel follow.
    device, dtype
        "cpu"; float32 or float64.
    bias : bool
        Whether there is a bias with the weight.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups: expected a divisor of {num_channels} channels, got {num_groups}")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, new_parameter((num_channels,), device, dtype) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again."""
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class Dropout(Module):
    """In training, zero elements with probability p and scale the others by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p: expected a probability, got {short(p)}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """In training, zero whole channels of (n, c, w) with probability p."""

    def forward(self, input: Any) -> Any:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """In training, zero whole channels of (n, c, h, w) with probability p."""

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training)


class AlphaDropout(Dropout):
    """In training, set elements to selu's lower limit with probability p, and keep mean and variance."""

    def forward(self, input: Any) -> Any:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels of (n, c, ...)."""

    def forward(self, input: Any) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training)


class _InstanceNorm(_BatchNorm):
    _dims: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Any) -> Any:
        name, dims = type(self).__name__, self._dims
        if len(input.shape) == dims + 1:
            return squeeze(self.forward(unsqueeze(input, 0)), 0)
        if len(input.shape) != dims + 2:
            raise ValueError(f"{name}: input: expected {dims + 1} or {dims + 2} dimensions, got shape {input.shape}")
        if self.affine and input.shape[1] != self.num_features:
            raise ValueError(f"{name}: input: expected {self.num_features} channels, got shape {input.shape}")
        own = self.training or not self.track_running_stats
        # Without tracking there are none; in evaluation they are read, in training they are moved.
        mean, var = self.running_mean, self.running_var
        return F.instance_norm(input, mean, var, self.weight, self.bias, own, self.momentum or 0.0, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each sample of (n, c, w) by its mean and variance.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps : float
        Added to the variance.
    momentum : float
        Share of a batch in the running statistics.
    affine : bool
        Whether a weight and a bias per channel follow.
    track_running_stats : bool
        Whether running statistics are kept, and used in evaluation.
    device, dtype
        "cpu"; float32 or float64.
    bias : bool
        Whether there is a bias with the weight.
    """

    _dims = 1


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each sample of (n, c, h, w) by its mean and variance; see `InstanceNorm1d`."""

    _dims = 2


class RMSNorm(Module):
    """Divide by the root of the mean square over the last dimensions.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The sizes of those dimensions.
    eps : float, optional
        Added to the mean square; by default what the dtype can tell from 1.
    elementwise_affine : bool
        Whether a weight per element follows.
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", new_parameter(shape, device, dtype) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """Divide (n, c, ...) by ``(k + alpha * mean square over size neighbouring channels) ** beta``."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        positive("LocalResponseNorm", size=size)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
