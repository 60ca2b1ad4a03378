"""Resizing and picking rows where the device takes other paths: far growth, unaligned arrays, rows of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_shape as ref

from lamella import kernels as K
from lamella._kernels._call import op, run_backward


def unaligned(x: np.ndarray, by: int) -> np.ndarray:
    """The same numbers, `by` elements after an address that 64 divides."""
    room = np.empty(x.size + by + 64, x.dtype)
    skip = (-room.ctypes.data % 64) // x.itemsize + by
    view = room[skip : skip + x.size].reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [("nearest", False), ("bilinear", False), ("bilinear", True)])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 1, 1, 8), (33, 40)),  # two passes
        ((1, 2, 3, 3), (37, 41)),
        ((2, 3, 1, 4), (3, 150)),
        ((1, 40, 30, 4), (7, 3)),  # outputs that skip inputs
        ((1, 7, 9, 4), (7, 9)),
    ],
)
def test_upsample2d(shape: tuple[int, ...], size: tuple[int, int], kind: tuple[str, bool], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    mode, align = kind
    rows, cols = (ref.resize_matrix(n, m, mode, align) for n, m in zip(shape[1:3], size, strict=True))
    attrs = {"size": list(size), "mode": mode, "align_corners": align}
    tol = 16 * float(np.finfo(dtype).eps)
    for shift in (0, 1):
        x = unaligned(rng.standard_normal(shape).astype(dtype), shift)
        expected = np.einsum("ph,qw,nhwc->npqc", rows, cols, x)
        np.testing.assert_allclose(K.upsample2d(x, **attrs), expected, rtol=tol, atol=tol * 4)
        grad = unaligned(rng.standard_normal(expected.shape).astype(dtype), shift)
        (got,) = run_backward("upsample2d", attrs, [x], [grad])
        expected = np.einsum("ph,qw,npqc->nhwc", rows, cols, grad)
        # Weights of the outputs of one input add up to at most size / shape along each axis.
        scale = max(1, size[0] / shape[1]) * max(1, size[1] / shape[2])
        np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * 4 * scale)


def test_only_what_an_output_is_made_of_counts() -> None:
    x = np.full((1, 5, 5, 1), np.nan, np.float32)
    x[0, ::2, ::2] = 1
    attrs = {"size": [3, 3], "mode": "bilinear", "align_corners": True}
    assert K.upsample2d(x, **attrs).tolist() == np.ones((1, 3, 3, 1)).tolist()
    grad = np.full((1, 3, 3, 1), np.inf, np.float32)
    (got,) = run_backward("upsample2d", attrs, [x], [grad])
    np.testing.assert_array_equal(got[0, ..., 0], np.where(np.isnan(x[0, ..., 0]), 0, np.inf))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("inner", [1, 2, 3, 4, 16, 100, 1031])
def test_rows_of_any_length_and_address(dtype: Any, inner: int) -> None:
    rng = np.random.default_rng(0)
    for shift in (0, 1):
        x = unaligned((rng.integers(0, 250, (3, 40, inner))).astype(dtype), shift)
        for index in (np.int32, np.int64):
            indices = rng.integers(0, 40, 37).astype(index)
            (y,), _ = op("gather", {"axis": 1}).forward([x, indices])
            np.testing.assert_array_equal(y, x[:, indices])
            (y,), _ = op("gather", {"axis": 0}).forward([x[0], indices[:1]])
            np.testing.assert_array_equal(y, x[0][indices[:1]])
