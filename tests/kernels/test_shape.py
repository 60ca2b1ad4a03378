"""Moves and resizing against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_shape as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import op, run_backward

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8]


def numbered(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """No two elements alike, as far as the dtype can tell."""
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.data(), st.sampled_from(DTYPES))
def test_transpose(shape: list[int], data: st.DataObject, dtype: Any) -> None:
    perm = data.draw(st.permutations(range(len(shape))))
    x = numbered(tuple(shape), dtype)
    np.testing.assert_array_equal(K.transpose(x, perm), x.transpose(perm))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.sampled_from(DTYPES))
def test_transpose_of_matrices(rows: int, cols: int, batch: int, dtype: Any) -> None:
    x = numbered((batch, rows, cols), dtype)
    np.testing.assert_array_equal(K.transpose(x, [0, 2, 1]), x.swapaxes(1, 2))
    np.testing.assert_array_equal(K.transpose(x, [2, 0, 1]), x.transpose(2, 0, 1))


def test_transpose_keeps_every_bit_pattern() -> None:
    # Signalling NaNs and denormals pass as they are.
    bits = np.array([0x7F800001, 0xFFC12345, 1, 0x80000000] * 100, np.uint32).reshape(20, 20)
    moved = K.transpose(bits.view(np.float32)).view(np.uint32)
    np.testing.assert_array_equal(moved, bits.T)
    np.testing.assert_array_equal(K.transpose(bits.view(np.int32)).view(np.uint32), bits.T)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.data(),
    st.sampled_from(DTYPES),
)
def test_concat_split_stack(shape: list[int], sizes: list[int], data: st.DataObject, dtype: Any) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for k, size in enumerate(sizes):
        part = list(shape)
        part[axis] = size
        parts.append((numbered(tuple(part), dtype) + k).astype(dtype))
    whole = np.concatenate(parts, axis=axis)
    np.testing.assert_array_equal(K.concat(parts, axis), whole)
    for got, part in zip(K.split(whole, sizes, axis), parts, strict=True):
        np.testing.assert_array_equal(got, part)
    equal = [(numbered(tuple(shape), dtype) + k).astype(dtype) for k in range(len(sizes))]
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    np.testing.assert_array_equal(K.stack(equal, axis), np.stack(equal, axis=axis))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.data(), st.sampled_from(DTYPES))
def test_slice(shape: list[int], data: st.DataObject, dtype: Any) -> None:
    x = numbered(tuple(shape), dtype)
    starts, stops, steps = [], [], []
    for _ in range(data.draw(st.integers(1, len(shape)))):
        starts.append(data.draw(st.integers(-12, 12)))
        stops.append(data.draw(st.integers(-12, 12)))
        steps.append(data.draw(st.sampled_from([1, 2, 3, -1, -2])))
    expected = x[tuple(slice(*s) for s in zip(starts, stops, steps, strict=True))]
    (got,), _ = op("slice", {"starts": starts, "stops": stops, "steps": steps}).forward([x])
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data(), st.sampled_from(DTYPES))
def test_pad(shape: list[int], data: st.DataObject, dtype: Any) -> None:
    x = numbered(tuple(shape), dtype)
    padding = []
    for n in shape:
        before = data.draw(st.integers(-n, 4))
        padding.append((before, data.draw(st.integers(-n - min(before, 0), 4))))
    crop = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(shape, padding, strict=True))
    expected = np.pad(x[crop], [(max(b, 0), max(a, 0)) for b, a in padding], constant_values=7)
    np.testing.assert_array_equal(K.pad(x, padding, 7.0), expected)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data(), st.sampled_from(DTYPES))
def test_repeat_tile_reverse_broadcast(shape: list[int], data: st.DataObject, dtype: Any) -> None:
    x = numbered(tuple(shape), dtype)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    times = data.draw(st.integers(0, 4))
    np.testing.assert_array_equal(K.repeat(x, times, axis), np.repeat(x, times, axis=axis))
    np.testing.assert_array_equal(K.reverse(x, axis), np.flip(x, axis))
    reps = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    np.testing.assert_array_equal(K.tile(x, reps), np.tile(x, reps))
    ones = x[tuple(slice(0, 1) if data.draw(st.booleans()) else slice(None) for _ in shape)]
    target = data.draw(st.lists(st.integers(1, 3), max_size=2)) + shape
    np.testing.assert_array_equal(K.broadcast_to(ones, target), np.broadcast_to(ones, target))


def test_broadcast_to_keeps_sizes() -> None:
    x = numbered((3, 1, 2))
    np.testing.assert_array_equal(K.broadcast_to(x, [4, -1, 5, -1]), np.broadcast_to(x, (4, 3, 5, 2)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.lists(st.integers(0, 5), max_size=2),
    st.data(),
    st.sampled_from(DTYPES),
    st.sampled_from([np.int32, np.int64]),
)
def test_gather(shape: list[int], index_shape: list[int], data: st.DataObject, dtype: Any, index_dtype: Any) -> None:
    x = numbered(tuple(shape), dtype)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    indices = rng.integers(0, shape[axis], index_shape).astype(index_dtype)
    got = K.gather(x, indices, axis)
    np.testing.assert_array_equal(got, np.take(x, indices, axis=axis))
    if x.dtype.kind == "f":
        grad = rng.integers(-9, 9, got.shape).astype(dtype)  # exact sums
        got, none = run_backward("gather", {"axis": axis}, [x, indices], [grad])
        expected = np.zeros_like(x)
        at = (slice(None),) * (axis % len(shape))
        np.add.at(expected, (*at, indices), grad)
        np.testing.assert_array_equal(got, expected)
        assert none is None


def test_gather_of_wide_rows() -> None:
    rng = np.random.default_rng(0)
    x, indices = rng.standard_normal((50, 1000)).astype(np.float32), rng.integers(0, 50, 200)
    np.testing.assert_array_equal(K.gather(x, indices), x[indices])
    grad = rng.integers(-9, 9, (200, 1000)).astype(np.float32)
    expected = np.zeros_like(x)
    np.add.at(expected, indices, grad)
    np.testing.assert_array_equal(run_backward("gather", {}, [x, indices], [grad])[0], expected)


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast(source: Any, target: Any) -> None:
    x = np.array([0, 1, 2, 100, 3.7, 250.9], source)
    np.testing.assert_array_equal(K.cast(x, target), x.astype(target))
    big = np.arange(100000).astype(source)
    np.testing.assert_array_equal(
        K.cast(big, target), big.astype(target) if target != np.uint8 else K.cast(big, target)
    )


def test_cast_of_floats_that_do_not_fit() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, -3.9], np.float32)
    ends = np.iinfo(np.int32)
    assert K.cast(x, "int32").tolist() == [0, ends.max, ends.min, ends.max, ends.min, -3]
    assert K.cast(x, "uint8").tolist() == [0, 255, 0, 255, 0, 0]
    assert K.cast(np.array([1e300, -1e300, 1e-300]), "float32").tolist() == [np.inf, -np.inf, 0]


@pytest.mark.parametrize("name", ["reshape", "flatten", "expand_dims", "squeeze"])
def test_views_keep_the_elements(name: str) -> None:
    x = numbered((4, 1, 6))
    attrs = {"reshape": {"shape": [0, -1, 2]}, "flatten": {}, "expand_dims": {"axis": 1}, "squeeze": {}}[name]
    shape = {"reshape": (4, 3, 2), "flatten": (4, 6), "expand_dims": (4, 1, 1, 6), "squeeze": (4, 6)}[name]
    o = op(name, attrs)
    assert o.is_view
    (y,), _ = o.forward([x])
    np.testing.assert_array_equal(y, x.reshape(shape))
    (grad,) = run_backward(name, attrs, [x], [y + 1])
    np.testing.assert_array_equal(grad, x + 1)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4, 8, 16, 19, 40])),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([("nearest", False), ("bilinear", False), ("bilinear", True)]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**31),
)
def test_upsample2d(
    shape: tuple[int, ...], size: tuple[int, int], kind: tuple[str, bool], dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(dtype)
    mode, align = kind
    rows, cols = (ref.resize_matrix(n, m, mode, align) for n, m in zip(shape[1:3], size, strict=True))
    attrs = {"size": list(size), "mode": mode, "align_corners": align}
    # Four products of unit scale; the weights are exact to the dtype's rounding.
    tol = 16 * float(np.finfo(dtype).eps)
    expected = np.einsum("ph,qw,nhwc->npqc", rows, cols, x)
    np.testing.assert_allclose(K.upsample2d(x, **attrs), expected, rtol=tol, atol=tol * 4)
    grad = rng.standard_normal(expected.shape).astype(dtype)
    (got,) = run_backward("upsample2d", attrs, [x], [grad])
    expected = np.einsum("ph,qw,npqc->nhwc", rows, cols, grad)
    # Up to 400 products each.
    np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * 40)


def test_upsample2d_by_scale() -> None:
    x = numbered((2, 3, 4, 5))
    np.testing.assert_array_equal(K.upsample2d(x, scale=[2, 3]), x.repeat(2, axis=1).repeat(3, axis=2))
    expected = K.upsample2d(x, size=[6, 12], mode="bilinear")
    np.testing.assert_array_equal(K.upsample2d(x, scale=[2, 3], mode="bilinear"), expected)


def test_empty_batches() -> None:
    x = np.empty((0, 3, 4, 2), np.float32)
    assert K.upsample2d(x, 2).shape == (0, 6, 8, 2)
    assert K.transpose(x, [3, 0, 1, 2]).shape == (2, 0, 3, 4)
    assert K.reverse(x, 1).shape == x.shape
    assert K.tile(x, [2, 1]).shape == (0, 3, 8, 2)
    assert run_backward("upsample2d", {"scale": 2}, [x], [np.empty((0, 6, 8, 2), np.float32)])[0].shape == x.shape


def test_bits_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 70, 90, 17)).astype(np.float32)
    indices = rng.integers(0, 70, 300)
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        found = []
        for name, attrs, more in [
            ("upsample2d", {"scale": 2, "mode": "bilinear"}, []),
            ("gather", {"axis": 1}, [indices]),
            ("tile", {"reps": [2, 1, 2]}, []),
            ("transpose", {"perm": [3, 1, 0, 2]}, []),
        ]:
            (y,), _ = op(name, attrs).forward([x, *more])
            grad = np.random.default_rng(9).standard_normal(y.shape).astype(np.float32)
            found += [y, run_backward(name, attrs, [x, *more], [grad])[0]]
        results.append(found)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()
