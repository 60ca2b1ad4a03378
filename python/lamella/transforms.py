"""Changes of images, in torchvision's idiom: one by one as data sets are read, or on whole batches.

NumPy arrays and Pillow's images are (h, w, c), (h, w) or (n, h, w, c), of uint8 in [0, 255] or floats; tensors are
(c, h, w) or (n, c, h, w), as `ToTensor` makes them. What goes in comes out in its layout and dtype; images of Pillow
come out as arrays. Each image of a batch is changed in its own way. Random numbers come from the streams that
`lamella.seed` fixes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _rng
from ._errors import refuse, short
from ._kernels import augment as _native
from ._kernels.shape import upsample2d
from .autograd import Tensor, wrap

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Grayscale",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
]


class _Image:
    """An image or batch as (n, h, w, c) floats, and the way back."""

    def __init__(self, img: Any, what: str) -> None:
        self.tensor = isinstance(img, Tensor)
        a = img.numpy() if self.tensor else np.asarray(img)
        if a.dtype.kind not in "fu" and a.dtype != np.bool_:
            raise TypeError(f"{what}: img: expected uint8 or floats, got {a.dtype}")
        self.dtype, self.shape = a.dtype, a.shape
        least = 3 if self.tensor else 2
        if not least <= a.ndim <= 4:
            layout = "(c, h, w) or (n, c, h, w)" if self.tensor else "(h, w, c), (h, w) or (n, h, w, c)"
            raise ValueError(f"{what}: img: expected an image {layout}, got shape {a.shape}")
        if self.tensor:
            a = np.moveaxis(a, -3, -1)
        elif a.ndim == 2:
            a = a[..., None]
        batch = a[None] if a.ndim == 3 else a
        kind = np.float64 if a.dtype == np.float64 else np.float32
        self.x = np.ascontiguousarray(batch, kind)
        self.high = 255.0 if a.dtype.kind == "u" else 1.0  # white

    def back(self, x: np.ndarray) -> Any:
        """The changed batch in the layout and dtype of what came in."""
        if self.dtype.kind == "u":
            x = np.clip(np.round(x), 0, np.iinfo(self.dtype).max)
        x = x.astype(self.dtype, copy=False)
        if len(self.shape) < 4:
            x = x[0]
        if self.tensor:
            return wrap(np.ascontiguousarray(np.moveaxis(x, -1, -3)))
        return x[..., 0] if len(self.shape) == 2 and x.shape[-1] == 1 else x


class Transform:
    """A change of an image, or of a batch of them."""

    def __call__(self, img: Any) -> Any:
        image = _Image(img, type(self).__name__)
        return image.back(self._apply(image.x, image))

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        raise NotImplementedError

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items() if not k.startswith("_"))
        return f"{type(self).__name__}({shown})"


def _rng_numpy() -> np.random.Generator:
    return _rng.default_generator.numpy()


def _size(value: Any, what: str) -> tuple[int, int]:
    pair = (value, value) if hasattr(value, "__index__") else tuple(value)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or any(not hasattr(v, "__index__") or v < 1 for v in pair):
        raise ValueError(f"{what}: expected a positive integer or (height, width), got {short(value)}")
    return int(pair[0]), int(pair[1])


def _probability(value: Any, what: str) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{what}: expected a number in [0, 1], got {short(value)}")
    return float(value)


def _interpolation(value: Any, what: str) -> str:
    name = str(getattr(value, "value", value)).lower()  # an enumeration's member, or a name
    if name not in ("nearest", "bilinear"):
        raise NotImplementedError(f"{what}: interpolation: expected 'nearest' or 'bilinear', got {short(value)}")
    return name


def _range(value: Any, what: str, center: float = 0.0, least: float = -math.inf) -> tuple[float, float]:
    """A number v as (center - v, center + v), but from `least` on; a pair as it is."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"{what}: expected a number >= 0 or (low, high), got {short(value)}")
        return max(center - value, least), center + value
    pair = tuple(float(v) for v in value)
    if len(pair) != 2 or not least <= pair[0] <= pair[1]:
        raise ValueError(f"{what}: expected a number or (low, high), got {short(value)}")
    return pair


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"


