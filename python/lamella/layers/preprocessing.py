"""Layers that bring data into the range, shape and scale that a network wants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._errors import refuse, short
from .._kernels._call import op
from ..autograd import Tensor, apply, as_array, wrap
from ._arguments import number, positive
from .base import Layer

__all__ = ["CenterCrop", "Normalization", "Rescaling", "Resizing"]


def channels_last(data_format: Any, what: str) -> None:
    """Refuse another order of axes."""
    if data_format not in (None, "channels_last"):
        raise NotImplementedError(f"{what}: data_format: expected 'channels_last', got {short(data_format)}")


def images(name: str, x: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """fn of a batch of images; of one image alone, as a batch of one."""
    if len(x.shape) == 3:
        single = fn(apply(op("expand_dims", {"axis": 0}), x))
        return apply(op("squeeze", {"axis": 0}), single)  # type: ignore[no-any-return]
    if len(x.shape) != 4:
        raise ValueError(f"{name}: inputs: expected images (n, h, w, c) or one (h, w, c), got shape {tuple(x.shape)}")
    return fn(x)


def resize_images(x: Tensor, height: int, width: int, interpolation: str = "bilinear") -> Tensor:
    """A batch of images in another size, pixels at their centres."""
    if tuple(x.shape[1:3]) == (height, width):
        return x
    return apply(op("upsample2d", {"size": (height, width), "mode": interpolation}), x)  # type: ignore[no-any-return]


def window(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of each image."""
    if tuple(x.shape[1:3]) == (height, width):
        return x
    attrs = {"starts": (0, top, left), "stops": (2**63 - 1, top + height, left + width), "steps": (1, 1, 1)}
    return apply(op("slice", attrs), x)  # type: ignore[no-any-return]


