"""Batch, layer, group, unit and RMS normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._errors import refuse, short
from .._functional.shape import inverse, permute
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._arguments import fraction, integers, number
from .base import Layer

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization"]


def _checked_axes(layer: Layer, rank: int, axis: Any) -> list[int]:
    """Sorted axes counted from the front; the batch is not among them."""
    given = [axis] if isinstance(axis, int) else list(axis)
    if not given or not all(-rank <= a < rank for a in given):
        raise ValueError(f"{layer.name}: axis: expected axes of an input of rank {rank}, got {axis}")
    axes = sorted({a % rank for a in given})
    if len(axes) != len(given):
        raise ValueError(f"{layer.name}: axis: expected each axis once, got {axis}")
    return axes


def _axis_argument(label: str, axis: Any) -> Any:
    several = isinstance(axis, (list, tuple))
    axes = integers(axis if several else [axis], f"{label}: axis")
    return list(axes) if several else axes[0]


def _order(rank: int, axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that moves the axes behind the others."""
    return (*(i for i in range(rank) if i not in axes), *axes)


def _moved(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """x with its dimensions in that order, in memory too where a kernel is to read it."""
    return x if order == tuple(range(len(order))) else permute(x, order)


class _Normalization(Layer):
    supports_masking = True

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = number(epsilon, f"{type(self).__name__}: epsilon", above=0)
        self.center, self.scale = bool(center), bool(scale)
        self._set_weight_options(
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def _add_affine(self, shape: tuple[int, ...]) -> None:
        if self.scale:
            self._make_weight("gamma", shape)
        if self.center:
            self._make_weight("beta", shape)

    def _affine(self) -> tuple[Any, Any]:
        return (self.gamma if self.scale else None), (self.beta if self.center else None)

    def _known(self, input_shape: Any, axes: Sequence[int]) -> tuple[int, ...]:
        shape = tuple(input_shape[a] for a in axes)
        if None in shape:
            raise ValueError(f"{self.name}: input: expected known sizes along {tuple(axes)}, got {input_shape}")
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon, "center": self.center, "scale": self.scale,
                **self._weight_config()}  # fmt: skip


class BatchNormalization(_Normalization):
    """Normalises each channel over the batch (Ioffe & Szegedy 2015).

    Parameters
    ----------
    axis : int
        The channel axis: -1 for channels last, 1 for channels first.
    momentum : float
        Weight of the old running statistics.
    epsilon : float
    center, scale : bool
        Whether there are a `beta` and a `gamma`.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    renorm, renorm_clipping, renorm_momentum, synchronized
        Not supported.
    **kwargs
        See `Layer`.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)  # fmt: skip
        refuse("BatchNormalization", False, renorm=renorm, synchronized=synchronized)
        refuse("BatchNormalization", renorm_clipping=renorm_clipping)
        refuse("BatchNormalization", 0.99, renorm_momentum=renorm_momentum)
        self.axis = integers([axis], "BatchNormalization: axis")[0]
        self.momentum = fraction(momentum, "BatchNormalization: momentum")
        self._set_weight_options(
            moving_mean_initializer=moving_mean_initializer, moving_variance_initializer=moving_variance_initializer
        )

    def build(self, input_shape: Any) -> None:
        shape = self._known(input_shape, _checked_axes(self, len(input_shape), self.axis))
        self._add_affine(shape)
        self._make_weight("moving_mean", shape, trainable=False)
        self._make_weight("moving_variance", shape, trainable=False)

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        # A frozen layer keeps to its running statistics, as in Keras.
        batch = training and self._trainable
        rank = len(inputs.shape)
        order = _order(rank, [self.axis % rank])
        x = _moved(inputs, order)
        statistics = self.moving_mean, self.moving_variance
        attrs = {"momentum": self.momentum, "eps": self.epsilon, "use_running_stats": not batch}
        if batch and mask is not None:
            y = self._over_steps(x, mask)
        else:
            y = apply(op("batch_norm", attrs), x, *self._affine(), *statistics, training=batch)
        return _moved(y, inverse(order))

    def _over_steps(self, x: Tensor, mask: Any) -> Tensor:
        """Training where padded steps do not count: the others alone are given to the kernel."""
        if len(mask.shape) != len(x.shape) - 1:
            raise ValueError(f"{self.name}: mask: expected {len(x.shape) - 1} axes, got shape {tuple(mask.shape)}")
        real = mask.numpy().astype(bool).reshape(-1).nonzero()[0]  # a traced model goes on step by step
        flat = x.reshape(-1, x.shape[-1])
        attrs = {"momentum": self.momentum, "eps": self.epsilon, "use_running_stats": False}
        picked = flat[real]
        mean, var = picked.mean(0), picked.var(0, unbiased=False)
        apply(op("batch_norm", attrs), picked.detach(), None, None, self.moving_mean, self.moving_variance,
              training=True)  # fmt: skip
        y = (flat - mean) / (var + self.epsilon).sqrt()
        gamma, beta = self._affine()
        y = y if gamma is None else y * gamma
        return (y if beta is None else y + beta).reshape(*x.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum}


class LayerNormalization(_Normalization):
    """Normalises each sample over some of its axes (Ba et al. 2016).

    Parameters
    ----------
    axis : int or list of int
    epsilon : float
    center, scale : bool
        Whether there are a `beta` and a `gamma`, of the shape of these axes.
    beta_initializer, gamma_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    **kwargs
        See `Layer`.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)  # fmt: skip
        self.axis = _axis_argument("LayerNormalization", axis)

    def build(self, input_shape: Any) -> None:
        self._add_affine(self._known(input_shape, _checked_axes(self, len(input_shape), self.axis)))

    def call(self, inputs: Tensor) -> Tensor:
        axes = _checked_axes(self, len(inputs.shape), self.axis)
        order = _order(len(inputs.shape), axes)
        attrs = {"axes": len(axes), "eps": self.epsilon}
        return _moved(apply(op("layer_norm", attrs), _moved(inputs, order), *self._affine()), inverse(order))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class GroupNormalization(_Normalization):
    """Normalises each sample over its positions and a group of its channels (Wu & He 2018).

    Parameters
    ----------
    groups : int
        How many; -1 for one a channel, which is instance normalisation.
    axis : int
        The channel axis.
    epsilon, center, scale and others
        See `LayerNormalization`; `beta` and `gamma` have an entry a channel.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)  # fmt: skip
        if not hasattr(groups, "__index__") or (int(groups) < 1 and int(groups) != -1):
            raise ValueError(f"GroupNormalization: groups: expected a positive integer or -1, got {short(groups)}")
        self.groups = int(groups)
        self.axis = integers([axis], "GroupNormalization: axis")[0]

    def build(self, input_shape: Any) -> None:
        axes = _checked_axes(self, len(input_shape), self.axis)
        (channels,) = self._known(input_shape, axes)
        if self.groups == -1:
            self.groups = channels
        if channels % self.groups:
            raise ValueError(f"{self.name}: groups: expected a divisor of the {channels} channels, got {self.groups}")
        self._add_affine((channels,))

    def call(self, inputs: Tensor) -> Tensor:
        rank = len(inputs.shape)
        order = _order(rank, [self.axis % rank])
        attrs = {"groups": self.groups, "eps": self.epsilon}
        return _moved(apply(op("group_norm", attrs), _moved(inputs, order), *self._affine()), inverse(order))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}


class RMSNormalization(Layer):
    """Divides by the root of the mean square along an axis, and multiplies by a trained scale (Zhang & Sennrich 2019).

    Parameters
    ----------
    axis : int
    epsilon : float
    **kwargs
        See `Layer`.
    """

    supports_masking = True

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = integers([axis], "RMSNormalization: axis")[0]
        self.epsilon = number(epsilon, "RMSNormalization: epsilon", above=-math.ulp(0.0))

    def build(self, input_shape: Any) -> None:
        (a,) = _checked_axes(self, len(input_shape), self.axis)
        if input_shape[a] is None:
            raise ValueError(f"{self.name}: input: expected a known size along {self.axis}, got {input_shape}")
        self.add_weight((input_shape[a],), "ones", name="scale")

    def call(self, inputs: Tensor) -> Tensor:
        rank = len(inputs.shape)
        order = _order(rank, [self.axis % rank])
        y = apply(op("rms_norm", {"axes": 1, "eps": self.epsilon}), _moved(inputs, order), self.scale)
        return _moved(y, inverse(order))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """Divides by the Euclidean norm along an axis, or over several.

    Parameters
    ----------
    axis : int or list of int
    **kwargs
        See `Layer`.
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = _axis_argument("UnitNormalization", axis)

    def call(self, inputs: Tensor) -> Tensor:
        axes = _checked_axes(self, len(inputs.shape), self.axis)
        return inputs / inputs.norm(dim=axes, keepdim=True).clamp(min=1e-12)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
