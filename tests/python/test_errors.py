"""What error messages show of the values they were given."""

import numpy as np
import pytest

import lamella
from lamella import layers, nn, optim
from lamella._errors import refuse, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("same", "'same'"),
        (np.float32(2.5), repr(np.float32(2.5))),
        (np.zeros((50, 60)), "ndarray of float64, shape (50, 60)"),
        (lamella.zeros(2, 3), "Tensor of float32, shape (2, 3)"),
        (layers.Input((4,)), "KerasTensor of float32, shape (None, 4)"),
        (list(range(1000)), repr(list(range(1000)))[:200] + "..."),
        ([np.zeros((2, 2))], "[array([[0., 0.], [0., 0.]])]"),
    ],
)
def test_values_are_shown_on_one_short_line(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    "call",
    [
        lambda a: lamella.kernels.conv2d(
            np.zeros((1, 9, 9, 2), np.float32), np.zeros((3, 3, 2, 1), np.float32), stride=a
        ),
        lambda a: nn.functional.avg_pool2d(lamella.zeros(1, 2, 9, 9), a),
        lambda a: nn.Conv2d(2, 3, a),
        lambda a: nn.Linear(a, 2),
        lambda a: layers.Conv2D(4, a),
        lambda a: layers.Dense(a),
        lambda a: layers.Dropout(a),
        lambda a: layers.Input(a),
        lambda a: optim.Adam(nn.Linear(2, 2).parameters(), betas=a),
    ],
)
def test_arrays_as_arguments_are_not_printed(call):
    with pytest.raises((TypeError, ValueError)) as error:
        call(np.zeros((40, 40)))
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_refusals():
    refuse("Op", False, a=None, b=0, c=False)
    refuse("Op", None, a=None)
    refuse("Op", 0.99, a=0.99)
    with pytest.raises(NotImplementedError, match=r"^Op: b: expected False, got 3; it is not supported$"):
        refuse("Op", False, a=False, b=3)
    with pytest.raises(NotImplementedError, match=r"^Op: b: expected None, got ndarray of float64, shape"):
        refuse("Op", b=np.zeros(100))
