import numpy as np
import pytest
from gradcheck import check_gradients

from lamella import _cpu


def data(shape, seed=0):
    """Distinct values, so that extrema do not change within a finite difference."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n / 3) * 0.37 + 0.05


AXES = [None, [0], [1], [-1], [0, 2], [], [0, 1, 2]]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "sum_squares", "norm", "var", "std"])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients(name, axes, keepdims):
    x = data((2, 3, 2))
    if name == "prod":
        x = 1 + x / 10
    attrs = {"keepdims": keepdims} | ({} if axes is None else {"axes": axes})
    if name == "std" and axes == []:
        return  # the root of a variance that is 0 everywhere has no slope
    check_gradients(name, attrs, [x])


def test_ddof_gradients():
    check_gradients("var", {"axes": [1], "ddof": 1.0}, [data((3, 4))])
    check_gradients("std", {"axes": [0], "ddof": 1.0}, [data((3, 4))])


def test_equal_extrema_share_the_gradient():
    x = np.array([[1.0, 3, 3, 2], [5, 5, 5, 5]])
    op = _cpu.Op("max", {"axes": [1]})
    y, saved = op.forward([x], True)
    (dx,) = op.backward([x], y, saved, [np.array([1.0, 2.0])], [True])
    np.testing.assert_array_equal(dx, [[0, 0.5, 0.5, 0], [0.5, 0.5, 0.5, 0.5]])


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    "name,attrs,x,error,text",
    [
        ("sum", {"axes": 2}, X, ValueError, "axes"),
        ("sum", {"axes": [0, -2]}, X, ValueError, "twice"),
        ("sum", {"axis": 0}, X, ValueError, "did you mean 'axes'"),
        ("sum", {"axes": "all"}, X, TypeError, "axes"),
        ("sum", {}, X.astype(np.int32), TypeError, "int32"),
        ("max", {"axes": 0}, np.zeros((0, 3)), ValueError, "at least one element"),
        ("var", {"ddof": -1.0}, X, ValueError, "ddof"),
        ("argmax", {"axis": 2}, X, ValueError, "axis"),
        ("argmax", {}, np.zeros(0), ValueError, "at least one element"),
        ("argmin", {"axes": 0}, X, ValueError, "did you mean 'axis'"),
    ],
)
def test_errors(name, attrs, x, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op(name, attrs).forward([x])


@pytest.mark.parametrize("name", ["sum", "max", "var"])
def test_zero_gradient_without_output_gradient(name):
    op = _cpu.Op(name, {})
    y, saved = op.forward([X], True)
    (dx,) = op.backward([X], y, saved, [None], [True])
    np.testing.assert_array_equal(dx, X)


def test_attributes_round_trip():
    for name, attrs in [
        ("sum", {"axes": [0, 2], "keepdims": True}),
        ("mean", {"keepdims": False}),
        ("var", {"axes": [-1], "keepdims": False, "ddof": 1.0}),
        ("argmax", {"axis": -1, "keepdims": True}),
        ("argmin", {"keepdims": False}),
    ]:
        assert _cpu.Op(name, attrs).attrs == attrs
