"""Batch and layer normalisation."""

from __future__ import annotations

from typing import Any

from .. import initializers, regularizers
from .._kernels._call import op
from ..autograd import Tensor, apply
from .base import Layer, fraction, integers, number

__all__ = ["BatchNormalization", "LayerNormalization"]


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
        if beta_constraint is not None or gamma_constraint is not None:
            raise NotImplementedError(f"{self.name}: constraints are not supported")
        self.epsilon = number(epsilon, f"{type(self).__name__}: epsilon", above=0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def _add_affine(self, shape: tuple[int, ...]) -> None:
        if self.scale:
            self.add_weight(shape, self.gamma_initializer, name="gamma", regularizer=self.gamma_regularizer)
        if self.center:
            self.add_weight(shape, self.beta_initializer, name="beta", regularizer=self.beta_regularizer)

    def _affine(self) -> tuple[Any, Any]:
        return (self.gamma if self.scale else None), (self.beta if self.center else None)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }


class BatchNormalization(_Normalization):
    """Normalises each channel over the batch (Ioffe & Szegedy 2015).

    Parameters
    ----------
    axis : int
        The channel axis: the last one.
    momentum : float
        Weight of the old running statistics.
    epsilon : float
    center, scale : bool
        Whether there are a `beta` and a `gamma`.
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
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
                         gamma_regularizer, beta_constraint, gamma_constraint, **kwargs)  # fmt: skip
        if synchronized:
            raise NotImplementedError("BatchNormalization: synchronized: not supported")
        self.axis = integers([axis], "BatchNormalization: axis")[0]
        self.momentum = fraction(momentum, "BatchNormalization: momentum")
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise NotImplementedError(f"{self.name}: axis: expected the last axis, got {self.axis}")
        if input_shape[-1] is None:
            raise ValueError(f"{self.name}: input: expected known channels, got {input_shape}")
        shape = (input_shape[-1],)
        self._add_affine(shape)
        self.add_weight(shape, self.moving_mean_initializer, name="moving_mean", trainable=False)
        self.add_weight(shape, self.moving_variance_initializer, name="moving_variance", trainable=False)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        # A frozen layer keeps to its running statistics, as in Keras.
        batch = training and self._trainable
        attrs = {"momentum": self.momentum, "eps": self.epsilon, "use_running_stats": not batch}
        return apply(
            op("batch_norm", attrs), inputs, *self._affine(), self.moving_mean, self.moving_variance, training=batch
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


class LayerNormalization(_Normalization):
    """Normalises each sample over its last axes (Ba et al. 2016).

    Parameters
    ----------
    axis : int or list of int
        The last axis, or the last few.
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
        axes = integers(axis if isinstance(axis, (list, tuple)) else [axis], "LayerNormalization: axis")
        self.axis = list(axes) if isinstance(axis, (list, tuple)) else axes[0]

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        given = [self.axis] if isinstance(self.axis, int) else self.axis
        if not all(-rank <= a < rank for a in given):
            raise ValueError(f"{self.name}: axis: expected axes of an input of rank {rank}, got {self.axis}")
        axes = sorted(a % rank for a in given)
        if not axes or axes != list(range(rank - len(axes), rank)) or axes[0] == 0:
            raise NotImplementedError(f"{self.name}: axis: expected the last axis or the last few, got {self.axis}")
        shape = tuple(input_shape[a] for a in axes)
        if None in shape:
            raise ValueError(f"{self.name}: input: expected known sizes along {self.axis}, got {input_shape}")
        self.dims = len(axes)
        self._add_affine(shape)

    def call(self, inputs: Tensor) -> Tensor:
        return apply(op("layer_norm", {"axes": self.dims, "eps": self.epsilon}), inputs, *self._affine())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
