"""Convolutions over images and (n, t, c) sequences."""

from __future__ import annotations

from typing import Any

from .._errors import short
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._arguments import positive
from ._format import channel_axis, checked_format, checked_padding, from_last, sizes, to_last
from .base import Layer
from .core import WeightedLayer

__all__ = [
    "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Convolution1D", "Convolution1DTranspose",
    "Convolution2D", "Convolution2DTranspose", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D",
    "SeparableConv2D", "SeparableConvolution1D", "SeparableConvolution2D",
]  # fmt: skip


class _Convolution(WeightedLayer):
    """What all convolutions over `_rank` axes share."""

    _rank = 2
    _paddings: tuple[str, ...] = ("valid", "same")

    def _set_windows(self, kernel_size: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any) -> None:
        label = type(self).__name__
        self.kernel_size = sizes(kernel_size, self._rank, f"{label}: kernel_size")
        self.strides = sizes(strides, self._rank, f"{label}: strides")
        self.dilation_rate = sizes(dilation_rate, self._rank, f"{label}: dilation_rate")
        self.padding = checked_padding(label, padding, self._paddings)
        self.data_format = checked_format(label, data_format)

    def _channels(self, input_shape: Any) -> int:
        c = input_shape[channel_axis(self)] if len(input_shape) == self._rank + 2 else None
        if c is None:
            raise ValueError(
                f"{self.name}: input: expected {self._rank + 2} dimensions with known channels, got {input_shape}"
            )
        return int(c)

    def _windows(self) -> dict[str, Any]:
        return {"stride": self.strides, "padding": self.padding, "dilation": self.dilation_rate}

    def _window_config(self) -> dict[str, Any]:
        return {
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
        }


