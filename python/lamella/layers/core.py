"""Dense, activations, dropout, shapes and embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import activations, initializers, regularizers
from .._kernels._call import op
from ..autograd import Tensor, apply
from .base import Layer, fraction, integers, pair, positive

__all__ = [
    "ELU", "Activation", "Dense", "Dropout", "Embedding", "Flatten", "Identity", "LeakyReLU", "Permute", "ReLU",
    "RepeatVector", "Reshape", "Softmax", "UpSampling2D", "ZeroPadding2D",
]  # fmt: skip


def epilogue(activation: Any) -> tuple[str | None, float | None, Any]:
    """(name, alpha, rest): what the kernel applies itself, and what is left to call on its output."""
    if activation in activations.FUSABLE:
        name, alpha = activations.FUSABLE[activation]
        return (None, None, None) if name == "identity" else (name, alpha, None)
    return None, None, activation


class WeightedLayer(Layer):
    """A layer with a kernel, perhaps a bias, and an activation: the arguments that these share."""

    def __init__(
        self,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        if kernel_constraint is not None or bias_constraint is not None:
            raise NotImplementedError(f"{self.name}: constraints are not supported")

    def _add_kernel(self, shape: Sequence[int], bias: int) -> None:
        self.add_weight(shape, self.kernel_initializer, name="kernel", regularizer=self.kernel_regularizer)
        if self.use_bias:
            self.add_weight((bias,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer)

    def _run(self, name: str, attrs: dict[str, Any], x: Tensor) -> Tensor:
        act, alpha, rest = epilogue(self.activation)
        inputs = (x, self.kernel, self.bias) if self.use_bias else (x, self.kernel)
        y = apply(op(name, {**attrs, "activation": act, "alpha": alpha}), *inputs)
        return y if rest is None else rest(y)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


class Dense(WeightedLayer):
    """``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
        Size of the output's last axis.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer
        As in Keras.
    """

    supports_masking = True

    def __init__(self, units: int, activation: Any = None, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(activation, use_bias, **kwargs)
        self.units = positive(units, "Dense: units")

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: input: expected a known last dimension of rank >= 2, got {input_shape}")
        self._add_kernel((input_shape[-1], self.units), self.units)

    def call(self, inputs: Tensor) -> Tensor:
        return self._run("dense", {}, inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


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
    """``max(x, 0)``, with a slope for x < 0 or a cap at 6."""

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_value": self.max_value, "negative_slope": self.negative_slope,
                "threshold": self.threshold}  # fmt: skip


class LeakyReLU(Layer):
    """x, or ``negative_slope * x`` where x < 0."""

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = negative_slope

    def call(self, inputs: Tensor) -> Tensor:
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """x, or ``alpha * (exp(x) - 1)`` where x < 0."""

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Tensor) -> Tensor:
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(Layer):
    """Softmax along an axis."""

    supports_masking = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor) -> Tensor:
        return activations.softmax(inputs, self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Identity(Layer):
    """The input itself."""

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs

    def _takes_integers(self) -> bool:
        return True


class Dropout(Layer):
    """In training, zeroes each element with probability `rate` and scales the others by ``1 / (1 - rate)``."""

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if noise_shape is not None:
            raise NotImplementedError("Dropout: noise_shape: not supported")
        if seed is not None:
            raise NotImplementedError("Dropout: seed: not supported; lamella.seed(n) fixes all random streams")
        self.rate = fraction(rate, "Dropout: rate")

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        return apply(op("dropout", {"rate": self.rate}), inputs, training=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class Flatten(Layer):
    """All dimensions but the first in one, in memory order (rows, columns, channels)."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if data_format not in (None, "channels_last"):
            raise NotImplementedError(f"Flatten: data_format: expected 'channels_last', got {data_format!r}")

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) == 1:
            return apply(op("expand_dims", {"axis": 1}), inputs)
        return apply(op("flatten", {"start_axis": 1}), inputs)


