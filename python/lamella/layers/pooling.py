"""Pooling over NHWC images and (n, t, c) sequences."""

from __future__ import annotations

from typing import Any

from .._kernels._call import op
from ..autograd import Tensor, apply
from .base import Layer
from .convolution import _channels_last, _padding, _sizes

__all__ = [
    "AveragePooling1D", "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "MaxPooling1D", "MaxPooling2D",
]  # fmt: skip


class _Pooling(Layer):
    _op = ""
    _rank = 2

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        _channels_last(label, data_format)
        self.pool_size = _sizes(pool_size, self._rank, f"{label}: pool_size")
        self.strides = self.pool_size if strides is None else _sizes(strides, self._rank, f"{label}: strides")
        self.padding = _padding(label, padding, ("valid", "same"))

    def call(self, inputs: Tensor) -> Tensor:
        attrs = {"window": self.pool_size, "stride": self.strides, "padding": self.padding}
        return apply(op(self._op, attrs), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": list(self.pool_size), "strides": list(self.strides),
                "padding": self.padding}  # fmt: skip


class MaxPooling2D(_Pooling):
    """The largest value of each window; `strides` defaults to `pool_size`."""

    _op = "max_pool2d"


class AveragePooling2D(_Pooling):
    """The mean of each window, padding not counted; `strides` defaults to `pool_size`."""

    _op = "avg_pool2d"


class MaxPooling1D(_Pooling):
    """The largest value of each window of time steps."""

    _op = "max_pool1d"
    _rank = 1


class AveragePooling1D(_Pooling):
    """The mean of each window of time steps, padding not counted."""

    _op = "avg_pool1d"
    _rank = 1


class _GlobalPooling(Layer):
    _op = ""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _channels_last(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)

    def call(self, inputs: Tensor) -> Tensor:
        return apply(op(self._op, {"keepdims": self.keepdims}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel."""

    _op = "global_avg_pool"


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest value of each channel."""

    _op = "global_max_pool"


class GlobalAveragePooling1D(GlobalAveragePooling2D):
    """The mean of each channel over time; padded steps do not count, and a sequence of nothing else gives zeros."""

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        steps = mask.to(inputs.dtype).reshape(*inputs.shape[:2], 1)
        count = steps.sum(1, keepdim=self.keepdims).clamp(min=1.0)
        return (inputs * steps).sum(1, keepdim=self.keepdims) / count

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None


class GlobalMaxPooling1D(GlobalMaxPooling2D):
    """The largest value of each channel over time."""
