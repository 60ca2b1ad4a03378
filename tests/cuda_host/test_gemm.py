"""Products on the emulated device, called as kernels are: any strides, alignments and sizes, and every kind of tile."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Named by itself, or in the build folder that the other tests of this folder use.
LIBRARY = os.environ.get("LAMELLA_TEST_BACKEND") or os.environ.get("LAMELLA_TEST_CUDA", "") + "/liblamella_cuda_host.so"
LIBRARY = os.path.abspath(LIBRARY)
pytestmark = pytest.mark.skipif(not os.path.exists(LIBRARY), reason="there is no emulated device")

ACTS = {None: 0, "relu": 1}


def strided(x: np.ndarray, strides: tuple[int, ...], start: int) -> np.ndarray:
    """Return x in memory of its own, with these element strides, from element `start` of 16-byte aligned memory."""
    size = start + 1 + sum(s * (n - 1) for s, n in zip(strides, x.shape, strict=True) if n > 0)
    memory = np.full(size + 4, np.nan, x.dtype)
    memory = memory[(-memory.ctypes.data % 16) // x.itemsize :][:size]
    view = np.lib.stride_tricks.as_strided(memory[start:], x.shape, [s * x.itemsize for s in strides])
    view[...] = x
    return view


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    *,
    c: np.ndarray | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    bias: np.ndarray | None = None,
    act: str | None = None,
    ldc: int | None = None,
    start_c: int = 0,
    precision: str = "highest",
) -> np.ndarray:
    """Multiply stacks [batch, m, k] and [batch, k, n] as they lie in memory; checks what lies around C."""
    batch, m, k = a.shape
    n = b.shape[2]
    ldc = n if ldc is None else ldc
    size, step = a.itemsize, m * ldc
    memory = np.full(start_c + batch * step + 8, 7.0, a.dtype)
    memory = memory[(-memory.ctypes.data % 16) // size :]
    out = np.lib.stride_tricks.as_strided(memory[start_c:], (batch, m, n), (step * size, ldc * size, size))
    out[...] = np.nan if c is None else c
    untouched = memory.copy()
    sizes = [m, n, k, a.strides[1] // size, a.strides[2] // size, b.strides[1] // size, b.strides[2] // size, ldc]
    sizes += [batch, a.strides[0] // size, b.strides[0] // size, step, ACTS[act]]
    sizes += [precision == "tf32", precision == "bf16"]
    library = ctypes.CDLL(LIBRARY)
    function = library.lamella_gemm_f32 if size == 4 else library.lamella_gemm_f64
    function.restype = None
    function(
        (ctypes.c_int64 * len(sizes))(*sizes),
        (ctypes.c_double * 3)(alpha, beta, 0.0),
        ctypes.c_void_p(a.ctypes.data),
        ctypes.c_void_p(b.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_void_p(None if bias is None else bias.ctypes.data),
    )
    result = out.copy()
    out[...] = np.lib.stride_tricks.as_strided(untouched[start_c:], out.shape, out.strides)
    np.testing.assert_array_equal(memory, untouched)
    return result


def whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return small integers: products of any order are exact."""
    return rng.integers(-4, 5, shape).astype(dtype)


def layouts(x: np.ndarray, along_last: bool, pad: int, start: int) -> np.ndarray:
    _, rows, cols = x.shape
    if along_last:
        return strided(x, (rows * (cols + pad), cols + pad, 1), start)
    return strided(x, (cols * (rows + pad), 1, rows + pad), start)