class Reshape(Layer):
    """Another shape for each sample; one size may be -1."""

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = integers(target_shape, "Reshape: target_shape")

    def call(self, inputs: Tensor) -> Tensor:
        if all(d > 0 for d in self.target_shape):
            want, have = math.prod(self.target_shape), math.prod(inputs.shape[1:])
            if want != have:
                raise ValueError(
                    f"{self.name}: target_shape: expected {have} elements a sample, got {self.target_shape}"
                )
        return apply(op("reshape", {"shape": (0, *self.target_shape)}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Permute(Layer):
    """Dimensions in another order; they count from 1, without the batch."""

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = integers(dims, "Permute: dims")
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute: dims: expected each of 1..{len(self.dims)} once, got {self.dims}")

    def call(self, inputs: Tensor) -> Tensor:
        return apply(op("transpose", {"perm": (0, *self.dims)}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


class RepeatVector(Layer):
    """(n, c) to (n, times, c)."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive(n, "RepeatVector: n")

    def call(self, inputs: Tensor) -> Tensor:
        column = apply(op("expand_dims", {"axis": 1}), inputs)
        return apply(op("concat", {"axis": 1}), *([column] * self.n)) if self.n > 1 else column

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Embedding(Layer):
    """Rows of a table for integer inputs: (n, t) to (n, t, output_dim).

    Parameters
    ----------
    input_dim : int
        Number of rows: inputs lie in [0, input_dim).
    output_dim : int
        Length of a row.
    mask_zero : bool
        Whether 0 marks padding that later recurrent layers skip.
    input_length : int, optional
        Length of the sequences; the same as ``input_shape=(input_length,)``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: Any = None,
        input_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if input_length is not None:
            input_length = positive(input_length, "Embedding: input_length")
            if self._sample_shape not in (None, (input_length,)):
                raise ValueError(f"Embedding: input_length: expected {self._sample_shape}, got {input_length}")
            self._sample_shape = (input_length,)
        if embeddings_constraint is not None or lora_rank is not None:
            raise NotImplementedError("Embedding: embeddings_constraint and lora_rank are not supported")
        self.input_dim = positive(input_dim, "Embedding: input_dim")
        self.output_dim = positive(output_dim, "Embedding: output_dim")
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = bool(mask_zero)
        self._initial = weights

    def build(self, input_shape: Any) -> None:
        self.add_weight((self.input_dim, self.output_dim), self.embeddings_initializer, name="embeddings",
                        regularizer=self.embeddings_regularizer)  # fmt: skip
        if self._initial is not None:
            self.set_weights(self._initial if isinstance(self._initial, list) else [self._initial])

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.dtype.kind == "f":
            inputs = apply(op("cast", {"dtype": "int64"}), inputs)
        return apply(op("embedding", {}), inputs, self.embeddings)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        # As floats, whose comparisons plans know; no other integer becomes 0.
        return inputs.to(self.compute_dtype) != 0 if self.mask_zero else None

    def _takes_integers(self) -> bool:
        return True

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "mask_zero": self.mask_zero,
        }


class ZeroPadding2D(Layer):
    """Zeros around each image."""

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if data_format not in (None, "channels_last"):
            raise NotImplementedError(f"ZeroPadding2D: data_format: expected 'channels_last', got {data_format!r}")
        p = (
            ((padding, padding), (padding, padding))
            if isinstance(padding, int)
            else tuple((q, q) if isinstance(q, int) else tuple(q) for q in padding)
        )
        if len(p) != 2 or any(len(q) != 2 or min(q) < 0 for q in p):
            raise ValueError(f"ZeroPadding2D: padding: expected sizes >= 0, got {padding!r}")
        self.padding = p

    def call(self, inputs: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.padding
        return apply(op("pad", {"padding": (0, 0, top, bottom, left, right, 0, 0)}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": [list(p) for p in self.padding]}


class UpSampling2D(Layer):
    """Each pixel repeated, or interpolated bilinearly."""

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if data_format not in (None, "channels_last"):
            raise NotImplementedError(f"UpSampling2D: data_format: expected 'channels_last', got {data_format!r}")
        if interpolation not in ("nearest", "bilinear"):
            raise NotImplementedError(
                f"UpSampling2D: interpolation: expected 'nearest' or 'bilinear', got {interpolation!r}"
            )
        self.size, self.interpolation = pair(size, "UpSampling2D: size"), interpolation

    def call(self, inputs: Tensor) -> Tensor:
        return apply(op("upsample2d", {"scale": self.size, "mode": self.interpolation}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": list(self.size), "interpolation": self.interpolation}
