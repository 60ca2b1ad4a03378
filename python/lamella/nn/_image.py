"""Padding, resizing, and moving pixels of (n, c, h, w) and (n, c, w)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import autograd as ag
from .._errors import short
from .._functional.indexing import take
from .._functional.layers import conv_op
from .._functional.layers import pad as _pad
from .._functional.layers import pool as _pool
from .._functional.resize import resize
from .._functional.shape import permute, squeeze, unsqueeze
from .._kernels._call import op as make_op
from ._layout import NCHW, from_nhwc, pair, to_nhwc

__all__ = [
    "channel_shuffle",
    "fold",
    "interpolate",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

Tensor = Any


# --- padding -----------------------------------------------------------------------------------------------------


def _reflected(at: np.ndarray, n: int) -> np.ndarray:
    at = np.abs(at)
    return np.where(at >= n, 2 * (n - 1) - at, at)


# By mode: where a position outside reads, and how far outside that is allowed, in terms of the size.
_BORDERS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], Callable[[int], float]]] = {
    "reflect": (_reflected, lambda n: n - 1),
    "replicate": (lambda at, n: np.clip(at, 0, n - 1), lambda n: math.inf if n else 0),
    "circular": (lambda at, n: at % max(n, 1), lambda n: n),
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements at both ends of dimensions, or take some off where numbers are negative.

    Parameters
    ----------
    input : Tensor
        Any float tensor.
    pad : sequence of int
        (before, after) of the last dimension, then of the one before it, and so on.
    mode : {"constant", "reflect", "replicate", "circular"}
        What the new elements are: one value, the inside mirrored at the border element, the border element itself, or
        the elements from the other end.
    value : float, optional
        What to fill with in mode "constant"; 0 by default.
    """
    if mode != "constant" and mode not in _BORDERS:
        known = ", ".join(map(repr, ("constant", *_BORDERS)))
        raise ValueError(f"pad: mode: expected one of {known}, got {short(mode)}")
    amounts = [int(p) for p in pad]
    rank = len(input.shape)
    if len(amounts) % 2 or len(amounts) > 2 * rank:
        raise ValueError(f"pad: pad: expected pairs for at most {rank} dimensions, got {tuple(pad)}")
    sides = [(0, 0)] * rank
    for i in range(len(amounts) // 2):
        sides[rank - 1 - i] = (amounts[2 * i], amounts[2 * i + 1])
    if mode != "constant":
        if value not in (None, 0):
            raise ValueError(f"pad: value: expected None with mode {mode!r}, got {value}")
        return _on_memory(input, sides, lambda x, inner: _extended(x, inner, mode))
    fill = 0.0 if value is None else float(value)
    return _on_memory(input, sides, lambda x, inner: _pad(x, inner, fill))


def _on_memory(x: Tensor, sides: list[tuple[int, int]], fn: Callable[..., Tensor]) -> Tensor:
    """fn(x, sides) on the memory as it lies."""
    if x._phys is None:
        return fn(x, sides)
    source, perm = x._phys
    inner = [(0, 0)] * len(perm)
    for logical, physical in enumerate(perm):
        inner[physical] = sides[logical]
    return permute(fn(source, inner), perm)


def _extended(x: Tensor, sides: list[tuple[int, int]], mode: str) -> Tensor:
    source_of, limit = _BORDERS[mode]
    for axis, (before, after) in enumerate(sides):
        n = x.shape[axis]
        if max(before, after) > limit(n) or before + after + n < 0:
            raise ValueError(
                f"pad: pad: expected at most {limit(n):g} elements of mode {mode!r} at the ends of a dimension of size "
                f"{n}, got {before} and {after}"
            )
        if before or after:
            x = take(x, source_of(np.arange(-before, n + after), n).astype(np.int64), axis)
    return x


# --- resizing ----------------------------------------------------------------------------------------------------


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize (n, c, h, w) or (n, c, w).

    Parameters
    ----------
    input : Tensor
    size : int or (int, int), optional
        The wanted size.
    scale_factor : float or (float, float), optional
        How many times as large it shall be, rounded down, instead.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "area"}
        "linear" is for (n, c, w), "bilinear" and "bicubic" are for (n, c, h, w).
    align_corners : bool, optional
        Of the linear and cubic modes: whether the corner pixels' centres stay where they are, rather than their outer
        corners.
    recompute_scale_factor : bool, optional
        Whether pixels are as large as the rounded size says, rather than `scale_factor`.
    antialias : bool
        Of "bilinear" and "bicubic": whether pixels are averaged where the image shrinks.
    """
    dims = len(input.shape) - 2
    if dims not in (1, 2):
        raise ValueError(f"interpolate: input: expected 3 or 4 dimensions, got shape {tuple(input.shape)}")
    smooth = ("linear",) if dims == 1 else ("bilinear", "bicubic")
    if mode not in ("nearest", "nearest-exact", "area", *smooth):
        known = ", ".join(map(repr, ("nearest", "nearest-exact", "area", *smooth)))
        raise ValueError(f"interpolate: mode: expected one of {known} for {dims + 2} dimensions, got {short(mode)}")
    if align_corners is not None and mode not in smooth:
        raise ValueError(f"interpolate: align_corners: expected None with mode {mode!r}, got {align_corners}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias: expected False with mode {mode!r}, got {antialias}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: size, scale_factor: expected one of them")
    if recompute_scale_factor and scale_factor is None:
        raise ValueError("interpolate: recompute_scale_factor: expected scale_factor with it, got size")
    have = tuple(input.shape[2:])
    wanted, steps = _grid(have, size, scale_factor, bool(recompute_scale_factor))
    if dims == 1:
        x = to_nhwc(unsqueeze(input, 2))
        return squeeze(from_nhwc(_resized(x, (1, *wanted), (1.0, *steps), mode, bool(align_corners), False)), 2)
    return from_nhwc(_resized(to_nhwc(input), wanted, steps, mode, bool(align_corners), antialias))


def _grid(have: tuple[int, ...], size: Any, factor: Any, recompute: bool) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(the wanted sizes, how many old pixels a new one is wide)."""
    dims = len(have)
    given = factor if size is None else size
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * dims
    if size is not None:
        if len(values) != dims or not all(hasattr(v, "__index__") and int(v) >= 1 for v in values):
            raise ValueError(f"interpolate: size: expected {dims} integers >= 1, or one for all, got {short(size)}")
        wanted = tuple(int(v) for v in values)
        return wanted, tuple(h / w for h, w in zip(have, wanted, strict=True))
    if len(values) != dims or not all(isinstance(v, (int, float)) and 0 < v < math.inf for v in values):
        raise ValueError(
            f"interpolate: scale_factor: expected {dims} positive numbers, or one for all, got {short(factor)}"
        )
    wanted = tuple(math.floor(h * v) for h, v in zip(have, values, strict=True))
    if 0 in wanted:
        raise ValueError(f"interpolate: scale_factor: expected sizes >= 1 of {have}, got {short(factor)}")
    steps = tuple(h / w if recompute else 1.0 / v for h, w, v in zip(have, wanted, values, strict=True))
    return wanted, steps


