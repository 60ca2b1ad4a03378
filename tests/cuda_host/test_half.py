"""Products and convolutions of 16-bit floats: sums in float32 of exact products, rounded once."""

from __future__ import annotations

import numpy as np
import pytest
import reference_conv as ref

from lamella import _cpu

from .test_conv import UNITS, anywhere

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.backend
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(params=HALVES)
def half(request):
    return HALVES[request.param]


def close(got, want, magnitude, length):
    """One rounding to the type of `got`, of a float32 sum of `length` products of the size of `magnitude`."""
    eps = 2.0 ** (-11 if got.dtype == np.float16 else -8)
    least = 2.0**-25 if got.dtype == np.float16 else 0  # half the distance of subnormals
    bound = eps * np.abs(want) + least + 4 * 2.0**-24 * np.sqrt(length + 1) * (magnitude + 1e-30) * (1 + eps)
    assert got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= bound), f"{np.max(error / bound):.3g} times the bound"


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


# m, n, k: tiles of both sizes, parts of k, sizes that no access of 16 bytes fits, single rows and columns
PRODUCTS = [(64, 64, 64), (136, 256, 40), (130, 200, 33), (33, 10, 1027), (5, 3, 70), (1, 17, 9), (40, 1, 8),
            (16, 8, 2000), (132, 136, 264), (7, 9, 0)]  # fmt: skip


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("sizes", PRODUCTS, ids=str)
def test_products(sizes, transposed, half):
    m, n, k = sizes
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(half) for s in ((m, k), (k, n)))
    given = [anywhere(x.T.copy() if t else x) for x, t in zip((a, b), transposed, strict=True)]
    op = _cpu.Op("matmul", {"transpose_a": transposed[0], "transpose_b": transposed[1]})
    for arrays in (given, [np.array(g) for g in given]):
        (y,), record = op.record(arrays)
        wa, wb = wide(a, b)
        close(y, wa @ wb, abs(wa) @ abs(wb), k)
        dy = rng.standard_normal((m, n)).astype(half)
        da, db = record.backward([dy], [True, True])
        (g,) = wide(dy)
        close(da.T if transposed[0] else da, g @ wb.T, abs(g) @ abs(wb.T), n)
        close(db.T if transposed[1] else db, wa.T @ g, abs(wa.T) @ abs(g), m)


def test_stacks_and_scales(half):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(half) for s in ((3, 2, 18, 20), (3, 2, 20, 12)))
    (y,), record = _cpu.Op("matmul", {"alpha": 0.3}).record([a, b])
    wa, wb = wide(a, b)
    close(y, 0.3 * (wa @ wb), abs(wa) @ abs(wb), 20)
    da, _ = record.backward([y], [True, False])
    (g,) = wide(y)
    close(da, 0.3 * (g @ wb.swapaxes(-1, -2)), abs(g) @ abs(wb).swapaxes(-1, -2), 12)
    shared = rng.standard_normal((20, 12)).astype(half)  # a sum over the stack: in float32, rounded once
    (y,), record = _cpu.Op("matmul", {}).record([a, shared])
    _, db = record.backward([y], [False, True])
    wa, g = wide(a, y)
    close(db, np.einsum("bcmk,bcmn->kn", wa, g), np.einsum("bcmk,bcmn->kn", abs(wa), abs(g)), 108)


@pytest.mark.parametrize("activation", ["identity", "relu", "sigmoid", "gelu"])
def test_dense(activation, half):
    """The way of a layer: a bias, an activation, and column sums on the way back."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(half) for s in ((70, 36), (36, 24), (24,)))
    op = _cpu.Op("dense", {"activation": activation})
    (y,), record = op.record([x, w, b])
    dy = rng.standard_normal(y.shape).astype(half)
    grads = record.backward([dy], [True] * 3)
    single = [a.astype(np.float32) for a in (x, w, b)]
    (true,), record = op.record(single)
    eps = 2.0 ** (-11 if half == np.float16 else -8)
    np.testing.assert_allclose(y.astype(np.float32), true, rtol=3 * eps, atol=3 * eps)
    for got, want in zip(grads, record.backward([dy.astype(np.float32)], [True] * 3), strict=True):
        assert got.dtype == half
        # The gradient before the activation is rounded to 16 bits in between.
        np.testing.assert_allclose(got.astype(np.float32), want, rtol=0, atol=4 * eps * np.abs(want).max())


@pytest.mark.parametrize("case", UNITS)
def test_convolutions(case, half):
    n, size, c, kernel, oc, stride, padding, dilation, groups = UNITS[case]
    rng = np.random.default_rng(0)
    x, w, b = (
        anywhere(rng.standard_normal(s).astype(half)) for s in ((n, *size, c), (*kernel, c // groups, oc), (oc,))
    )
    truth = {"stride": stride, "padding": [(p, p) for p in padding], "dilation": dilation, "groups": groups}
    attrs = {"stride": list(stride), "padding": list(padding), "dilation": list(dilation), "groups": groups}
    taps = kernel[0] * kernel[1]
    wx, ww, wb = wide(x, w, b)
    want = ref.conv2d(wx, ww, wb, **truth), ref.conv2d(abs(wx), abs(ww), abs(wb), **truth)
    dy = rng.standard_normal(want[0].shape).astype(half)
    (g,) = wide(dy)
    dx_true, dw_true = ref.conv2d_backward(wx, ww, g, **truth)
    dx_size, dw_size = ref.conv2d_backward(abs(wx), abs(ww), abs(g), **truth)
    op = _cpu.Op("conv2d", attrs)
    first = None
    for arrays in ([x, w, b], [np.array(a) for a in (x, w, b)]):
        (y,), record = op.record(arrays)
        close(y, *want, taps * c // groups)
        if case == "large_tiles":  # the emulated units take their time
            return
        dx, dw, db = record.backward([dy], [True] * 3)
        close(dx, dx_true, dx_size, taps * oc // groups)
        close(dw, dw_true, dw_size, dy.size // oc)
        close(db, g.sum((0, 1, 2)), abs(g).sum((0, 1, 2)), dy.size // oc)
        if first is None:
            first = y, dx, dw, db
            continue
        for a, b in zip(first, (y, dx, dw, db), strict=True):  # wherever the arrays begin
            np.testing.assert_array_equal(a.view(np.uint16), b.view(np.uint16))


def test_not_numbers(half):
    x, w = np.ones((40, 24), half), np.ones((24, 16), half)
    x[3, 5], x[4, 6], x[5, 7] = np.nan, np.inf, -np.inf
    y = _cpu.Op("matmul", {}).forward([x, w])[0][0].astype(np.float32)
    assert np.isnan(y[3]).all() and (y[4] == np.inf).all() and (y[5] == -np.inf).all()
    assert (np.delete(y, [3, 4, 5], 0) == 24).all()
    big = np.full((8, 8), 60000 if half == np.float16 else 3e38, half)
    assert np.isinf(_cpu.Op("matmul", {}).forward([big, big])[0][0].astype(np.float32)).all()
