import numpy as np
import pytest
import reference_loss as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import run_backward

DTYPES = [np.float32, np.float64]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def data(shape, dtype, seed=0, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


# Elements of every size around the vector widths (2, 4, 8, 16 lanes) and their multiples of four.
SIZES = [1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 65, 100, 1000, 2049, 5000]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_rows(n, dtype):
    x = data((3, n), dtype, n)
    # exp errs by 2 ULP at most, its argument x - max by half an ULP of up to 20; the sum adds little.
    tol = 20 * eps(dtype)
    np.testing.assert_allclose(K.softmax(x), ref.softmax(x), rtol=tol, atol=0)
    np.testing.assert_allclose(K.log_softmax(x), ref.log_softmax(x), rtol=0, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    axis=st.integers(-4, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_axis(dtype, shape, axis, seed):
    if not -len(shape) <= axis < len(shape):
        axis = 0
    x = data(shape, dtype, seed)
    if x.size == 0:
        assert K.softmax(x, axis).shape == shape
        return
    tol = 20 * eps(dtype)
    np.testing.assert_allclose(K.softmax(x, axis), ref.softmax(x, axis), rtol=tol)
    np.testing.assert_allclose(K.log_softmax(x, axis), ref.log_softmax(x, axis), atol=tol, rtol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape,axis", [((4, 37), -1), ((3, 11, 19), 1), ((5, 1), -1), ((7, 3, 1), 0)])
def test_backward(shape, axis, dtype):
    x, g = data(shape, dtype, 1), data(shape, dtype, 2)
    y = ref.softmax(x, axis)
    g64 = g.astype(np.float64)
    tol = 50 * eps(dtype)
    (dx,) = run_backward("softmax", {"axis": axis}, [x], [g])
    np.testing.assert_allclose(dx, y * (g64 - (y * g64).sum(axis, keepdims=True)), rtol=0, atol=tol)
    (dx,) = run_backward("log_softmax", {"axis": axis}, [x], [g])
    # The sum of the gradients multiplies probabilities that are off by a few ULP.
    expected = g64 - y * g64.sum(axis, keepdims=True)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=tol * max(1.0, np.abs(g64).sum(axis).max()))


@pytest.mark.parametrize("axis", [0, 1])
def test_special_values(axis):
    inf, nan = np.inf, np.nan
    columns = np.array([[1e30, -1e30, 0], [-inf, 0, 0], [nan, 0, 1], [inf, 0, 1], [-inf] * 3, [3e38] * 3], np.float32)
    x = columns if axis == 1 else np.ascontiguousarray(columns.T)
    y = K.softmax(x, axis)
    y = y if axis == 1 else y.T
    np.testing.assert_array_equal(y[:2], np.array([[1, 0, 0], [0, 0.5, 0.5]], np.float32))
    assert np.isnan(y[2:5]).all()
    np.testing.assert_allclose(y[5], 1 / 3, rtol=1e-6)
    ly = K.log_softmax(x, axis)
    ly = ly if axis == 1 else ly.T
    assert ly[1, 0] == -inf and np.isnan(ly[2:5]).all()


def test_strided_input_and_out():
    x = data((6, 40), np.float32)
    np.testing.assert_array_equal(K.softmax(x[::2, ::3]), K.softmax(x[::2, ::3].copy()))
    expected = K.softmax(x)
    assert K.softmax(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("shape,axis", [((700, 100), 1), ((2, 50, 700), 1)])
def test_threads_give_the_same_bits(shape, axis):
    x, g = data(shape, np.float32, 3), data(shape, np.float32, 4)
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        r = [K.softmax(x, axis), K.log_softmax(x, axis)]
        r += run_backward("softmax", {"axis": axis}, [x], [g])
        r += run_backward("log_softmax", {"axis": axis}, [x], [g])
        results.append(r)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
