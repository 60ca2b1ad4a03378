"""Convolution on paths that depend on size and place: every tile, sums cut along k, phases of strides, arrays that
begin anywhere, column sums in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_conv as ref

from lamella import _cpu
from lamella import kernels as K
from lamella._kernels._call import op

ALGORITHMS = ["depthwise", "igemm", "reference"]


def anywhere(x: np.ndarray) -> np.ndarray:
    """A copy that begins one element behind a multiple of 16 bytes."""
    room = np.empty(x.size + 5, x.dtype)
    start = (-room.ctypes.data // x.itemsize) % 4 + 1
    y = room[start : start + x.size].reshape(x.shape)
    y[...] = x
    return y


def close(got: np.ndarray, want: np.ndarray, magnitude: np.ndarray, length: int) -> None:
    """Sums of `length` products: an error of eps per rounding that grows like sqrt(length), on values of the size of
    `magnitude` (the same sums of absolute values); 4 covers the tail of that distribution."""
    bound = 4 * np.finfo(got.dtype).eps * np.sqrt(length + 1) * (magnitude + 1e-30)
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= bound), f"{np.max(np.abs(got - want) / bound):.3g} times the bound"


# n, size, c, kernel, oc, stride, padding, dilation, groups
CASES = {
    "large_tiles": (8, (33, 33), 8, (3, 3), 260, (1, 1), (1, 1), (1, 1), 1),
    "large_tiles_back": (8, (33, 33), 260, (3, 3), 8, (1, 1), (1, 1), (1, 1), 1),
    "narrow_tiles": (9, (40, 41), 16, (3, 3), 32, (1, 1), (1, 1), (1, 1), 1),
    "narrow_tiles_back": (9, (40, 41), 32, (3, 3), 16, (1, 1), (1, 1), (1, 1), 1),
    "few_pixels": (1, (5, 4), 260, (3, 3), 68, (1, 1), (1, 1), (1, 1), 1),
    "first_layer": (2, (62, 57), 3, (7, 7), 64, (2, 2), (3, 3), (1, 1), 1),
    "one_channel": (8, (28, 28), 1, (3, 3), 32, (1, 1), (0, 0), (1, 1), 1),
    "odd_channels": (4, (17, 19), 30, (3, 3), 70, (1, 1), (1, 1), (1, 1), 1),
    "phases": (3, (23, 26), 20, (3, 3), 36, (2, 3), (1, 2), (1, 1), 1),
    "phases_and_dilation": (2, (23, 26), 12, (3, 4), 20, (2, 2), (2, 3), (2, 3), 1),
    "phases_without_taps": (2, (24, 25), 40, (1, 1), 24, (3, 2), (0, 0), (1, 1), 1),
    "groups": (3, (17, 18), 48, (3, 3), 96, (1, 1), (1, 1), (1, 1), 4),
    "strided_groups": (3, (17, 18), 24, (3, 2), 40, (2, 2), (1, 1), (1, 1), 8),
    "product": (2, (19, 21), 72, (1, 1), 100, (1, 1), (0, 0), (1, 1), 1),
    "depthwise_3": (2, (29, 31), 136, (3, 3), 136, (1, 1), (1, 1), (1, 1), 136),
    "depthwise_3_stride_2": (2, (29, 31), 140, (3, 3), 140, (2, 2), (1, 1), (1, 1), 140),
    "depthwise_5": (3, (22, 70), 24, (5, 5), 24, (1, 1), (2, 0), (1, 1), 24),
    "depthwise_5_stride_2": (2, (23, 71), 8, (5, 5), 8, (2, 2), (1, 3), (1, 1), 8),
    "depthwise_7": (2, (23, 18), 16, (7, 7), 16, (1, 2), (3, 3), (1, 1), 16),
    "depthwise_dilated": (2, (23, 18), 12, (3, 3), 12, (1, 1), (2, 2), (2, 2), 12),
    "depthwise_stride_3": (2, (23, 40), 12, (3, 4), 12, (3, 3), (1, 1), (1, 1), 12),
    "multiplier": (2, (23, 18), 9, (3, 3), 27, (2, 1), (1, 1), (1, 1), 9),
    "many_pixels": (6, (61, 80), 4, (3, 3), 8, (1, 1), (1, 1), (1, 1), 1),
    "sequence": (3, (1, 700), 12, (1, 5), 20, (1, 2), (0, 4), (1, 2), 1),
}
SLOW_BY_DEFINITION = ("large_tiles", "large_tiles_back", "few_pixels")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CASES)
def test_each_way(case: str, algorithm: str) -> None:
    n, size, c, kernel, oc, stride, padding, dilation, groups = CASES[case]
    if algorithm == "depthwise" and (groups != c or c == 1):
        pytest.skip("not depthwise")
    if algorithm == "reference" and case in SLOW_BY_DEFINITION:
        pytest.skip("would take minutes")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *size, c)).astype(np.float32)
    w = rng.standard_normal((*kernel, c // groups, oc)).astype(np.float32)
    b = rng.standard_normal(oc).astype(np.float32)
    truth: dict[str, Any] = {"stride": stride, "padding": [(p, p) for p in padding], "dilation": dilation}
    truth["groups"] = groups
    given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "algorithm": algorithm}
    taps = kernel[0] * kernel[1]

    y = K.conv2d(x, w, b, activation="relu", **given)
    expected = ref.conv2d(x, w, b, **truth)
    close(y, np.maximum(expected, 0), ref.conv2d(abs(x), abs(w), abs(b), **truth), taps * c // groups)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx = K.conv2d_backward_data(dy, w, x.shape, **given)
    dw = K.conv2d_backward_weight(x, dy, kernel, **given)
    dx_true, dw_true = ref.conv2d_backward(x, w, dy, **truth)
    dx_size, dw_size = ref.conv2d_backward(abs(x), abs(w), abs(dy), **truth)
    close(dx, dx_true, dx_size, taps * oc // groups)
    close(dw, dw_true, dw_size, dy.size // oc)

    if case in SLOW_BY_DEFINITION:
        return
    x, w, b, dy = (anywhere(a) for a in (x, w, b, dy))
    np.testing.assert_array_equal(K.conv2d(x, w, b, activation="relu", **given), y)
    np.testing.assert_array_equal(K.conv2d_backward_data(dy, w, x.shape, **given), dx)
    np.testing.assert_array_equal(K.conv2d_backward_weight(x, dy, kernel, **given), dw)


PRECISIONS = {"tf32": 1, "bf16": 2}


@pytest.fixture(params=PRECISIONS)
def precision(request: Any) -> Any:
    """What products may round their factors to."""
    before = _cpu.matmul_precision()
    _cpu.set_matmul_precision(PRECISIONS[request.param])
    yield request.param
    _cpu.set_matmul_precision(before)


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """Return x as the matrix units take it: tf32 takes ties away from zero, bfloat16 to even."""
    bits = x.view(np.uint32)
    up, kept = (0x1000, 0xFFFFE000) if precision == "tf32" else (0x7FFF + (bits >> 16 & 1), 0xFFFF0000)
    return ((bits + up) & kept).astype(np.uint32).view(np.float32)


UNITS = {
    "large_tiles": (8, (33, 33), 4, (3, 3), 260, (1, 1), (1, 1), (1, 1), 1),
    "middle_tiles": (5, (33, 33), 8, (3, 2), 64, (1, 1), (1, 1), (1, 1), 1),
} | {name: CASES[name] for name in ("few_pixels", "odd_channels", "phases", "groups", "strided_groups", "sequence")}


@pytest.mark.backend
@pytest.mark.parametrize("case", UNITS)
def test_matrix_units(case: str, precision: str) -> None:
    n, size, c, kernel, oc, stride, padding, dilation, groups = UNITS[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *size, c)).astype(np.float32)
    w = rng.standard_normal((*kernel, c // groups, oc)).astype(np.float32)
    b = rng.standard_normal(oc).astype(np.float32)
    truth: dict[str, Any] = {"stride": stride, "padding": [(p, p) for p in padding], "dilation": dilation}
    truth["groups"] = groups
    given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "algorithm": "igemm"}
    taps = kernel[0] * kernel[1]
    rx, rw = rounded(x, precision), rounded(w, precision)
    y = K.conv2d(x, w, b, **given)
    close(y, ref.conv2d(rx, rw, b, **truth), ref.conv2d(abs(x), abs(w), abs(b), **truth), taps * c // groups)
    if case == "large_tiles":
        return
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx = K.conv2d_backward_data(dy, w, x.shape, **given)
    dw = K.conv2d_backward_weight(x, dy, kernel, **given)
    dx_true, dw_true = ref.conv2d_backward(rx, rw, rounded(dy, precision), **truth)
    dx_size, dw_size = ref.conv2d_backward(abs(x), abs(w), abs(dy), **truth)
    close(dx, dx_true, dx_size, taps * oc // groups)
    close(dw, dw_true, dw_size, dy.size // oc)
    if min(y.shape[1:3]) >= 2:
        (pooled,), _ = op("conv2d", given | {"pool": True}).forward([x, w, b], False)
        oh, ow = (s // 2 for s in y.shape[1:3])
        windows = y[:, : 2 * oh, : 2 * ow].reshape(n, oh, 2, ow, 2, oc).max((2, 4))
        np.testing.assert_allclose(pooled, windows, rtol=0, atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize("case", ["large_tiles", "narrow_tiles", "first_layer", "odd_channels", "groups"])
def test_pooling_along(case: str) -> None:
    """The windows are those of the convolution alone, whatever its tiles and however its sums were cut."""
    n, size, c, kernel, oc, stride, padding, dilation, groups = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *size, c)).astype(np.float32)
    w = rng.standard_normal((*kernel, c // groups, oc)).astype(np.float32)
    b = rng.standard_normal(oc).astype(np.float32)
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "algorithm": "igemm"}
    (y,), (argmax,) = op("conv2d", attrs | {"pool": True}).forward([x, w, b], True)
    whole = op("conv2d", attrs).forward([x, w, b], False)[0][0]
    oh, ow = (s // 2 for s in whole.shape[1:3])
    windows = whole[:, : 2 * oh, : 2 * ow].reshape(n, oh, 2, ow, 2, oc).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(n, oh, ow, oc, 4)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(y, windows.max(-1), rtol=0, atol=1e-5 * scale)
    taken = np.take_along_axis(windows, argmax[..., None].astype(np.int64), -1)[..., 0]
    np.testing.assert_allclose(taken, windows.max(-1), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("cols", [1, 3, 8, 10, 64, 130, 516])
@pytest.mark.parametrize("rows", [(1, 1), (3, 5), (61, 64), (150, 61)], ids=str)
def test_column_sums(rows: tuple[int, int], cols: int, dtype: Any) -> None:
    if rows == (150, 61) and cols > 130:
        rows = (40, 61)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, *rows, 1)).astype(dtype), rng.standard_normal((1, 1, 1, cols)).astype(dtype)
    b = rng.standard_normal(cols).astype(dtype)
    o = op("conv2d", {"activation": "tanh"})
    outputs, saved = o.forward([x, w, b], True)
    dy = rng.standard_normal(outputs[0].shape).astype(dtype)
    expected = dy.astype(np.float64) * (1 - np.tanh(x.astype(np.float64) * w[0, 0, 0] + b) ** 2)
    got = o.backward([x, w, b], outputs, saved, [dy], [False, False, True])[2]
    close(got, expected.sum((0, 1, 2)), np.abs(dy).sum((0, 1, 2)), rows[0] * rows[1])
    again = o.backward([x, w, b], [anywhere(outputs[0])], saved, [anywhere(dy)], [False, False, True])[2]
    np.testing.assert_array_equal(got, again)


@pytest.mark.backend
def test_what_a_device_lacks_is_refused() -> None:
    x, w = np.ones((1, 6, 6, 8), np.float32), np.ones((3, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"algorithm: expected an algorithm that can run on this device.*'winograd4'"):
        K.conv2d(x, w, algorithm="winograd4")


@pytest.mark.parametrize("width", [1, 2, 3])
def test_gradients_of_data_narrower_than_the_stride(width: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, width, 3)).astype(np.float32)
    w = rng.standard_normal((2, 3, 3, 4)).astype(np.float32)
    settings = {"stride": (1, 3), "padding": (1, 2)}
    dy = rng.standard_normal(K.conv2d(x, w, **settings).shape).astype(np.float32)
    found = [K.conv2d_backward_data(dy, w, x.shape, **settings, algorithm=a) for a in ("igemm", "reference")]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)
