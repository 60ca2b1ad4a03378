"""Normalisation kernels against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import reference_norm as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import op, run_backward

CHANNELS = [1, 2, 3, 5, 8, 16, 20, 33, 63, 64, 65, 100, 520]
DTYPES = [np.float32, np.float64]


def normal(shape: tuple[int, ...], dtype: type, seed: int, mean: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) + mean).astype(dtype)


def tolerance(dtype: type) -> float:
    # Outputs of a few units; a statistic over n values of unit scale errs by some eps, blocked sums keep n out of it.
    return 40 * float(np.finfo(dtype).eps)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 700),
    st.sampled_from(CHANNELS),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_batch_norm(rows: int, c: int, dtype: type, affine: bool, relu: bool, unbiased: bool, seed: int) -> None:
    x = normal((rows, c), dtype, seed, mean=1.5)
    gamma, beta = (normal((c,), dtype, seed + 1), normal((c,), dtype, seed + 2)) if affine else (None, None)
    running_mean, running_var = normal((c,), dtype, seed + 3), np.abs(normal((c,), dtype, seed + 4)) + 0.5
    old_mean, old_var = running_mean.copy(), running_var.copy()
    unbiased = unbiased and rows > 1
    eps = 1e-3
    attrs = {"eps": eps, "momentum": 0.9, "unbiased_running_var": unbiased, "activation": "relu" if relu else None}
    inputs = [x, gamma, beta, running_mean, running_var]
    o = op("batch_norm", attrs)
    (y,), saved = o.forward(inputs, True)

    z, inv = ref.normalise(x, (0,), eps)
    g64, b64 = (1.0, 0.0) if gamma is None else (gamma.astype(np.float64), beta.astype(np.float64))
    expected = z * g64 + b64
    tol = tolerance(dtype) * (4 if rows < 8 else 1)  # few rows: a variance near eps magnifies what is there
    atol = tol * max(1.0, float(np.abs(g64).max()))  # what a statistic errs by comes out times gamma
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, rtol=tol, atol=atol)
    x64 = x.astype(np.float64)
    np.testing.assert_allclose(running_mean, 0.9 * old_mean + 0.1 * x64.mean(axis=0), rtol=tol, atol=tol)
    var = x64.var(axis=0, ddof=1 if unbiased else 0)
    np.testing.assert_allclose(running_var, 0.9 * old_var + 0.1 * var, rtol=tol, atol=tol)

    grad = normal(x.shape, dtype, seed + 5)
    got = o.backward(inputs, [y], saved, [grad], [True, True, True, False, False])
    g = grad.astype(np.float64) * (y > 0 if relu else 1.0)
    scale = float(inv.max()) * max(1.0, float(np.abs(z).max())) * np.sqrt(rows)
    np.testing.assert_allclose(got[0], ref.backward(z, inv, g * g64, (0,)), rtol=tol, atol=4 * tol * scale)
    if affine:
        np.testing.assert_allclose(got[1], (g * z).sum(axis=0), rtol=tol, atol=4 * tol * scale)
        np.testing.assert_allclose(got[2], g.sum(axis=0), rtol=tol, atol=tol * np.sqrt(rows))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", CHANNELS)
def test_batch_norm_with_running_statistics(c: int, dtype: type) -> None:
    x, gamma, beta = normal((3, 5, 7, c), dtype, 0), normal((c,), dtype, 1), normal((c,), dtype, 2)
    mean, var = normal((c,), dtype, 3), np.abs(normal((c,), dtype, 4)) + 0.1
    kept = mean.copy(), var.copy()
    inv = 1 / np.sqrt(var.astype(np.float64) + 1e-5)
    expected = (x - mean.astype(np.float64)) * inv * gamma + beta
    tol = tolerance(dtype)
    np.testing.assert_allclose(K.batch_norm(x, gamma, beta, mean, var), expected, rtol=tol, atol=tol)
    grad = normal(x.shape, dtype, 5)
    attrs = {"use_running_stats": True}
    got = run_backward("batch_norm", attrs, [x, gamma, beta, mean, var], [grad])
    assert got[3] is None and got[4] is None
    g = grad.astype(np.float64)
    np.testing.assert_allclose(got[0], g * inv * gamma, rtol=tol, atol=tol)
    products = (g * (x - mean.astype(np.float64)) * inv).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(got[1], products, rtol=tol, atol=30 * tol)
    np.testing.assert_allclose(got[2], g.sum(axis=(0, 1, 2)), rtol=tol, atol=10 * tol)
    assert np.array_equal(mean, kept[0]) and np.array_equal(var, kept[1])


@pytest.mark.parametrize("c", [1, 3, 64, 100])
def test_batch_norm_of_large_means(c: int) -> None:
    # float32 holds values around 1e4 to 1e-3, so nothing of a spread of 1 may be lost beyond that.
    x = normal((5000, c), np.float32, c, mean=1e4)
    z, _ = ref.normalise(x, (0,), 0.0)
    np.testing.assert_allclose(K.batch_norm(x, training=True, eps=0.0), z, rtol=0, atol=2e-6)
    z, _ = ref.normalise(x.T, (1,), 0.0)
    np.testing.assert_allclose(K.layer_norm(x.T, eps=0.0), z, rtol=0, atol=4e-6)


def test_batch_norm_without_running_statistics_uses_the_batch() -> None:
    x = normal((9, 4), np.float32, 0, mean=2.0)
    np.testing.assert_array_equal(K.batch_norm(x), K.batch_norm(x, training=True))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 9), min_size=0, max_size=2),
    st.sampled_from([(1, 1), (1, 6), (2, 4), (4, 4), (3, 60), (8, 64), (5, 75), (16, 16), (2, 140)]),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_group_norm(n: int, middle: list[int], gc: tuple[int, int], dtype: type, affine: bool, seed: int) -> None:
    groups, c = gc
    shape = (n, *middle, c)
    x = normal(shape, dtype, seed, mean=0.7)
    gamma, beta = (normal((c,), dtype, seed + 1), normal((c,), dtype, seed + 2)) if affine else (None, None)
    eps = 1e-2
    z, inv = ref.normalise(ref.grouped(x, groups), (1, 3), eps)
    g64, b64 = (np.float64(1), np.float64(0)) if gamma is None else (gamma.astype(np.float64), beta.astype(np.float64))
    expected = z.reshape(shape) * g64 + b64
    tol = 4 * tolerance(dtype)
    np.testing.assert_allclose(K.group_norm(x, groups, gamma, beta, eps=eps), expected, rtol=tol, atol=tol)
    if groups == c and middle:
        np.testing.assert_allclose(K.instance_norm(x, gamma, beta, eps=eps), expected, rtol=tol, atol=tol)
    grad = normal(shape, dtype, seed + 3)
    got = run_backward("group_norm", {"groups": groups, "eps": eps}, [x, gamma, beta], [grad])
    g = grad.astype(np.float64)
    grad_x = ref.backward(z, inv, ref.grouped(g * g64, groups), (1, 3)).reshape(shape)
    np.testing.assert_allclose(got[0], grad_x, rtol=tol, atol=10 * tol * float(inv.max()))
    if affine:
        axes = tuple(range(len(shape) - 1))
        count = np.sqrt(x.size / c)
        np.testing.assert_allclose(got[1], (g * z.reshape(shape)).sum(axis=axes), rtol=tol, atol=10 * tol * count)
        np.testing.assert_allclose(got[2], g.sum(axis=axes), rtol=tol, atol=tol * count)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 64, 65, 300, 4097, 9000]),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_row_norms(rows: int, d: int, dtype: type, center: bool, scale: bool, shift: bool, seed: int) -> None:
    rows = min(rows, 1 + 40000 // d)
    x = normal((rows, d), dtype, seed, mean=0.7)
    gamma = normal((d,), dtype, seed + 1) if scale else None
    beta = normal((d,), dtype, seed + 2) if shift and center else None
    name, inputs = ("layer_norm", [x, gamma, beta]) if center else ("rms_norm", [x, gamma])
    eps = 1e-2
    z, inv = ref.normalise(x, (1,), eps, center)
    g64 = 1.0 if gamma is None else gamma.astype(np.float64)
    (y,), _ = op(name, {"eps": eps}).forward(inputs)
    tol = 2 * tolerance(dtype)
    np.testing.assert_allclose(y, z * g64 + (0.0 if beta is None else beta), rtol=tol, atol=tol)
    grad = normal(x.shape, dtype, seed + 3)
    got = run_backward(name, {"eps": eps}, inputs, [grad])
    g = grad.astype(np.float64)
    expected = ref.backward(z, inv, g * g64, (1,), center)
    np.testing.assert_allclose(got[0], expected, rtol=tol, atol=10 * tol * float(inv.max()))
    if gamma is not None:
        np.testing.assert_allclose(got[1], (g * z).sum(axis=0), rtol=tol, atol=10 * tol * np.sqrt(rows))
    if beta is not None:
        np.testing.assert_allclose(got[2], g.sum(axis=0), rtol=tol, atol=tol * np.sqrt(rows))


def test_layer_norm_over_several_axes() -> None:
    x, gamma, beta = normal((4, 3, 5, 7), np.float32, 0), normal((5, 7), np.float32, 1), normal((5, 7), np.float32, 2)
    flat = K.layer_norm(x.reshape(12, 35), gamma.ravel(), beta.ravel())
    np.testing.assert_array_equal(K.layer_norm(x, gamma, beta, axes=2), flat.reshape(x.shape))
    np.testing.assert_array_equal(
        K.rms_norm(x, gamma, axes=2), K.rms_norm(x.reshape(12, 35), gamma.ravel()).reshape(x.shape)
    )


@pytest.mark.parametrize("c", [1, 5, 64])
def test_nan_stays_in_its_channel(c: int) -> None:
    x = normal((40, c), np.float32, 0)
    x[3, 0] = np.nan
    y = K.batch_norm(x, training=True)
    assert np.isnan(y[:, 0]).all() and not np.isnan(y[:, 1:]).any()
    y = K.layer_norm(x)
    assert np.isnan(y[3]).all() and not np.isnan(np.delete(y, 3, axis=0)).any()
    assert np.isnan(K.batch_norm(x, training=True, activation="relu")[:, 0]).all()


def test_empty_batches() -> None:
    x, one = np.empty((0, 4, 3), np.float32), np.ones(3, np.float32)
    mean, var = one.copy(), one.copy()
    assert K.batch_norm(x, one, one, mean, var, training=True).shape == x.shape
    assert mean.tolist() == var.tolist() == [1, 1, 1]
    for name, attrs in [("batch_norm", {}), ("group_norm", {"groups": 3}), ("instance_norm", {}), ("layer_norm", {})]:
        got = run_backward(name, attrs, [x, one, one], [x])
        assert got[0].shape == x.shape
        assert got[1].tolist() == got[2].tolist() == [0, 0, 0]


def test_strided_input_and_out() -> None:
    x = normal((6, 8), np.float32, 0).T
    out = np.empty(x.shape, np.float32)
    assert K.layer_norm(x, out=out) is out
    np.testing.assert_array_equal(out, K.layer_norm(np.ascontiguousarray(x)))


def test_bits_do_not_depend_on_threads() -> None:
    cases = [
        ("batch_norm", {}, (6, 40, 40, 24)),
        ("batch_norm", {"activation": "relu"}, (3, 50, 50, 128)),
        ("group_norm", {"groups": 8}, (3, 60, 60, 64)),
        ("group_norm", {"groups": 8}, (20, 9, 9, 64)),
        ("instance_norm", {}, (2, 90, 90, 12)),
        ("layer_norm", {}, (700, 129)),
    ]
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        found = []
        for name, attrs, shape in cases:
            x, grad = normal(shape, np.float32, 0), normal(shape, np.float32, 1)
            gamma, beta = normal(shape[-1:], np.float32, 2), normal(shape[-1:], np.float32, 3)
            found += op(name, attrs).forward([x, gamma, beta], True)[0]
            found += run_backward(name, attrs, [x, gamma, beta], [grad])
        results.append(found)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_large_outputs_are_those_of_parts(name: str) -> None:
    # From 16 MiB on (layer norm's from 8) results are written around the cache; short rows in it go two at a time.
    x, grad = normal((70_000, 64), np.float32, 0), normal((70_000, 64), np.float32, 1)
    rest = [normal((64,), np.float32, 2), normal((64,), np.float32, 3)]
    attrs = {}
    if name == "batch_norm":
        rest += [normal((64,), np.float32, 4), np.abs(normal((64,), np.float32, 5)) + 0.1]
        attrs = {"use_running_stats": True}
    y, dx = getattr(K, name)(x, *rest), run_backward(name, attrs, [x, *rest], [grad])[0]
    for part in (slice(0, 35_000), slice(35_000, 70_000), slice(7, 1008), slice(69_999, 70_000)):
        assert y[part].tobytes() == getattr(K, name)(x[part], *rest).tobytes()
        assert dx[part].tobytes() == run_backward(name, attrs, [x[part], *rest], [grad[part]])[0].tobytes()
