"""Layers that change images at random in training: each image in its own way, by one native kernel a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _rng
from .._errors import short
from .._kernels._call import op
from .._trace import NotTraceable, Symbol
from ..autograd import Tensor, apply, as_array, wrap
from ._arguments import number, positive
from ._phase import phases
from .base import Layer
from .preprocessing import center_window, channels_last, images, resize_images

__all__ = [
    "CutMix",
    "MixUp",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
]

_FILL_MODES = ("reflect", "wrap", "constant", "nearest")


def _factor(value: Any, what: str, least: float, most: float, symmetric: bool = True) -> tuple[float, float]:
    """A number f as (-f, f), or (0, f) unless `symmetric`; a pair as it is."""
    pair = value if isinstance(value, (tuple, list)) else (value,)
    good = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) and least <= v <= most for v in pair)
    if len(pair) not in (1, 2) or not good:
        raise ValueError(f"{what}: expected a number or a pair of them in [{least:g}, {most:g}], got {short(value)}")
    if len(pair) == 2:
        return float(min(pair)), float(max(pair))
    f = abs(float(pair[0]))
    return (max(-f, least) if symmetric else 0.0), f


def _seed(value: Any, what: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer))):
        raise TypeError(f"{what}: seed: expected an integer or None, got {short(value)}")
    return None if value is None else int(value)


class RandomImageLayer(Layer):
    """What the layers have in common: they act in training, and where nobody has said what it is.

    Parameters
    ----------
    seed : int, optional
        Draws from streams of this seed, which are counted over the whole program, in place of those that `lamella.seed`
        fixes.
    """

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(data_format, type(self).__name__)
        self.seed = _seed(seed, type(self).__name__)

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        if not (training or not phases.now.decided):
            return self._at_rest(inputs)
        return images(self.name, inputs, self._change)

    def _at_rest(self, inputs: Tensor) -> Tensor:
        return inputs

    def _change(self, inputs: Tensor) -> Tensor:
        """A batch of images, changed."""
        raise NotImplementedError

    def _draw(self, name: str, inputs: Tensor, **attrs: Any) -> Tensor:
        return apply(op(name, {**attrs, "seed": self.seed}), inputs, training=True)  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class RandomFlip(RandomImageLayer):
    """Images mirrored, each with probability 1/2 in each direction.

    Parameters
    ----------
    mode : {"horizontal_and_vertical", "horizontal", "vertical"}
        Left to right, top to bottom, or both.
    seed : int, optional
    data_format : {"channels_last"}
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, data_format: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        if mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            raise ValueError(
                f"RandomFlip: mode: expected 'horizontal', 'vertical' or 'horizontal_and_vertical', got {short(mode)}"
            )
        self.mode = mode

    def _change(self, inputs: Tensor) -> Tensor:
        return self._draw(
            "random_affine", inputs, interpolation="nearest",
            flip_horizontal=0.5 if "horizontal" in self.mode else 0.0,
            flip_vertical=0.5 if "vertical" in self.mode else 0.0,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


class _Warp(RandomImageLayer):
    """Rotation, zoom and shift: what lies beyond the border, and how pixels are interpolated."""

    def __init__(
        self, fill_mode: str, interpolation: str, seed: Any, fill_value: float, data_format: Any, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        what = type(self).__name__
        if fill_mode not in _FILL_MODES:
            raise ValueError(f"{what}: fill_mode: expected one of {', '.join(_FILL_MODES)}, got {short(fill_mode)}")
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"{what}: interpolation: expected 'bilinear' or 'nearest', got {short(interpolation)}")
        self.fill_mode, self.interpolation = fill_mode, interpolation
        self.fill_value = number(fill_value, f"{what}: fill_value")

    def _warp(self, inputs: Tensor, **attrs: Any) -> Tensor:
        return self._draw(
            "random_affine", inputs, fill_mode=self.fill_mode, fill_value=self.fill_value,
            interpolation=self.interpolation, **attrs,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomRotation(_Warp):
    """Images turned around their centres.

    Parameters
    ----------
    factor : float or (low, high)
        Shares of a full turn, counterclockwise; f means (-f, f).
    fill_mode : {"reflect", "wrap", "constant", "nearest"}
    interpolation : {"bilinear", "nearest"}
    seed : int, optional
    fill_value : float
        For `fill_mode` "constant".
    data_format : {"channels_last"}
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = _factor(factor, "RandomRotation: factor", -1, 1)

    def _change(self, inputs: Tensor) -> Tensor:
        return self._warp(inputs, rotation=tuple(2 * math.pi * f for f in self.factor))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": list(self.factor)}


class RandomZoom(_Warp):
    """Images zoomed around their centres.

    Parameters
    ----------
    height_factor : float or (low, high)
        Output pixels are so much further apart in the input: 0.2 zooms out by 20%, -0.2 zooms in; f means (-f, f).
    width_factor : float or (low, high), optional
        As the height by default, which keeps the aspect ratio.
    fill_mode : {"reflect", "wrap", "constant", "nearest"}
    interpolation : {"bilinear", "nearest"}
    seed : int, optional
    fill_value : float
        For `fill_mode` "constant".
    data_format : {"channels_last"}
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = _factor(height_factor, "RandomZoom: height_factor", -1, 1)
        self.width_factor = None if width_factor is None else _factor(width_factor, "RandomZoom: width_factor", -1, 1)

    def _change(self, inputs: Tensor) -> Tensor:
        low, high = self.height_factor
        width = None if self.width_factor is None else tuple(1 + f for f in self.width_factor)
        return self._warp(inputs, zoom_height=(1 + low, 1 + high), zoom_width=width)

    def get_config(self) -> dict[str, Any]:
        width = None if self.width_factor is None else list(self.width_factor)
        return {**super().get_config(), "height_factor": list(self.height_factor), "width_factor": width}


class RandomTranslation(_Warp):
    """Images shifted.

    Parameters
    ----------
    height_factor, width_factor : float or (low, high)
        Shares of the image's size, down and to the right; f means (-f, f).
    fill_mode : {"reflect", "wrap", "constant", "nearest"}
    interpolation : {"bilinear", "nearest"}
    seed : int, optional
    fill_value : float
        For `fill_mode` "constant".
    data_format : {"channels_last"}
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = _factor(height_factor, "RandomTranslation: height_factor", -1, 1)
        self.width_factor = _factor(width_factor, "RandomTranslation: width_factor", -1, 1)

    def _change(self, inputs: Tensor) -> Tensor:
        return self._warp(inputs, shift_height=self.height_factor, shift_width=self.width_factor)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "height_factor": list(self.height_factor),
            "width_factor": list(self.width_factor),
        }


class RandomCrop(RandomImageLayer):
    """A window at a random place of each image; out of training, and where images are smaller, the largest window of
    its aspect ratio in the middle, resized.

    Parameters
    ----------
    height, width : int
    seed : int, optional
    data_format : {"channels_last"}
    """

    def __init__(
        self, height: int, width: int, seed: int | None = None, data_format: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.height, self.width = positive(height, "RandomCrop: height"), positive(width, "RandomCrop: width")

    def _at_rest(self, inputs: Tensor) -> Tensor:
        return images(self.name, inputs, lambda x: resize_images(center_window(x, self.height, self.width),
                                                                 self.height, self.width))  # fmt: skip

    def _change(self, inputs: Tensor) -> Tensor:
        if inputs.shape[1] < self.height or inputs.shape[2] < self.width:
            return self._at_rest(inputs)
        return self._draw("random_affine", inputs, crop=(self.height, self.width), interpolation="nearest")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class _Colour(RandomImageLayer):
    def __init__(self, value_range: Sequence[float], seed: Any, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        what = f"{type(self).__name__}: value_range"
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise ValueError(f"{what}: expected (low, high), got {short(value_range)}")
        low, high = (number(v, what) for v in value_range)
        if not low < high:
            raise ValueError(f"{what}: expected low < high, got {short(value_range)}")
        self.value_range = (low, high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "value_range": list(self.value_range)}


class RandomContrast(_Colour):
    """``(x - mean) * f + mean`` with each channel's mean over the image, f drawn for each image.

    Parameters
    ----------
    factor : float or (low, high)
        f lies between 1 - low and 1 + high; a number stands for both.
    value_range : (low, high)
        What results are cut to.
    seed : int, optional
    """

    def __init__(
        self, factor: Any, value_range: Sequence[float] = (0, 255), seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(value_range, seed, **kwargs)
        pair = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        if len(pair) != 2:
            raise ValueError(f"RandomContrast: factor: expected a number or a pair of them, got {short(factor)}")
        low, high = (number(f, "RandomContrast: factor") for f in pair)
        if not (0 <= low <= 1 and high >= 0):
            raise ValueError(f"RandomContrast: factor: expected 0 <= low <= 1 and high >= 0, got {short(factor)}")
        self.factor = (low, high)

    def _change(self, inputs: Tensor) -> Tensor:
        low, high = self.value_range
        return self._draw("random_color", inputs, contrast=(1 - self.factor[0], 1 + self.factor[1]), low=low, high=high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": list(self.factor)}


class RandomBrightness(_Colour):
    """A number added to each image.

    Parameters
    ----------
    factor : float or (low, high)
        The number in shares of the value range, in [-1, 1]; f means (-f, f).
    value_range : (low, high)
        Of the images; results are cut to it.
    seed : int, optional
    """

    def __init__(
        self, factor: Any, value_range: Sequence[float] = (0, 255), seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(value_range, seed, **kwargs)
        self.factor = _factor(factor, "RandomBrightness: factor", -1, 1)

    def _change(self, inputs: Tensor) -> Tensor:
        low, high = self.value_range
        return self._draw(
            "random_color", inputs, offset=tuple(f * (high - low) for f in self.factor), low=low, high=high
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": list(self.factor)}


class RandomErasing(_Colour):
    """A rectangle of each image overwritten (cutout).

    Parameters
    ----------
    factor : float or (low, high)
        The probability of an image being changed lies between 0 and a number, or between two.
    scale : float or (low, high)
        Each side of the rectangle is the square root of such a share of the image's.
    fill_value : float or one for each channel, optional
        None: normal noise, times value_range[1].
    value_range : (low, high)
    seed : int, optional
    data_format : {"channels_last"}
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format=data_format, **kwargs)
        self.factor = _factor(factor, "RandomErasing: factor", 0, 1, symmetric=False)
        self.scale = _factor(scale, "RandomErasing: scale", 0, 1, symmetric=False)
        if fill_value is not None:
            listed = fill_value if isinstance(fill_value, (tuple, list)) else [fill_value]
            fill_value = [number(v, "RandomErasing: fill_value") for v in listed]
        elif not self.value_range[1] > 0:
            raise ValueError(f"RandomErasing: value_range: expected high > 0 for noise, got {short(value_range)}")
        self.fill_value = fill_value

    def _change(self, inputs: Tensor) -> Tensor:
        what = {"noise": self.value_range[1]} if self.fill_value is None else {"value": tuple(self.fill_value)}
        return self._draw("random_erasing", inputs, probability=self.factor, area=self.scale, **what)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "factor": list(self.factor),
            "scale": list(self.scale),
            "fill_value": self.fill_value,
        }