def _resized(
    x: Tensor, wanted: tuple[int, ...], steps: tuple[float, ...], mode: str, align_corners: bool, antialias: bool
) -> Tensor:
    """(n, h, w, c) in another size."""
    height, width = wanted
    if mode == "area":
        return _pool("adaptive_avg_pool2d", x, output_size=(height, width))
    mode = "bilinear" if mode == "linear" else mode
    even = all(math.isclose(s * w, h, rel_tol=1e-12) for s, w, h in zip(steps, wanted, x.shape[1:3], strict=True))
    if mode in ("nearest", "bilinear") and not antialias and (even or align_corners):
        whole = mode == "nearest" and height % x.shape[1] == 0 and width % x.shape[2] == 0
        to = {"scale": (height // x.shape[1], width // x.shape[2])} if whole else {"size": (height, width)}
        corners = {} if mode == "nearest" else {"align_corners": align_corners}
        return ag.apply(make_op("upsample2d", {**to, "mode": mode, **corners}), x)
    if mode == "bicubic" and not antialias:
        mode = "bicubic_sharp"
    return resize(
        x,
        (height, width),
        mode,
        steps=(steps[0], steps[1]),
        align_corners=align_corners,
        antialias=antialias,
        clamp=not antialias,
    )


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """The older name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode "nearest"."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` in mode "bilinear" with aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# --- pixels and channels -----------------------------------------------------------------------------------------


def _images(name: str, x: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """fn on (n, h, w, c), for an input (..., c, h, w)."""
    lead = tuple(x.shape[:-3])
    if len(x.shape) < 3:
        raise ValueError(f"{name}: input: expected at least 3 dimensions, got shape {tuple(x.shape)}")
    y = from_nhwc(fn(to_nhwc(x if len(lead) == 1 else x.reshape(-1, *x.shape[-3:]))))
    return y if len(lead) == 1 else y.reshape(*lead, *y.shape[1:])


def _factor(name: str, argument: str, value: Any) -> int:
    if not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{name}: {argument}: expected a positive integer, got {short(value)}")
    return int(value)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., c * r * r, h, w) as (..., c, h * r, w * r): channels become neighbouring pixels."""
    r = _factor("pixel_shuffle", "upscale_factor", upscale_factor)

    def run(x: Tensor) -> Tensor:
        _, h, w, c = x.shape
        if c % (r * r):
            raise ValueError(f"pixel_shuffle: input: expected a multiple of {r * r} channels, got {c}")
        y = permute(x.reshape(-1, h, w, c // (r * r), r, r), (0, 1, 4, 2, 5, 3))
        return y.reshape(-1, h * r, w * r, c // (r * r))

    return _images("pixel_shuffle", input, run)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., c, h * r, w * r) as (..., c * r * r, h, w): neighbouring pixels become channels."""
    r = _factor("pixel_unshuffle", "downscale_factor", downscale_factor)

    def run(x: Tensor) -> Tensor:
        _, h, w, c = x.shape
        if h % r or w % r:
            raise ValueError(f"pixel_unshuffle: input: expected multiples of {r} as height and width, got {h} and {w}")
        y = permute(x.reshape(-1, h // r, r, w // r, r, c), (0, 1, 3, 5, 2, 4))
        return y.reshape(-1, h // r, w // r, c * r * r)

    return _images("pixel_unshuffle", input, run)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(n, c, ...) with its channels taken in turn from each group."""
    groups = _factor("channel_shuffle", "groups", groups)
    c = input.shape[1] if len(input.shape) > 2 else 0
    if c == 0 or c % groups:
        raise ValueError(
            f"channel_shuffle: input: expected (n, c, ...) with channels divisible by {groups}, got shape "
            f"{tuple(input.shape)}"
        )
    order = np.arange(c).reshape(groups, c // groups).T.reshape(-1).copy()
    if input._phys is None:
        return take(input, order, 1)
    source, perm = input._phys
    return permute(take(source, order, perm[1]), perm)


# --- columns of windows ------------------------------------------------------------------------------------------


def _windows(name: str, size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """(kernel, dilation, padding, stride, how many windows) along both axes."""
    kernel = pair(kernel_size, name, "kernel_size", 1)
    dil, gap = pair(dilation, name, "dilation", 1), pair(stride, name, "stride", 1)
    around = pair(padding, name, "padding")
    spans = [d * (k - 1) + 1 for d, k in zip(dil, kernel, strict=True)]
    counts = [(n + 2 * p - s) // g + 1 for n, p, s, g in zip(size, around, spans, gap, strict=True)]
    if min(counts) < 1:
        raise ValueError(f"{name}: kernel_size: expected windows that fit into {tuple(size)}, got {kernel}")
    return kernel, dil, around, gap, counts


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of (n, c, h, w) as columns: (n, c * kh * kw, number of windows)."""
    if len(input.shape) == 3:
        return squeeze(unfold(unsqueeze(input, 0), kernel_size, dilation, padding, stride), 0)
    if len(input.shape) != 4:
        raise ValueError(f"unfold: input: expected 3 or 4 dimensions, got shape {tuple(input.shape)}")
    x = to_nhwc(input)
    size = x.shape[1:3]
    (kh, kw), (dh, dw), (ph, pw), (sh, sw), (oh, ow) = _windows("unfold", size, kernel_size, dilation, padding, stride)
    if ph or pw:
        x = _pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)])
    _, h, w, c = x.shape
    rows = (np.arange(kh) * dh)[:, None, None, None] + (np.arange(oh) * sh)[None, None, :, None]
    columns = (np.arange(kw) * dw)[None, :, None, None] + (np.arange(ow) * sw)[None, None, None, :]
    places = np.ascontiguousarray((rows * w + columns).reshape(-1))
    found = take(x.reshape(-1, h * w, c), places, 1).reshape(-1, kh * kw, oh * ow, c)
    return permute(found, (0, 3, 1, 2)).reshape(-1, c * kh * kw, oh * ow)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns (n, c * kh * kw, number of windows) added up where their windows lie: (n, c, h, w)."""
    if len(input.shape) == 2:
        return squeeze(fold(unsqueeze(input, 0), output_size, kernel_size, dilation, padding, stride), 0)
    size = pair(output_size, "fold", "output_size", 1)
    kernel, dil, around, gap, (oh, ow) = _windows("fold", size, kernel_size, dilation, padding, stride)
    window = kernel[0] * kernel[1]
    if len(input.shape) != 3 or input.shape[1] % window or input.shape[2] != oh * ow:
        raise ValueError(
            f"fold: input: expected (n, a multiple of {window}, {oh * ow}) for {size[0]} x {size[1]} pixels, got shape "
            f"{tuple(input.shape)}"
        )
    c = input.shape[1] // window
    # The adjoint of a convolution that picks out one element of its window for each output channel.
    picks = np.zeros((*kernel, 1, c, window), input.dtype)
    places = np.arange(window)
    picks[places // kernel[1], places % kernel[1], 0, :, places] = 1
    rest = tuple(
        n - ((o - 1) * g - 2 * p + d * (k - 1) + 1)
        for n, o, g, p, d, k in zip(size, (oh, ow), gap, around, dil, kernel, strict=True)
    )
    op = conv_op("conv2d_transpose", gap, around, dil, c, output_padding=rest)
    x = permute(input.reshape(-1, c * window, oh, ow), (0, 2, 3, 1))
    return permute(ag.apply(op, x, ag.wrap(picks.reshape(*kernel, 1, c * window))), NCHW)
