"""Pooling over images and (n, t, c) sequences."""

from __future__ import annotations

from typing import Any

from .._functional.shape import permute
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._format import channels_first, checked_format, checked_padding, from_last, sizes, to_last
from .base import Layer

__all__ = [
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D",
    "AveragePooling1D", "AveragePooling2D", "AvgPool1D", "AvgPool2D", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalMaxPool1D", "GlobalMaxPool2D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "MaxPool1D", "MaxPool2D", "MaxPooling1D", "MaxPooling2D",
]  # fmt: skip


class _Pooling(Layer):
    _op = ""
    _rank = 2

    def __init__(
        self, pool_size: Any, strides: Any, padding: str, data_format: str | None, name: str | None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        label = type(self).__name__
        self.pool_size = sizes(pool_size, self._rank, f"{label}: pool_size")
        self.strides = self.pool_size if strides is None else sizes(strides, self._rank, f"{label}: strides")
        self.padding = checked_padding(label, padding, ("valid", "same"))
        self.data_format = checked_format(label, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"window": self.pool_size, "stride": self.strides, "padding": self.padding}
        return from_last(self, apply(op(self._op, attrs), to_last(self, inputs)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": list(self.pool_size), "strides": list(self.strides),
                "padding": self.padding, "data_format": self.data_format}  # fmt: skip


class _MaxPooling(_Pooling):
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class _AveragePooling(_Pooling):
    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling2D(_MaxPooling):
    """The largest value of each window.

    Parameters
    ----------
    pool_size : int or two ints
    strides : int or two ints, optional
        Default: `pool_size`.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}, optional
    name : str, optional
    **kwargs
        See `Layer`.
    """

    _op = "max_pool2d"


class AveragePooling2D(_AveragePooling):
    """The mean of each window, padding not counted; see `MaxPooling2D`."""

    _op = "avg_pool2d"


class MaxPooling1D(_MaxPooling):
    """The largest value of each window of time steps; see `MaxPooling2D`."""

    _op = "max_pool1d"
    _rank = 1


class AveragePooling1D(_AveragePooling):
    """The mean of each window of time steps, padding not counted; see `MaxPooling2D`."""

    _op = "avg_pool1d"
    _rank = 1


class _GlobalPooling(Layer):
    _op = ""
    _rank = 2

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = checked_format(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) != self._rank + 2:
            raise ValueError(
                f"{self.name}: input: expected {self._rank + 2} dimensions, got shape {tuple(inputs.shape)}"
            )
        y = apply(op(self._op, {"keepdims": self.keepdims}), to_last(self, inputs))
        return from_last(self, y) if self.keepdims else y

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
    keepdims : bool
        Whether the axes that are averaged over stay, with size 1.
    **kwargs
        See `Layer`.
    """

    _op = "global_avg_pool"


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value of each channel; see `GlobalAveragePooling2D`."""

    _op = "global_max_pool"


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of each channel over time; padded steps do not count, and a sequence of nothing else gives zeros."""

    _op = "global_avg_pool"
    _rank = 1

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        x = permute(inputs, (0, 2, 1)) if channels_first(self) else inputs
        steps = mask.to(x.dtype).reshape(*x.shape[:2], 1)
        count = steps.sum(1, keepdim=True).clamp(min=1.0)
        y = (x * steps).sum(1, keepdim=True) / count
        return from_last(self, y) if self.keepdims else y.reshape(-1, y.shape[2])

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest value of each channel over time."""

    _op = "global_max_pool"
    _rank = 1


class _AdaptivePooling(Layer):
    _op = ""
    _rank = 2

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        self.output_size = sizes(output_size, self._rank, f"{label}: output_size")
        self.data_format = checked_format(label, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"output_size": self.output_size}
        return from_last(self, apply(op(f"{self._op}{self._rank}d", attrs), to_last(self, inputs)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_size": list(self.output_size), "data_format": self.data_format}


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """The mean of each cell of a grid of `output_size`.

    Parameters
    ----------
    output_size : int or two ints
    data_format : {"channels_last", "channels_first"}, optional
    **kwargs
        See `Layer`.
    """

    _op = "adaptive_avg_pool"


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """The largest value of each cell of a grid of `output_size`; see `AdaptiveAveragePooling2D`."""

    _op = "adaptive_max_pool"


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """The mean of each of `output_size` stretches of time steps; see `AdaptiveAveragePooling2D`."""

    _op = "adaptive_avg_pool"
    _rank = 1


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """The largest value of each of `output_size` stretches of time steps; see `AdaptiveAveragePooling2D`."""

    _op = "adaptive_max_pool"
    _rank = 1


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