class _Mixing(RandomImageLayer):
    """Images, and labels, mixed with those of other images of the batch.

    Called on images, or on a dict with "images" and "labels" (one row of floats a sample, as one-hot labels are).
    """

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        data = args[0] if args else kwargs.pop("inputs", kwargs.pop("data", None))
        if not isinstance(data, dict):
            if isinstance(data, Symbol):
                raise NotTraceable(f"{type(self).__name__} draws in Python")
            return super().__call__(data, training=training)
        known = set(data) - {"images", "labels"}
        if "images" not in data or known:
            raise ValueError(f"{self.name}: inputs: expected 'images' and 'labels', got {', '.join(map(str, data))}")
        batch = {name: self._to_tensor(value) for name, value in data.items()}
        if training is False or (training is None and phases.now.decided and not phases.now.training):
            return batch
        images, share, order = self._mix(batch["images"])
        mixed = {"images": images}
        if "labels" in batch:
            labels = batch["labels"]
            if labels.dtype.kind != "f":
                labels = labels.to(self.compute_dtype)
            if len(labels.shape) == 0 or labels.shape[0] != images.shape[0]:
                raise ValueError(f"{self.name}: labels: expected {images.shape[0]} rows, got shape {labels.shape}")
            mixed["labels"] = _between(labels, share, order)
        return mixed

    def _change(self, inputs: Tensor) -> Tensor:
        return self._mix(inputs)[0]

    def _mix(self, images: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """(the mixed images, each one's share of itself, the numbers of the others)."""
        raise NotImplementedError

    def _generator(self) -> np.random.Generator:
        seed, stream = _rng.default_generator._key()
        key = np.array([seed if self.seed is None else self.seed % 2**64, stream], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))


