import numpy as np
import pytest
from gradcheck import check_gradients

from lamella import _cpu


@pytest.mark.parametrize("padding", [None, 1])
def test_gradient(padding):
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (2, 5))
    indices[indices == padding] = 2  # its gradient is dropped by definition, which finite differences cannot know
    check_gradients("embedding", {"padding_idx": padding}, [indices, rng.standard_normal((4, 3))], wanted=[1])


@pytest.mark.parametrize(
    "attrs,specs,error,text",
    [
        ({}, [("float32", (2,)), ("float32", (4, 3))], TypeError, "int32 or int64"),
        ({}, [("int64", (2,)), ("int32", (4, 3))], TypeError, "table"),
        ({}, [("int64", (2,)), ("float32", (4,))], ValueError, "2 dimensions"),
        ({}, [("int64", (2,))], ValueError, "2 arrays"),
        ({"padding_idx": 4}, [("int64", (2,)), ("float32", (4, 3))], ValueError, "padding_idx"),
        ({"padding": 4}, [], ValueError, "padding_idx"),
    ],
)
def test_errors(attrs, specs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op("embedding", attrs).infer(specs)


def test_backward_checks_indices_again():
    op = _cpu.Op("embedding")
    table, g = np.zeros((3, 2)), np.ones((1, 2))
    with pytest.raises(ValueError, match="3 at position 0"):
        op.backward([np.array([3]), table], [g], [], [g], [False, True])
