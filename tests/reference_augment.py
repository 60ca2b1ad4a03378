"""NumPy in float64: what the random changes of images are."""

from __future__ import annotations

import numpy as np
import reference_random as random


def border_index(mode: str, i: np.ndarray, n: int) -> np.ndarray:
    """Where indices lie once the border is applied; -1 for the fill value."""
    if mode == "constant":
        return np.where((i >= 0) & (i < n), i, -1)
    if mode == "nearest":
        return np.clip(i, 0, n - 1)
    if mode == "wrap":
        return i % n
    m = i % (2 * n)
    return np.where(m < n, m, 2 * n - 1 - m)


def taps(x_shape, matrix, size, mode, interpolation):
    """For each image and output pixel: (weights, rows, columns), four of each."""
    h, w = x_shape[1:3]
    i, j = np.mgrid[: size[0], : size[1]].astype(np.float64)
    for m in np.asarray(matrix, np.float64):
        col = m[0, 0] * j + m[0, 1] * i + m[0, 2]
        row = m[1, 0] * j + m[1, 1] * i + m[1, 2]
        if interpolation == "nearest":
            col, row = np.floor(col + 0.5), np.floor(row + 0.5)
        x0, y0 = np.floor(col), np.floor(row)
        fx, fy = col - x0, row - y0
        found = []
        for dy, wy in ((0, 1 - fy), (1, fy)):
            for dx, wx in ((0, 1 - fx), (1, fx)):
                r = border_index(mode, (y0 + dy).astype(np.int64), h)
                c = border_index(mode, (x0 + dx).astype(np.int64), w)
                found.append((wy * wx, r, c))
        yield found


def affine_warp(x, matrix, size=None, fill_mode="constant", fill_value=0.0, interpolation="bilinear"):
    """Images under affine maps of their pixels."""
    x = np.asarray(x, np.float64)
    size = x.shape[1:3] if size is None else size
    out = np.zeros((len(x), *size, x.shape[3]))
    for k, found in enumerate(taps(x.shape, matrix, size, fill_mode, interpolation)):
        for weight, r, c in found:
            value = np.where(((r < 0) | (c < 0))[..., None], fill_value, x[k][np.maximum(r, 0), np.maximum(c, 0)])
            out[k] += np.where(weight[..., None] == 0, 0, weight[..., None] * value)
    return out


def affine_warp_backward(g, x_shape, matrix, fill_mode="constant", interpolation="bilinear"):
    """The gradient by x."""
    dx = np.zeros(x_shape)
    for k, found in enumerate(taps(x_shape, matrix, g.shape[1:3], fill_mode, interpolation)):
        for weight, r, c in found:
            inside = (r >= 0) & (c >= 0)
            np.add.at(dx[k], (r[inside], c[inside]), weight[inside][:, None] * g[k][inside])
    return dx


def draws(key, n):
    """The twelve numbers in [0, 1) of each image."""
    words = random.words(key, 12 * n).reshape(n, 12)
    return words / 2.0**32


def within(u, bounds):
    low, high = bounds if isinstance(bounds, tuple) else (bounds, bounds)
    return low + (high - low) * u


def random_matrix(
    key, shape, rotation=0.0, zoom_height=1.0, zoom_width=None, shift_height=0.0, shift_width=0.0, flip_vertical=0.0,
    flip_horizontal=0.0, crop=None,
):  # fmt: skip
    """The matrices that `random_affine` draws."""
    n, h, w = shape[:3]
    u = draws(key, n)
    out = np.zeros((n, 2, 3))
    sy = np.where(u[:, 0] < flip_vertical, -1.0, 1.0)
    sx = np.where(u[:, 1] < flip_horizontal, -1.0, 1.0)
    if crop is not None:
        top, left = np.floor(u[:, 2] * (h - crop[0] + 1)), np.floor(u[:, 3] * (w - crop[1] + 1))
        out[:, 0, 0], out[:, 1, 1] = sx, sy
        out[:, 0, 2], out[:, 1, 2] = left + (sx < 0) * (crop[1] - 1), top + (sy < 0) * (crop[0] - 1)
        return out
    angle, zh = within(u[:, 2], rotation), within(u[:, 3], zoom_height)
    zw = zh if zoom_width is None else within(u[:, 4], zoom_width)
    down, right = within(u[:, 5], shift_height) * h, within(u[:, 6], shift_width) * w
    for k in range(n):
        turn = np.array([[np.cos(angle[k]), -np.sin(angle[k])], [np.sin(angle[k]), np.cos(angle[k])]])
        out[k, :, :2] = turn @ np.diag([sx[k] * zw[k], sy[k] * zh[k]])
        middle = np.array([(w - 1) / 2, (h - 1) / 2])
        out[k, :, 2] = middle - [right[k], down[k]] - out[k, :, :2] @ middle
    return out


def random_color(key, x, gain=1.0, contrast=1.0, offset=0.0, gray=False, low=None, high=None):
    """One gain, contrast and offset for each image."""
    x = np.asarray(x, np.float64)
    u = draws(key, len(x))
    g, f, d = (within(u[:, i], r)[:, None, None, None] for i, r in enumerate((gain, contrast, offset)))
    mean = x.mean((1, 2), keepdims=True)
    if gray:
        weights = [0.299, 0.587, 0.114] if x.shape[3] == 3 else np.full(x.shape[3], 1 / x.shape[3])
        mean = (mean * weights).sum(3, keepdims=True)
    y = g * (f * x + (1 - f) * mean) + d
    return np.clip(y, -np.inf if low is None else low, np.inf if high is None else high)


def rectangles(key, shape, probability=1.0, area=(0.02, 0.33), aspect=None):
    """(n, h, w): which pixels `random_erasing` overwrites."""
    n, h, w = shape[:3]
    u = draws(key, n)
    out = np.zeros((n, h, w), bool)
    for k in range(n):
        if not u[k, 1] < within(u[k, 0], probability):
            continue
        if aspect is not None:
            pixels = within(u[k, 2], area) * h * w
            ratio = np.exp(within(u[k, 3], tuple(np.log(aspect))))
            height, width = np.sqrt(pixels * ratio), np.sqrt(pixels / ratio)
        else:
            height, width = np.sqrt(within(u[k, 2], area)) * h, np.sqrt(within(u[k, 3], area)) * w
        eh, ew = min(int(height + 0.5), h), min(int(width + 0.5), w)
        top, left = int(u[k, 4] * (h - eh + 1)), int(u[k, 5] * (w - ew + 1))
        out[k, top : top + eh, left : left + ew] = True
    return out
