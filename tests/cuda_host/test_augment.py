"""Warps of images of many tiles, gradients that all come to one pixel, long sums, many channels, noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_augment as ref
import reference_random as random

from lamella import kernels as K

BORDERS = ["constant", "nearest", "reflect", "wrap"]
KEY = (77, 5)


def images(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def anywhere(x: np.ndarray) -> np.ndarray:
    """A copy that begins one element behind a multiple of 16 bytes."""
    room = np.empty(x.size + 5, x.dtype)
    start = (-room.ctypes.data // x.itemsize) % 4 + 1
    y = room[start : start + x.size].reshape(x.shape)
    y[...] = x
    return y


def check_backward(x_shape: tuple[int, ...], m: np.ndarray, size: Any, border: str, how: str, dtype: Any) -> None:
    g = images(x_shape[0], *(size or x_shape[1:3]), x_shape[3], dtype=dtype, seed=1)
    got = K.affine_warp_backward(g, np.zeros(x_shape, dtype), m.astype(dtype), size, border, 0.5, how)
    expected = ref.affine_warp_backward(g.astype(np.float64), x_shape, m.astype(dtype), border, how)
    # Coordinates of float32 have errors of 1e-5; a pixel may gather from all others.
    scale = 1 + np.abs(expected).max(initial=0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=scale * (2e-4 if dtype == np.float32 else 1e-11))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("c", [1, 3, 9])
def test_gradients_of_many_tiles(border: str, c: int) -> None:
    turned = np.array([[0.8, -0.5, 20.0], [0.6, 0.9, -15.3]])
    mirrored = np.array([[-1.0, 0.0, 49.0], [0.0, 1.0, 0.0]])
    wide = np.array([[5.3, 1.1, -300.7], [-2.2, 7.1, 90.2]])
    m = np.stack([turned, mirrored, wide])
    check_backward((3, 37, 50, c), m, None, border, "bilinear", np.float64)
    check_backward((3, 37, 50, c), m, (70, 33), border, "bilinear", np.float32)


@pytest.mark.parametrize("border", BORDERS)
def test_more_output_tiles_than_threads(border: str) -> None:
    m = np.array([[[0.11, 0.013, -0.7], [0.02, 0.09, 1.3]]])
    check_backward((1, 21, 40, 2), m, (290, 310), border, "bilinear", np.float64)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("how", ["bilinear", "nearest"])
def test_all_come_to_one_pixel(border: str, how: str) -> None:
    one = np.array([[0.0, 0.0, 18.25], [0.0, 0.0, 3.25]])
    row = np.array([[1e-4, 0.0, 18.3], [0.0, 1.0, 0.0]])
    far = np.array([[1.0, 0.0, 3e4 + 0.25], [0.0, 1.0, -2e4 + 0.25]])
    check_backward((3, 20, 24, 3), np.stack([one, row, far]), None, border, how, np.float64)


def test_gradients_that_are_none() -> None:
    g = np.zeros((1, 40, 40, 1), np.float32)
    g[0, 20, 21], g[0, 3, 4], g[0, 3, 5] = np.nan, np.inf, -np.inf
    half = np.array([[[1, 0, 0.5], [0, 1, 0]]], np.float32)
    got = K.affine_warp_backward(g, g, half, None, "constant", 0.0)[0, :, :, 0]
    assert np.isnan(got[20, 21:23]).all() and np.isnan(got[3, 5]) and np.isnan(got).sum() == 3
    assert got[3, 4] == np.inf and got[3, 6] == -np.inf and np.isinf(got).sum() == 2
    for bad in (np.nan, np.inf, 1e30):
        m = np.array([[[bad, 0, 0], [0, 1, 0]]], np.float32)
        got = K.affine_warp_backward(np.ones_like(g), g, m, None, "nearest", 0.0)
        np.testing.assert_allclose(got.sum(), 1600, rtol=1e-5)  # everything comes somewhere


@pytest.mark.parametrize("c", [1, 3, 4, 8])
def test_arrays_that_begin_anywhere(c: int) -> None:
    x = images(3, 11, 14, c)
    m = images(3, 2, 3, seed=2)
    for how in ("bilinear", "nearest"):
        warped = K.affine_warp(x, m, (9, 20), "reflect", 0.0, how)
        np.testing.assert_array_equal(K.affine_warp(anywhere(x), m, (9, 20), "reflect", 0.0, how), warped)
    for fn, kwargs in (
        (K.random_color, {"gain": (0.5, 1.5), "contrast": (0.5, 1.5), "low": -1.0}),
        (K.random_erasing, {"noise": 1.0}),
        (K.random_erasing, {"value": [1.0] * c}),
    ):
        np.testing.assert_array_equal(fn(anywhere(x), **kwargs, key=KEY), fn(x, **kwargs, key=KEY))


@pytest.mark.parametrize("shape", [(2, 70, 90, 70), (2, 9, 11, 1000), (1, 130, 131, 1)])
@pytest.mark.parametrize("gray", [False, True])
def test_means_of_large_images(shape: tuple[int, ...], gray: bool) -> None:
    x = images(*shape) + 3
    kwargs: dict[str, Any] = {"gain": (0.5, 2.0), "contrast": (0.2, 1.8), "gray": gray}
    # Sums of 64 numbers of 3 in float32, the others in float64.
    np.testing.assert_allclose(
        K.random_color(x, **kwargs, key=KEY), ref.random_color(KEY, x, **kwargs), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_of_many_channels(dtype: Any) -> None:
    c = 1300  # more than one launch takes
    x = images(3, 5, 7, c, dtype=dtype)
    value = np.arange(c, dtype=dtype)
    cut = ref.rectangles(KEY, x.shape, area=(0.3, 0.6))
    expected = np.where(cut[..., None], value, x)
    np.testing.assert_array_equal(K.random_erasing(x, area=(0.3, 0.6), value=value.tolist(), key=KEY), expected)
    assert K.random_erasing(x, area=(0.3, 0.6), value=value.tolist(), key=KEY, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_that_of_every_device(dtype: Any) -> None:
    x = images(2, 9, 13, 3, dtype=dtype)
    got = K.random_erasing(x, area=1.0, noise=2.0, key=KEY).reshape(-1)
    # Element i takes word 2^48 + i and its neighbour, or in double a block of four for two.
    block = np.arange(x.size, dtype=np.uint64) // np.uint64(4 if dtype == np.float32 else 2)
    counter = np.stack(
        [block & random.LOW, (block >> random.HALF) + np.uint64(1 << 14), 0 * block + np.uint64(5), 0 * block], -1
    )
    w = random.philox(counter, (77, 0))
    i = np.arange(x.size)
    if dtype == np.float32:
        first, second = w[i, i & 2], w[i, (i & 2) + 1]
        u, t = (first + 0.5) * 2.0**-32, (second >> np.uint64(8)) * 2.0**-24
    else:
        unit = lambda a, b: ((a >> np.uint64(5)) * 2.0**26 + (b >> np.uint64(6))) * 2.0**-53  # noqa: E731
        u, t = unit(w[:, 0], w[:, 1]) + 2.0**-54, unit(w[:, 2], w[:, 3])
    turn = 2 * np.pi * t
    expected = 2 * np.sqrt(-2 * np.log(u)) * np.where(i % 2 == 0, np.cos(turn), np.sin(turn))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-13)