# One or more for every kind of tile, with and without parts of k, and for few rows or columns, dots and streams.
SHAPES = [
    (1, 6, 20, 40),
    (1, 17, 30, 700),
    (1, 40, 50, 3000),
    (1, 70, 130, 64),
    (1, 70, 140, 520),
    (3, 64, 64, 64),
    (40, 16, 16, 16),
    (1, 1, 516, 260),
    (2, 3, 130, 700),
    (1, 600, 1, 5000),
    (1, 300, 4, 90),
    (5, 2, 2, 70),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_strides(shape: tuple[int, int, int, int], dtype: Any) -> None:
    batch, m, n, k = shape
    rng = np.random.default_rng(m * n * k)
    a, b = whole(rng, (batch, m, k), dtype), whole(rng, (batch, k, n), dtype)
    c, bias = whole(rng, (batch, m, n), dtype), whole(rng, (n,), dtype)
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    for number, (last_a, last_b) in enumerate([(True, False), (True, True), (False, False), (False, True)]):
        for pad, start in [(0, 0), (4, 0), (4, 1), (3, 2)]:
            x, y = layouts(a, last_a, pad, start), layouts(b, last_b, pad, start)
            np.testing.assert_array_equal(gemm(x, y, ldc=n + pad, start_c=start), want)
            if (number + pad) % 2 == 0:
                got = gemm(x, y, c=c, alpha=0.5, beta=-2, bias=bias, act="relu", ldc=n + pad, start_c=start)
                np.testing.assert_array_equal(got, np.maximum(0.5 * want - 2.0 * c + bias, 0))
    # Neither way contiguous.
    x, y = strided(a, (2 * m * k, 2 * k, 2), 1), strided(b, (3 * n * k, 3, 3 * k), 0)
    np.testing.assert_array_equal(gemm(x, y), want)


@pytest.mark.parametrize(
    ("m", "n", "k"), [(1500, 1400, 36), (1290, 300, 48), (640, 640, 40), (300, 300, 130), (129, 65, 4100)]
)
def test_large(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(m)
    a, b = whole(rng, (1, m, k), np.float32), whole(rng, (1, k, n), np.float32)
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_array_equal(gemm(a, b), want)
    np.testing.assert_array_equal(gemm(layouts(a, False, 0, 0), b), want)
    np.testing.assert_array_equal(gemm(a, layouts(b, False, 0, 0)), want)


def test_members_of_a_batch_share() -> None:
    rng = np.random.default_rng(0)
    a, b = whole(rng, (7, 20, 24), np.float32), whole(rng, (1, 24, 40), np.float32)
    shared = np.broadcast_to(b, (7, 24, 40))
    np.testing.assert_array_equal(gemm(a, shared), np.matmul(a, b))  # one tall product
    apart = strided(a, (20 * 24 + 8, 24, 1), 0)
    np.testing.assert_array_equal(gemm(apart, shared), np.matmul(a, b))
    back = np.broadcast_to(a[:1], (7, 20, 24))
    other = whole(rng, (7, 24, 40), np.float32)
    np.testing.assert_array_equal(gemm(back, other), np.matmul(back, other))


@pytest.mark.parametrize("shape", [(5, 20), (1, 20), (300, 2)])
def test_no_depth(shape: tuple[int, int]) -> None:
    m, n = shape
    c, bias = np.ones((1, m, n), np.float32), np.linspace(-3, 3, n, dtype=np.float32)
    a, b = np.empty((1, m, 0), np.float32), np.empty((1, 0, n), np.float32)
    np.testing.assert_array_equal(gemm(a, b), np.zeros((1, m, n)))
    want = np.broadcast_to(np.maximum(2 + bias, 0), (1, m, n))
    np.testing.assert_array_equal(gemm(a, b, c=c, beta=2, bias=bias, act="relu"), want)


@pytest.mark.parametrize("shape", [(1, 1), (6, 50), (50, 70)])
def test_noise_of_long_sums(shape: tuple[int, int]) -> None:
    """Parts of k are added in order: the same each time, and no less exact."""
    m, n = shape
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((1, m, 9000), np.float32), rng.standard_normal((1, 9000, n), np.float32)
    first = gemm(a, b)
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    # A step errs by eps / 2 of a partial sum of size sqrt(k).
    assert np.abs(first - want).max() < 9000 * np.finfo(np.float32).eps
    np.testing.assert_array_equal(gemm(a, b), first)


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """Return x with its factors' precision: tf32 takes ties away from zero, bfloat16 to even."""
    bits = x.view(np.uint32)
    if precision == "tf32":
        return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 150, 300, 70), (1, 64, 64, 1000), (2, 70, 90, 33), (1, 1450, 1420, 36)], ids=str)
def test_matrix_units(shape: tuple[int, int, int, int], precision: str) -> None:
    batch, m, n, k = shape
    rng = np.random.default_rng(k)
    a = rng.standard_normal((batch, m, k), np.float32)
    b = rng.standard_normal((batch, k, n), np.float32)
    bias = rng.standard_normal(n, np.float32)
    want = np.matmul(rounded(a, precision).astype(np.float64), rounded(b, precision).astype(np.float64))
    # Products are exact, sums are float32's: far below what an unrounded factor, or one rounded otherwise, would do.
    atol = 4 * np.finfo(np.float32).eps * k**0.5
    large = m > 1000
    for last_a, last_b in [(True, False), (True, True), (False, False), (False, True)][: 3 if large else 4]:
        for pad, start in [(0, 0), (4, 0), (3, 1)][: 1 if large else 3]:
            x, y = layouts(a, last_a, pad, start), layouts(b, last_b, pad, start)
            got = gemm(x, y, ldc=n + pad, start_c=start, precision=precision)
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=atol)
    if large:
        return
    got = gemm(a, b, bias=bias, act="relu", precision=precision)
    np.testing.assert_allclose(got, np.maximum(want + bias, 0), rtol=1e-6, atol=atol)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_matrix_units_pass_nan_and_infinity(precision: str) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((1, 100, 80), np.float32), rng.standard_normal((1, 80, 100), np.float32)
    a[0, 7, 3], b[0, 5, 9] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    got = gemm(a, b, precision=precision)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize(
    ("batch", "m", "n", "k", "share"),
    [(1, 260, 300, 131, False), (3, 210, 260, 144, True), (2, 200, 515, 300, False), (1, 300, 300, 129, False)],
)
def test_large_factors_are_rounded_beforehand(batch: int, m: int, n: int, k: int, share: bool, precision: str) -> None:
    rng = np.random.default_rng(m)
    a = rng.standard_normal((batch, m, k), np.float32)
    b = rng.standard_normal((1 if share else batch, k, n), np.float32)
    c, bias = rng.standard_normal((batch, m, n), np.float32), rng.standard_normal(n, np.float32)
    want = np.matmul(rounded(a, precision).astype(np.float64), rounded(b, precision).astype(np.float64))
    atol = 4 * np.finfo(np.float32).eps * k**0.5
    for last_a, last_b, pad in [(True, False, 0), (False, True, 8), (True, True, 4), (False, False, 1)]:
        x, y = layouts(a, last_a, pad, 0), np.broadcast_to(layouts(b, last_b, pad, pad % 2), (batch, k, n))
        np.testing.assert_allclose(gemm(x, y, precision=precision), want, rtol=1e-6, atol=atol)
    got = gemm(a, y, c=c, alpha=0.5, beta=2, bias=bias, act="relu", ldc=n + 3, start_c=1, precision=precision)
    np.testing.assert_allclose(got, np.maximum(0.5 * want + 2.0 * c + bias, 0), rtol=1e-6, atol=2 * atol)


def test_tiles_of_devices_with_more_shared_memory() -> None:
    code = "from cuda_host.test_gemm import test_large_factors_are_rounded_beforehand as check\n"
    code += "for precision in ('tf32', 'bf16'): check(1, 200, 300, 150, False, precision)"
    environment = {**os.environ, "LAMELLA_CUDA_HOST_SHARED": "227"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parents[1])