class Lambda:
    """A function as a transform."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: lambd: expected a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)


class RandomApply:
    """Transforms one after the other, or with probability 1 - p none of them."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms, self.p = list(transforms), _probability(p, "RandomApply: p")

    def __call__(self, img: Any) -> Any:
        if _rng_numpy().random() < self.p:
            for t in self.transforms:
                img = t(img)
        return img


class ToTensor:
    """Arrays and images of Pillow to tensors (c, h, w); uint8 to float32 in [0, 1]."""

    def __call__(self, pic: Any) -> Tensor:
        a = np.asarray(pic)
        if a.ndim == 2:
            a = a[..., None]
        if a.ndim not in (3, 4) or a.dtype.kind not in "fub":
            raise ValueError(f"ToTensor: pic: expected an image (h, w, c) or (h, w), got {a.dtype} of shape {a.shape}")
        a = np.ascontiguousarray(np.moveaxis(a, -1, -3))
        return wrap(a.astype(np.float32) / np.float32(255) if a.dtype == np.uint8 else a)

    def __repr__(self) -> str:
        return "ToTensor()"


class Normalize:
    """``(img - mean) / std`` channel by channel.

    Parameters
    ----------
    mean, std : sequence of float
        One number for each channel.
    inplace : bool
        Whether the image itself is changed.
    """

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = np.atleast_1d(mean), np.atleast_1d(std), bool(inplace)
        if not (self.std != 0).all():
            raise ValueError(f"Normalize: std: expected numbers other than 0, got {short(std)}")

    def __call__(self, img: Any) -> Any:
        tensor = isinstance(img, Tensor)
        a = img._data if tensor else np.asarray(img)
        if a.dtype.kind != "f":
            raise TypeError(f"Normalize: img: expected floats, got {a.dtype}: use ToTensor before")
        axis = -3 if tensor else -1
        if a.ndim < 3 or any(len(v) not in (1, a.shape[axis]) for v in (self.mean, self.std)):
            raise ValueError(f"Normalize: mean, std: expected a number for each channel of {a.shape}, "
                             f"got {len(self.mean)} and {len(self.std)}")  # fmt: skip
        mean, std = (
            v.astype(a.dtype).reshape(-1, 1, 1) if tensor else v.astype(a.dtype) for v in (self.mean, self.std)
        )
        if self.inplace:
            a -= mean
            a /= std
            return img
        return wrap((a - mean) / std) if tensor else (a - mean) / std

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean.tolist()}, std={self.std.tolist()})"


class _Flip(Transform):
    _attr = ""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(p, f"{type(self).__name__}: p")

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        return _native.random_affine(x, interpolation="nearest", **{self._attr: self.p})  # type: ignore[no-any-return]


class RandomHorizontalFlip(_Flip):
    """Left to right with probability p."""

    _attr = "flip_horizontal"


class RandomVerticalFlip(_Flip):
    """Top to bottom with probability p."""

    _attr = "flip_vertical"


_PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


class Pad(Transform):
    """Borders around images.

    Parameters
    ----------
    padding : int or sequence of int
        On all sides; left and right, top and bottom; or left, top, right, bottom.
    fill : float
        For "constant".
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
    """

    def __init__(self, padding: Any, fill: float = 0, padding_mode: str = "constant") -> None:
        sides = (padding,) if hasattr(padding, "__index__") else tuple(padding)
        if len(sides) not in (1, 2, 4) or any(not hasattr(s, "__index__") or s < 0 for s in sides):
            raise ValueError(f"Pad: padding: expected one, two or four integers >= 0, got {short(padding)}")
        self.padding = sides * (4 // len(sides))
        if padding_mode not in _PAD_MODES:
            raise ValueError(f"Pad: padding_mode: expected one of {', '.join(_PAD_MODES)}, got {short(padding_mode)}")
        self.fill, self.padding_mode = float(fill), padding_mode

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        left, top, right, bottom = self.padding
        more = {"constant_values": self.fill} if self.padding_mode == "constant" else {}
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), self.padding_mode, **more)  # type: ignore


