"""Ops on 16-bit floats: as in float32 on the widened values, rounded once."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from lamella import _cpu

ml_dtypes = pytest.importorskip("ml_dtypes")
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(params=HALVES)
def half(request):
    return HALVES[request.param]


def cast(x, dtype):
    return _cpu.Op("cast", {"dtype": dtype}).forward([x])[0][0]


@np.errstate(invalid="ignore")  # NaNs that signal
def same(a, b):
    """Bit for bit, but for what bits a NaN has."""
    np.testing.assert_array_equal(a.astype(np.float32), b.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(b)[~np.isnan(b)])


def test_every_number_widens(half):
    every = np.arange(1 << 16, dtype=np.uint16).view(half)
    for wide in ("float32", "float64"):
        with np.errstate(invalid="ignore"):
            same(cast(every, wide), every.astype(wide))
    back = cast(cast(every, "float32"), half.name)
    same(back, every)


def test_rounds_to_the_nearest_even(half):
    """Each number, the middle to its neighbour, and what lies closely on both sides of the middle."""
    every = np.arange(1 << 16, dtype=np.uint16).view(half).astype(np.float32)
    every = np.sort(every[np.isfinite(every)])
    middle = (every[:-1].astype(np.float64) + every[1:]) / 2
    x = np.concatenate([every, middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)]).astype(np.float32)
    largest = np.float32(every[-1])
    with np.errstate(over="ignore"):
        over = largest * np.float32([1 + 2.0**-9, 1 + 2.0**-10, 1 + 2.0**-12, 1.5, np.inf, np.nan])
    x = np.concatenate([x, over, -over, np.float32([1e-45, -1e-45, 3e38])])
    with np.errstate(over="ignore"):
        same(cast(x, half.name), x.astype(half))


def test_other_types_go_over_float32(half):
    x = np.array([1.5, -2.75, 0, 250, np.nan], half)
    np.testing.assert_array_equal(cast(x, "int32"), [1, -2, 0, 250, 0])
    np.testing.assert_array_equal(cast(x, "uint8"), [1, 0, 0, 250, 0])
    assert cast(np.array([3, -70000], np.int64), half.name).astype(np.float32).tolist()[0] == 3.0
    x = np.random.default_rng(0).standard_normal(3000).astype(half)
    same(cast(x, "float64"), x.astype(np.float64))


@given(shape=st.lists(st.integers(0, 7), min_size=2, max_size=3), seed=st.integers(0, 99))
def test_moves_keep_bits(shape, seed):
    for half in HALVES.values():
        bits = np.random.default_rng(seed).integers(0, 1 << 16, shape).astype(np.uint16)
        x = bits.view(half)
        perm = list(range(len(shape)))[::-1]
        moves = {
            "transpose": ({"perm": perm}, bits.transpose(perm)),
            "reverse": ({"axis": 0}, bits[::-1]),
            "repeat": ({"repeats": 2, "axis": 1}, bits.repeat(2, 1)),
            "reshape": ({"shape": [*shape, 1]}, bits[..., None]),
        }
        for name, (attrs, want) in moves.items():
            np.testing.assert_array_equal(_cpu.Op(name, attrs).forward([x])[0][0].view(np.uint16), want)
        out = _cpu.Op("pad", {"padding": [1, 2] * len(shape), "value": 1.0}).forward([x])[0][0]
        want = np.pad(x, [(1, 2)] * len(shape), constant_values=half.type(1))
        np.testing.assert_array_equal(out.view(np.uint16), want.view(np.uint16))


def random(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


CASES = {
    "dense": ({"activation": "gelu"}, [(5, 7), (7, 3), (3,)]),
    "matmul": ({}, [(4, 5), (5, 6)]),
    "conv2d": ({"padding": [1, 1, 1, 1], "activation": "relu"}, [(2, 6, 5, 3), (3, 3, 3, 4), (4,)]),
    "max_pool2d": ({"window": 2}, [(2, 6, 6, 3)]),
    "add": ({}, [(4, 3), (3,)]),
    "mul": ({}, [(4, 1), (4, 3)]),
    "exp": ({}, [(11,)]),
    "softmax": ({}, [(4, 9)]),
    "sum": ({"axes": [1]}, [(4, 9)]),
    "gather": ({"axis": 0}, [(5, 3)]),
    "slice": ({"starts": [1, 0], "stops": [4, 3], "steps": [1, 2]}, [(5, 3)]),
}


def run(name, attrs, arrays, dtype):
    op = _cpu.Op(name, attrs)
    outs, record = op.record(arrays)
    rng = np.random.default_rng(1)
    dy = [random(rng, o.shape, np.float32).astype(o.dtype) for o in outs]
    wanted = [a.dtype == dtype for a in arrays]
    return outs, record.backward(dy, wanted), wanted


@pytest.mark.parametrize("name", CASES)
def test_as_in_float32(name, half):
    """Both ways. Kernels of a device's own add up in float32 too, but may keep what is between in 16 bits."""
    attrs, shapes = CASES[name]
    rng = np.random.default_rng(0)
    arrays = [random(rng, s, half) for s in shapes]
    if name == "gather":
        arrays.append(np.array([0, 4, 4, 2]))
    outs, grads, wanted = run(name, attrs, arrays, half)
    wide = [a.astype(np.float32) if a.dtype == half else a for a in arrays]
    want, want_grads, _ = run(name, attrs, wide, np.dtype(np.float32))
    eps = 2.0**-10 if half.name == "float16" else 2.0**-7
    for got, w in zip([*outs, *(g for g, ok in zip(grads, wanted, strict=True) if ok)],
                      [*want, *(g for g, ok in zip(want_grads, wanted, strict=True) if ok)], strict=True):  # fmt: skip
        assert got.dtype == (half if w.dtype == np.float32 else w.dtype)
        # dy is rounded to 16 bits in one run alone, and so are results: a part of the largest number.
        np.testing.assert_allclose(got.astype(np.float32), w, rtol=0, atol=2 * eps * max(1.0, np.abs(w).max()))


