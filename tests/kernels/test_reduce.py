import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K

DTYPES = [np.float32, np.float64]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def data(shape, dtype, seed=0, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def all_axes(rank):
    return [None, *(c for k in range(rank + 1) for c in itertools.combinations(range(rank), k))]


# Full, row, column and interleaved reductions; rows folded together (narrow), split into pieces (long) and wider than a
# block of columns.
SHAPES = [
    (),
    (1,),
    (10,),
    (3, 4),
    (100, 3),
    (3, 100),
    (2, 3, 4, 5),
    (5000, 7),
    (7, 20000),
    (100000,),
    (3, 5, 1000),
    (300, 20, 3),
    (6, 28, 28, 8),
    (4, 1, 6),
    (2, 3, 2, 3, 2),
    (40, 1100),
    (257, 37),
    (3, 70, 100),
    (9, 12_345),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions(shape, dtype):
    x = data(shape, dtype)
    # NumPy's sums over outer axes are plain loops, whose own errors would show in float64.
    x64 = x.astype(np.float64 if dtype == np.float32 else np.longdouble)
    # Partial sums of some tens of terms, then pairwise: a few ULP of the sum of magnitudes.
    tol = 12 * eps(dtype)
    for axes, keepdims in itertools.product(all_axes(len(shape)), (False, True)):
        kw = {"axis": axes, "keepdims": keepdims}
        magnitude = np.abs(x64).sum(**kw)
        count = max(1, x.size // max(1, magnitude.size))
        for name, expected, scale in [
            ("sum", x64.sum(**kw), magnitude),
            ("mean", x64.mean(**kw), magnitude / count),
            ("max", x64.max(**kw), 0),
            ("min", x64.min(**kw), 0),
            ("sum_squares", (x64**2).sum(**kw), (x64**2).sum(**kw)),
            ("norm", np.sqrt((x64**2).sum(**kw)), np.sqrt((x64**2).sum(**kw))),
            ("var", x64.var(**kw), (x64**2).sum(**kw) / count),
            ("std", x64.std(**kw), np.sqrt((x64**2).sum(**kw) / count)),
        ]:
            got = getattr(K, name)(x, **kw)
            assert got.shape == expected.shape and got.dtype == dtype, (name, axes)
            assert (np.abs(got - expected) <= tol * scale).all(), (name, axes)


@pytest.mark.parametrize("cols", [*range(1, 20), 31, 33, 50, 63, 65, 80, 96, 97, 112, 127, 128, 129, 200])
def test_columns_of_any_width(cols):
    # Whole numbers: every order of adding gives the same sum, so that no element may be missed or counted twice.
    x = np.random.default_rng(cols).integers(-9, 10, (203, cols)).astype(np.float32)
    np.testing.assert_array_equal(K.sum(x, 0), x.sum(0))
    np.testing.assert_array_equal(K.sum_squares(x, 0), (x * x).sum(0))
    np.testing.assert_array_equal(K.max(x, 0), x.max(0))
    x[100, cols // 2] = np.nan
    np.testing.assert_array_equal(K.max(x, 0), x.max(0))
    np.testing.assert_array_equal(K.min(x, 0), x.min(0))
    rows = x.T.copy()
    np.testing.assert_array_equal(K.sum(rows, 1), rows.sum(1))
    np.testing.assert_array_equal(K.max(rows, 1), rows.max(1))


@pytest.mark.parametrize("cols", [1, 2, 3, 5, 16, 17, 48, 63, 64, 65, 100, 130, 511, 600])
@pytest.mark.parametrize("rows", [1, 2, 33, 700])
def test_variance_of_any_width(rows, cols):
    # Far from zero, so that the mean's own rounding shows where it is not made up for.
    x = (1000 + np.random.default_rng(cols).standard_normal((rows, cols))).astype(np.float32)
    x64 = x.astype(np.float64)
    for a, a64, axis in [(x, x64, 0), (x, x64, 1), (x.T.copy(), x64.T, 1)]:
        # Deviations are exact to half an ULP of 1000, 3e-5.
        np.testing.assert_allclose(K.var(a, axis), a64.var(axis), rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(K.std(x), x64.std(), rtol=1e-5, atol=1e-4)


def test_variance_of_equal_elements():
    for value in (0.1, 1e4, 3e19):
        x = np.full((3000, 7), value, np.float32)
        for axis in (None, 0, 1):
            assert (K.std(x, axis) <= 1e-6 * value).all()


def test_variance_of_infinities():
    x = data((3000, 40), np.float32)
    x[2000, 3], x[10, 5], x[7, 9] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        for axis in (0, 1):
            np.testing.assert_array_equal(np.isnan(K.var(x, axis)), np.isnan(x.var(axis)))
    assert np.isnan(K.var(x))


@pytest.mark.parametrize("n", [63, 64, 65, 200, 1000])
def test_arg_finds_every_place(n):
    x = np.zeros((n, n), np.float32)
    np.fill_diagonal(x, 1)
    np.testing.assert_array_equal(K.argmax(x, 1), np.arange(n))
    np.testing.assert_array_equal(K.argmin(-x, 1), np.arange(n))
    np.fill_diagonal(x, np.nan)
    np.testing.assert_array_equal(K.argmin(x, 1), np.arange(n))


@pytest.mark.parametrize("dtype", DTYPES)
def test_prod(dtype):
    x = (np.random.default_rng(0).uniform(0.9, 1.1, (30, 40))).astype(dtype)
    for axes in all_axes(2):
        # One rounding per factor.
        np.testing.assert_allclose(K.prod(x, axes), x.astype(np.float64).prod(axes), rtol=40 * eps(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=st.lists(st.integers(1, 7), max_size=6).map(tuple), seed=st.integers(0, 999), mask=st.integers(0, 63))
@settings(max_examples=80, deadline=None)
def test_any_axes(dtype, shape, seed, mask):
    x = data(shape, dtype, seed)
    axes = tuple(i - (len(shape) if seed % 2 else 0) for i in range(len(shape)) if mask >> i & 1)
    x64 = x.astype(np.float64)
    scale = np.abs(x64).sum(axes)
    assert (np.abs(K.sum(x, axes) - x64.sum(axes)) <= 8 * eps(dtype) * scale).all()
    np.testing.assert_array_equal(K.max(x, axes, keepdims=True), x.max(axes, keepdims=True))


def test_long_float32_sums_stay_accurate():
    # Equal terms all round the same way, and a plain float32 loop over them loses 1e-2. Here 32 terms in a row may lose
    # half an ULP each, and the pairwise tree above them little.
    n = 2**22
    x = np.full(n, 0.1, np.float32)
    exact = float(np.float32(0.1)) * n
    assert abs(float(K.sum(x)) - exact) <= 16 * eps(np.float32) * exact
    columns = K.sum(x.reshape(-1, 4), 0)
    assert (np.abs(columns - exact / 4) <= 16 * eps(np.float32) * exact / 4).all()
    rows = K.sum(x.reshape(4, -1), 1)
    assert (np.abs(rows - exact / 4) <= 16 * eps(np.float32) * exact / 4).all()
    # Variance far from zero: one pass over squares would lose everything.
    far = (1e4 + np.random.default_rng(0).standard_normal(100_000)).astype(np.float32)
    np.testing.assert_allclose(K.var(far), far.astype(np.float64).var(), rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (17,), (5, 33), (33, 5), (4, 9, 7), (100_000,), (3, 40_000), (500, 3)])
def test_arg(shape, dtype):
    x = np.round(data(shape, dtype))  # many ties
    for axis in (None, *range(-len(shape), len(shape))):
        np.testing.assert_array_equal(K.argmax(x, axis), x.argmax(axis))
        np.testing.assert_array_equal(K.argmin(x, axis), x.argmin(axis))
        assert K.argmax(x, axis, keepdims=True).shape == x.argmax(axis, keepdims=True).shape
    x.ravel()[x.size // 2] = np.nan
    x.ravel()[-1] = np.nan
    for axis in (None, *range(len(shape))):
        np.testing.assert_array_equal(K.argmax(x, axis), x.argmax(axis))
        np.testing.assert_array_equal(K.argmin(x, axis), x.argmin(axis))


@pytest.mark.parametrize("at", [0, 5, 77, 4095, 4096, 19_999])
def test_nan_and_infinity(at):
    x = data(20_000, np.float32)
    x[at] = np.nan
    assert np.isnan(K.sum(x)) and np.isnan(K.max(x)) and np.isnan(K.min(x))
    columns = x.reshape(-1, 20)
    np.testing.assert_array_equal(K.max(columns, 0), columns.max(0))
    np.testing.assert_array_equal(K.min(columns, 0), columns.min(0))
    x[at] = np.inf
    assert K.sum(x) == np.inf and K.max(x) == np.inf and K.argmax(x) == at
    x[at] = -np.inf
    assert K.sum(x) == -np.inf and K.min(x) == -np.inf and K.argmin(x) == at
    assert K.max(np.full(50, -np.inf, np.float32)) == -np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty(dtype):
    x = np.zeros((0, 3), dtype)
    np.testing.assert_array_equal(K.sum(x, 0), np.zeros(3))
    np.testing.assert_array_equal(K.prod(x, 0), np.ones(3))
    assert K.sum(x, 1).shape == (0,) and K.max(x, 1).shape == (0,) and K.argmax(x, 1).shape == (0,)
    assert np.isnan(K.mean(x))
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match="at least one element"):
            getattr(K, name)(x, 0)
    assert K.sum_backward(np.ones(3, dtype), x, 0).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [None, (0,), (1,), (0, 2), (1, 2), ()])
def test_backward(axes, dtype):
    x = np.round(data((6, 700, 3), dtype), 1)
    keep = x.sum(axes, keepdims=True)
    g = data(x.sum(axes).shape, dtype, 1)
    x64, g64 = x.astype(np.float64), g.astype(np.float64).reshape(keep.shape)
    count = x.size / g.size
    hits = x == x.max(axes, keepdims=True)
    lows = x == x.min(axes, keepdims=True)
    norm = np.sqrt((x64**2).sum(axes, keepdims=True))
    centred = x64 - x64.mean(axes, keepdims=True)
    deviation = x64.std(axes, keepdims=True)
    ones = np.ones(x.shape)
    with np.errstate(all="ignore"):
        for name, expected in [
            ("sum", g64 * ones),
            ("mean", g64 / count * ones),
            ("max", g64 * hits / hits.sum(axes, keepdims=True)),
            ("min", g64 * lows / lows.sum(axes, keepdims=True)),
            ("sum_squares", 2 * g64 * x64),
            ("norm", np.where(norm == 0, 0, g64 * x64 / norm)),
            ("var", 2 * g64 * centred / count),
            ("std", np.where(deviation == 0, 0, g64 * centred / count / deviation)),
        ]:
            got = getattr(K, f"{name}_backward")(g, x, axes)
            # var and std: the mean's rounding is an ULP of x, whatever the deviation.
            atol = 20 * eps(dtype) * np.abs(g64).max() * (np.abs(x64).max() if name == "var" else 1)
            np.testing.assert_allclose(got, expected, rtol=20 * eps(dtype), atol=atol, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prod_backward_with_zeros(dtype):
    x = np.array([[2, 3, 4], [0, 3, 4], [0, 0, 4]], dtype)
    got = K.prod_backward(np.array([1, 2, 3], dtype), x, 1)
    np.testing.assert_array_equal(got, np.array([[12, 8, 6], [24, 0, 0], [0, 0, 0]], dtype))


def test_strided_input_and_out():
    x = data((40, 60), np.float32)
    np.testing.assert_array_equal(K.sum(x[::2, ::3], 0), K.sum(x[::2, ::3].copy(), 0))
    out = np.empty(60, np.float32)
    assert K.mean(x, 0, out=out) is out
    np.testing.assert_array_equal(out, K.mean(x, 0))
    index = np.empty(40, np.int64)
    assert K.argmax(x, 1, out=index) is index


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 500, 4203), (3, 333, 2101), (2, 30_000, 37)])
def test_columns_of_large_arrays(shape, dtype):
    # 8 MiB and more are read in longer runs.
    x = data(shape, dtype, 4)
    x[-1, -1, -1], x[0, 200, 5] = np.inf, np.nan
    x64 = x.astype(np.float64 if dtype == np.float32 else np.longdouble)
    with np.errstate(invalid="ignore"):
        total, magnitude = x64.sum(1), np.abs(x64).sum(1)
    finite = np.isfinite(magnitude)
    got = K.sum(x, 1)
    assert (np.abs(got[finite] - total[finite]) <= 12 * eps(dtype) * magnitude[finite]).all()
    np.testing.assert_array_equal(got[~finite], total[~finite].astype(dtype))
    np.testing.assert_array_equal(K.max(x, 1), x.max(1))


def test_large_rows_are_those_of_small_arrays():
    # Fetched ahead from 10 Mi elements on: the same additions.
    x = data((11, 1 << 20), np.float32, 5)
    np.testing.assert_array_equal(K.sum(x, 1), np.array([K.sum(row) for row in x]))
    np.testing.assert_array_equal(K.norm(x, 1), np.array([K.norm(row) for row in x]))


@pytest.mark.parametrize("shape", [(1_000_000,), (50_000, 20), (20, 50_000), (100, 700, 15), (500, 4200)])
def test_threads_give_the_same_bits(shape):
    x = data(shape, np.float32, 3)
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        results.append([f(x, axis) for axis in all_axes(len(shape)) for f in (K.sum, K.var, K.max)])
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