class _Conv(_Convolution):
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
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
                         bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint,
                         **kwargs)  # fmt: skip
        label = type(self).__name__
        self.filters = positive(filters, f"{label}: filters")
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate)
        self.groups = positive(groups, f"{label}: groups")
        if self.filters % self.groups:
            raise ValueError(f"{label}: groups: expected a divisor of filters ({self.filters}), got {short(groups)}")

    def build(self, input_shape: Any) -> None:
        c = self._channels(input_shape)
        if c % self.groups:
            raise ValueError(f"{self.name}: input: expected channels divisible by groups ({self.groups}), got {c}")
        self._add_kernel((*self.kernel_size, c // self.groups, self.filters), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {**self._windows(), "groups": self.groups}
        return from_last(self, self._run(f"conv{self._rank}d", attrs, to_last(self, inputs)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, **self._window_config(), "groups": self.groups}


class Conv2D(_Conv):
    """2-D convolution of images.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size, strides, dilation_rate : int or two ints
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}, optional
        Default: channels last.
    groups : int
        Channel groups that are convolved apart.
    activation : str or callable, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    """


class Conv1D(_Conv):
    """1-D convolution of (n, t, c) sequences; padding may also be "causal". See `Conv2D`."""

    _rank = 1
    _paddings = ("valid", "same", "causal")


class _DepthwiseConv(_Convolution):
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
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        Layer.__init__(self, activity_regularizer=activity_regularizer, **kwargs)
        self._set_epilogue(activation, use_bias)
        self._set_weight_options(
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate)
        self.depth_multiplier = positive(depth_multiplier, f"{type(self).__name__}: depth_multiplier")

    def build(self, input_shape: Any) -> None:
        c = self._channels(input_shape)
        self._make_weight("kernel", (*self.kernel_size, c, self.depth_multiplier), "depthwise")
        if self.use_bias:
            self._make_weight("bias", (c * self.depth_multiplier,))

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {**self._windows(), "groups": self.kernel.shape[-2]}
        y = self._run(f"conv{self._rank}d", attrs, to_last(self, inputs), by_channel(self.kernel))
        return from_last(self, y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._window_config(), "depth_multiplier": self.depth_multiplier}


def by_channel(kernel: Tensor) -> Tensor:
    """Keras' (..., c, multiplier) as (..., 1, c * multiplier), the kernel of a convolution in c groups."""
    *window, c, multiplier = kernel.shape
    return apply(op("reshape", {"shape": (*window, 1, c * multiplier)}), kernel)


class DepthwiseConv2D(_DepthwiseConv):
    """2-D convolution of each channel by itself, with `depth_multiplier` outputs a channel.

    Parameters
    ----------
    kernel_size, strides, dilation_rate : int or two ints
    padding : {"valid", "same"}
    depth_multiplier : int
    data_format : {"channels_last", "channels_first"}, optional
    activation : str or callable, optional
    use_bias : bool
    depthwise_initializer, bias_initializer : str or Initializer
    depthwise_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    depthwise_constraint, bias_constraint : str or Constraint, optional
    """


class DepthwiseConv1D(_DepthwiseConv):
    """1-D convolution of each channel of (n, t, c) by itself; see `DepthwiseConv2D`."""

    _rank = 1


class _SeparableConv(_Convolution):
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        Layer.__init__(self, activity_regularizer=activity_regularizer, **kwargs)
        self._set_epilogue(activation, use_bias)
        self._set_weight_options(
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )
        label = type(self).__name__
        self.filters = positive(filters, f"{label}: filters")
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate)
        self.depth_multiplier = positive(depth_multiplier, f"{label}: depth_multiplier")

    def build(self, input_shape: Any) -> None:
        c = self._channels(input_shape)
        between = c * self.depth_multiplier
        self._make_weight("depthwise_kernel", (*self.kernel_size, c, self.depth_multiplier), "depthwise")
        self._make_weight("pointwise_kernel", (*[1] * self._rank, between, self.filters), "pointwise")
        if self.use_bias:
            self._make_weight("bias", (self.filters,))

    def call(self, inputs: Tensor) -> Tensor:
        name, depthwise = f"conv{self._rank}d", self.depthwise_kernel
        attrs = {**self._windows(), "groups": depthwise.shape[-2]}
        x = apply(op(name, attrs), to_last(self, inputs), by_channel(depthwise))
        return from_last(self, self._run(name, {}, x, self.pointwise_kernel))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, **self._window_config(),
                "depth_multiplier": self.depth_multiplier}  # fmt: skip


class SeparableConv2D(_SeparableConv):
    """A convolution of each channel by itself, then one by 1x1 that mixes the channels.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size, strides, dilation_rate : int or two ints
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}, optional
    depth_multiplier : int
        Channels between the two for each input channel.
    activation : str or callable, optional
    use_bias : bool
    depthwise_initializer, pointwise_initializer, bias_initializer : str or Initializer
    depthwise_regularizer, pointwise_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    depthwise_constraint, pointwise_constraint, bias_constraint : str or Constraint, optional
    """


class SeparableConv1D(_SeparableConv):
    """`SeparableConv2D` over (n, t, c) sequences; padding may also be "causal"."""

    _rank = 1
    _paddings = ("valid", "same", "causal")


class _TransposedConv(_Convolution):
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
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
                         bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint,
                         **kwargs)  # fmt: skip
        label = type(self).__name__
        self.filters = positive(filters, f"{label}: filters")
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate)
        self.output_padding = None
        if output_padding is not None:
            given = output_padding if isinstance(output_padding, (list, tuple)) else (output_padding,) * self._rank
            if len(given) != self._rank or not all(hasattr(p, "__index__") and int(p) >= 0 for p in given):
                raise ValueError(f"{label}: output_padding: expected integers >= 0, got {short(output_padding)}")
            self.output_padding = tuple(int(p) for p in given)

    def build(self, input_shape: Any) -> None:
        self._add_kernel((*self.kernel_size, self.filters, self._channels(input_shape)), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {**self._windows(), "output_padding": self.output_padding}
        return from_last(self, self._run(f"conv{self._rank}d_transpose", attrs, to_last(self, inputs)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            **self._window_config(),
            "output_padding": None if self.output_padding is None else list(self.output_padding),
        }


class Conv2DTranspose(_TransposedConv):
    """The adjoint of Conv2D: upsamples by `strides`. The kernel is (kh, kw, filters, channels), as in Keras.

    Parameters
    ----------
    output_padding : int or two ints, optional
        Rows and columns added at the bottom and right of the output; by default what makes it ``strides`` times as
        large as the input with padding "same".
    others
        See `Conv2D`.
    """


class Conv1DTranspose(_TransposedConv):
    """The adjoint of Conv1D, on (n, t, c); see `Conv2DTranspose`."""

    _rank = 1


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
