"""Single images: files to arrays and back. Needs Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import short
from ..autograd import as_array
from ..utils._files import image_dataset_from_directory, pillow

__all__ = ["array_to_img", "image_dataset_from_directory", "img_to_array", "load_img", "save_img"]

_MODES = {"rgb": "RGB", "grayscale": "L", "rgba": "RGBA"}


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """An image file as Pillow's image.

    Parameters
    ----------
    path : str or path
    color_mode : {"rgb", "grayscale", "rgba"}
    target_size : (height, width), optional
    interpolation : {"nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"}
    keep_aspect_ratio : bool
        Whether the image is cut to the new aspect ratio rather than distorted.
    """
    image = pillow()
    if color_mode not in _MODES:
        raise ValueError(f"load_img: color_mode: expected 'rgb', 'grayscale' or 'rgba', got {short(color_mode)}")
    with image.open(path) as file:
        img = file.convert(_MODES[color_mode])
    if target_size is None:
        return img
    methods = {m.name.lower(): m for m in image.Resampling}
    if interpolation not in methods:
        raise ValueError(f"load_img: interpolation: expected one of {', '.join(methods)}, got {short(interpolation)}")
    height, width = target_size
    box = None
    if keep_aspect_ratio:
        w, h = img.size
        new_w, new_h = max(min(w, h * width // height), 1), max(min(h, w * height // width), 1)
        left, top = (w - new_w) // 2, (h - new_h) // 2
        box = (left, top, left + new_w, top + new_h)
    return img.resize((width, height), methods[interpolation], box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """Pillow's image as an array (h, w, c); float32 by default."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"img_to_array: data_format: expected 'channels_last' or 'channels_first', got {short(data_format)}"
        )
    pixels = np.asarray(img, np.dtype(dtype or "float32"))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return pixels.transpose(2, 0, 1) if data_format == "channels_first" else pixels


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array (h, w, c) as Pillow's image; with `scale` its values are spread over 0 to 255."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"array_to_img: data_format: expected 'channels_last' or 'channels_first', got {short(data_format)}"
        )
    pixels = np.asarray(as_array(x), np.dtype(dtype or "float32"))
    if pixels.ndim != 3:
        raise ValueError(f"array_to_img: x: expected an image (h, w, c), got shape {pixels.shape}")
    if data_format == "channels_first":
        pixels = pixels.transpose(1, 2, 0)
    if scale:
        pixels = pixels - pixels.min()
        pixels = pixels / (pixels.max() or 1) * 255
    if pixels.shape[2] not in (1, 3, 4):
        raise ValueError(f"array_to_img: x: expected 1, 3 or 4 channels, got {pixels.shape[2]}")
    plain = pixels.astype(np.uint8)
    return pillow().fromarray(plain[..., 0] if plain.shape[2] == 1 else plain)


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array (h, w, c) as an image file."""
    array_to_img(x, data_format, scale).save(path, format=file_format, **kwargs)