def center_window(x: Tensor, height: int, width: int) -> Tensor:
    """The largest part in the middle of each image with the aspect ratio of height to width."""
    h, w = x.shape[1:3]
    new_h = max(min(h, int(w * height / width)), 1)
    new_w = max(min(w, int(h * width / height)), 1)
    return window(x, (h - new_h) // 2, (w - new_w) // 2, new_h, new_w)


def pad_to_aspect(x: Tensor, height: int, width: int, fill_value: float) -> Tensor:
    """The images with borders that give them the aspect ratio of height to width."""
    h, w = x.shape[1:3]
    new_h, new_w = max(h, int(w * height / width)), max(w, int(h * width / height))
    top, left = (new_h - h) // 2, (new_w - w) // 2
    if (new_h, new_w) == (h, w):
        return x
    padding = (0, 0, top, new_h - h - top, left, new_w - w - left, 0, 0)
    return apply(op("pad", {"padding": padding, "value": fill_value}), x)  # type: ignore[no-any-return]


class Rescaling(Layer):
    """``inputs * scale + offset``.

    Parameters
    ----------
    scale, offset : float or one number for each channel
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = _numbers(scale, "Rescaling: scale"), _numbers(offset, "Rescaling: offset")

    def call(self, inputs: Tensor) -> Tensor:
        scaled = inputs if self.scale == 1 else inputs * self._operand(self.scale)
        return scaled if self.offset == 0 else scaled + self._operand(self.offset)

    def _operand(self, value: Any) -> Any:
        return wrap(np.array(value, self.compute_dtype)) if isinstance(value, list) else value

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


def _numbers(value: Any, what: str) -> float | list[float]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return [number(v, what) for v in value] if isinstance(value, (list, tuple)) else number(value, what)


class Resizing(Layer):
    """Images in another size.

    Parameters
    ----------
    height, width : int
    interpolation : {"bilinear", "nearest"}
    crop_to_aspect_ratio : bool
        Whether the largest part with the new aspect ratio is resized, rather than the whole image.
    pad_to_aspect_ratio : bool
        Whether the image gets borders before it is resized, which keep its aspect ratio.
    fill_mode : {"constant"}
    fill_value : float
        The borders' colour.
    antialias : bool
        Must be False.
    data_format : {"channels_last"}
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        channels_last(data_format, "Resizing")
        self.height, self.width = positive(height, "Resizing: height"), positive(width, "Resizing: width")
        if interpolation not in ("bilinear", "nearest"):
            raise NotImplementedError(
                f"Resizing: interpolation: expected 'bilinear' or 'nearest', got {short(interpolation)}"
            )
        refuse("Resizing", False, antialias=antialias)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError(
                "Resizing: crop_to_aspect_ratio, pad_to_aspect_ratio: expected at most one of them, got both"
            )
        if fill_mode != "constant":
            raise ValueError(f"Resizing: fill_mode: expected 'constant', got {short(fill_mode)}")
        self.interpolation, self.fill_mode, self.fill_value = interpolation, fill_mode, float(fill_value)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        self.antialias = False

    def call(self, inputs: Tensor) -> Tensor:
        return images(self.name, inputs, self._resize)

    def _resize(self, x: Tensor) -> Tensor:
        if self.crop_to_aspect_ratio:
            x = center_window(x, self.height, self.width)
        elif self.pad_to_aspect_ratio:
            x = pad_to_aspect(x, self.height, self.width, self.fill_value)
        return resize_images(x, self.height, self.width, self.interpolation)

    def get_config(self) -> dict[str, Any]:
        names = (
            *("height", "width", "interpolation", "crop_to_aspect_ratio", "pad_to_aspect_ratio"),
            *("fill_mode", "fill_value", "antialias"),
        )
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


class CenterCrop(Layer):
    """The middle of each image; smaller images are resized, after a crop to the aspect ratio.

    Parameters
    ----------
    height, width : int
    data_format : {"channels_last"}
    """

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(data_format, "CenterCrop")
        self.height, self.width = positive(height, "CenterCrop: height"), positive(width, "CenterCrop: width")

    def call(self, inputs: Tensor) -> Tensor:
        return images(self.name, inputs, self._crop)

    def _crop(self, x: Tensor) -> Tensor:
        down, right = x.shape[1] - self.height, x.shape[2] - self.width
        if down >= 0 and right >= 0:
            return window(x, down // 2, right // 2, self.height, self.width)
        return resize_images(center_window(x, self.height, self.width), self.height, self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class Normalization(Layer):
    """``(inputs - mean) / sqrt(variance)``, with the statistics of data that `adapt` has seen, or given ones.

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes that have statistics of their own for each position; None: one mean and variance for all. The batch
        axis counts.
    mean, variance : float or array_like, optional
        Given together, in place of `adapt`.
    invert : bool
        ``inputs * sqrt(variance) + mean`` instead.
    """

    supports_masking = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        axes = () if axis is None else tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        if not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise TypeError(f"Normalization: axis: expected an integer, a tuple of them or None, got {short(axis)}")
        self.axis = tuple(int(a) for a in axes)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization: mean, variance: expected both or neither, got one of them")
        self.input_mean = None if mean is None else np.asarray(as_array(mean), np.float64)
        self.input_variance = None if variance is None else np.asarray(as_array(variance), np.float64)
        if self.input_mean is not None and self.input_variance is not None:
            if self.input_mean.shape != self.input_variance.shape or self.input_mean.ndim > len(self.axis):
                raise ValueError(
                    f"Normalization: mean, variance: expected equal shapes of at most {len(self.axis)} dimensions, one "
                    f"for each axis, got {self.input_mean.shape} and {self.input_variance.shape}"
                )
            if (self.input_variance < 0).any():
                raise ValueError("Normalization: variance: expected numbers >= 0, got a negative one")
        self.invert = bool(invert)

    def build(self, input_shape: Any) -> None:
        ndim = len(input_shape)
        if any(not -ndim <= a < ndim for a in self.axis):
            raise ValueError(f"{self.name}: axis: expected axes of inputs of shape {input_shape}, got {self.axis}")
        keep = sorted(a % ndim for a in self.axis)
        unknown = [a for a in keep if input_shape[a] is None]
        if unknown:
            raise ValueError(f"{self.name}: axis: expected axes of known size, got {unknown} of {input_shape}")
        self._keep, self._ndim = keep, ndim
        shape = tuple(input_shape[a] for a in keep)
        self._broadcast = tuple(input_shape[a] if a in keep else 1 for a in range(ndim))
        if self.input_mean is None:
            self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.add_weight(shape, "ones", trainable=False, name="variance")
            return
        self._fixed = [self._whole(a, shape) for a in (self.input_mean, self.input_variance)]

    def _whole(self, given: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.broadcast_to(given, shape).astype(self.compute_dtype).reshape(self._broadcast)
        except ValueError:
            raise ValueError(f"{self.name}: mean, variance: expected shape {shape}, got {given.shape}") from None

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Take the mean and variance of data.

        Parameters
        ----------
        data : array, or an iterable of batches
            Of batches that are tuples or lists, the first part counts.
        batch_size : int, optional
            Accepted for Keras' sake: statistics do not depend on it.
        steps : int, optional
            At most so many batches.
        """
        if self.input_mean is not None:
            raise ValueError(f"{self.name}: adapt: mean and variance were given when the layer was made")
        count, mean, square = 0, np.zeros(()), np.zeros(())  # square: the sum of squared differences from the mean
        for batch in batches_of(data, steps, f"{self.name}: adapt"):
            if not self.built:
                self._build(batch.shape)
            if batch.ndim != self._ndim or any(batch.shape[a] != self._broadcast[a] for a in self._keep):
                raise ValueError(
                    f"{self.name}: adapt: data: expected {self._ndim} dimensions with sizes {self._broadcast} on axes "
                    f"{tuple(self._keep)}, got shape {batch.shape}"
                )
            over = tuple(a for a in range(batch.ndim) if a not in self._keep)
            n = math.prod(batch.shape[a] for a in over)
            if n == 0:
                continue
            own = batch.mean(over, np.float64)
            spread = ((batch - own.reshape(self._broadcast)) ** 2).sum(over, np.float64)
            total = count + n
            square = square + spread + (own - mean) ** 2 * (count * n / total)
            mean = mean + (own - mean) * (n / total)
            count = total
        if count == 0:
            raise ValueError(f"{self.name}: adapt: data: expected at least one sample, got none")
        self.mean._data[...] = mean
        self.variance._data[...] = square / count

    def call(self, inputs: Tensor) -> Tensor:
        if self.input_mean is None:
            mean, variance = (p.reshape(*self._broadcast) for p in (self.mean, self.variance))
            deviation: Any = variance.sqrt().clamp(min=1e-7)
        else:
            mean, deviation = wrap(self._fixed[0]), wrap(np.maximum(np.sqrt(self._fixed[1]), 1e-7).astype(inputs.dtype))
        return inputs * deviation + mean if self.invert else (inputs - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        given = self.input_mean is not None
        return {
            **super().get_config(),
            "axis": list(self.axis) if self.axis else None,
            "mean": self.input_mean.tolist() if given else None,  # type: ignore[union-attr]
            "variance": self.input_variance.tolist() if given else None,  # type: ignore[union-attr]
            "invert": self.invert,
        }


def batches_of(data: Any, steps: int | None, what: str) -> Iterable[np.ndarray]:
    """The inputs of an array, or of an iterable of batches, as arrays."""
    from .._data import Batches, Feed

    feed = Feed.of(data)
    if feed is not None and steps is None:
        data = feed.parts[0] if feed.order() is None else feed.parts[0][feed.order()]
    data = Batches.of(data)
    if isinstance(data, (np.ndarray, Tensor)) or hasattr(data, "__array__"):
        return [np.asarray(as_array(data))]
    if isinstance(data, (list, tuple)) and not any(hasattr(item, "shape") and len(item.shape) for item in data):
        return [np.asarray(data)]
    if not hasattr(data, "__iter__"):
        raise TypeError(f"{what}: data: expected an array or an iterable of batches, got {type(data).__name__}")
    return _first_parts(data, steps)


def _first_parts(batches: Iterable[Any], steps: int | None) -> Iterable[np.ndarray]:
    for i, batch in enumerate(batches):
        if i == steps:
            return
        yield np.asarray(as_array(batch[0] if isinstance(batch, (tuple, list)) else batch))