class RandomCrop(Transform):
    """A window at a random place.

    Parameters
    ----------
    size : int or (height, width)
    padding : int or sequence of int, optional
        Borders that images get first; see `Pad`.
    pad_if_needed : bool
        Whether smaller images get borders, rather than be refused.
    fill : float
    padding_mode : str
    """

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:  # fmt: skip
        self.size = _size(size, "RandomCrop: size")
        self.padding = None if padding is None else Pad(padding, fill, padding_mode)
        self.pad_if_needed = bool(pad_if_needed)
        self._fill, self._mode = fill, padding_mode

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        if self.padding is not None:
            x = self.padding._apply(x, image)
        down, right = max(self.size[0] - x.shape[1], 0), max(self.size[1] - x.shape[2], 0)
        if down or right:
            if not self.pad_if_needed:
                raise ValueError(f"RandomCrop: size: expected at most {x.shape[1:3]}, got {self.size}")
            x = Pad((right, down, right, down), self._fill, self._mode)._apply(x, image)
        return _native.random_affine(x, crop=self.size, interpolation="nearest")  # type: ignore[no-any-return]


class CenterCrop(Transform):
    """The middle; smaller images get black borders.

    Parameters
    ----------
    size : int or (height, width)
    """

    def __init__(self, size: Any) -> None:
        self.size = _size(size, "CenterCrop: size")

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        (h, w), (height, width) = x.shape[1:3], self.size
        down, right = max(height - h, 0), max(width - w, 0)
        if down or right:
            x = Pad((right // 2, down // 2, (right + 1) // 2, (down + 1) // 2))._apply(x, image)
            h, w = x.shape[1:3]
        top, left = round((h - height) / 2), round((w - width) / 2)
        return x[:, top : top + height, left : left + width]


def _antialiased(size: int, wanted: int, dtype: np.dtype) -> np.ndarray:
    """(wanted, size) weights of a bilinear resize; going down each pixel averages what it covers."""
    scale = size / wanted
    support = max(scale, 1.0)
    at = (np.arange(wanted) + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size) - at[:, None]) / support)
    return (weights / weights.sum(1, keepdims=True)).astype(dtype)


def _resize(x: np.ndarray, size: tuple[int, int], interpolation: str, antialias: bool) -> np.ndarray:
    h, w = x.shape[1:3]
    if (h, w) == size:
        return x
    if interpolation == "nearest" or not antialias or (size[0] >= h and size[1] >= w):
        return upsample2d(np.ascontiguousarray(x), size=size, mode=interpolation)  # type: ignore[no-any-return]
    rows = np.tensordot(_antialiased(h, size[0], x.dtype), x, (1, 1)).swapaxes(0, 1)
    return np.ascontiguousarray(np.moveaxis(np.tensordot(rows, _antialiased(w, size[1], x.dtype), (2, 1)), -1, 2))


class Resize(Transform):
    """Another size.

    Parameters
    ----------
    size : int or (height, width)
        An integer is the length of the shorter side; the aspect ratio stays.
    interpolation : {"bilinear", "nearest"}
    max_size : int, optional
        Most for the longer side, where size is an integer.
    antialias : bool
        Whether pixels of smaller images average what they cover.
    """

    def __init__(
        self, size: Any, interpolation: Any = "bilinear", max_size: int | None = None, antialias: bool = True
    ) -> None:
        single = hasattr(size, "__index__") or len(size) == 1
        pair = _size(size, "Resize: size")
        self.size: Any = pair[0] if single else pair
        if max_size is not None and (not single or max_size < pair[0]):
            raise ValueError(
                f"Resize: max_size: expected a number >= size, an integer, got {short(max_size)} for {short(size)}"
            )
        self.interpolation = _interpolation(interpolation, "Resize")
        self.max_size, self.antialias = max_size, bool(antialias)

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        size = self.size
        if isinstance(size, int):
            h, w = x.shape[1:3]
            short, long = min(h, w), max(h, w)
            new_long = int(size * long / short)
            if self.max_size is not None and new_long > self.max_size:
                size, new_long = int(self.max_size * size / new_long), self.max_size
            size = (size, new_long) if h <= w else (new_long, size)
        return _resize(x, size, self.interpolation, self.antialias)


