"""Embeddings on a device: what a bad index does; gradients of few and many indices, of rows picked often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella import kernels as K
from lamella._kernels._call import run_backward


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_bad_indices_are_reported(index: Any) -> None:
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    for bad in (10, -1):
        indices = np.zeros(3000, index)
        indices[2500] = bad
        with pytest.raises(ValueError, match=rf"embedding: indices: .*\[0, 10\).* {bad} at position 2500"):
            K.embedding(indices, table)
    with pytest.raises(ValueError, match=r"gather: indices: .*\[0, 10\).* 10 at position 1"):
        K.gather(table, np.array([9, 10], index))
    np.testing.assert_array_equal(K.embedding(np.array([9, 0], index), table), table[[9, 0]])


def unaligned(x: np.ndarray, by: int) -> np.ndarray:
    """The same numbers, `by` elements after an address that 64 divides."""
    room = np.empty(x.size + by + 64, x.dtype)
    skip = (-room.ctypes.data % 64) // x.itemsize + by
    view = room[skip : skip + x.size].reshape(x.shape)
    view[...] = x
    return view


def picked(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """Some rows often, some never."""
    return np.minimum(rng.geometric(8 / (rows + 7), n) - 1, rows - 1)


# One block sorts up to 8,192 indices alone, tiles of 4,096 take more; one to three passes of 8 bits.
@pytest.mark.parametrize("n", [1, 31, 129, 3000, 8192, 8193, 20_000])
@pytest.mark.parametrize("rows", [1, 255, 256, 5000, 70_000])
def test_gradients_add_up_in_the_order_of_the_indices(n: int, rows: int) -> None:
    rng = np.random.default_rng(n + rows)
    dim = 4 if n * rows > 10**8 else 36
    for dtype, index, shift in [(np.float32, np.int64, 0), (np.float32, np.int32, 1), (np.float64, np.int64, 0)]:
        indices = picked(rng, rows, n).astype(index)
        table = np.zeros((rows, dim), dtype)
        g = unaligned(rng.standard_normal((n, dim)).astype(dtype), shift)
        _, got = run_backward("embedding", {"padding_idx": 0}, [indices, table], [g], [False, True])
        expected = np.zeros_like(table)
        np.add.at(expected, indices, g)  # one after the other
        expected[0] = 0
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("outer", [1, 3, 8, 9, 40])
@pytest.mark.parametrize("inner", [1, 3, 4, 40])
def test_gradients_of_slices(outer: int, inner: int) -> None:
    rng = np.random.default_rng(0)
    for n, rows in [(700, 3), (50, 90)]:
        indices = picked(rng, rows, n)
        g = rng.standard_normal((outer, n, inner)).astype(np.float32)
        x = np.zeros((outer, rows, inner), np.float32)
        got, _ = run_backward("gather", {"axis": 1}, [x, indices], [g])
        expected = np.zeros_like(x)
        np.add.at(expected, (slice(None), indices), g)
        np.testing.assert_array_equal(got, expected)


def test_indices_that_pick_nothing() -> None:
    x, none = np.ones((4, 3), np.float32), np.empty(0, np.int32)
    got, _ = run_backward("gather", {}, [x, none], [np.empty((0, 3), np.float32)])
    np.testing.assert_array_equal(got, np.zeros_like(x))
    _, got = run_backward("embedding", {}, [none, x], [np.empty((0, 3), np.float32)], [False, True])
    np.testing.assert_array_equal(got, np.zeros_like(x))
