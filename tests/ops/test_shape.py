"""Shape ops: gradients by finite differences, inferred shapes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients

from lamella._kernels._call import op


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("name", "attrs", "shape"),
    [
        ("reshape", {"shape": [-1, 4]}, (2, 6)),
        ("flatten", {}, (2, 3, 2)),
        ("expand_dims", {"axis": 0}, (3, 2)),
        ("squeeze", {"axis": 1}, (3, 1, 2)),
        ("transpose", {"perm": [2, 0, 1]}, (2, 3, 4)),
        ("slice", {"starts": [1, -1], "stops": [5, -9], "steps": [2, -1]}, (5, 3)),
        ("pad", {"padding": [1, 2, -1, 0], "value": 3.0}, (2, 4)),
        ("split", {"sizes": [1, 0, 3], "axis": 1}, (2, 4)),
        ("repeat", {"repeats": 3, "axis": 1}, (2, 3, 2)),
        ("repeat", {"repeats": 2, "axis": -1}, (2, 3)),
        ("repeat", {"repeats": 1, "axis": 0}, (2, 3)),
        ("repeat", {"repeats": 0, "axis": 0}, (2, 3)),
        ("tile", {"reps": [2, 1, 3]}, (2, 3)),
        ("tile", {"reps": 2}, (2, 2, 2)),
        ("broadcast_to", {"shape": [2, 3, 4]}, (3, 1)),
        ("broadcast_to", {"shape": [-1, 4]}, (3, 1)),
        ("reverse", {"axis": 1}, (2, 3, 2)),
        ("upsample2d", {"scale": 2}, (1, 2, 3, 2)),
        ("upsample2d", {"scale": [2, 3], "mode": "bilinear"}, (1, 2, 3, 1)),
        ("upsample2d", {"size": [5, 4], "mode": "bilinear", "align_corners": True}, (1, 2, 3, 2)),
        ("upsample2d", {"size": [2, 2], "mode": "bilinear"}, (1, 5, 3, 1)),
    ],
)
def test_gradients(name: str, attrs: dict[str, Any], shape: tuple[int, ...]) -> None:
    check_gradients(name, attrs, [normal(shape)])
    first = op(name, attrs).attrs
    assert op(name, first).attrs == first


def test_gradients_of_several_inputs() -> None:
    check_gradients("concat", {"axis": 1}, [normal((2, 1, 2)), normal((2, 3, 2), 1)])
    check_gradients("stack", {"axis": 1}, [normal((2, 3)), normal((2, 3), 1), normal((2, 3), 2)])
    check_gradients("gather", {"axis": 1}, [normal((2, 4, 2)), np.array([[0, 3], [3, 3]])])


def test_missing_output_gradients_are_zero() -> None:
    x = normal((2, 4))
    o = op("split", {"sizes": [1, 3]})
    outputs, saved = o.forward([x], True)
    (grad,) = o.backward([x], outputs, saved, [None, np.ones((2, 3))], [True])
    assert grad.tolist() == [[0, 1, 1, 1]] * 2
    o = op("tile", {"reps": [2, 2]})
    outputs, saved = o.forward([x], True)
    assert not o.backward([x], outputs, saved, [None], [True])[0].any()


def test_casts_between_floats_have_a_gradient() -> None:
    x = normal((3, 2))
    o = op("cast", {"dtype": "float32"})
    outputs, saved = o.forward([x], True)
    grad = np.arange(6, dtype=np.float32).reshape(3, 2)
    (got,) = o.backward([x], outputs, saved, [grad], [True])
    assert got.dtype == np.float64 and np.array_equal(got, grad)


X = ("float32", (4, 5, 6))


@pytest.mark.parametrize(
    ("name", "attrs", "specs", "message"),
    [
        ("reshape", {"shape": [7, -1]}, [X], "reshape"),
        ("reshape", {"shape": [-1, -1]}, [X], "at most one -1"),
        ("flatten", {"start_axis": 5}, [X], "axis"),
        ("squeeze", {"axis": 0}, [X], "axis of size 1"),
        ("transpose", {"perm": [0, 1]}, [X], "perm: expected 3 axes"),
        ("transpose", {"perm": [0, 0, 1]}, [X], "perm: expected each axis once"),
        ("slice", {"starts": [0], "stops": [1], "steps": [0]}, [X], "steps"),
        ("pad", {"padding": [1, 1]}, [X], "padding: expected"),
        ("pad", {"padding": [0, 0, -3, -3, 0, 0]}, [X], "padding: expected sizes"),
        ("concat", {"axis": 0}, [X, ("float32", (4, 5, 7))], "input 1"),
        ("stack", {}, [X, ("float32", (4, 5, 7))], "input 1"),
        ("stack", {}, [], "inputs: expected at least one"),
        ("split", {"sizes": [1, 2]}, [X], "sizes that sum to 6"),
        ("split", {"sizes": []}, [X], "sizes: expected"),
        ("repeat", {}, [X], "repeats: expected"),
        ("repeat", {"repeats": -1}, [X], "repeats: expected"),
        ("repeat", {"repeats": 2, "axis": 3}, [X], "axis: expected"),
        ("broadcast_to", {"shape": [4, 5, 7]}, [X], "shape: expected a shape"),
        ("broadcast_to", {"shape": [6]}, [X], "shape"),
        ("reverse", {"axis": -4}, [X], "axis: expected"),
        ("gather", {"axis": 3}, [X, ("int64", (2,))], "axis: expected"),
        ("upsample2d", {}, [("float32", (1, 2, 2, 1))], "one of them, got neither"),
        ("upsample2d", {"scale": 2, "size": 4}, [("float32", (1, 2, 2, 1))], "one of them, got both"),
        ("upsample2d", {"scale": 0}, [("float32", (1, 2, 2, 1))], "scale: expected"),
        ("upsample2d", {"scale": 2, "mode": "cubic"}, [("float32", (1, 2, 2, 1))], "mode: expected"),
        ("upsample2d", {"scale": 2, "align_corners": True}, [("float32", (1, 2, 2, 1))], "align_corners"),
        ("upsample2d", {"scale": 2}, [X], "x: expected"),
    ],
)
def test_errors(name: str, attrs: dict[str, Any], specs: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op(name, attrs).infer(specs)


def test_indices_are_checked() -> None:
    x = normal((3, 2))
    with pytest.raises(ValueError, match=r"gather: indices: expected values in \[0, 3\), got 3 at position 1"):
        op("gather", {}).forward([x, np.array([0, 3])])
    with pytest.raises(ValueError, match="got -1 at position 0"):
        op("gather", {}).forward([x, np.array([-1])])
    with pytest.raises(TypeError, match="indices: expected int32 or int64"):
        op("gather", {}).forward([x, np.array([0.0])])
