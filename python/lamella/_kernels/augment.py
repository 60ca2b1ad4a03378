"""Images moved, coloured and cut out at random. Images are (n, h, w, c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._function import Call, gradient, kernel
from .random import Key, _noise

__all__ = [
    "affine_warp",
    "affine_warp_backward",
    "random_affine",
    "random_affine_backward",
    "random_color",
    "random_color_backward",
    "random_erasing",
    "random_erasing_backward",
]

Range = float | Sequence[float]


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, np.ndarray)) else value


@kernel
def affine_warp(
    x: np.ndarray,
    matrix: np.ndarray,
    size: int | Sequence[int] | None = None,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> Call:
    """Each image under an affine map of its pixels.

    Parameters
    ----------
    x : ndarray of float32 or float64
        (n, h, w, c).
    matrix : ndarray
        (n, 2, 3), of x's dtype. The pixel in row i and column j of the result k is that of image k at column
        ``m[0, 0] * j + m[0, 1] * i + m[0, 2]`` and row ``m[1, 0] * j + m[1, 1] * i + m[1, 2]``, m being matrix[k].
    size : int or (height, width), optional
        Of the result; x's if not given.
    fill_mode : {"constant", "nearest", "reflect", "wrap"}
        What lies beyond the border: `fill_value`, the border's pixels, the image mirrored (d c b a | a b c d |
        d c b a), or the image again.
    fill_value : float
    interpolation : {"bilinear", "nearest"}

    Returns
    -------
    ndarray
        (n, height, width, c).
    """
    attrs = {
        "size": _list(size), "fill_mode": fill_mode, "fill_value": float(fill_value), "interpolation": interpolation
    }  # fmt: skip
    return Call("affine_warp", attrs, {"x": x, "matrix": matrix})


@kernel
def random_affine(
    x: np.ndarray,
    rotation: Range = 0.0,
    zoom_height: Range = 1.0,
    zoom_width: Range | None = None,
    shift_height: Range = 0.0,
    shift_width: Range = 0.0,
    flip_vertical: float = 0.0,
    flip_horizontal: float = 0.0,
    crop: int | Sequence[int] | None = None,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
    *,
    key: Key | None = None,
) -> Call:
    """Images turned, zoomed, shifted, mirrored or cropped, each in its own way.

    Each range is a number, or (low, high) for a uniform draw per image.

    Parameters
    ----------
    x : ndarray of float32 or float64
        (n, h, w, c).
    rotation : range
        In radians, counterclockwise.
    zoom_height, zoom_width : range
        Input pixels per output pixel: above 1 the image shrinks. None for the width: as the height.
    shift_height, shift_width : range
        How far the content moves down and to the right, in shares of the image's size.
    flip_vertical, flip_horizontal : float
        Probabilities of turning rows top to bottom, and columns left to right.
    crop : int or (height, width), optional
        The size of a window at a random place, instead of rotation, zoom and shift.
    fill_mode : {"constant", "nearest", "reflect", "wrap"}
        What lies beyond the border; see `affine_warp`.
    fill_value : float
    interpolation : {"bilinear", "nearest"}
    key : (seed, stream), optional
        The random stream that decides; the global generator's next one if None.

    Returns
    -------
    ndarray
    """
    attrs: dict[str, Any] = {
        "flip_vertical": float(flip_vertical), "flip_horizontal": float(flip_horizontal), "crop": _list(crop),
        "fill_mode": fill_mode, "fill_value": float(fill_value), "interpolation": interpolation,
    }  # fmt: skip
    for name, value, rest in (
        ("rotation", rotation, 0.0), ("zoom_height", zoom_height, 1.0), ("zoom_width", zoom_width, None),
        ("shift_height", shift_height, 0.0), ("shift_width", shift_width, 0.0),
    ):  # fmt: skip
        attrs[name] = None if crop is not None and value == rest else _list(value)
    return _noise("random_affine", attrs, x, key)


@kernel(in_place="x")
def random_color(
    x: np.ndarray,
    gain: Range = 1.0,
    contrast: Range = 1.0,
    offset: Range = 0.0,
    gray: bool = False,
    low: float | None = None,
    high: float | None = None,
    *,
    key: Key | None = None,
) -> Call:
    """``gain * (contrast * (x - mean) + mean) + offset``, with a draw of each for each image.

    Parameters
    ----------
    x : ndarray of float32 or float64
        (n, h, w, c).
    gain, contrast, offset : float or (low, high)
        Numbers, or what uniform draws lie between.
    gray : bool
        Whether the mean is that of the grey image, for three channels 0.299 R + 0.587 G + 0.114 B, rather than each
        channel's own.
    low, high : float, optional
        What results are cut to.
    key : (seed, stream), optional
        The random stream that decides; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    attrs = {
        "gain": _list(gain), "contrast": _list(contrast), "offset": _list(offset), "gray": gray, "low": low,
        "high": high,
    }  # fmt: skip
    return _noise("random_color", attrs, x, key)


@kernel(in_place="x")
def random_erasing(
    x: np.ndarray,
    probability: Range = 1.0,
    area: Range = (0.02, 0.33),
    aspect: Range | None = None,
    value: float | Sequence[float] | None = None,
    noise: float = 0.0,
    *,
    key: Key | None = None,
) -> Call:
    """A rectangle of each image overwritten.

    Parameters
    ----------
    x : ndarray of float32 or float64
        (n, h, w, c).
    probability : float or (low, high)
        Of an image being changed; drawn per image between two numbers.
    area : float or (low, high)
        The rectangle's share of the image. Without `aspect`, each side is the square root of a draw of its own.
    aspect : (low, high), optional
        The ratio of height to width; its logarithm is uniform.
    value : float or one for each channel, optional
        What is written; 0 if not given.
    noise : float
        Greater than 0: normal noise of this standard deviation instead.
    key : (seed, stream), optional
        The random stream that decides; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    attrs = {
        "probability": _list(probability), "area": _list(area), "aspect": _list(aspect), "value": _list(value),
        "noise": float(noise),
    }  # fmt: skip
    return _noise("random_erasing", attrs, x, key)


affine_warp_backward = gradient(affine_warp, "x")
random_affine_backward = gradient(random_affine, "x", note="`key` must be given, and be that of the forward call.")
random_color_backward = gradient(random_color, "x", note="`key` must be given, and be that of the forward call.")
random_erasing_backward = gradient(random_erasing, "x", note="`key` must be given, and be that of the forward call.")
