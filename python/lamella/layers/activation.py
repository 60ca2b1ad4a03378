"""Activations as layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import activations
from .._functional import elementwise as e
from .._functional.shape import permute
from ..autograd import Tensor
from ._arguments import integers, number
from .base import Layer

__all__ = ["ELU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


class Activation(Layer):
    """An activation by name or function."""

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Layer):
    """x above a threshold, else a slope.

    Parameters
    ----------
    max_value : float, optional
        The largest value; None for no limit.
    negative_slope : float
        ``negative_slope * (x - threshold)`` where x <= threshold.
    threshold : float
    **kwargs
        See `Layer`.
    """

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        least = -math.ulp(0.0)
        self.max_value = None if max_value is None else number(max_value, "ReLU: max_value", least)
        self.negative_slope = number(0.0 if negative_slope is None else negative_slope, "ReLU: negative_slope", least)
        self.threshold = number(0.0 if threshold is None else threshold, "ReLU: threshold", least)

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_value": self.max_value, "negative_slope": self.negative_slope,
                "threshold": self.threshold}  # fmt: skip


class LeakyReLU(Layer):
    """x, or ``negative_slope * x`` where x < 0."""

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:  # its name in earlier versions of Keras
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        self.negative_slope = number(negative_slope, "LeakyReLU: negative_slope", -math.ulp(0.0))

    def call(self, inputs: Tensor) -> Tensor:
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """x, or ``alpha * (exp(x) - 1)`` where x < 0."""

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = number(alpha, "ELU: alpha")

    def call(self, inputs: Tensor) -> Tensor:
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(Layer):
    """x, or ``alpha * x`` where x < 0, with an alpha for each element that is trained.

    Parameters
    ----------
    alpha_initializer : str or Initializer
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or Constraint, optional
    shared_axes : list of int, optional
        Axes along which there is one alpha: [1, 2] for one a channel of (n, h, w, c).
    **kwargs
        See `Layer`.
    """

    supports_masking = True

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_weight_options(
            alpha_initializer=alpha_initializer,
            alpha_regularizer=alpha_regularizer,
            alpha_constraint=alpha_constraint,
        )
        shared = shared_axes if isinstance(shared_axes, (list, tuple)) or shared_axes is None else [shared_axes]
        self.shared_axes = None if shared is None else list(integers(shared, "PReLU: shared_axes"))

    def build(self, input_shape: Any) -> None:
        shape = list(input_shape[1:])
        for axis in self.shared_axes or []:
            if not 1 <= axis <= len(shape):
                raise ValueError(f"{self.name}: shared_axes: expected axes from 1 to {len(shape)}, got {axis}")
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(f"{self.name}: input: expected known sizes along the axes not shared, got {input_shape}")
        self._make_weight("alpha", shape)

    def call(self, inputs: Tensor) -> Tensor:
        return e.prelu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._weight_config(), "shared_axes": self.shared_axes}


class Softmax(Layer):
    """Softmax along an axis, or over several of them together.

    Parameters
    ----------
    axis : int or list of int
    **kwargs
        See `Layer`.

    Notes
    -----
    A mask, of the input's shape or broadcasting to it, leaves out the elements where it is false.
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        several = isinstance(axis, (list, tuple))
        axes = integers(axis if several else [axis], "Softmax: axis")
        if not axes:
            raise ValueError("Softmax: axis: expected at least one axis, got none")
        self.axis: Any = list(axes) if several else axes[0]

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is not None and self._concerns(mask, inputs):
            # Low enough that its exponential is 0, not so low that nothing but masked elements would be NaN.
            inputs = e.where(mask if mask.dtype.kind in "bu" else mask > 0.5, inputs, -1e9)
        if isinstance(self.axis, int):
            return activations.softmax(inputs, self.axis)
        if len(self.axis) == 1:
            return activations.softmax(inputs, self.axis[0])
        return self._over_several(inputs, self.axis)

    def _concerns(self, mask: Any, inputs: Tensor) -> bool:
        """Whether the mask is one of scores, and not of whole time steps, which a softmax over others leaves alone."""
        shape, whole = tuple(mask.shape), tuple(inputs.shape)
        last = whole[len(whole) - len(shape) :]
        if len(shape) <= len(whole) and all(m in (1, d) for m, d in zip(shape, last, strict=True)):
            return True
        if shape == whole[: len(shape)]:
            return False
        raise ValueError(f"{self.name}: mask: expected a shape that broadcasts to {whole}, got {shape}")

    def _over_several(self, inputs: Tensor, given: Sequence[int]) -> Tensor:
        rank = len(inputs.shape)
        axes = sorted({a % rank for a in given})
        rest = [i for i in range(rank) if i not in axes]
        order = (*rest, *axes)
        moved = permute(inputs, order)
        shape = tuple(moved.shape)
        flat = moved.reshape(*shape[: len(rest)], math.prod(shape[len(rest) :]))
        back = [0] * rank
        for i, a in enumerate(order):
            back[a] = i
        return permute(activations.softmax(flat).reshape(*shape), back)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
