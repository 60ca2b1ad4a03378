"""Gradients of warps and rectangles, what ops do out of training, and what they refuse."""

import numpy as np
import pytest
from gradcheck import check_gradients

import lamella
from lamella import _cpu

rng = np.random.default_rng(0)
X = rng.standard_normal((2, 5, 4, 3))


@pytest.mark.parametrize("border", ["constant", "nearest", "reflect", "wrap"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [None, [3, 7]])
def test_gradient_of_warps(border, interpolation, size):
    attrs = {"fill_mode": border, "fill_value": 0.5, "interpolation": interpolation, "size": size}
    check_gradients("affine_warp", attrs, [X, rng.uniform(-1, 2, (2, 2, 3))])


@pytest.mark.parametrize(
    "name,attrs",
    [
        ("random_affine", {"rotation": [-1.0, 1.0], "shift_width": 0.2, "flip_vertical": 0.5}),
        ("random_affine", {"crop": [3, 2]}),
        ("random_color", {"gain": [0.5, 2.0], "contrast": [0.5, 1.5], "low": -0.5, "high": 0.7}),
        ("random_color", {"contrast": 0.4, "gray": True}),
        ("random_erasing", {"area": [0.1, 0.6]}),
        ("random_erasing", {"noise": 2.0}),
    ],
)
def test_gradient_of_random_changes(name, attrs):
    check_gradients(name, {**attrs, "key": [3, 4]}, [X])


@pytest.mark.parametrize(
    "name,attrs", [("random_affine", {"rotation": 1.0}), ("random_color", {"offset": 1.0}), ("random_erasing", {})]
)
def test_out_of_training_nothing_happens(name, attrs):
    op = _cpu.Op(name, attrs)
    np.testing.assert_array_equal(op.forward([X], False)[0][0], X)
    assert (op.forward([X], True)[0][0] != X).any()


def test_out_of_training_the_middle_is_taken():
    op = _cpu.Op("random_affine", {"crop": [3, 2], "flip_horizontal": 1.0})
    np.testing.assert_array_equal(op.forward([X], False)[0][0], X[:, 1:4, 1:3])
    lamella.seed(0)
    assert op.forward([X], True)[0][0].shape == (2, 3, 2, 3)


def test_a_seed_of_its_own():
    def draw(seed, own):
        lamella.seed(seed)
        return _cpu.Op("random_affine", {"rotation": [-1.0, 1.0], "seed": own}).forward([X], True)[0][0]

    np.testing.assert_array_equal(draw(1, 5), draw(2, 5))
    assert (draw(1, 5) != draw(1, 6)).any()
    lamella.seed(1)
    op = _cpu.Op("random_affine", {"rotation": [-1.0, 1.0], "seed": 5})
    assert (op.forward([X], True)[0][0] != op.forward([X], True)[0][0]).any()
    assert _cpu.Op(op.name, op.attrs).attrs == op.attrs


@pytest.mark.parametrize(
    "name,attrs,error,text",
    [
        ("affine_warp", {"size": [0, 2]}, ValueError, "size"),
        ("affine_warp", {"fill_mode": "mirror"}, ValueError, "fill_mode: expected 'constant'"),
        ("affine_warp", {"interpolation": "cubic"}, ValueError, "interpolation"),
        ("random_affine", {"rotation": [1.0, 0.0]}, ValueError, "rotation: expected a number or"),
        ("random_affine", {"rotation": "x"}, ValueError, "rotation"),
        ("random_affine", {"zoom_height": -1.0}, ValueError, "zoom_height"),
        ("random_affine", {"flip_vertical": 1.5}, ValueError, "flip_vertical"),
        ("random_affine", {"crop": [2, 2], "rotation": 1.0}, ValueError, "rotation: expected none with crop"),
        ("random_affine", {"turn": 1.0}, ValueError, "turn"),
        ("random_color", {"low": 1.0, "high": 0.0}, ValueError, "low <= high"),
        ("random_color", {"gain": float("inf")}, ValueError, "gain|finite"),
        ("random_erasing", {"area": [0.0, 1.5]}, ValueError, "area"),
        ("random_erasing", {"probability": -0.5}, ValueError, "probability"),
        ("random_erasing", {"noise": 1.0, "value": 2.0}, ValueError, "one of them"),
        ("random_erasing", {"value": []}, ValueError, "value"),
        ("random_erasing", {"aspect": 0.0}, ValueError, "aspect"),
    ],
)
def test_attribute_errors(name, attrs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op(name, attrs)


def test_input_errors():
    warp = _cpu.Op("affine_warp", {})
    with pytest.raises(ValueError, match=r"matrix: expected shape \(2, 2, 3\)"):
        warp.infer([("float32", (2, 5, 4, 3)), ("float32", (2, 6))])
    with pytest.raises(TypeError, match="matrix"):
        warp.infer([("float32", (2, 5, 4, 3)), ("float64", (2, 2, 3))])
    with pytest.raises(ValueError, match="fewer than 2\\^31"):
        warp.infer([("float32", (1, 50000, 50000, 1)), ("float32", (1, 2, 3))])
    with pytest.raises(ValueError, match="crop: expected a window inside"):
        _cpu.Op("random_affine", {"crop": [6, 2]}).infer([("float32", (2, 5, 4, 3))])
    with pytest.raises(ValueError, match="value: expected 1 number or 3"):
        _cpu.Op("random_erasing", {"value": [1.0, 2.0]}).infer([("float32", (2, 5, 4, 3))])
    for name in ("random_affine", "random_color", "random_erasing"):
        with pytest.raises(TypeError, match="float32 or float64"):
            _cpu.Op(name, {}).infer([("int64", (2, 5, 4, 3))])
        with pytest.raises(ValueError, match="x"):
            _cpu.Op(name, {}).infer([("float32", (5, 4, 3))])
