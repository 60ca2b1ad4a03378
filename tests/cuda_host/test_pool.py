"""Pooling on paths that depend on size: windows that blocks share, images in segments, arrays that begin anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_pool as ref

from lamella import kernels as K
from lamella._kernels._call import op, run_backward


def anywhere(x: np.ndarray) -> np.ndarray:
    """A copy that begins one element behind a multiple of 16 bytes."""
    room = np.empty(x.size + 5, x.dtype)
    start = (-room.ctypes.data // x.itemsize) % 4 + 1
    y = room[start : start + x.size].reshape(x.shape)
    y[...] = x
    return y


def check_max(x: np.ndarray, attrs: dict[str, Any], rows: ref.Spans, cols: ref.Spans) -> None:
    expected = ref.max_pool(x, rows, cols)
    np.testing.assert_array_equal(K.max_pool2d(x, **attrs), expected)
    (y,), _ = op("max_pool2d", attrs).forward([x], True)
    np.testing.assert_array_equal(y, expected)
    grad = np.random.default_rng(1).integers(-8, 8, expected.shape).astype(x.dtype)  # exact sums
    (got,) = run_backward("max_pool2d", attrs, [x], [grad])
    np.testing.assert_array_equal(got, ref.max_pool_backward(x, rows, cols, grad))


# Window, stride, padding, size: below and above 64 and 256 taps, 4,096 taps, many and few outputs.
LARGE = [
    ((7, 8), (7, 8), 0, (21, 24)),
    ((8, 8), (8, 8), 0, (16, 25)),
    ((9, 20), (3, 7), 4, (13, 41)),
    ((65, 64), (65, 64), 10, (70, 70)),
    ((9, 9), (1, 1), 4, (70, 70)),
]


@pytest.mark.parametrize("c", [1, 4, 6, 72, 300])
@pytest.mark.parametrize(("window", "stride", "pad", "size"), LARGE)
def test_large_windows(window: Any, stride: Any, pad: int, size: Any, c: int) -> None:
    if c > 6 and size == (70, 70):
        c = 8
    rng = np.random.default_rng(c)
    x = rng.integers(0, 9, (2, *size, c)).astype(np.float32)
    rows, cols = (ref.sliding(n, k, s, pad, pad) for n, k, s in zip(size, window, stride, strict=True))
    attrs = {"window": list(window), "stride": list(stride), "padding": pad}
    check_max(x, attrs, rows, cols)
    # Sums of integers are exact; one division.
    mean = ref.avg_pool(x.astype(np.float64), rows, cols)
    np.testing.assert_allclose(K.avg_pool2d(x, **attrs), mean, rtol=3e-7)
    np.testing.assert_allclose(
        K.avg_pool2d(x, **attrs, divisor=7),
        ref.avg_pool(x.astype(np.float64), rows, cols, None, 7),
        rtol=3e-7,
    )


@pytest.mark.parametrize(("window", "dilation"), [((9, 8), (2, 3)), ((3, 3), (2, 1)), ((5, 4), (1, 2))])
@pytest.mark.parametrize("c", [3, 8])
def test_dilated_windows(window: Any, dilation: Any, c: int) -> None:
    x = np.random.default_rng(c).integers(0, 5, (2, 31, 33, c)).astype(np.float32)
    rows, cols = (ref.sliding(n, k, 2, 2, 1, d, False) for n, k, d in zip((31, 33), window, dilation, strict=True))
    attrs = {"window": list(window), "stride": 2, "padding": [2, 1, 2, 1], "dilation": list(dilation)}
    check_max(x, attrs, rows, cols)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1, 3, 4, 12, 400, 1030])
def test_images_in_segments(c: int, dtype: Any) -> None:
    rng = np.random.default_rng(c)
    pixels = 9000 if c < 100 else 700
    x = rng.integers(-50, 50, (2, pixels, c)).astype(dtype)
    np.testing.assert_array_equal(K.global_max_pool(x), x.max(axis=1))
    np.testing.assert_allclose(K.global_avg_pool(x), x.mean(axis=1, dtype=np.float64), rtol=1e-6, atol=1e-6)
    grad = rng.integers(-8, 8, (2, c)).astype(dtype)
    (y,), (argmax,) = op("global_max_pool", {}).forward([x], True)
    np.testing.assert_array_equal(y, x.max(axis=1))
    np.testing.assert_array_equal(argmax.reshape(2, c), x.argmax(axis=1))
    (got,) = run_backward("global_max_pool", {}, [x], [grad])
    expected = np.zeros_like(x)
    np.put_along_axis(expected, x.argmax(axis=1)[:, None], grad[:, None], axis=1)
    np.testing.assert_array_equal(got, expected)
    # Of several NaN the last is taken.
    x[0, [5, pixels - 100], c // 2] = np.nan
    x[1] = -np.inf
    (y,), (argmax,) = op("global_max_pool", {}).forward([x], True)
    np.testing.assert_array_equal(y, x.max(axis=1))
    assert argmax.reshape(2, c)[0, c // 2] == pixels - 100 and not argmax.reshape(2, c)[1].any()


def test_an_image_gives_the_same_in_any_batch() -> None:
    x = np.random.default_rng(0).standard_normal((5, 60, 61, 8)).astype(np.float32)
    for name, attrs in (("global_avg_pool", {}), ("avg_pool2d", {"window": 11}), ("avg_pool2d", {"window": [3, 2]})):
        (y,), _ = op(name, attrs).forward([x])
        (one,), _ = op(name, attrs).forward([x[2:3]])
        assert y[2:3].tobytes() == one.tobytes()


@pytest.mark.parametrize("c", [4, 8, 20])
@pytest.mark.parametrize("attrs", [{"window": 2}, {"window": 3, "stride": 2, "padding": 1}, {"window": 9}])
def test_arrays_that_begin_anywhere(attrs: dict[str, Any], c: int) -> None:
    x = np.random.default_rng(c).standard_normal((2, 20, 19, c)).astype(np.float32)
    for name in ("max_pool2d", "avg_pool2d"):
        (y,), _ = op(name, attrs).forward([x])
        out = anywhere(np.zeros_like(y))
        op(name, attrs).forward([anywhere(x)], False, [out])
        # Where blocks share windows, the order of sums of up to 81 numbers depends on the width of loads.
        np.testing.assert_allclose(out, y, rtol=0, atol=1e-5 if attrs["window"] == 9 else 0)
        (dx,) = run_backward(name, attrs, [x], [y])
        (got,) = run_backward(name, attrs, [anywhere(x)], [anywhere(y)])
        np.testing.assert_array_equal(got, dx)
    np.testing.assert_allclose(K.global_avg_pool(anywhere(x)), K.global_avg_pool(x), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(K.global_max_pool(anywhere(x)), K.global_max_pool(x))


@pytest.mark.parametrize("c", [1, 4])
def test_numbers_beyond_32_bits(c: int) -> None:
    x = np.random.default_rng(c).standard_normal((2, 3, 5, c))
    far = {"window": 2, "stride": 2**31 - 1}
    np.testing.assert_array_equal(K.max_pool2d(x, **far), x[:, :2, :2].max(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(K.avg_pool2d(x, **far), x[:, :2, :2].mean(axis=(1, 2), keepdims=True), rtol=1e-15)
    grad = np.ones((2, 1, 1, c))
    (got,) = run_backward("avg_pool2d", far, [x], [grad])
    assert (got[:, :2, :2] == 0.25).all() and got.sum() == 2 * c
    (got,) = run_backward("max_pool2d", far, [x], [grad])
    np.testing.assert_array_equal(got != 0, x == x[:, :2, :2].max(axis=(1, 2), keepdims=True))


@pytest.mark.parametrize("window", [(2, 2), (1, 2), (3, 5), (4, 4)])
@pytest.mark.parametrize("c", [1, 3, 4])
@pytest.mark.parametrize("ceil", [False, True])
def test_windows_that_tile_the_input(window: Any, c: int, ceil: bool) -> None:
    size = (11, 13)
    rng = np.random.default_rng(c)
    x = rng.integers(0, 4, (3, *size, c)).astype(np.float32)
    rows, cols = (ref.sliding(n, k, k, 0, 0, 1, ceil) for n, k in zip(size, window, strict=True))
    attrs = {"window": list(window), "ceil_mode": ceil}
    check_max(x, attrs, rows, cols)
    grad = rng.standard_normal((3, len(rows), len(cols), c)).astype(np.float32)
    (got,) = run_backward("avg_pool2d", attrs, [x], [grad])
    expected = ref.avg_pool_backward(x.shape, rows, cols, grad.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=5e-7)  # a division or two
