"""Maps and summed gradients where the CUDA kernels go other ways than the CPU's: large, cut, split, not aligned."""

import numpy as np
import pytest

from lamella import kernels as K
from lamella._kernels._call import run_backward

DTYPES = [np.float32, np.float64]


def whole(shape, dtype, seed=0, offset=0):
    """Whole numbers, so that every order of adding gives the same sum; `offset` elements behind an aligned place."""
    n = int(np.prod(shape))
    flat = np.random.default_rng(seed).integers(-9, 10, n + offset).astype(dtype)
    return flat[offset:].reshape(shape)


def sum_to(x, shape):
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def check_gradients(sa, sb, dtype, offset=0):
    a, b = whole(sa, dtype, 1, offset), whole(sb, dtype, 2, offset)
    g = whole(np.broadcast_shapes(sa, sb), dtype, 3, offset)
    for got, full, like in zip(K.sub_backward(g, a, b), (g, -g), (a, b), strict=True):
        np.testing.assert_array_equal(got, sum_to(full, like.shape))
    for got, full, like in zip(K.mul_backward(g, a, b), (g * b, g * a), (a, b), strict=True):
        np.testing.assert_array_equal(got, sum_to(full, like.shape))


# Columns: few and many, in groups of 16 bytes and not, of one block and of several, summed at once and in parts.
COLUMNS = [(5000, 4), (5001, 7), (40_000, 3), (3000, 130), (600, 1030), (9, 3000), (20, 2), (20_000, 36)]
# Rows: a lane, a part of a warp, a warp, a block and several blocks for each.
ROWS = [(3000, 3), (700, 12), (300, 100), (40, 500), (3, 1028), (2100, 130), (3, 40_000), (2, 70_001)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", COLUMNS)
def test_column_sums(shape, dtype):
    check_gradients(shape, shape[1:], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS)
def test_row_sums(shape, dtype):
    check_gradients(shape, (shape[0], 1), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sa", "sb"),
    [
        ((40, 3, 500), (3, 1)),
        ((50, 7, 33), (7, 1)),
        ((1000, 2, 3), (1000, 1, 3)),
        ((12, 900, 8), (12, 1, 8)),
        ((12, 900, 5), (12, 1, 5)),
        ((30, 1, 8, 1), (1, 20, 1, 12)),
        ((64, 5, 1, 8), (1, 5, 9, 1)),
        ((100_003,), ()),
        ((), (100_004,)),
    ],
)
def test_sums_over_several_dimensions(sa, sb, dtype):
    check_gradients(sa, sb, dtype)


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize(
    ("sa", "sb"), [((300, 8), (300, 8)), ((300, 8), (8,)), ((300, 8), (300, 1)), ((300, 8), ()), ((5, 4, 8), (5, 1, 8))]
)
def test_arrays_that_begin_anywhere(sa, sb, offset):
    check_gradients(sa, sb, np.float32, offset)
    a, b = whole(sa, np.float32, 1, offset), whole(sb, np.float32, 2)
    out = np.full(a.size + 8, 7, np.float32)
    target = out[offset : offset + a.size].reshape(sa)
    np.testing.assert_array_equal(K.add(a, b, out=target), a + b)
    np.testing.assert_array_equal(K.less(a, b), a < b)
    assert (out[:offset] == 7).all() and (out[offset + a.size :] == 7).all()
    np.testing.assert_array_equal(K.relu(a, out=target), np.maximum(a, 0))
    condition = (whole(sb, np.float32, 4, offset) > 0).astype(np.uint8)
    np.testing.assert_array_equal(K.where(condition, a, b), np.where(condition, a, b))


# The emulated device cuts spaces of more than 2^20 places, as others do those of more than 2^31.
@pytest.mark.parametrize(
    ("sa", "sb"),
    [
        ((1100, 1000), (1000,)),
        ((3, 400_000), (3, 1)),
        ((1_200_001,), ()),
        ((2, 1, 600_000), (1, 3, 1)),
        ((3, 5, 80_000), (3, 1, 80_000)),
    ],
)
def test_spaces_that_are_cut(sa, sb):
    check_gradients(sa, sb, np.float32)
    a, b = whole(sa, np.float32, 1), whole(sb, np.float32, 2)
    np.testing.assert_array_equal(K.mul(a, b), a * b)
    np.testing.assert_array_equal(K.greater(a, b), a > b)
    condition = b > 0
    np.testing.assert_array_equal(K.where(condition, a, b), np.where(condition, a, b))
    g = whole(np.broadcast_shapes(sa, sb), np.float32, 3)
    _, da, db = run_backward("where", {}, [condition, a, b], [g])
    np.testing.assert_array_equal(da, sum_to(np.where(condition, g, 0), sa))
    np.testing.assert_array_equal(db, sum_to(np.where(condition, 0, g), sb))


def test_long_sums_stay_accurate():
    # Each thread has several sums of its own, and none of many terms: as good as pairwise.
    g = np.random.default_rng(0).random((2_000_000, 1), np.float32)
    one = np.zeros((1, 1), np.float32)
    (got,) = (K.add_backward(g, np.zeros_like(g), one)[1],)
    exact = g.sum(dtype=np.float64)
    assert abs(got.item() - exact) <= 4 * np.finfo(np.float32).eps * exact
