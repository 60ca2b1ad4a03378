"""Ops that are bound by memory, on 16-bit floats: float32 arithmetic on the widened inputs, rounded once.

What is compared with is the same op on float32 arrays of the same numbers; a device may add up the two in other orders,
so a result may be what float32 sums that are some units in the last place apart round to, and nothing else.
"""

from __future__ import annotations

import numpy as np
import pytest

from lamella import _cpu

ml_dtypes = pytest.importorskip("ml_dtypes")
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(params=HALVES)
def half(request):
    return HALVES[request.param]


def numbers(rng, shape, dtype, offset=0, special=False):
    """Normal numbers, `offset` elements behind an aligned place."""
    n = int(np.prod(shape))
    flat = rng.standard_normal(n + offset).astype(dtype)
    if special and n > 40:
        flat[offset + rng.integers(0, n, 8)] = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-7, 3, -3]).astype(dtype)
    return flat[offset:].reshape(shape)


def wide(arrays, half):
    return [a.astype(np.float32) if a is not None and a.dtype == half else a for a in arrays]


@np.errstate(all="ignore")
def check_rounded(got, want, half, terms=1, scale=None):
    """`got` is `want`, of float32, rounded, give or take the float32 rounding of a sum of so many terms.

    `scale`: how large these are, the largest sum's size where it is not given.
    """
    if want.dtype != np.float32:
        np.testing.assert_array_equal(got, want)
        return
    assert got.dtype == half
    assert got.shape == want.shape
    if got.size == 0:
        return
    finite = np.abs(want[np.isfinite(want)])
    size = np.abs(want) if terms == 1 else (finite.max(initial=0.0) if scale is None else scale)
    off = 2.0**-23 * np.sqrt(terms) * 4 * size
    low, high = (want - off).astype(half).astype(np.float32), (want + off).astype(half).astype(np.float32)
    got = got.astype(np.float32)
    fine = ((low <= got) & (got <= high)) | (np.isnan(got) & np.isnan(want)) | (got == want.astype(half))
    assert fine.all(), (got[~fine][:5], want[~fine][:5], np.argwhere(~fine)[:5])


def check_op(name, attrs, arrays, half, terms=1, back_terms=1, seed=7, training=True):
    """Both ways; the gradients from the very results and statistics of the run on 16-bit arrays."""
    op = _cpu.Op(name, attrs)
    outputs, saved = op.forward(arrays, training)
    want, _ = op.forward(wide(arrays, half), training)
    for g, w in zip(outputs, want, strict=True):
        check_rounded(g, w, half, terms)
    if not training:
        return
    rng = np.random.default_rng(seed)
    dy = [numbers(rng, o.shape, half, offset=seed % 3) for o in outputs]
    wanted = [a is not None and a.dtype in (half, np.float32) for a in arrays]
    got = op.backward(arrays, outputs, saved, dy, wanted)
    want = op.backward(wide(arrays, half), wide(outputs, half), saved, wide(dy, half), wanted)
    for a, g, w in zip(arrays, got, want, strict=True):
        if w is not None and a.dtype == half:
            check_rounded(g, w, half, back_terms)
        elif w is not None:
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(w).max(initial=0))))


SIZES = [0, 1, 7, 8, 1000, 4096, 20_001]


@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("activation", {"activation": "relu"}),
        ("activation", {"activation": "leaky_relu", "alpha": 0.2}),
        ("activation", {"activation": "gelu"}),
        ("activation", {"activation": "sigmoid"}),
        ("activation", {"activation": "silu"}),
        ("activation", {"activation": "hard_swish"}),
        ("neg", {}),
        ("abs", {}),
        ("sqrt", {}),
        ("tanh", None),
        ("erf", {}),
        ("log1p", {}),
        ("floor", {}),
        ("reciprocal", {}),
        ("clip", {"min": -0.4, "max": 1.1}),
    ],
)
def test_functions(name, attrs, offset, half):
    if attrs is None:
        name, attrs = "activation", {"activation": name}
    rng = np.random.default_rng(0)
    for n in SIZES:
        check_op(name, attrs, [numbers(rng, (n,), half, offset, special=True)], half)


def test_every_number(half):
    """None is left out, not the subnormal ones, nor any NaN."""
    every = np.arange(1 << 16, dtype=np.uint16).view(half)
    with np.errstate(all="ignore"):
        for name in ("neg", "square"):
            op = _cpu.Op(name, {})
            check_rounded(op.forward([every])[0][0], op.forward(wide([every], half))[0][0], half)
        same = _cpu.Op("maximum", {}).forward([every, every])[0][0]
        number = ~np.isnan(every.astype(np.float32))
        np.testing.assert_array_equal(same[number].view(np.uint16), every[number].view(np.uint16))


BROADCASTS = [
    ((0, 3), (3,)),
    ((), ()),
    ((4, 24), (4, 24)),
    ((300, 40), (40,)),
    ((301, 7), (7,)),
    ((300, 16), (300, 1)),
    ((2, 9000), (2, 1)),
    ((3000, 130), (130,)),
    ((20_001,), ()),
    ((12, 90, 8), (12, 1, 8)),
    ((30, 1, 8, 1), (1, 20, 1, 16)),
    ((50, 7, 33), (7, 1)),
]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("sa", "sb"), BROADCASTS)
def test_arithmetic(sa, sb, offset, half):
    rng = np.random.default_rng(1)
    a, b = numbers(rng, sa, half, offset), numbers(rng, sb, half)
    terms = max(1, int(np.prod(np.broadcast_shapes(sa, sb)))) // max(1, min(a.size, b.size))
    far = np.asarray(np.sign(b.astype(np.float32)) + b.astype(np.float32)).astype(half)  # from 0
    for name in ("add", "sub", "mul", "div", "maximum", "minimum"):
        x = [a, far] if name == "div" else [a, b]
        check_op(name, {}, x, half, back_terms=4 * terms)
        check_op(name, {}, x[::-1] if name != "div" else x, half, back_terms=4 * terms)
    with np.errstate(all="ignore"):
        check_op("pow", {}, [np.asarray(np.abs(a)), b], half, back_terms=16 * terms)
    for name in ("less", "equal"):
        check_op(name, {}, [a, b], half, training=False)
    condition = rng.integers(0, 3, sb).astype(np.uint8)
    check_op("where", {}, [condition, a, b], half, back_terms=4 * terms)


