"""Moves that take the device's other paths: unaligned views, tiles of every unit, many dimensions, far strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella import kernels as K
from lamella._kernels._call import op

DTYPES = [np.uint8, np.float32, np.float64]


def numbered(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return (np.arange(int(np.prod(shape))) * 7 % 251).reshape(shape).astype(dtype)


def unaligned(x: np.ndarray, by: int) -> np.ndarray:
    """The same numbers, `by` elements after an address that 64 divides."""
    room = np.empty(x.size + by + 64, x.dtype)
    skip = (-room.ctypes.data % 64) // x.itemsize + by
    view = room[skip : skip + x.size].reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 3, 15, 16, 17, 1000, 5003])
def test_dense_copies_between_any_addresses(dtype: Any, n: int) -> None:
    x = numbered((n,), dtype)
    for source in (0, 1, 3, 5):
        for target in (0, 1, 2, 5):
            out = unaligned(np.zeros(n + 2, dtype), target)
            op("reshape", {"shape": [n]}).forward([unaligned(x, source)], False, [out[1 : n + 1]])
            np.testing.assert_array_equal(out[1 : n + 1], x)
            assert out[0] == 0 and out[n + 1] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_fills_and_padding_between_any_addresses(dtype: Any, shift: int) -> None:
    x = unaligned(numbered((3, 1201), dtype), shift)
    out = unaligned(np.zeros((5, 1208), dtype), 2 * shift)
    op("pad", {"padding": [1, 1, 3, 4], "value": 9}).forward([x], False, [out])
    np.testing.assert_array_equal(out, np.pad(x, [(1, 1), (3, 4)], constant_values=9))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("unit", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("shift", [0, 1])
def test_transposes_of_units(dtype: Any, unit: int, shift: int) -> None:
    for batch, rows, cols in [(1, 16, 16), (2, 33, 70), (3, 100, 17), (2, 5, 300)]:
        x = unaligned(numbered((batch, rows, cols, unit), dtype), shift)
        np.testing.assert_array_equal(K.transpose(x, [0, 2, 1, 3]), x.swapaxes(1, 2))
        np.testing.assert_array_equal(K.transpose(x, [2, 0, 1, 3]), x.transpose(2, 0, 1, 3))
        np.testing.assert_array_equal(K.transpose(x, [3, 2, 0, 1]), x.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_dimensions(dtype: Any) -> None:
    x = numbered((3, 2, 3, 2, 3, 2, 3, 4), dtype)
    for perm in ([7, 5, 3, 1, 0, 2, 4, 6], [6, 4, 2, 0, 1, 3, 5, 7], [1, 0, 3, 2, 5, 4, 7, 6]):
        np.testing.assert_array_equal(K.transpose(x, perm), x.transpose(perm))


@pytest.mark.parametrize("length", [12, 16, 100, 1030])
@pytest.mark.parametrize("shift", [0, 1])
def test_rows_with_gaps(length: int, shift: int) -> None:
    x = unaligned(numbered((50, 1100), np.float32), shift)
    for start in (0, 1, 4):
        (got,), _ = op("slice", {"starts": [0, start], "stops": [50, start + length], "steps": [3, 1]}).forward([x])
        np.testing.assert_array_equal(got, x[::3, start : start + length])
        (got,), _ = op("slice", {"starts": [0, start + length], "stops": [50, start], "steps": [1, -2]}).forward([x])
        np.testing.assert_array_equal(got, x[:, start + length : start : -2])


def test_offsets_beyond_32_bits() -> None:
    x = np.zeros((5, 1 << 29, 1), np.uint8)  # pages that nobody touches take no memory
    x[:, 3, 0] = [1, 2, 3, 4, 5]
    (got,), _ = op("slice", {"starts": [0, 3], "stops": [5, 20], "steps": [1, 9]}).forward([x])
    np.testing.assert_array_equal(got[..., 0], [[1, 0], [2, 0], [3, 0], [4, 0], [5, 0]])


@pytest.mark.parametrize("source", [np.uint8, np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("target", [np.uint8, np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("shift", [0, 1])
def test_casts_of_any_alignment(source: Any, target: Any, shift: int) -> None:
    x = unaligned(numbered((2049,), source), shift)
    np.testing.assert_array_equal(K.cast(x, target), x.astype(target))


def test_casts_at_the_ends_of_integers() -> None:
    bounds = np.array([2.0**31, 2.0**31 - 1, -(2.0**31), -(2.0**31) - 1, 2.0**63, -(2.0**63), 255.9, 256, -0.5, np.nan])
    assert K.cast(bounds, "int32").tolist()[:4] == [2**31 - 1, 2**31 - 1, -(2**31), -(2**31)]
    assert K.cast(bounds, "int64").tolist()[4:6] == [2**63 - 1, -(2**63)]
    assert K.cast(bounds, "uint8").tolist()[6:] == [255, 255, 0, 0]
    assert K.cast(bounds.astype(np.float32), "int64").tolist()[4:6] == [2**63 - 1, -(2**63)]
