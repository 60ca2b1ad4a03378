import numpy as np
import pytest
from gradcheck import check_gradients

from lamella import _cpu


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape,axis", [((3, 5), -1), ((2, 4, 3), 1), ((3, 1), 1), ((6,), 0)])
def test_gradients(name, shape, axis):
    check_gradients(name, {"axis": axis}, [np.random.default_rng(0).standard_normal(shape)])


@pytest.mark.parametrize(
    "attrs,x,error,text",
    [
        ({"axis": 2}, np.zeros((2, 3)), ValueError, "axis"),
        ({"axis": -1}, np.zeros(()), ValueError, "axis"),
        ({"axes": 1}, np.zeros((2, 3)), ValueError, "did you mean 'axis'"),
        ({"axis": -1}, np.zeros((2, 3), np.int32), TypeError, "int32"),
    ],
)
def test_errors(attrs, x, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op("softmax", attrs).forward([x])


def test_zero_gradient_without_output_gradient():
    x = np.ones((2, 3))
    op = _cpu.Op("softmax", {"axis": -1})
    y, _ = op.forward([x], True)
    (dx,) = op.backward([x], y, [], [None], [True])
    np.testing.assert_array_equal(dx, np.zeros((2, 3)))
