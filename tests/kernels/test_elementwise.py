import numpy as np
import pytest
import reference_elementwise as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import run, run_backward

DTYPES = [np.float32, np.float64]
# Around the vector widths (2, 4, 8, 16 lanes), their multiples of four, and blocks of 64, 512 and 1024.
SIZES = [0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 63, 64, 65, 129, 511, 513, 1025, 5000]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def data(shape, dtype, seed=0, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation(name, dtype):
    for n in SIZES:
        x = data(n, dtype, n)
        got = K.activation(x, name)
        # Functions err by 2 ULP. In float64 the argument of erfc and of gelu_tanh's sigmoid, up to 100, errs by an ULP
        # of its own, which the exponential function magnifies; so it does in the reference.
        rtol = 2 if dtype == np.float32 else 200
        np.testing.assert_allclose(
            got,
            ref.ACTIVATIONS[name](x.astype(np.float64)),
            rtol=rtol * eps(dtype),
            atol=2 * np.finfo(dtype).smallest_subnormal,
        )
        assert got.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation_limits(name, dtype):
    x = np.array([-np.inf, -1e30, -200, -90, 90, 1e30, np.inf, np.nan], dtype)
    got = K.activation(x, name)
    grad = K.activation_backward(np.ones_like(x), x, name)
    assert np.isnan(got[-1])
    lowest = {"identity": -np.inf, "leaky_relu": -np.inf, "elu": -1, "tanh": -1, "softsign": -1}
    lowest["selu"] = -ref.SELU_ALPHA * ref.SELU_SCALE
    np.testing.assert_allclose(got[0], lowest.get(name, 0.0), rtol=4 * eps(dtype))
    highest = {"sigmoid": 1, "tanh": 1, "hard_sigmoid": 1, "softsign": 1, "relu6": 6}
    np.testing.assert_allclose(got[-2], highest.get(name, np.inf))
    if name != "exp":
        assert np.isfinite(got[1:-2]).all()
        # Slopes stay finite, and NaN-free, all the way out.
        assert np.isfinite(grad[:-1]).all()


def slope(f, x):
    """f'(x) by a five-point rule: about 1e-10 off where f is smooth over the step."""
    h = 1e-3
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation_backward(name, dtype):
    x = data(3000, dtype, 1)
    x = x[np.min(np.abs(x[:, None] - np.array([-3, 0, 3, 6])), axis=1) > 0.01]  # kinks
    g = data(x.shape, dtype, 2)
    expected = g * slope(ref.ACTIVATIONS[name], x.astype(np.float64))
    scale = np.abs(expected).max()
    # From y the slope 1 - y loses what y has lost: an ULP of 1. The rule's own error is 1e-9.
    tol = scale * max(8 * eps(dtype), 1e-8)
    np.testing.assert_allclose(K.activation_backward(g, x, name), expected, rtol=0, atol=tol)
    function = getattr(K, f"{name}_backward", None)
    if function is not None:
        np.testing.assert_allclose(function(g, x), expected, rtol=0, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
def test_alpha(name, alpha, dtype):
    x, g = data(100, dtype), data(100, dtype, 1)
    x64 = x.astype(np.float64)
    below = alpha * (x64 if name == "leaky_relu" else np.expm1(x64))
    inner = alpha if name == "leaky_relu" else alpha * np.exp(x64)
    np.testing.assert_allclose(K.activation(x, name, alpha), np.where(x < 0, below, x64), rtol=4 * eps(dtype))
    np.testing.assert_allclose(
        K.activation_backward(g, x, name, alpha),
        np.where(x < 0, inner, 1) * g,
        rtol=8 * eps(dtype),
        atol=4 * eps(dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ref.UNARY)
def test_unary(name, dtype):
    positive = name in ("sqrt", "rsqrt", "log", "log1p")
    for n in SIZES:
        x = data(n, dtype, n + 1)
        x = np.abs(x) + dtype(0.01) if positive else x
        with np.errstate(all="ignore"):
            expected = ref.UNARY[name](x.astype(np.float64))
        np.testing.assert_allclose(getattr(K, name)(x), expected, rtol=3 * eps(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_large_values(dtype):
    big = 2.0 ** np.arange(20, 55)
    x = np.concatenate([big, big + 0.5, -big - 0.5, big * 1.5 + 1, [0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30]]).astype(
        dtype
    )
    for name in ("floor", "ceil", "round"):
        np.testing.assert_array_equal(getattr(K, name)(x), getattr(np, name)(x), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip(dtype):
    x = np.append(data(1000, dtype), [np.nan, np.inf, -np.inf]).astype(dtype)
    for low, high in [(-1, 2), (None, 0.5), (-0.5, None)]:
        np.testing.assert_array_equal(K.clip(x, low, high), np.clip(x, low, high))
        g = data(x.shape, dtype, 5)
        inside = (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
        np.testing.assert_array_equal(K.clip_backward(g, x, low, high), np.where(inside, g, 0))


# Every way the walk over broadcast operands goes: flat, rows, columns, channels, scalars, several dimensions, short and
# long innermost ones.
PAIRS = [
    ((5,), (5,)),
    ((), (4, 5)),
    ((7, 1), ()),
    ((4, 1, 3), (2, 1)),
    ((1000, 3), (3,)),
    ((1000, 3), (1000, 1)),
    ((7, 600), (600,)),
    ((7, 600), (7, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((9, 5, 5, 8), (8,)),
    ((0, 3), (3,)),
    ((1,), (0,)),
    ((3, 1, 700), (1, 5, 700)),
    ((3, 5, 700), (5, 1)),
    ((30, 7, 9), (30, 1, 9)),
    ((2, 1, 2, 1, 2, 1, 2, 1), (1, 3, 1, 3, 1, 3, 1, 3)),
    ((2, 40000), (40000,)),
    ((40000, 2), (2,)),
    ((2, 5, 1030), (2, 1, 1)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sa,sb", PAIRS)
def test_binary(sa, sb, dtype):
    for a, b in ((data(sa, dtype, 1), data(sb, dtype, 2)), (data(sb, dtype, 3), data(sa, dtype, 4))):
        for name in set(ref.BINARY) - {"pow"}:
            np.testing.assert_array_equal(getattr(K, name)(a, b), ref.BINARY[name](a, b), err_msg=name)
        p, q = np.abs(a) + dtype(0.1), b
        np.testing.assert_allclose(
            K.pow(p, q), np.power(p.astype(np.float64), q.astype(np.float64)), rtol=4 * eps(dtype)
        )
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
            a2, b2 = np.round(a), np.round(b)
            np.testing.assert_array_equal(getattr(K, name)(a2, b2), getattr(np, name)(a2, b2), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ref.BINARY)
@pytest.mark.parametrize("sa,sb", PAIRS)
def test_binary_backward(sa, sb, name, dtype):
    a, b = data(sa, dtype, 1), data(sb, dtype, 2)
    a = np.round(a) if name in ("maximum", "minimum") else np.abs(a) + dtype(0.1) if name == "pow" else a
    b = np.round(b) if name in ("maximum", "minimum") else np.sign(b) + b if name == "div" else b
    a, b = np.asarray(a, dtype), np.asarray(b, dtype)
    g = data(np.broadcast_shapes(sa, sb), dtype, 3)
    grads = getattr(K, f"{name}_backward")(g, a, b)
    full = ref.binary_gradients(name, *(v.astype(np.float64) for v in (g, a, b)))
    for got, of, like in zip(grads, full, (a, b), strict=True):
        assert got.shape == like.shape and got.dtype == dtype
        # Blocked sums: a few ULP of the sum of magnitudes.
        scale = ref.sum_to(np.abs(of), like.shape)
        assert (np.abs(got - ref.sum_to(of, like.shape)) <= 10 * eps(dtype) * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sa,sb", PAIRS)
def test_where(sa, sb, dtype):
    rng = np.random.default_rng(0)
    a, b = data(sa, dtype, 1), data(sb, dtype, 2)
    for condition in (
        rng.integers(0, 2, sb).astype(bool),
        rng.integers(0, 2, np.broadcast_shapes(sa, sb)).astype(np.uint8),
    ):
        got = K.where(condition, a, b)
        np.testing.assert_array_equal(got, np.where(condition, a, b))
        g = data(got.shape, dtype, 3)
        grads = run_backward("where", {}, [condition, a, b], [g])
        assert grads[0] is None
        zero = np.zeros_like(g)
        for grad, full, like in (
            (grads[1], np.where(condition, g, zero), a),
            (grads[2], np.where(condition, zero, g), b),
        ):
            full = np.asarray(full, np.float64)
            scale = ref.sum_to(np.abs(full), like.shape)
            assert (np.abs(grad - ref.sum_to(full, like.shape)) <= 10 * eps(dtype) * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(data_=st.data(), seed=st.integers(0, 999))
@settings(max_examples=80, deadline=None)
def test_any_broadcast(dtype, data_, seed):
    out = data_.draw(st.lists(st.integers(0, 6), max_size=5))
    shapes = []
    for _ in range(2):
        kept = data_.draw(st.lists(st.booleans(), min_size=len(out), max_size=len(out)))
        start = data_.draw(st.integers(0, len(out)))
        shapes.append(tuple(n if k else 1 for n, k in zip(out, kept, strict=True))[start:])
    a, b = data(shapes[0], dtype, seed), data(shapes[1], dtype, seed + 1)
    np.testing.assert_array_equal(K.mul(a, b), a * b)
    g = data(np.broadcast_shapes(*shapes), dtype, seed + 2)
    for got, full, like in zip(K.mul_backward(g, a, b), (g * b, g * a), (a, b), strict=True):
        full = np.broadcast_to(full, g.shape).astype(np.float64)
        assert got.shape == like.shape
        scale = ref.sum_to(np.abs(full), like.shape)
        assert (np.abs(got - ref.sum_to(full, like.shape)) <= 10 * eps(dtype) * scale).all()


def test_nan_wins():
    nan = np.nan
    a, b = np.array([nan, 1, nan, 0], np.float32), np.array([1, nan, nan, -0.0], np.float32)
    np.testing.assert_array_equal(K.maximum(a, b), np.maximum(a, b))
    np.testing.assert_array_equal(K.minimum(a, b), np.minimum(a, b))


def test_strided_inputs_and_out():
    x = data((40, 60), np.float32)
    view = x[::2, ::3]
    np.testing.assert_array_equal(K.exp(view), K.exp(view.copy()))
    np.testing.assert_array_equal(K.add(view, view.T[:1, :1]), view + view.T[:1, :1])
    expected = K.tanh(x)
    assert K.tanh(x, out=x) is x
    np.testing.assert_array_equal(x, expected)
    y = data((40, 60), np.float32, 1)
    total = x + y
    assert K.add(x, y, out=x) is x
    np.testing.assert_array_equal(x, total)


def test_large_outputs_are_streamed_alike():
    # 16 MiB and more go around the caches; odd starts make the first line a partial one.
    base = data(2**22 + 50, np.float32)
    for start in (0, 1, 7):
        x = base[start : start + 2**22 + 3]
        out = np.zeros(x.size + 20, np.float32)
        target = out[5 : 5 + x.size]
        K.relu(x, out=target)
        np.testing.assert_array_equal(target, np.maximum(x, 0))
        assert (out[:5] == 0).all() and (out[5 + x.size :] == 0).all()
        np.testing.assert_array_equal(K.add(x, x[:1]), x + x[:1])


def test_threads_give_the_same_bits():
    x, g = data((3000, 37), np.float32, 3), data((3000, 37), np.float32, 4)
    row = data(37, np.float32, 5)
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        results.append([K.gelu(x), K.add(x, row), *K.mul_backward(g, x, row), *K.div_backward(g, x, row[:1])])
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


def test_numbers_take_the_dtype_of_the_array():
    x = data(5, np.float32)
    assert K.add(x, 2).dtype == np.float32 and K.div(1.0, x).dtype == np.float32
    with pytest.raises(TypeError, match="float64"):
        run("add", {}, [x, x.astype(np.float64)])