class RandomResizedCrop(Transform):
    """A window of random area and aspect ratio, resized.

    Parameters
    ----------
    size : int or (height, width)
    scale : (low, high)
        The window's share of the image's area.
    ratio : (low, high)
        Of its width to its height.
    interpolation : {"bilinear", "nearest"}
    antialias : bool
    """

    def __init__(
        self, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3 / 4, 4 / 3), interpolation: Any = "bilinear",
        antialias: bool = True,
    ) -> None:  # fmt: skip
        self.size = _size(size, "RandomResizedCrop: size")
        self.scale = _range(tuple(scale), "RandomResizedCrop: scale", least=0)
        self.ratio = _range(tuple(ratio), "RandomResizedCrop: ratio", least=1e-6)
        self.interpolation = _interpolation(interpolation, "RandomResizedCrop")
        self.antialias = bool(antialias)

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        rng = _rng_numpy()
        parts = []
        for one in x:
            top, left, h, w = self._window(rng, *one.shape[:2])
            part = one[None, top : top + h, left : left + w]
            parts.append(_resize(part, self.size, self.interpolation, self.antialias))
        return np.concatenate(parts) if parts else np.zeros((0, *self.size, x.shape[3]), x.dtype)

    def _window(self, rng: np.random.Generator, h: int, w: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = h * w * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            new_w, new_h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < new_w <= w and 0 < new_h <= h:
                return int(rng.integers(h - new_h + 1)), int(rng.integers(w - new_w + 1)), new_h, new_w
        # None has fitted: the middle, as near to the ratios as it goes.
        new_w, new_h = w, h
        if w / h < self.ratio[0]:
            new_h = round(w / self.ratio[0])
        elif w / h > self.ratio[1]:
            new_w = round(h * self.ratio[1])
        return (h - new_h) // 2, (w - new_w) // 2, new_h, new_w


class RandomAffine(Transform):
    """Images turned, shifted, zoomed and sheared around their centres.

    Parameters
    ----------
    degrees : float or (low, high)
        Clockwise; d means (-d, d).
    translate : (float, float), optional
        Most shares of width and height.
    scale : (low, high), optional
        Above 1 images grow.
    shear : float or sequence of float, optional
        Degrees along x: d means (-d, d); or (low, high); four numbers are for x and y.
    interpolation : {"nearest", "bilinear"}
    fill : float
        What lies beyond the border.
    center : (x, y), optional
        Another centre, in pixels from the upper left corner.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: Any = "nearest",
        fill: float = 0,
        center: Any = None,
    ) -> None:
        what = type(self).__name__
        self.degrees = _range(degrees, f"{what}: degrees")
        self.translate = None if translate is None else tuple(_probability(t, f"{what}: translate") for t in translate)
        self.scale = None if scale is None else _range(tuple(scale), f"{what}: scale", least=1e-6)
        if shear is None or isinstance(shear, (int, float)) or len(shear) == 2:
            self.shear = (*((0.0, 0.0) if shear is None else _range(shear, f"{what}: shear")), 0.0, 0.0)
        else:
            self.shear = (*_range(shear[:2], f"{what}: shear"), *_range(shear[2:], f"{what}: shear"))
        self.interpolation = _interpolation(interpolation, what)
        self.fill = float(fill)
        self.center = None if center is None else (float(center[0]), float(center[1]))

    _sense = 1.0  # of the angle

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        rng = _rng_numpy()
        n, h, w = x.shape[:3]
        angle = np.deg2rad(rng.uniform(*self.degrees, n)) * self._sense
        zoom = np.ones(n) if self.scale is None else rng.uniform(*self.scale, n)
        sx, sy = np.deg2rad(rng.uniform(*self.shear[:2], n)), np.deg2rad(rng.uniform(*self.shear[2:], n))
        shift = np.zeros((2, n))
        if self.translate is not None:
            most = np.array([[self.translate[0] * w], [self.translate[1] * h]])
            shift = np.round(rng.uniform(-most, most, (2, n)))
        cx, cy = ((w - 1) / 2, (h - 1) / 2) if self.center is None else (self.center[0] - 0.5, self.center[1] - 0.5)
        # The forward map is rotation by `angle` after shears, times zoom; the matrix is its inverse.
        a = np.cos(angle - sy) / np.cos(sy)
        b = -np.cos(angle - sy) * np.tan(sx) / np.cos(sy) - np.sin(angle)
        c = np.sin(angle - sy) / np.cos(sy)
        d = -np.sin(angle - sy) * np.tan(sx) / np.cos(sy) + np.cos(angle)
        matrix = np.empty((n, 2, 3))
        matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = d / zoom, -b / zoom, -c / zoom, a / zoom
        at_x, at_y = cx + shift[0], cy + shift[1]
        for row, middle in ((0, cx), (1, cy)):
            matrix[:, row, 2] = middle - matrix[:, row, 0] * at_x - matrix[:, row, 1] * at_y
        return _native.affine_warp(  # type: ignore[no-any-return]
            x, matrix.astype(x.dtype), None, "constant", self.fill, self.interpolation
        )


class RandomRotation(RandomAffine):
    """Images turned around their centres.

    Parameters
    ----------
    degrees : float or (low, high)
        Counterclockwise; d means (-d, d).
    interpolation : {"nearest", "bilinear"}
    expand : bool
        Must be False.
    center : (x, y), optional
        Another centre, in pixels from the upper left corner.
    fill : float
        What lies beyond the border.
    """

    _sense = -1.0

    def __init__(
        self, degrees: Any, interpolation: Any = "nearest", expand: bool = False, center: Any = None, fill: float = 0
    ) -> None:
        refuse("RandomRotation", False, expand=expand)
        super().__init__(degrees, interpolation=interpolation, fill=fill, center=center)


class Grayscale(Transform):
    """0.299 R + 0.587 G + 0.114 B, in one channel or in three equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels: expected 1 or 3, got {short(num_output_channels)}")
        self.num_output_channels = num_output_channels

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        return np.repeat(_gray(x), self.num_output_channels, -1)


def _gray(x: np.ndarray) -> np.ndarray:
    if x.shape[-1] == 1:
        return x
    if x.shape[-1] != 3:
        raise ValueError(f"Grayscale: img: expected 1 or 3 channels, got {x.shape[-1]}")
    return x @ np.array([[0.299], [0.587], [0.114]], x.dtype)


class ColorJitter(Transform):
    """Brightness, contrast and saturation changed, in random order.

    Parameters
    ----------
    brightness, contrast, saturation : float or (low, high)
        Factors; v means (max(1 - v, 0), 1 + v).
    hue : float
        Must be 0.
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness = _range(brightness, "ColorJitter: brightness", 1, 0)
        self.contrast = _range(contrast, "ColorJitter: contrast", 1, 0)
        self.saturation = _range(saturation, "ColorJitter: saturation", 1, 0)
        if hue:
            raise NotImplementedError(f"ColorJitter: hue: expected 0, got {short(hue)}; not supported")

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        rng = _rng_numpy()
        for which in rng.permutation(3):
            if which == 0 and self.brightness != (1, 1):
                x = _native.random_color(x, gain=self.brightness, low=0.0, high=image.high)
            elif which == 1 and self.contrast != (1, 1):
                x = _native.random_color(x, contrast=self.contrast, gray=True, low=0.0, high=image.high)
            elif which == 2 and self.saturation != (1, 1) and x.shape[-1] == 3:
                f = rng.uniform(*self.saturation, (len(x), 1, 1, 1)).astype(x.dtype)
                gray = _gray(x)
                x = np.clip(gray + (x - gray) * f, 0, image.high)
        return x


class RandomErasing(Transform):
    """A rectangle overwritten with probability p.

    Parameters
    ----------
    p : float
    scale : (low, high)
        The rectangle's share of the area.
    ratio : (low, high)
        Of its height to its width.
    value : float, one for each channel, or "random"
        "random": normal noise.
    inplace : bool
        Must be False.
    """

    def __init__(
        self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0, inplace: bool = False
    ) -> None:
        self.p = _probability(p, "RandomErasing: p")
        self.scale = tuple(_probability(s, "RandomErasing: scale") for s in scale)
        self.ratio = _range(tuple(ratio), "RandomErasing: ratio", least=1e-6)
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value: expected numbers or 'random', got {short(value)}")
        refuse("RandomErasing", False, inplace=inplace)
        self.value = value

    def _apply(self, x: np.ndarray, image: _Image) -> np.ndarray:
        what: Any = {"noise": image.high} if self.value == "random" else {"value": self.value}
        return _native.random_erasing(x, self.p, self.scale, self.ratio, **what)  # type: ignore[no-any-return]
