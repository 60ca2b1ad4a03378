"""Random kernels where the device goes other ways: unaligned arrays, long permutations, rejected words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_random as ref

from lamella import _cpu
from lamella import kernels as K


def unaligned(x: np.ndarray, by: int) -> np.ndarray:
    """The same numbers, `by` elements after an address that 64 divides."""
    room = np.empty(x.size + by + 64, x.dtype)
    skip = (-room.ctypes.data % 64) // x.itemsize + by
    view = room[skip : skip + x.size].reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize("n", [1023, 1024, 1025, 1026, 5000, 20_000])
def test_permutations_of_many_batches(n: int) -> None:
    np.testing.assert_array_equal(K.permutation(n, key=(n, 3)), ref.permutation((n, 3), n))


@pytest.mark.parametrize("seed", [718, 2449, 3211])
def test_permutation_with_a_rejected_word(seed: int) -> None:
    # Once in some thousand keys, one of 3,000 draws takes two words.
    n = 3000
    ranges = np.arange(n, 1, -1, dtype=np.uint64)
    low = ref.words((seed, 1), n - 1) * ranges & np.uint64(2**32 - 1)
    assert (low < np.uint64(2**32) % ranges).any()
    np.testing.assert_array_equal(K.permutation(n, key=(seed, 1)), ref.permutation((seed, 1), n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 1030])
def test_unaligned_arrays(n: int, dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(n).astype(dtype)
    for shift in (0, 1, 2):
        out = unaligned(np.full(n + 1, 7, dtype), shift)
        key = {"key": [5, 6]}
        shape = {"shape": [n], "dtype": np.dtype(dtype).name}
        _cpu.Op("random_uniform", shape | key).forward([], False, [out[:n]])
        np.testing.assert_array_equal(out[:n], ref.uniform((5, 6), n, dtype))
        _cpu.Op("random_bernoulli", shape | key | {"p": 0.3}).forward([], False, [out[:n]])
        np.testing.assert_array_equal(out[:n], ref.words((5, 6), n) < ref.threshold(0.3))
        _cpu.Op("random_normal", shape | key).forward([], False, [out[:n]])
        np.testing.assert_array_equal(out[:n], K.normal(n, dtype=dtype, key=(5, 6)))
        _cpu.Op("dropout", {"rate": 0.5} | key).forward([unaligned(x, shift)], True, [out[:n]])
        np.testing.assert_array_equal(out[:n], np.where(ref.words((5, 6), n) >= ref.threshold(0.5), x * 2, 0))
        assert out[n] == 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 1), (7, 33, 2), (2, 9, 3), (4, 6, 64), (2, 3, 257), (1, 1000, 4)])
def test_dropout_of_shared_elements(shape: tuple[int, int, int], dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    outer, _, inner = shape
    keep = (ref.words((1, 2), outer * inner) >= ref.threshold(0.25)).reshape(outer, 1, inner)
    for shift in (0, 1):
        op = _cpu.Op("dropout", {"rate": 0.25, "noise_shape": [-1, 1, -1], "key": [1, 2]})
        (y,), _ = op.forward([unaligned(x, shift)], True)
        np.testing.assert_array_equal(y, np.where(keep, x * dtype(1 / 0.75), 0))
