"""Reductions of shapes that the CUDA kernels cut in other ways than the CPU's do."""

import numpy as np
import pytest

from lamella import kernels as K

DTYPES = [np.float32, np.float64]


def whole(shape, dtype, seed=0):
    """Whole numbers: every order of adding gives the same sum."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def check(x, axis):
    np.testing.assert_array_equal(K.sum(x, axis), x.sum(axis))
    np.testing.assert_array_equal(K.max(x, axis), x.max(axis))
    np.testing.assert_array_equal(K.min(x, axis), x.min(axis))
    # Deviations of numbers below ten, and a mean that is rounded once.
    np.testing.assert_allclose(K.var(x, axis), x.astype(np.longdouble).var(axis), rtol=20 * np.finfo(x.dtype).eps)
    if isinstance(axis, int):
        np.testing.assert_array_equal(K.argmax(x, axis), x.argmax(axis))
        np.testing.assert_array_equal(K.argmin(x, axis), x.argmin(axis))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "n", [255, 256, 511, 512, 513, 1023, 1024, 1025, 1028, 2052, 8191, 8192, 32767, 32768, 32769, 40_960, 70_001]
)
def test_rows(n, dtype):
    """From part of a warp to several blocks, with and without accesses of 16 bytes."""
    check(whole((3, n), dtype, n), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "cols"), [(5000, 4), (5001, 7), (3000, 130), (1025, 512), (70_000, 3), (9, 3000)])
def test_columns(rows, cols, dtype):
    """Of one block and of several."""
    check(whole((rows, cols), dtype, rows), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6, 8), (3, 2, 5, 2, 3, 4, 2, 7), (4, 40, 3, 1000), (30, 5, 64, 4)])
def test_alternating_axes(shape, dtype):
    x = whole(shape, dtype)
    for axis in (tuple(range(0, len(shape), 2)), tuple(range(1, len(shape), 2))):
        check(x, axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 400), (400, 8), (3, 36_000), (4000, 4), (5, 60, 8)])
def test_arrays_that_begin_anywhere(shape, dtype):
    """Not at a multiple of 16 bytes: the same results for whole numbers."""
    n = int(np.prod(shape))
    for offset in (0, 1, 3):
        buffer = np.empty(n + offset, dtype)
        x = buffer[offset:].reshape(shape)
        x[...] = whole(shape, dtype)
        for axis in range(len(shape)):
            check(x, axis)
            g = whole(x.sum(axis).shape, dtype, 1)
            np.testing.assert_array_equal(
                K.sum_squares_backward(g, x, axis), 2 * x * np.expand_dims(g, axis).astype(dtype)
            )


@pytest.mark.parametrize("shape", [(1, 100_000), (3, 40_000), (100_000, 3), (2, 30_000, 5)])
def test_a_row_does_not_depend_on_the_others(shape):
    x = np.random.default_rng(1).standard_normal((*shape[:-2], 2 * shape[-2], shape[-1])).astype(np.float32)
    for name in ("sum", "var", "norm"):
        f = getattr(K, name)
        assert f(x, -1)[..., : shape[-2]].tobytes() == f(x[..., : shape[-2], :].copy(), -1).tobytes()


def test_ties_and_zeros_of_split_outputs():
    x = np.ones((2, 40_000), np.float32)
    x[1, ::4] = 3
    got = K.max_backward(np.array([40_000, 10_000], np.float32), x, 1)
    np.testing.assert_array_equal(got, np.stack([x[0], np.where(x[1] == 3, 1, 0)]))
    x[...] = 1
    x[1, 17], x[0, 5], x[0, 39_999] = 0, 0, 0
    got = K.prod_backward(np.array([2, 3], np.float32), x, 1)
    expected = np.zeros_like(x)
    expected[1, 17] = 3
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(K.prod_backward(np.full(40_000, 2, np.float32), x, 0), 2 * x[::-1])


def test_sums_of_squares_of_many_arrays():
    """More than go into a launch, empty ones among them, longer than a block and not aligned."""
    rng = np.random.default_rng(2)
    arrays = []
    for i in range(400):
        n = int(rng.choice([0, 1, 5, 700, 16_383, 16_384, 16_385]))
        arrays.append(rng.standard_normal(n + 3).astype(np.float32 if i % 3 else np.float64)[i % 4 :])
    arrays = [np.zeros(0, np.float32), *arrays, np.zeros(0, np.float32)]
    expected = np.sqrt(sum((a.astype(np.longdouble) ** 2).sum() for a in arrays))
    assert abs(K.global_norm(arrays) - float(expected)) <= 1e-13 * float(expected)
