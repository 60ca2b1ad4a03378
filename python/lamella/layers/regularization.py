"""Noise in training, and penalties on activities."""

from __future__ import annotations

from typing import Any

from .. import regularizers
from .._errors import short
from .._functional import layers as f
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._arguments import fraction, number
from ._format import channels_first, checked_format
from .base import Layer

__all__ = [
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D",
    "SpatialDropout2D",
]  # fmt: skip


def checked_seed(layer: str, seed: Any) -> int | None:
    """A layer's seed as the ops take it."""
    if seed is None:
        return None
    if not hasattr(seed, "__index__"):
        raise TypeError(f"{layer}: seed: expected an integer or None, got {short(seed)}")
    return int(seed) % 2**63


class _Noise(Layer):
    supports_masking = True

    def __init__(self, seed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = checked_seed(type(self).__name__, seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class Dropout(_Noise):
    """In training, zeroes each element with probability `rate` and scales the others by ``1 / (1 - rate)``.

    Parameters
    ----------
    rate : float
        In [0, 1].
    noise_shape : tuple, optional
        One entry an axis, the batch included: 1 where all elements along the axis share their fate, None where each
        has its own. Axes with 1 must be neighbours.
    seed : int, optional
        Draws other numbers than layers with other seeds do; `lamella.seed` decides from where on they are drawn.
    **kwargs
        See `Layer`.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = fraction(rate, f"{type(self).__name__}: rate")
        self.noise_shape = _checked_noise_shape(type(self).__name__, noise_shape)

    def _noise_shape(self, inputs: Tensor) -> tuple[int, ...] | None:
        """In the op's terms: 1 or -1 for each axis."""
        if self.noise_shape is None:
            return None
        if len(self.noise_shape) != len(inputs.shape):
            raise ValueError(
                f"{self.name}: noise_shape: expected {len(inputs.shape)} entries, got {tuple(self.noise_shape)}"
            )
        return tuple(-1 if d is None else d for d in self.noise_shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return f.dropout(inputs, self.rate, True, self._noise_shape(inputs), self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape}


def _checked_noise_shape(layer: str, shape: Any) -> list[int | None] | None:
    if shape is None:
        return None
    if not isinstance(shape, (list, tuple)) or not all(d is None or hasattr(d, "__index__") for d in shape):
        raise ValueError(f"{layer}: noise_shape: expected a tuple of 1, None or sizes, got {short(shape)}")
    return [None if d is None else int(d) for d in shape]


class SpatialDropout1D(_Noise):
    """In training, zeroes whole channels of (n, t, c)."""

    def __init__(
        self, rate: float, seed: Any = None, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, name=name, dtype=dtype, **kwargs)
        self.rate = fraction(rate, f"{type(self).__name__}: rate")

    def _noise_shape(self, inputs: Tensor) -> tuple[int, ...]:
        if len(inputs.shape) != 3:
            raise ValueError(f"{self.name}: input: expected 3 dimensions, got shape {tuple(inputs.shape)}")
        return (-1, 1, -1)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        shape = self._noise_shape(inputs)
        if not training or self.rate == 0:
            return inputs
        return f.dropout(inputs, self.rate, True, shape, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class SpatialDropout2D(SpatialDropout1D):
    """In training, zeroes whole channels of images."""

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: Any = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, seed, name, dtype, **kwargs)
        self.data_format = checked_format("SpatialDropout2D", data_format)

    def _noise_shape(self, inputs: Tensor) -> tuple[int, ...]:
        if len(inputs.shape) != 4:
            raise ValueError(f"{self.name}: input: expected 4 dimensions, got shape {tuple(inputs.shape)}")
        return (-1, -1, 1, 1) if channels_first(self) else (-1, 1, 1, -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class GaussianNoise(_Noise):
    """In training, adds normal noise of standard deviation `stddev`."""

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = number(stddev, "GaussianNoise: stddev", above=-5e-324)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        return apply(op("gaussian_noise", {"stddev": self.stddev, "seed": self.seed}), inputs, training=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}


class GaussianDropout(_Noise):
    """In training, multiplies by normal noise of mean 1 and variance ``rate / (1 - rate)``."""

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = fraction(rate, "GaussianDropout: rate", one=False)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return apply(op("gaussian_dropout", {"rate": self.rate, "seed": self.seed}), inputs, training=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class AlphaDropout(Dropout):
    """Dropout for self-normalising networks of selu: keeps mean and variance (Klambauer et al. 2017).

    Parameters
    ----------
    rate : float
        In [0, 1).
    noise_shape, seed
        See `Dropout`.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(fraction(rate, "AlphaDropout: rate", one=False), noise_shape, seed, **kwargs)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return f.alpha_dropout(inputs, self.rate, self._noise_shape(inputs), self.seed)


class ActivityRegularization(Layer):
    """The input itself, with a penalty on it in the training loss.

    Parameters
    ----------
    l1, l2 : float
        See `regularizers.L1L2`.
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = float(l1), float(l2)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return {**config, "l1": self.l1, "l2": self.l2}