@pytest.mark.parametrize("shape", [(2_000_003,), (1100, 1000)])
def test_large(shape, half):
    """Spaces that are cut, and sums of their pieces that are rounded once."""
    rng = np.random.default_rng(2)
    a, b = numbers(rng, shape, half), numbers(rng, shape[1:], half)
    check_op("mul", {}, [a, b], half, back_terms=4 * a.size // b.size)
    check_op("add", {}, [b, a], half, back_terms=4 * a.size // b.size)


def test_sums_are_not_16_bits_wide(half):
    """Thousands of ones: a 16-bit sum stops at 2048 or 256."""
    n = 60_000
    a, b = np.ones((n, 8), half), np.zeros((8,), half)
    op = _cpu.Op("add", {})
    db = op.backward([a, b], [a], [], [np.full((n, 8), 1 / 16, half)], [False, True])[1]
    np.testing.assert_array_equal(db.astype(np.float32), np.full(8, np.float32(n / 16).astype(half), np.float32))


def test_in_place_and_anywhere(half):
    """Results over the operands, and between other numbers that stay."""
    rng = np.random.default_rng(3)
    for n, offset in ((1000, 0), (1000, 3), (77, 1)):
        whole = numbers(rng, (n + 16,), half)
        before, x = whole.copy(), whole[offset : offset + n]
        want = _cpu.Op("square", {}).forward([x.astype(np.float32)])[0][0]
        _cpu.Op("square", {}).forward([x], out=[x])
        check_rounded(x.copy(), want, half)
        same = np.r_[0:offset, offset + n : n + 16]
        np.testing.assert_array_equal(whole[same].view(np.uint16), before[same].view(np.uint16))


def test_types_that_differ_are_widened(half):
    """One 16-bit operand, or two of different types: float32 results."""
    rng = np.random.default_rng(4)
    a, b = numbers(rng, (40, 8), half), numbers(rng, (8,), np.float32)
    other = numbers(rng, (8,), next(h for h in HALVES.values() if h != half))
    for right in (b, other):
        outs, _ = _cpu.Op("mul", {}).forward([a, right], True)
        np.testing.assert_array_equal(outs[0], a.astype(np.float32) * right.astype(np.float32))
        g = numbers(rng, (40, 8), np.float32)
        da, db = _cpu.Op("mul", {}).backward([a, right], outs, [], [g], [True, True])
        assert (da.dtype, db.dtype) == (half, right.dtype)
        check_rounded(da, g * right.astype(np.float32), half)
        want = (g * a.astype(np.float32)).sum(0)
        if right is other:
            check_rounded(db, want, other.dtype, 160)
        else:
            np.testing.assert_allclose(db, want, rtol=1e-5, atol=1e-5)


POOLS = [
    ("max_pool2d", {"window": 2}, (3, 8, 6, 16)),
    ("max_pool2d", {"window": 2}, (2, 7, 5, 3)),
    ("max_pool2d", {"window": 3, "stride": 2, "padding": 1}, (2, 9, 8, 24)),
    ("max_pool2d", {"window": 3, "stride": 2, "padding": 1}, (2, 9, 8, 5)),
    ("max_pool2d", {"window": 4, "stride": 4}, (2, 9, 8, 8)),
    ("max_pool2d", {"window": [5, 3], "stride": 2, "dilation": 2, "padding": 2}, (2, 13, 12, 8)),
    ("max_pool2d", {"window": 20, "stride": 10}, (1, 40, 40, 8)),
    ("max_pool1d", {"window": 3}, (4, 500, 8)),
    ("global_max_pool", {}, (3, 40, 30, 16)),
    ("global_max_pool", {}, (2, 50, 30, 3)),
    ("avg_pool2d", {"window": 2}, (3, 8, 6, 16)),
    ("avg_pool2d", {"window": 3, "stride": 2, "padding": 1, "count_include_pad": True}, (2, 9, 8, 24)),
    ("avg_pool2d", {"window": 3, "stride": 1, "padding": "same"}, (2, 9, 8, 5)),
    ("avg_pool2d", {"window": 5, "stride": 3, "divisor": 7}, (2, 17, 16, 8)),
    ("adaptive_avg_pool2d", {"output_size": [3, 5]}, (2, 10, 7, 8)),
    ("adaptive_max_pool2d", {"output_size": [3, 5]}, (2, 10, 7, 8)),
    ("global_avg_pool", {}, (3, 40, 30, 16)),
    ("global_avg_pool", {}, (2, 60, 61, 3)),
    ("global_avg_pool", {}, (0, 4, 4, 8)),
]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("name", "attrs", "shape"), POOLS)
def test_pooling(name, attrs, shape, offset, half):
    rng = np.random.default_rng(5)
    terms = 4 * int(np.prod(shape[1:-1])) if "avg" in name else 64
    check_op(name, attrs, [numbers(rng, shape, half, offset)], half, terms, terms, seed=7 + offset)
    if "max" in name:
        check_op(name, attrs, [numbers(rng, shape, half, offset, special=True)], half, terms, terms)
