import math

import numpy as np
import pytest
import reference_random as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import _cpu
from lamella import kernels as K

DTYPES = [np.float32, np.float64]
KEYS = [(0, 0), (12345, 7), (2**64 - 1, 2**64 - 2), (2**33 + 1, 2**40 + 3)]
# Around the 32- to 64-word steps of the generator, its 256-word buffer, the 25024-element chunks.
SIZES = [0, 1, 2, 3, 4, 5, 17, 63, 64, 65, 255, 256, 257, 1000, 25_025, 60_001]


def test_reference_gives_the_published_vectors():
    cases = [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    for counter, key, expected in cases:
        assert " ".join(f"{w:08x}" for w in ref.philox(np.array(counter), key).tolist()) == expected


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("n", SIZES)
def test_uniform_bits(n, key):
    for dtype in DTYPES:
        np.testing.assert_array_equal(K.uniform(n, dtype=dtype, key=key), ref.uniform(key, n, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("low,high", [(-1.0, 1.0), (3.0, 3.0), (0.9999999, 1.0), (-1e-30, 1e30)])
def test_uniform_stays_below_high(low, high, dtype):
    u = K.uniform(100_000, low, high, dtype)
    lo, hi = dtype(low), dtype(high)
    assert u.dtype == dtype and (u >= lo).all() and ((u < hi).all() if lo < hi else (u == lo).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_normal(n, dtype):
    for key in KEYS[:2]:
        z = K.normal(n, dtype=dtype, key=key)
        # float32: the logarithm's argument has 24 bits; near 1 that makes r = sqrt(-2 log u) uncertain by
        # sqrt(2^-24) at most. Elsewhere a few eps of r <= 6.8.
        tol = 2.0**-12 if dtype == np.float32 else 1e-7
        expected = ref.normal(key, n, dtype)
        np.testing.assert_allclose(z, expected, rtol=0, atol=tol)
        usual = np.abs(expected) > 0.05
        np.testing.assert_allclose(z[usual], expected[usual], rtol=3e-4 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_moments(dtype):
    n = 400_000
    z = K.normal(n, 1.5, 2.0, dtype, key=(1, 2)).astype(np.float64)
    d = (z - 1.5) / 2.0
    # Five standard errors of each moment: sqrt(var(z^k) / n).
    for k, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        assert abs((d**k).mean() - moment) < 5 * math.sqrt(variance / n)
    assert 4.0 < np.abs(d).max() < 7.0
    assert abs((d[::2] * d[1::2]).mean()) < 5 / math.sqrt(n / 2)


def phi(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("low,high", [(None, None), (-3.5, 0.5), (1.0, 1.25), (-8.0, 9.0)])
def test_truncated_normal(low, high, dtype):
    n = 40_000 if dtype == np.float64 else 200_000
    z = K.truncated_normal(n, 0.5, 1.0, low, high, dtype, key=(3, 4)).astype(np.float64)
    low, high = (-1.5, 2.5) if low is None else (low, high)
    a, b = phi(low - 0.5), phi(high - 0.5)
    assert z.min() >= np.nextafter(dtype(low), dtype(-9)) and z.max() <= np.nextafter(dtype(high), dtype(10))
    # Kolmogorov-Smirnov: the distribution function's values are uniform; 2.2 / sqrt(n) is exceeded once in 10^4.
    u = np.sort([(phi(v - 0.5) - a) / (b - a) for v in z])
    assert np.abs(u - (np.arange(n) + 0.5) / n).max() < 2.2 / math.sqrt(n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 0.5, 1.0])
def test_bernoulli(p, dtype):
    for n in SIZES:
        expected = (ref.words((5, 6), n) < ref.threshold(p)).astype(dtype)
        np.testing.assert_array_equal(K.bernoulli(n, p, dtype, key=(5, 6)), expected)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 255, 256, 257, 3000])
def test_permutation(n):
    for key in KEYS[:2]:
        np.testing.assert_array_equal(K.permutation(n, key=key), ref.permutation(key, n))


def test_permutations_are_evenly_distributed():
    counts = np.zeros(24, np.int64)
    for s in range(6000):
        p = K.permutation(4, key=(99, s))
        counts[int(p[0] * 6 + sum(x < p[1] for x in p[2:]) * 2 + (p[2] > p[3]))] += 1
    # Chi squared with 23 degrees of freedom: above 60 once in 40,000.
    assert ((counts - 250) ** 2 / 250).sum() < 60


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    shape=st.lists(st.sampled_from([1, 2, 3, 5, 17, 300]), min_size=1, max_size=3)
    .map(tuple)
    .filter(lambda shape: math.prod(shape) <= 100_000),
    rate=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    shared=st.integers(0, 7),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_dropout(dtype, shape, rate, shared, seed):
    noise = [1 if shared >> i & 1 else -1 for i in range(len(shape))]
    if [n for n, d in zip(noise, shape, strict=True) if d > 1] == [1, -1, 1]:
        return
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    op = _cpu.Op("dropout", {"rate": rate, "noise_shape": noise})
    lamella.seed(seed)
    (y,), (key,) = op.forward([x], True)
    assert tuple(key) == (seed, 0, 0)
    drawn = tuple(1 if n == 1 else d for n, d in zip(noise, shape, strict=True))
    keep = (ref.words(key[:2], int(np.prod(drawn))) >= ref.threshold(rate)).reshape(drawn)
    scale = dtype(1 / (1 - rate)) if rate < 1 else dtype(0)
    np.testing.assert_array_equal(y, np.where(keep, x * scale, 0))
    g = np.random.default_rng(seed + 1).standard_normal(shape).astype(dtype)
    (dx,) = op.backward([x], [y], [key], [g], [True])
    np.testing.assert_array_equal(dx, np.where(keep, g * scale, 0))


def test_dropout_is_identity_outside_training():
    x = np.arange(5, dtype=np.float32)
    before = _cpu.rng_state()
    (y,), saved = _cpu.Op("dropout", {"rate": 0.5}).forward([x], False)
    np.testing.assert_array_equal(x, y)
    assert saved == [] and _cpu.rng_state() == before
    np.testing.assert_array_equal(K.dropout(x, 0.0), x)


def test_dropped_nan_is_zero_and_dropout_runs_in_place():
    x = np.full(1000, np.nan, np.float32)
    y = K.dropout(x, 0.5)
    assert set(np.unique(np.isnan(y))) == {False, True} and (y[~np.isnan(y)] == 0).all()
    z = np.ones(1000, np.float32)
    assert K.dropout(z, 0.25, out=z) is z
    assert set(np.unique(z).tolist()) == {0.0, float(np.float32(1 / 0.75))}


@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_noise_and_dropout(dtype):
    x = np.linspace(-2, 2, 30_001).astype(dtype)
    lamella.seed(11)
    (y,), (key,) = _cpu.Op("gaussian_noise", {"stddev": 0.5}).forward([x], True)
    z = K.normal(x.size, dtype=dtype, key=tuple(key[:2].tolist()))
    np.testing.assert_allclose(y, x + dtype(0.5) * z, rtol=0, atol=4e-7)
    op = _cpu.Op("gaussian_dropout", {"rate": 0.2})
    (y,), (key,) = op.forward([x], True)
    z = K.normal(x.size, dtype=dtype, key=tuple(key[:2].tolist()))
    np.testing.assert_allclose(y, x * (1 + dtype(0.5) * z), rtol=0, atol=2e-6)
    g = np.ones_like(x)
    (dx,) = op.backward([x], [y], [key], [g], [True])
    np.testing.assert_allclose(dx, 1 + dtype(0.5) * z, rtol=0, atol=1e-6)


def test_seed_repeats_everything():
    def draw():
        lamella.seed(42)
        x = np.ones(100, np.float32)
        return [K.uniform(5), K.normal(5), K.truncated_normal(5), K.bernoulli(5), K.permutation(5), K.dropout(x, 0.5)]

    first, second = draw(), draw()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(K.uniform(5), K.uniform(5))


def test_threads_give_the_same_bits():
    n = 100_003
    x = np.ones((7, 500, 33), np.float32)
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        lamella.seed(8)
        results.append(
            [
                K.uniform(n),
                K.normal(n),
                K.normal(n, dtype=np.float64),
                K.truncated_normal(n),
                K.bernoulli(n),
                K.dropout(x, 0.3),
                K.dropout(x, 0.3, (-1, 1, -1)),
            ]
        )
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
