import numpy as np
import pytest
from gradcheck import check_gradients
from reference_loss import log_softmax

from lamella import _cpu

INTS = ("int64", (2, 3))


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("joined", [False, True])
def test_gradients(time_first, blank, joined):
    rng = np.random.default_rng(0)
    x = log_softmax(rng.standard_normal((6, 2, 4) if time_first else (2, 6, 4)))
    targets = np.array([[1, 1, 2], [2, 1, 1]])
    lengths = np.array([3, 1])
    if joined:
        targets = np.array([1, 1, 2, 2])
    attrs = {"blank": blank, "time_first": time_first}
    check_gradients("ctc_loss", attrs, [x, targets, np.array([6, 4]), lengths])
    check_gradients("ctc_loss", attrs, [x, targets, None, lengths])


def test_gradients_with_counted_targets_and_one_that_does_not_fit():
    x = log_softmax(np.random.default_rng(1).standard_normal((3, 4, 3)))
    targets = np.array([[1, 2, 0], [1, 1, 1], [0, 0, 0]])
    check_gradients("ctc_loss", {"zero_infinity": True}, [x, targets])


def test_a_null_gradient_is_zero():
    x = log_softmax(np.zeros((1, 3, 2)))
    op = _cpu.Op("ctc_loss", {})
    outputs, saved = op.forward([x, np.array([[1]])], training=True)
    (dx, _) = op.backward([x, np.array([[1]])], outputs, saved, [None], [True, False])
    assert not dx.any()


@pytest.mark.parametrize(
    "attrs,specs,error,text",
    [
        ({}, [("float32", (2, 3)), INTS], ValueError, "x: expected 3 dimensions"),
        ({"blank": 4}, [("float32", (2, 5, 4)), INTS], ValueError, "blank: expected one of the 4 classes, got 4"),
        ({}, [("float32", (2, 5, 4)), ("float32", (2, 3))], TypeError, "targets: expected int32 or int64"),
        ({}, [("float32", (2, 5, 4)), ("int64", (3, 3))], ValueError, r"targets: expected shape \(2, width\)"),
        ({}, [("float32", (2, 5, 4)), ("int64", (3,))], ValueError, "target_lengths: expected one per sample"),
        ({}, [("float32", (2, 5, 4)), INTS, ("int64", (3,))], ValueError, r"input_lengths: expected shape \(2,\)"),
        ({}, [("float32", (2, 5, 4)), INTS, ("int64", (2,)), ("float32", (2,))], TypeError, "target_lengths"),
        ({"blanks": 1}, [("float32", (2, 5, 4)), INTS], ValueError, "blank"),
    ],
)
def test_errors(attrs, specs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op("ctc_loss", attrs).infer(specs)


@pytest.mark.parametrize(
    "targets,inputs,lengths,text",
    [
        ([[1, 2]], [4], [2], r"input_lengths: expected lengths in \[0, 3\], got 4 in sample 0"),
        ([[1, 2]], [3], [3], r"target_lengths: expected lengths in \[0, 2\], got 3 in sample 0"),
        ([[1, 2]], [3], [-1], "target_lengths: .* got -1 in sample 0"),
        ([1], [3], [2], "targets: expected at least 2 labels, the sum of target_lengths, got 1"),
        ([[1, 5]], [3], [2], r"targets: expected class numbers in .* other than blank 0, got label 5 in sample 0"),
    ],
)
def test_values_that_do_not_fit(targets, inputs, lengths, text):
    x = np.zeros((1, 3, 4), np.float32)
    with pytest.raises(ValueError, match=text):
        _cpu.Op("ctc_loss", {}).forward([x, np.array(targets), np.array(inputs), np.array(lengths)])
