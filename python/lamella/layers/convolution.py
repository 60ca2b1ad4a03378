"""Convolutions over NHWC images and (n, t, c) sequences."""

from __future__ import annotations

from typing import Any

from .. import initializers, regularizers
from ..autograd import Tensor
from .base import pair, positive
from .core import WeightedLayer

__all__ = ["Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D"]


def _channels_last(layer: str, data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise NotImplementedError(f"{layer}: data_format: expected 'channels_last', got {data_format!r}")


def _sizes(value: Any, rank: int, what: str) -> tuple[int, ...]:
    if rank == 2:
        return pair(value, what)
    return (positive(value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value, what),)


def _padding(layer: str, padding: str, known: tuple[str, ...]) -> str:
    if not isinstance(padding, str) or padding.lower() not in known:
        raise ValueError(f"{layer}: padding: expected one of {', '.join(known)}, got {padding!r}")
    return padding.lower()


class _Conv(WeightedLayer):
    _rank = 2
    _paddings: tuple[str, ...] = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, **kwargs)
        label = type(self).__name__
        _channels_last(label, data_format)
        self.filters = positive(filters, f"{label}: filters")
        self.kernel_size = _sizes(kernel_size, self._rank, f"{label}: kernel_size")
        self.strides = _sizes(strides, self._rank, f"{label}: strides")
        self.dilation_rate = _sizes(dilation_rate, self._rank, f"{label}: dilation_rate")
        self.padding = _padding(label, padding, self._paddings)
        self.groups = positive(groups, f"{label}: groups")
        if self.filters % self.groups:
            raise ValueError(f"{label}: groups: expected a divisor of filters ({self.filters}), got {groups!r}")

    def build(self, input_shape: Any) -> None:
        c = input_shape[-1]
        if len(input_shape) != self._rank + 2 or c is None:
            raise ValueError(
                f"{self.name}: input: expected {self._rank + 2} dimensions with known channels, got {input_shape}"
            )
        if c % self.groups:
            raise ValueError(f"{self.name}: input: expected channels divisible by groups ({self.groups}), got {c}")
        self._add_kernel((*self.kernel_size, c // self.groups, self.filters), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"stride": self.strides, "padding": self.padding, "dilation": self.dilation_rate, "groups": self.groups}
        return self._run(f"conv{self._rank}d", attrs, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "dilation_rate": list(self.dilation_rate),
            "groups": self.groups,
        }


class Conv2D(_Conv):
    """2-D convolution of NHWC images.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size, strides, dilation_rate : int or two ints
    padding : {"valid", "same"}
    groups : int
        Channel groups that are convolved apart.
    activation, use_bias, initializers and regularizers
        As in Keras.
    """


class Conv1D(_Conv):
    """1-D convolution of (n, t, c) sequences; padding may also be "causal"."""

    _rank = 1
    _paddings = ("valid", "same", "causal")


class DepthwiseConv2D(WeightedLayer):
    """2-D convolution of each channel by itself, `depth_multiplier` outputs a channel."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        depthwise_regularizer: Any = None,
        depthwise_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer=depthwise_initializer,
                         kernel_regularizer=depthwise_regularizer, kernel_constraint=depthwise_constraint,
                         **kwargs)  # fmt: skip
        _channels_last("DepthwiseConv2D", data_format)
        self.kernel_size = pair(kernel_size, "DepthwiseConv2D: kernel_size")
        self.strides = pair(strides, "DepthwiseConv2D: strides")
        self.dilation_rate = pair(dilation_rate, "DepthwiseConv2D: dilation_rate")
        self.padding = _padding("DepthwiseConv2D", padding, ("valid", "same"))
        self.depth_multiplier = positive(depth_multiplier, "DepthwiseConv2D: depth_multiplier")

    def build(self, input_shape: Any) -> None:
        c = input_shape[-1]
        if len(input_shape) != 4 or c is None:
            raise ValueError(f"{self.name}: input: expected 4 dimensions with known channels, got {input_shape}")
        # Glorot's fans are Keras' own: (kh, kw, c, multiplier); memory holds (kh, kw, 1, c * multiplier).
        shape = (*self.kernel_size, c, self.depth_multiplier)
        self.add_weight((*self.kernel_size, 1, c * self.depth_multiplier),
                        lambda held, dtype: self.kernel_initializer(shape, dtype).reshape(held), name="kernel",
                        regularizer=self.kernel_regularizer)  # fmt: skip
        if self.use_bias:
            bias = c * self.depth_multiplier
            self.add_weight((bias,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer)
        self.channels = c

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"stride": self.strides, "padding": self.padding, "dilation": self.dilation_rate,
                 "groups": self.channels}  # fmt: skip
        return self._run("conv2d", attrs, inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["kernel_initializer"], config["kernel_regularizer"]
        return {
            **config,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "depth_multiplier": self.depth_multiplier,
            "dilation_rate": list(self.dilation_rate),
            "depthwise_initializer": initializers.serialize(self.kernel_initializer),
            "depthwise_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


class Conv2DTranspose(WeightedLayer):
    """The adjoint of Conv2D: upsamples by `strides`. The kernel is (kh, kw, filters, channels), as in Keras."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, **kwargs)
        _channels_last("Conv2DTranspose", data_format)
        self.filters = positive(filters, "Conv2DTranspose: filters")
        self.kernel_size = pair(kernel_size, "Conv2DTranspose: kernel_size")
        self.strides = pair(strides, "Conv2DTranspose: strides")
        self.dilation_rate = pair(dilation_rate, "Conv2DTranspose: dilation_rate")
        self.padding = _padding("Conv2DTranspose", padding, ("valid", "same"))
        self.output_padding = (
            None
            if output_padding is None
            else tuple((output_padding,) * 2 if isinstance(output_padding, int) else output_padding)
        )

    def build(self, input_shape: Any) -> None:
        c = input_shape[-1]
        if len(input_shape) != 4 or c is None:
            raise ValueError(f"{self.name}: input: expected 4 dimensions with known channels, got {input_shape}")
        self._add_kernel((*self.kernel_size, self.filters, c), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"stride": self.strides, "padding": self.padding, "dilation": self.dilation_rate,
                 "output_padding": self.output_padding}  # fmt: skip
        return self._run("conv2d_transpose", attrs, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "output_padding": None if self.output_padding is None else list(self.output_padding),
            "dilation_rate": list(self.dilation_rate),
        }