def _between(x: Tensor, share: np.ndarray, order: np.ndarray) -> Tensor:
    """``share * x + (1 - share) * x[order]`` row by row."""
    weight = wrap(share.astype(x.dtype).reshape(-1, *[1] * (len(x.shape) - 1)))
    other = apply(op("gather", {"axis": 0}), x, wrap(order))
    return other + (x - other) * weight  # type: ignore[no-any-return]


class MixUp(_Mixing):
    """Each image is mixed with another one of the batch, and its label as much.

    Parameters
    ----------
    alpha : float
        Shares are drawn from Beta(alpha, alpha).
    data_format : {"channels_last"}
    seed : int, optional
    """

    def __init__(self, alpha: float = 0.2, data_format: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.alpha = number(alpha, "MixUp: alpha", above=0)

    def _mix(self, images: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray]:
        rng, n = self._generator(), images.shape[0]
        share, order = rng.beta(self.alpha, self.alpha, n), rng.permutation(n)
        return _between(images, share, order), share, order

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class CutMix(_Mixing):
    """A rectangle of each image comes from another one of the batch, and its label as much.

    Parameters
    ----------
    factor : float
        Shares are drawn from Beta(factor, factor).
    seed : int, optional
    data_format : {"channels_last"}
    """

    def __init__(self, factor: float = 1.0, seed: int | None = None, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = number(factor, "CutMix: factor", above=0)

    def _mix(self, images: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray]:
        rng = self._generator()
        n, h, w = images.shape[:3]
        cut, order = np.sqrt(1 - rng.beta(self.factor, self.factor, n)), rng.permutation(n)
        sides = []
        for size in (h, w):
            length = np.round(cut * size).astype(int)
            first = (rng.random(n) * (size - length + 1)).astype(int)
            at = np.arange(size)
            sides.append((at >= first[:, None]) & (at < (first + length)[:, None]))
        other = sides[0][:, :, None] & sides[1][:, None, :]
        x = as_array(images)
        mixed = wrap(np.where(other[..., None], x[order], x))
        return mixed, 1 - other.mean((1, 2)), order

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
