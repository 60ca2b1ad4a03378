"""Pooling ops: gradients by finite differences, shapes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients

from lamella._kernels._call import op


def distinct(shape: tuple[int, ...]) -> np.ndarray:
    """No two values closer than the finite differences' step."""
    size = int(np.prod(shape))
    return np.random.default_rng(size).permutation(size).reshape(shape) / 10.0


@pytest.mark.parametrize("c", [1, 2, 3])
@pytest.mark.parametrize(
    "attrs",
    [
        {"window": 2},
        {"window": 3, "stride": 2, "padding": "same"},
        {"window": [2, 3], "stride": [1, 2], "padding": [1, 0, 2, 1], "ceil_mode": True},
        {"window": 1, "stride": 2},
    ],
)
def test_gradients_2d(attrs: dict[str, Any], c: int) -> None:
    x = distinct((2, 5, 6, c))
    check_gradients("max_pool2d", attrs, [x])
    check_gradients("avg_pool2d", attrs, [x])
    check_gradients("avg_pool2d", attrs | {"count_include_pad": True}, [x])
    check_gradients("avg_pool2d", attrs | {"divisor": 5}, [x])


@pytest.mark.parametrize("c", [1, 4])
def test_gradients_of_the_others(c: int) -> None:
    x = distinct((2, 5, 7, c))
    check_gradients("max_pool2d", {"window": 2, "dilation": [2, 3], "stride": 1}, [x])
    for kind in ("max", "avg"):
        check_gradients(f"adaptive_{kind}_pool2d", {"output_size": [3, -1]}, [x])
        check_gradients(f"global_{kind}_pool", {}, [x])
        check_gradients(f"global_{kind}_pool", {"keepdims": True}, [x[:, 0]])
        check_gradients(f"{kind}_pool1d", {"window": 3, "stride": 2, "padding": [1, 1]}, [x[:, 0]])
        check_gradients(f"adaptive_{kind}_pool1d", {"output_size": 4}, [x[:, 0]])


def test_missing_output_gradient_is_zero() -> None:
    x = distinct((1, 4, 4, 2))
    for name in ("max_pool2d", "avg_pool2d"):
        o = op(name, {"window": 2})
        outputs, saved = o.forward([x], True)
        (grad,) = o.backward([x], outputs, saved, [None], [True])
        assert not grad.any()


def test_argmax_is_saved_in_training_only() -> None:
    o = op("max_pool2d", {"window": 3})
    spec = [("float32", (2, 9, 9, 5))]
    assert o.infer(spec) == ([("float32", (2, 3, 3, 5))], [])
    assert o.infer(spec, training=True)[1] == [("uint8", (2, 3, 3, 5))]
    assert op("avg_pool2d", {"window": 3}).infer(spec, training=True)[1] == []


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("max_pool2d", {"window": [2, 3], "stride": 1, "padding": [0, 1, 1, 0], "dilation": 2, "ceil_mode": True}),
        ("max_pool1d", {"window": 2, "padding": "same"}),
        ("avg_pool2d", {"window": 2, "count_include_pad": True, "divisor": 3}),
        ("adaptive_avg_pool2d", {"output_size": [3, -1]}),
        ("global_max_pool", {"keepdims": True}),
    ],
)
def test_attrs_rebuild_the_op(name: str, attrs: dict[str, Any]) -> None:
    first = op(name, attrs).attrs
    assert op(name, first).attrs == first


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "expected"),
    [(7, 3, 2, 1, 4), (8, 3, 2, 1, 5), (6, 3, 2, 0, 3), (5, 2, 2, 0, 3), (4, 1, 3, 0, 2)],
)
def test_ceil_mode_sizes(size: int, window: int, stride: int, padding: int, expected: int) -> None:
    attrs = {"window": window, "stride": stride, "padding": padding, "ceil_mode": True}
    assert op("max_pool1d", attrs).infer([("float32", (1, size, 1))])[0] == [("float32", (1, expected, 1))]