def test_types_of_results(half):
    x, wide = np.ones((2, 4), half), np.ones((2, 4), np.float32)
    assert _cpu.Op("add", {}).forward([x, x])[0][0].dtype == half
    assert _cpu.Op("add", {}).forward([x, wide])[0][0].dtype == np.float32
    other = np.ones((2, 4), next(h for h in HALVES.values() if h != half))
    assert _cpu.Op("mul", {}).forward([x, other])[0][0].dtype == np.float32
    norm = _cpu.Op("layer_norm", {"axes": 1})
    assert norm.infer([(half.name, (2, 4)), ("float32", (4,)), ("float32", (4,))])[0] == [(half.name, (2, 4))]
    assert _cpu.Op("greater", {}).forward([x, x])[0][0].dtype == np.uint8


def test_statistics_beside_the_data(half):
    """Batch normalisation of 16-bit data has float32 scales and statistics, which it updates."""
    rng = np.random.default_rng(0)
    x = random(rng, (64, 3), half)
    gamma, beta, mean, var = np.ones(3, "f4"), np.zeros(3, "f4"), np.zeros(3, "f4"), np.ones(3, "f4")
    y = _cpu.Op("batch_norm", {"momentum": 0.0}).forward([x, gamma, beta, mean, var], True)[0][0]
    assert y.dtype == half
    np.testing.assert_allclose(mean, x.astype(np.float32).mean(0), rtol=1e-4, atol=1e-5)


def test_refused(half):
    with pytest.raises(TypeError, match=r"random_uniform: dtype: expected float32 or float64, got"):
        _cpu.Op("random_uniform", {"shape": [3], "dtype": half.name}).forward([])
    with pytest.raises(TypeError, match="expected float32"):
        _cpu.Op("concat", {}).forward([np.ones((2, 2), np.float32), np.ones((2, 2), half)])
