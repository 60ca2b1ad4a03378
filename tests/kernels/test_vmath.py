"""At most 2 ULP in float32 over all bit patterns (sampled), and a few in float64."""

import math

import numpy as np
import pytest

from lamella import kernels as K

SELU_ALPHA, SELU_SCALE = (
    np.longdouble("1.6732632423543772848170429916717"),
    np.longdouble("1.0507009873554804934193349852946"),
)
# A prime stride visits every exponent and sign, and all low bits in turn: some 215,000 patterns.
STRIDE = 19_997


def erf(x):
    return np.array([math.erf(v) for v in x.ravel().tolist()]).reshape(x.shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gate(x, g):
    """x g(x), which vanishes at -inf."""
    with np.errstate(invalid="ignore"):
        return np.where(x == -np.inf, 0, x * g)


def gelu(x):
    tail = np.array([math.erfc(v) for v in (-x / math.sqrt(2)).ravel().tolist()]).reshape(x.shape)
    return gate(x, 0.5 * tail)


def gelu_tanh_argument(x):
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x)


def mish(x):
    e = np.exp(np.minimum(x, x.dtype.type(100)))
    n = e * (e + 2)
    return gate(x, n / (n + 2))


FUNCTIONS = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda x: np.logaddexp(x.dtype.type(0), x),
    "erf": erf,
    "sin": np.sin,
    "cos": np.cos,
    "gelu": gelu,
    "gelu_tanh": lambda x: gate(x, sigmoid(gelu_tanh_argument(x))),
    "silu": lambda x: gate(x, sigmoid(x)),
    "mish": mish,
    "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "selu": lambda x: SELU_SCALE * np.where(x < 0, SELU_ALPHA * np.expm1(x), x),
}


def ulp_error(got, exact, dtype):
    """Distance in units of the last place of `dtype` at the exact value, which has more digits."""
    info = np.finfo(dtype)
    exponent = np.maximum(np.frexp(exact)[1], info.minexp + 1)
    return np.abs(got.astype(exact.dtype) - exact) / np.ldexp(exact.dtype.type(1), exponent - info.nmant - 1)


