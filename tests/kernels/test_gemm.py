"""Products of matrices against NumPy in float64, over all the ways they are run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_gemm import gemm as expected_gemm

import lamella
from lamella.kernels import gemm, matmul


def close(got: np.ndarray, want: np.ndarray, k: int) -> None:
    """Compare sums of k products of numbers of size 1.

    A step of the chain errs by at most eps / 2 of a partial sum, which is of size sqrt(k): the whole by 0.2 eps k
    (standard deviation), more where sums run high. 3 eps k is far off for noise, yet far below one missing product.
    """
    eps = np.finfo(got.dtype).eps
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=4 * eps, atol=3 * eps * (k + 8))


def matrix(rng: np.random.Generator, rows: int, cols: int, dtype: Any, layout: str = "c") -> np.ndarray:
    x = rng.standard_normal((rows, cols)).astype(dtype)
    return np.asfortranarray(x) if layout == "f" else x


# Every way of running a product: tiny; tiles with and without packing; more than one k block; one and a few rows
# (streamed), contiguous dots, few columns, a column; deep and small (cut along k); grids for threads.
SHAPES = [
    (1, 1, 1),
    (8, 8, 8),
    (15, 33, 7),
    (29, 31, 64),
    (14, 32, 385),
    (64, 70, 300),
    (130, 300, 260),
    (300, 257, 129),
    (1, 1000, 700),
    (2, 300, 513),
    (3, 259, 801),
    (4, 120, 300),
    (7, 65, 150),
    (16, 40, 333),
    (500, 1, 200),
    (500, 3, 70),
    (100, 10, 128),
    (33, 65, 5000),
    (1, 1, 4097),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layouts(shape: tuple[int, int, int], dtype: Any) -> None:
    m, n, k = shape
    rng = np.random.default_rng(m * n + k)
    a, b = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype)
    want = expected_gemm(a, b)
    for ta in (False, True):
        for tb in (False, True):
            x = np.ascontiguousarray(a.T) if ta else a
            y = np.ascontiguousarray(b.T) if tb else b
            close(gemm(x, y, trans_a=ta, trans_b=tb), want, k)
    close(gemm(np.asfortranarray(a), np.asfortranarray(b)), want, k)  # taken as transposed, not copied


def test_epilogue() -> None:
    rng = np.random.default_rng(0)
    for m, n, k in [(5, 40, 30), (64, 33, 500), (1, 300, 200), (2, 9, 100), (150, 300, 300), (20, 30, 3000)]:
        a, b = matrix(rng, m, k, np.float32), matrix(rng, k, n, np.float32)
        c, bias = matrix(rng, m, n, np.float32), matrix(rng, 1, n, np.float32)[0]
        for act in (None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu"):
            got = gemm(a, b, alpha=0.5, beta=-0.75, c=c, bias=bias, activation=act, activation_alpha=None)
            slope = 0.01
            if act == "leaky_relu":
                slope = 0.2
                got = gemm(a, b, alpha=0.5, beta=-0.75, c=c, bias=bias, activation=act, activation_alpha=slope)
            want = expected_gemm(a, b, alpha=0.5, beta=-0.75, c=c, bias=bias, activation_name=act, slope=slope)
            close(got, want, k)
        close(gemm(a, b, trans_b=False, bias=bias), expected_gemm(a, b, bias=bias), k)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 90), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_random_sizes(m: int, n: int, k: int, ta: bool, tb: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = matrix(rng, *((k, m) if ta else (m, k)), np.float32)
    b = matrix(rng, *((n, k) if tb else (k, n)), np.float32)
    bias = matrix(rng, 1, n, np.float32)[0]
    want = expected_gemm(a, b, trans_a=ta, trans_b=tb, bias=bias, activation_name="relu")
    close(gemm(a, b, trans_a=ta, trans_b=tb, bias=bias, activation="relu"), want, k)


def test_no_depth_leaves_the_epilogue() -> None:
    a, b = np.empty((5, 0), np.float32), np.empty((0, 20), np.float32)
    bias = np.linspace(-1, 1, 20, dtype=np.float32)
    c = np.ones((5, 20), np.float32)
    np.testing.assert_array_equal(gemm(a, b), np.zeros((5, 20)))
    got = gemm(a, b, beta=2.0, c=c, bias=bias, activation="relu")
    np.testing.assert_array_equal(got, np.broadcast_to(np.maximum(2 + bias, 0), (5, 20)))


def test_out_is_not_read_without_beta() -> None:
    rng = np.random.default_rng(1)
    for m, n, k in [(9, 17, 5), (1, 600, 100), (3, 4, 500), (40, 40, 4000)]:
        a, b = matrix(rng, m, k, np.float32), matrix(rng, k, n, np.float32)
        out = np.full((m, n), np.nan, np.float32)
        assert gemm(a, b, out=out) is out
        close(out, expected_gemm(a, b), k)


def test_c_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    a, b, c = matrix(rng, 20, 30, np.float32), matrix(rng, 30, 25, np.float32), matrix(rng, 20, 25, np.float32)
    before = c.copy()
    close(gemm(a, b, beta=1.0, c=c, out=np.empty_like(c)), expected_gemm(a, b, beta=1.0, c=c), 30)
    np.testing.assert_array_equal(c, before)
    with pytest.raises(ValueError, match="overlap"):
        gemm(a, b, beta=1.0, c=c, out=c)


@pytest.mark.parametrize("shape", [(6, 10, 8), (1, 600, 100), (3, 5, 500), (70, 300, 300)], ids=str)
def test_nan_and_infinity_stay_in_their_rows_and_columns(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(3)
    a, b = matrix(rng, m, k, np.float32), matrix(rng, k, n, np.float32)
    a[m - 1, k - 1] = np.nan
    b[0, n - 1] = np.inf
    with np.errstate(invalid="ignore"):
        want = a.astype(np.float64) @ b.astype(np.float64)
    for x, y, tb in [(a, b, False), (a, np.ascontiguousarray(b.T), True)]:
        got = gemm(x, y, trans_b=tb, activation="relu")
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isposinf(got), np.isposinf(want))


@pytest.mark.parametrize(
    ("sa", "sb"),
    [
        ((4, 5, 6), (4, 6, 7)),
        ((4, 5, 6), (6, 7)),
        ((5, 6), (4, 6, 7)),
        ((2, 1, 5, 6), (3, 6, 7)),
        ((2, 3, 20, 30), (2, 3, 30, 40)),
        ((0, 5, 6), (6, 7)),
        ((3, 0, 6), (3, 6, 7)),
        ((64, 9, 16), (64, 16, 9)),
        ((3, 150, 120), (3, 120, 200)),
    ],
    ids=str,
)
def test_batches(sa: tuple[int, ...], sb: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal(sa).astype(np.float32), rng.standard_normal(sb).astype(np.float32)
    close(matmul(a, b), expected_gemm(a, b), sa[-1])
    at, bt = a.swapaxes(-1, -2).copy(), b.swapaxes(-1, -2).copy()
    close(matmul(at, bt, trans_a=True, trans_b=True), expected_gemm(a, b), sa[-1])


def test_strided_inputs() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((40, 60)).astype(np.float32), rng.standard_normal((90, 50)).astype(np.float32)
    close(matmul(a[::2, ::2], b[::3, 1:31]), expected_gemm(a[::2, ::2], b[::3, 1:31]), 30)
    close(matmul(a[::-1], b[:60]), expected_gemm(a[::-1], b[:60]), 60)


def test_integers_are_exact() -> None:
    """Sums below 2^24 have no rounding at all, whatever the order."""
    rng = np.random.default_rng(6)
    for m, n, k in SHAPES:
        a = rng.integers(-8, 8, (m, k)).astype(np.float32)
        b = rng.integers(-8, 8, (k, n)).astype(np.float32)
        want = a.astype(np.int64) @ b.astype(np.int64)
        np.testing.assert_array_equal(matmul(a, b), want)
        np.testing.assert_array_equal(gemm(a, np.ascontiguousarray(b.T), trans_b=True), want)


def test_thread_count_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(7)
    # The last three: each thread packs for itself, over columns, over rows, over several k blocks.
    large = [(512, 600, 400), (4, 2000, 900), (128, 128, 9000), (256, 256, 256), (500, 70, 1000), (64, 128, 784)]
    for m, n, k in [*SHAPES, *large]:
        a, b = matrix(rng, m, k, np.float32), matrix(rng, k, n, np.float32)
        bt, bias = np.ascontiguousarray(b.T), b[0]
        results = []
        for threads in (1, 2, 3, 5):
            lamella.set_num_threads(threads)
            results.append((matmul(a, b), gemm(a, bt, trans_b=True, bias=bias, activation="relu")))
        for other in results[1:]:
            np.testing.assert_array_equal(results[0][0], other[0])
            np.testing.assert_array_equal(results[0][1], other[1])
    x, y = rng.standard_normal((7, 90, 80)).astype(np.float32), rng.standard_normal((7, 80, 70)).astype(np.float32)
    lamella.set_num_threads(1)
    one = matmul(x, y)
    lamella.set_num_threads(2)
    np.testing.assert_array_equal(one, matmul(x, y))


def test_errors() -> None:
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises(ValueError, match="gemm: b: expected 3 rows"):
        gemm(a, b, trans_a=True)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        matmul(a[0], b)
    with pytest.raises(TypeError, match="b"):
        gemm(a, b.astype(np.float64))
    with pytest.raises(ValueError, match="c"):
        gemm(a, b, beta=1.0)
    with pytest.raises(ValueError, match="c"):
        gemm(a, b, c=np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match="c"):
        gemm(a, b, beta=1.0, c=np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="bias"):
        gemm(a, b, bias=np.ones(4, np.float32))
    with pytest.raises(ValueError, match="relu"):
        gemm(a, b, activation="rleu")
    with pytest.raises(ValueError, match="broadcast"):
        matmul(np.ones((2, 3, 4), np.float32), np.ones((3, 4, 5), np.float32))
