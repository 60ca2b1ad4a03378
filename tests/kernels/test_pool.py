"""Pooling kernels against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_pool as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import op, run_backward

# Widths around the vectors of every ISA level (4, 8, 16 floats, 2 doubles) and their multiples by 4.
CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 32, 33, 64, 70]


@st.composite
def sliding_cases(draw: st.DrawFn, dilations: tuple[int, ...]) -> dict[str, Any]:
    axes = []
    for _ in range(2):
        window = draw(st.integers(1, 4))
        dilation = draw(st.sampled_from(dilations))
        extent = (window - 1) * dilation + 1
        lo, hi = draw(st.integers(0, min(2, extent - 1))), draw(st.integers(0, min(2, extent - 1)))
        size = draw(st.integers(max(1, extent - lo - hi), extent + 9))
        if dilation > 1:
            size = max(size, extent)  # no window may step over the input
        axes.append((window, draw(st.integers(1, 3)), dilation, lo, hi, size))
    return {
        "h": axes[0],
        "w": axes[1],
        "n": draw(st.integers(1, 3)),
        "c": draw(st.sampled_from(CHANNELS)),
        "ceil": draw(st.booleans()),
        "dtype": draw(st.sampled_from([np.float32, np.float64])),
        "seed": draw(st.integers(0, 2**31)),
    }


def spans_of(case: dict[str, Any]) -> tuple[ref.Spans, ref.Spans]:
    h, w = (ref.sliding(n, k, s, lo, hi, d, case["ceil"]) for k, s, d, lo, hi, n in (case["h"], case["w"]))
    return h, w


def attrs_of(case: dict[str, Any]) -> dict[str, Any]:
    (kh, sh, _, top, bottom, _), (kw, sw, _, left, right, _) = case["h"], case["w"]
    return {"window": [kh, kw], "stride": [sh, sw], "padding": [top, bottom, left, right], "ceil_mode": case["ceil"]}


def input_of(case: dict[str, Any], levels: int | None = None) -> np.ndarray:
    """Normal values, or (levels) few distinct ones, so that windows hold ties."""
    rng = np.random.default_rng(case["seed"])
    shape = (case["n"], case["h"][5], case["w"][5], case["c"])
    x = rng.standard_normal(shape) if levels is None else rng.integers(0, levels, shape)
    return x.astype(case["dtype"])


@settings(max_examples=120, deadline=None)
@given(sliding_cases((1, 1, 2)))
def test_max_pool2d(case: dict[str, Any]) -> None:
    x = input_of(case, levels=4)
    rows, cols = spans_of(case)
    attrs = attrs_of(case) | {"dilation": [case["h"][2], case["w"][2]]}
    expected = ref.max_pool(x, rows, cols)
    np.testing.assert_array_equal(K.max_pool2d(x, **attrs), expected)
    grad = np.random.default_rng(1).integers(-8, 8, expected.shape).astype(x.dtype)  # exact sums
    (got,) = run_backward("max_pool2d", attrs, [x], [grad])
    np.testing.assert_array_equal(got, ref.max_pool_backward(x, rows, cols, grad))


@settings(max_examples=120, deadline=None)
@given(sliding_cases((1,)), st.booleans(), st.sampled_from([0, 0, 3]))
def test_avg_pool2d(case: dict[str, Any], include_pad: bool, divisor: int) -> None:
    (kh, sh, _, top, bottom, h), (kw, sw, _, left, right, w) = case["h"], case["w"]
    x = input_of(case)
    rows, cols = spans_of(case)
    attrs = attrs_of(case) | {"count_include_pad": include_pad, "divisor": divisor or None}
    counts = None
    if include_pad:
        counts = (
            ref.padded_counts(h, kh, sh, top, bottom, len(rows)),
            ref.padded_counts(w, kw, sw, left, right, len(cols)),
        )
    expected = ref.avg_pool(x.astype(np.float64), rows, cols, counts, divisor)
    # At most 16 terms of unit scale, each rounded a few times.
    tol = 16 * np.finfo(x.dtype).eps * max(1.0, float(np.abs(x).max()))
    np.testing.assert_allclose(K.avg_pool2d(x, **attrs), expected, rtol=0, atol=tol)
    grad = np.random.default_rng(1).standard_normal(expected.shape).astype(x.dtype)
    (got,) = run_backward("avg_pool2d", attrs, [x], [grad])
    expected = ref.avg_pool_backward(x.shape, rows, cols, grad.astype(np.float64), counts, divisor)
    np.testing.assert_allclose(got, expected, rtol=0, atol=64 * np.finfo(x.dtype).eps)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 14),
    st.integers(1, 14),
    st.sampled_from(CHANNELS),
    st.integers(0, 2**31),
)
def test_adaptive_pool2d(h: int, w: int, oh: int, ow: int, c: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 5, (2, h, w, c)).astype(np.float32)
    rows, cols = ref.adaptive(h, oh), ref.adaptive(w, ow)
    attrs = {"output_size": [oh, ow]}
    expected = ref.max_pool(x, rows, cols)
    np.testing.assert_array_equal(K.adaptive_max_pool2d(x, [oh, ow]), expected)
    grad = rng.integers(-8, 8, expected.shape).astype(np.float32)
    (got,) = run_backward("adaptive_max_pool2d", attrs, [x], [grad])
    np.testing.assert_array_equal(got, ref.max_pool_backward(x, rows, cols, grad))
    mean = ref.avg_pool(x.astype(np.float64), rows, cols)
    np.testing.assert_allclose(K.adaptive_avg_pool2d(x, [oh, ow]), mean, rtol=1e-6)  # exact sums, one division
    (got,) = run_backward("adaptive_avg_pool2d", attrs, [x], [grad])
    expected = ref.avg_pool_backward(x.shape, rows, cols, grad.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=0, atol=8 * 9 * 16 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("c", CHANNELS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 16), (150, 131)])
def test_global_pool(c: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(c)
    x = rng.integers(-99, 99, (2, *size, c)).astype(np.float32)
    flat = x.reshape(2, -1, c)
    np.testing.assert_array_equal(K.global_max_pool(x), flat.max(axis=1))
    assert K.global_max_pool(x, keepdims=True).shape == (2, 1, 1, c)
    # Sums of integers below 2^24 are exact in float32.
    np.testing.assert_allclose(K.global_avg_pool(x), flat.mean(axis=1, dtype=np.float64), rtol=1e-6)
    grad = rng.integers(-8, 8, (2, c)).astype(np.float32)
    (got,) = run_backward("global_max_pool", {}, [x], [grad])
    expected = np.zeros_like(flat)
    np.put_along_axis(expected, flat.argmax(axis=1)[:, None], grad[:, None], axis=1)
    np.testing.assert_array_equal(got, expected.reshape(x.shape))
    (got,) = run_backward("global_avg_pool", {}, [x], [grad])
    np.testing.assert_allclose(got, np.broadcast_to(grad[:, None, None] / flat.shape[1], x.shape), rtol=1e-6)


def test_global_avg_pool_is_accurate() -> None:
    # A plain running sum of 2^18 floats around 1 would lose 3 to 4 digits.
    x = np.random.default_rng(0).random((1, 512, 512, 3), np.float32) + 0.5
    expected = x.mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(K.global_avg_pool(x), expected, rtol=4e-7)


@pytest.mark.parametrize(("n", "window", "stride"), [(5, 2, 2), (6, 3, 2), (7, 3, 1), (8, 2, 3), (1, 3, 2), (9, 1, 2)])
@pytest.mark.parametrize("c", [1, 3, 16])
def test_same_padding(n: int, window: int, stride: int, c: int) -> None:
    x = np.random.default_rng(n).standard_normal((2, n, n + 1, c))
    spans = [ref.sliding(m, window, stride, *ref.same_padding(m, window, stride)) for m in (n, n + 1)]
    got = K.max_pool2d(x, window, stride, padding="same")
    assert got.shape == (2, -(-n // stride), -(-(n + 1) // stride), c)
    np.testing.assert_array_equal(got, ref.max_pool(x, *spans))
    np.testing.assert_allclose(
        K.avg_pool2d(x, window, stride, padding="same"), ref.avg_pool(x, *spans), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("c", CHANNELS)
def test_one_dimension(c: int) -> None:
    x = np.random.default_rng(c).standard_normal((2, 301, c)).astype(np.float32)
    for window, stride, padding in [(2, 2, "valid"), (3, 2, [1, 0]), (5, 1, 2), (4, 7, "valid")]:
        wide = [0, 0, *padding] if isinstance(padding, list) else [0, 0, padding, padding]
        attrs = {"padding": padding if isinstance(padding, str) else wide}
        for one, two in ((K.max_pool1d, K.max_pool2d), (K.avg_pool1d, K.avg_pool2d)):
            expected = two(x[:, None], [1, window], [1, stride], **attrs)[:, 0]
            np.testing.assert_array_equal(one(x, window, stride, padding=padding), expected)
    np.testing.assert_array_equal(K.adaptive_max_pool1d(x, 7), K.adaptive_max_pool2d(x[:, None], [1, 7])[:, 0])
    np.testing.assert_array_equal(K.adaptive_avg_pool1d(x, 7), K.adaptive_avg_pool2d(x[:, None], [1, 7])[:, 0])


@pytest.mark.parametrize("c", [1, 3, 16, 20])
@pytest.mark.parametrize("training", [False, True])
def test_nan_and_infinity(c: int, training: bool) -> None:
    x = np.random.default_rng(c).standard_normal((1, 8, 8, c)).astype(np.float32)
    x[0, 0, 0, 0] = x[0, 3, 2, -1] = x[0, 4, 7, 0] = np.nan
    x[0, 6:, 6:] = -np.inf
    x[0, 1, 5, 0] = np.inf
    (got,), _ = op("max_pool2d", {"window": 2}).forward([x], training)
    np.testing.assert_array_equal(got, x.reshape(1, 4, 2, 4, 2, c).max(axis=(2, 4)))
    (got,), _ = op("global_max_pool", {}).forward([x], training)
    np.testing.assert_array_equal(got, x.max(axis=(1, 2)))


def test_infinite_input_has_a_gradient() -> None:
    x = np.full((1, 2, 2, 3), -np.inf, np.float32)
    (got,) = run_backward("max_pool2d", {"window": 2}, [x], [np.ones((1, 1, 1, 3), np.float32)])
    assert got[0, 0, 0].tolist() == [1, 1, 1] and got.sum() == 3


def test_many_taps_need_a_wide_argmax() -> None:
    rng = np.random.default_rng(0)
    for c in (1, 17):
        x = rng.permutation(2 * 20 * 40 * c).reshape(2, 20, 40, c).astype(np.float32)
        attrs = {"window": [17, 16], "stride": [3, 8]}
        rows, cols = ref.sliding(20, 17, 3, 0, 0), ref.sliding(40, 16, 8, 0, 0)
        _, (argmax,) = op("max_pool2d", attrs).forward([x], True)
        assert argmax.dtype == np.int32
        grad = rng.integers(-8, 8, (2, len(rows), len(cols), c)).astype(np.float32)
        (got,) = run_backward("max_pool2d", attrs, [x], [grad])
        np.testing.assert_array_equal(got, ref.max_pool_backward(x, rows, cols, grad))
    _, (argmax,) = op("max_pool2d", {"window": 16}).forward([x], True)
    assert argmax.dtype == np.uint8


def test_empty_batch_and_strided_input() -> None:
    empty = np.empty((0, 4, 4, 3), np.float32)
    for name in ("max_pool2d", "avg_pool2d"):
        (y,), _ = op(name, {"window": 2}).forward([empty], True)
        assert y.shape == (0, 2, 2, 3)
        assert run_backward(name, {"window": 2}, [empty], [y])[0].shape == empty.shape
    assert K.global_avg_pool(empty).shape == (0, 3)
    assert K.global_max_pool(empty).shape == (0, 3)
    x = np.arange(96, dtype=np.float32).reshape(3, 4, 4, 2).transpose(3, 1, 2, 0)
    np.testing.assert_array_equal(K.max_pool2d(x, 2), K.max_pool2d(x.copy(), 2))


def test_out() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)
    out = np.empty((2, 3, 3, 4), np.float32)
    assert K.max_pool2d(x, 2, out=out) is out
    np.testing.assert_array_equal(out, K.max_pool2d(x, 2))


@pytest.mark.parametrize("c", [1, 6, 64])
def test_bits_do_not_depend_on_threads(c: int) -> None:
    rng = np.random.default_rng(c)
    x = rng.standard_normal((3, 96 if c > 6 else 400, 130, c)).astype(np.float32)
    cases = [
        ("max_pool2d", {"window": 3, "stride": 2, "padding": 1}),
        ("avg_pool2d", {"window": 3, "stride": 1, "padding": 1}),
        ("adaptive_avg_pool2d", {"output_size": [7, 9]}),
        ("global_avg_pool", {}),
        ("global_max_pool", {}),
    ]
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        found = []
        for name, attrs in cases:
            (y,), _ = op(name, attrs).forward([x])
            grad = np.random.default_rng(9).standard_normal(y.shape).astype(np.float32)
            found += [y, run_backward(name, attrs, [x], [grad])[0]]
        results.append(found)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("pool", [K.max_pool2d, K.avg_pool2d])
def test_large_outputs_are_those_of_single_images(pool: Any) -> None:
    # From 16 MiB on results are written around the cache.
    x = np.random.default_rng(0).standard_normal((8, 96, 97, 64), dtype=np.float32)
    name = pool.__name__
    grad = np.random.default_rng(1).standard_normal((8, 95, 96, 64), dtype=np.float32)
    attrs = {"window": [2, 2], "stride": [1, 1]}
    y, (dx,) = pool(x, 2, stride=1), run_backward(name, attrs, [x], [grad])
    for i in range(8):
        assert y[i : i + 1].tobytes() == pool(x[i : i + 1], 2, stride=1).tobytes()
        assert dx[i : i + 1].tobytes() == run_backward(name, attrs, [x[i : i + 1]], [grad[i : i + 1]])[0].tobytes()