def check(name, x, bound):
    got = getattr(K, name)(x)
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(wide))
        rounded = exact.astype(x.dtype)
        finite = np.isfinite(rounded)
        error = ulp_error(got[finite], exact[finite], x.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    # Where the exact value overflows, so may the result; the largest finite number is as near.
    over = np.isinf(rounded)
    assert (np.abs(got[over]) >= np.finfo(x.dtype).max).all()
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{name}({x[finite][worst]!r}): {error[worst]} ULP"


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("part", range(4))
def test_float32_within_2_ulp(name, part):
    bits = np.arange(part * 4999, 2**32, 4 * STRIDE, dtype=np.uint64).astype(np.uint32)
    check(name, bits.view(np.float32), 2.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_dense_where_it_matters(name):
    # Around 0 and through the ranges where reductions switch.
    check(name, np.linspace(-6, 6, 60_001, dtype=np.float32), 2.0)
    check(name, np.linspace(-16, 4, 60_001, dtype=np.float32), 2.0)
    check(name, np.linspace(-115, 95, 60_001, dtype=np.float32), 2.0)


# Slopes: relative to the larger of the two terms that they are the sum of, which cancel at one place.
SLOPES = {
    "gelu": lambda x: (gelu(x) / x, x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
    "gelu_tanh": lambda x: (
        sigmoid(gelu_tanh_argument(x)),
        sigmoid(gelu_tanh_argument(x))
        * sigmoid(-gelu_tanh_argument(x))
        * (gelu_tanh_argument(x) + math.sqrt(8 / math.pi) * 2 * 0.044715 * x**3),
    ),
    "silu": lambda x: (sigmoid(x), x * sigmoid(x) * sigmoid(-x)),
    "mish": lambda x: (mish(x) / x, x * 4 * np.exp(x) * (np.exp(x) + 1) / (np.exp(x) * (np.exp(x) + 2) + 2) ** 2),
}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_keep_their_digits(name):
    # Down to where they are subnormal; from 80 on exp(x)^2 overflows in the reference.
    for low, high in ((-16, -1e-3), (1e-3, 6), (-115, -1), (1, 40)):
        x = np.linspace(low, high, 30_001, dtype=np.float32)
        with np.errstate(over="ignore"):
            first, second = SLOPES[name](x.astype(np.float64))
        exact = first + second
        error = np.abs(K.activation_backward(np.ones_like(x), x, name) - exact)
        unit = np.spacing(np.maximum(np.abs(exact), np.maximum(np.abs(first), np.abs(second))).astype(np.float32))
        worst = int((error / unit).argmax())
        assert error[worst] <= 6 * unit[worst], f"{name}' at {x[worst]!r}: {error[worst] / unit[worst]} ULP"


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double has no more digits than double")
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"erf", "gelu", "gelu_tanh"}))
def test_float64(name):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(-20, 20, 20_000), rng.uniform(-750, 710, 20_000), rng.standard_normal(20_000) * 1e-3]
    )
    check(name, x, 4.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    inf, nan = np.inf, np.nan
    x = np.array([0.0, -0.0, inf, -inf, nan], dtype)
    with np.errstate(all="ignore"):
        for name, reference in FUNCTIONS.items():
            got = getattr(K, name)(x)
            expected = reference(x.astype(np.float64))
            if name in ("sin", "cos"):
                expected[2:4] = nan
            np.testing.assert_allclose(got, expected.astype(dtype), rtol=np.finfo(dtype).eps, err_msg=name)
    for odd in ("expm1", "log1p", "tanh", "erf", "sin", "floor", "ceil", "round"):
        assert np.signbit(getattr(K, odd)(x[:2])).tolist() == [False, True], odd


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormals_and_limits(dtype):
    info = np.finfo(dtype)
    tiny = np.array([info.smallest_subnormal, info.smallest_subnormal * 3, info.tiny, -info.smallest_subnormal], dtype)
    for name in ("expm1", "log1p", "tanh", "sin"):
        np.testing.assert_array_equal(getattr(K, name)(tiny), tiny, err_msg=name)
    np.testing.assert_allclose(K.log(tiny[:3]), np.log(tiny[:3].astype(np.longdouble)).astype(dtype), rtol=2 * info.eps)
    edge = np.array([np.log(info.max) * 0.9999, np.log(info.max) * 1.001, np.log(info.smallest_subnormal) - 1], dtype)
    got = K.exp(edge)
    assert np.isfinite(got[0]) and got[1] == np.inf and got[2] == 0


@pytest.mark.parametrize("dtype,bound", [(np.float32, 2.0), (np.float64, 4.0)])
def test_pow(dtype, bound):
    rng = np.random.default_rng(1)
    wide = np.float64 if dtype == np.float32 else np.longdouble
    a = np.concatenate([np.exp(rng.uniform(-80, 80, 40_000)), rng.uniform(0, 4, 40_000)]).astype(dtype)
    reach = 80 if dtype == np.float32 else 600
    b = (rng.uniform(-1, 1, a.size) * reach / (np.abs(np.log(a)) + 0.01)).astype(dtype)
    exact = np.power(a.astype(wide), b.astype(wide))
    error = ulp_error(K.pow(a, b), exact, dtype)
    assert error.max() <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_special_values(dtype):
    values = [0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 2.5, np.inf, -np.inf, np.nan, 1e-40, -7, 7, 1e20]
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = np.power(a.astype(np.float64), b.astype(np.float64)).astype(dtype)
    got = K.pow(a, b)
    finite = np.isfinite(expected) & (np.abs(expected) >= np.finfo(dtype).tiny)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(got[~np.isfinite(expected)], expected[~np.isfinite(expected)])
    np.testing.assert_array_equal(np.signbit(got[~np.isnan(expected)]), np.signbit(expected[~np.isnan(expected)]))