@pytest.mark.parametrize(
    ("name", "attrs", "shape", "message"),
    [
        ("max_pool2d", {}, (1, 4, 4, 1), "window: expected"),
        ("max_pool2d", {"window": 0}, (1, 4, 4, 1), "window: expected"),
        ("max_pool2d", {"window": [2, 2, 2]}, (1, 4, 4, 1), "window: expected 1 or 2"),
        ("max_pool2d", {"window": 2, "stride": 0}, (1, 4, 4, 1), "stride: expected"),
        ("max_pool2d", {"window": 2, "padding": 2}, (1, 4, 4, 1), "padding: expected"),
        ("max_pool2d", {"window": 2, "padding": "full"}, (1, 4, 4, 1), "padding: expected 'valid'"),
        ("max_pool2d", {"window": 2, "padding": [1, 1, 1]}, (1, 4, 4, 1), "padding: expected"),
        ("max_pool2d", {"window": 2, "padding": "same", "ceil_mode": True}, (1, 4, 4, 1), "ceil_mode: expected"),
        ("max_pool2d", {"window": 5}, (1, 4, 9, 1), "x: expected a height"),
        ("max_pool2d", {"window": 2}, (4, 4, 1), "x: expected"),
        ("max_pool2d", {"window": 2, "dilation": 3, "padding": 3}, (1, 1, 1, 1), "every window meets"),
        ("max_pool2d", {"window": 2, "strides": 2}, (1, 4, 4, 1), "strides"),
        ("avg_pool2d", {"window": 2, "dilation": 2}, (1, 4, 4, 1), "dilation"),
        ("avg_pool2d", {"window": 2, "divisor": 0}, (1, 4, 4, 1), "divisor: expected"),
        ("adaptive_max_pool2d", {"output_size": 0}, (1, 4, 4, 1), "output_size: expected"),
        ("global_avg_pool", {}, (3, 4), "x: expected"),
        ("global_avg_pool", {}, (3, 0, 4), "x: expected"),
    ],
)
def test_errors(name: str, attrs: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op(name, attrs).infer([("float32", shape)])


def test_huge_sizes_are_refused_at_once() -> None:
    most = 2**31 - 1
    windows = {"window": most, "stride": 1, "padding": most - 1}
    # That some of the windows step over the input is seen without trying them all.
    with pytest.raises(ValueError, match="which window 2 steps over"):
        op("max_pool1d", windows | {"window": 2, "dilation": most}).infer([("float32", (1, 3, 2))])
    # There may be more of them than a gradient can count.
    with pytest.raises(ValueError, match="max_pool1d: x: expected windows of no more than 2147483647 elements"):
        op("max_pool1d", windows).infer([("float32", (1, 3, 2))], training=True)
    with pytest.raises(ValueError, match="max_pool2d: x: expected windows of no more than 2147483647 elements"):
        op("max_pool2d", windows | {"stride": most}).infer([("float32", (1, 3, 3, 2))], training=True)


@pytest.mark.parametrize("size", [2**31, 2**62, 2**63, -(2**70), 2**200])
def test_sizes_beyond_the_integers(size: int) -> None:
    for attrs in ({"window": size}, {"window": 2, "stride": [1, size]}, {"window": 2, "padding": size}):
        with pytest.raises(ValueError, match=r"max_pool2d: (window|stride|padding): expected .*, got"):
            op("max_pool2d", attrs)
    with pytest.raises(ValueError, match=r"max_pool2d: (input|shape)"):
        op("max_pool2d", {"window": 2}).infer([("float32", (1, abs(size), 4, 2**20))])


def test_large_windows_on_small_inputs() -> None:
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    attrs = {"window": 3000, "stride": 2000, "padding": 2000}
    check_gradients("max_pool2d", attrs, [x])
    check_gradients("avg_pool2d", attrs, [x])


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="max_pool2d: x: expected float"):
        op("max_pool2d", {"window": 2}).infer([("int32", (1, 4, 4, 1))])
