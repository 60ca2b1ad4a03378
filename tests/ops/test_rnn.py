"""Recurrent ops: gradients by finite differences, shapes, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients

from lamella._kernels._call import op, run_backward

GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
STEPS = {"simple_rnn": "rnn_step", "lstm": "lstm_step", "gru": "gru_step"}


def weights(rng: np.random.Generator, cell: str, n: int, features: int, h: int) -> list[np.ndarray]:
    """w_ih, w_hh, b_ih, b_hh, h0 (and c0)."""
    g = GATES[cell]
    states = [rng.standard_normal((n, h)) for _ in range(2 if cell == "lstm" else 1)]
    shapes = [(features, g * h), (h, g * h), (g * h,), (g * h,)]
    return [*(0.6 * rng.standard_normal(s) for s in shapes), *states]


def variants(cell: str) -> list[dict[str, Any]]:
    return [{}] if cell != "gru" else [{"reset_after": True}, {"reset_after": False}]


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"reverse": True},
        {"reverse": True, "processing_order": True},
        {"bidirectional": True},
        {"time_major": True, "bidirectional": True, "zero_masked_output": True},
        {"return_sequences": False},
        {"return_sequences": False, "bidirectional": True, "time_major": True},
        {"zero_masked_output": True, "reverse": True, "processing_order": True},
        {"activation": "linear", "recurrent_activation": "hard_sigmoid"},
        {"activation": "softplus", "recurrent_activation": "tanh"},
    ],
)
@pytest.mark.parametrize("cell", GATES)
def test_gradients(cell: str, attrs: dict[str, Any]) -> None:
    n, t, features, h = 2, 4, 2, 3
    if cell == "simple_rnn":
        attrs = {k: v for k, v in attrs.items() if k != "recurrent_activation"}
    for extra in variants(cell):
        for kind in ["none", "lengths", "mask"]:
            rng = np.random.default_rng(7)
            x = rng.standard_normal((t, n, features) if attrs.get("time_major") else (n, t, features))
            mask = None
            if kind == "lengths":
                mask = np.array([2, 4])
            elif kind == "mask":
                mask = np.array([[1, 0, 1, 0], [0, 1, 1, 1]], np.uint8)
                mask = np.ascontiguousarray(mask.T) if attrs.get("time_major") else mask
            inputs = [x, *weights(rng, cell, n, features, h), mask]
            if attrs.get("bidirectional"):
                inputs += weights(rng, cell, n, features, h)
            check_gradients(cell, {**attrs, **extra}, inputs)


@pytest.mark.parametrize("cell", GATES)
def test_gradients_relu(cell: str) -> None:
    """Away from the kink: every pre-activation is of the size of its bias."""
    rng = np.random.default_rng(1)
    w = weights(rng, cell, 2, 2, 3)
    w[0] *= 0.1
    w[1] *= 0.1
    w[2] = np.where(rng.random(w[2].shape) < 0.5, -3.0, 3.0)
    w[3] *= 0.1
    check_gradients(cell, {"activation": "relu"}, [rng.standard_normal((2, 3, 2)), *w])


@pytest.mark.parametrize("t", [0, 1])
@pytest.mark.parametrize("cell", GATES)
def test_gradients_of_short_sequences(cell: str, t: int) -> None:
    for extra in variants(cell):
        rng = np.random.default_rng(2)
        inputs = [rng.standard_normal((3, t, 2)), *weights(rng, cell, 3, 2, 3)]
        check_gradients(cell, extra, inputs)
        check_gradients(cell, extra, [*inputs[:3], None, inputs[4]])


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("cell", GATES)
def test_gradients_of_steps(cell: str, n: int) -> None:
    for extra in variants(cell):
        rng = np.random.default_rng(3)
        inputs = [rng.standard_normal((n, 2)), *weights(rng, cell, n, 2, 3)]
        check_gradients(STEPS[cell], extra, inputs)
        check_gradients(STEPS[cell], extra, inputs[:3])


@pytest.mark.parametrize("cell", GATES)
def test_some_gradients_only(cell: str) -> None:
    """What is not wanted, and gradients of outputs that nobody has, change nothing of the rest."""
    rng = np.random.default_rng(4)
    for attrs in variants(cell):
        inputs = [rng.standard_normal((2, 3, 2)), *weights(rng, cell, 2, 2, 3)]
        outputs, _ = op(cell, attrs).forward(inputs)
        grads = [rng.standard_normal(outputs[0].shape), *[None] * (len(outputs) - 1)]
        everything = run_backward(cell, attrs, inputs, grads)
        zeros = [grads[0], *[np.zeros(o.shape) for o in outputs[1:]]]
        for a, b in zip(everything, run_backward(cell, attrs, inputs, zeros), strict=True):
            np.testing.assert_array_equal(a, b)
        for i in range(len(inputs)):
            alone = run_backward(cell, attrs, inputs, grads, [j == i for j in range(len(inputs))])
            assert [g is None for g in alone] == [j != i for j in range(len(inputs))]
            np.testing.assert_array_equal(alone[i], everything[i])
        nothing = run_backward(cell, attrs, inputs, [None] * len(outputs))
        for g in nothing:
            np.testing.assert_array_equal(g, 0)


def test_backward_reads_what_it_says() -> None:
    """Backward gets only the inputs and outputs of `uses`: a recorded call must give the same gradients."""
    rng = np.random.default_rng(5)
    for cell in GATES:
        for attrs in [{}, {"return_sequences": False}, {"zero_masked_output": True}]:
            inputs = [rng.standard_normal((2, 3, 2)), *weights(rng, cell, 2, 2, 3), np.array([3, 2])]
            outputs, record = op(cell, attrs).record(inputs)
            grads = [rng.standard_normal(o.shape) for o in outputs]
            expected = run_backward(cell, attrs, inputs, grads)
            for a, b in zip(record.backward(grads, [True] * len(inputs)), expected, strict=True):
                if a is not None:
                    np.testing.assert_array_equal(a, b)


def test_signature() -> None:
    f = "float32"
    specs = [(f, (5, 7, 3)), (f, (3, 24)), (f, (6, 24))]
    outputs, saved = op("lstm", {}).infer(specs, training=True)
    assert outputs == [(f, (5, 7, 6)), (f, (5, 6)), (f, (5, 6))]
    assert saved == [(f, (5, 7, 24)), (f, (5, 7, 6))]
    assert op("lstm", {}).infer(specs)[1] == []
    outputs, saved = op("gru", {"return_sequences": False}).infer([specs[0], (f, (3, 18)), (f, (6, 18))], training=True)
    assert outputs == [(f, (5, 6))]
    assert saved == [(f, (5, 7, 24)), (f, (5, 7, 6))]
    assert not op("lstm", {}).differentiable(7)
    assert op("lstm", {}).differentiable(6)
    for name in [*GATES, *STEPS.values()]:
        attrs = op(name, {}).attrs
        assert op(name, attrs).attrs == attrs


def call(name: str, attrs: dict[str, Any], **changes: Any) -> None:
    inputs: dict[str, Any] = {
        "x": np.zeros((2, 3, 4), np.float32),
        "w_ih": np.zeros((4, 20), np.float32),
        "w_hh": np.zeros((5, 20), np.float32),
        "b_ih": None,
        "b_hh": None,
        "h0": None,
        "c0": None,
        "mask": None,
    }
    inputs.update(changes)
    op(name, attrs).forward(list(inputs.values()))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, ValueError, "x.*3 dimensions"),
        ({"x": np.zeros((2, 3, 4), np.int32)}, TypeError, "x.*float32 or float64.*int32"),
        ({"w_ih": np.zeros((5, 20), np.float32)}, ValueError, r"w_ih.*\(4, 20\).*\(5, 20\)"),
        ({"w_ih": np.zeros((4, 20))}, TypeError, "w_ih.*float32.*float64"),
        ({"w_hh": np.zeros((5, 15), np.float32)}, ValueError, r"w_hh.*\(5, 20\)"),
        ({"w_hh": np.zeros((0, 0), np.float32)}, ValueError, "w_hh.*at least 1"),
        ({"w_hh": np.zeros(5, np.float32)}, ValueError, "w_hh"),
        ({"b_ih": np.zeros(5, np.float32)}, ValueError, r"b_ih.*\(20,\)"),
        ({"b_hh": np.zeros(5, np.float32)}, ValueError, r"b_hh.*\(20,\)"),
        ({"h0": np.zeros((1, 5), np.float32)}, ValueError, r"h0.*\(2, 5\)"),
        ({"c0": np.zeros((2, 4), np.float32)}, ValueError, r"c0.*\(2, 5\)"),
        ({"mask": np.zeros((3, 2), bool)}, ValueError, r"mask.*\(2, 3\).*\(2,\)"),
        ({"mask": np.zeros(2, np.float32)}, ValueError, "mask.*lengths"),
    ],
)
def test_bad_inputs(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call("lstm", {}, **changes)


@pytest.mark.parametrize(
    ("name", "attrs", "words"),
    [
        ("lstm", {"activation": "gelu"}, "activation.*gelu"),
        ("lstm", {"recurrent_activation": "sigmoyd"}, "sigmoid"),
        ("lstm", {"reset_after": True}, "reset_after"),
        ("simple_rnn", {"recurrent_activation": "sigmoid"}, "recurrent_activation"),
        ("lstm_step", {"reverse": True}, "reverse"),
        ("gru", {"reverse": True, "bidirectional": True}, "reverse"),
        ("gru", {"processing_order": True}, "processing_order"),
    ],
)
def test_bad_attributes(name: str, attrs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        op(name, attrs)


def test_missing_second_direction() -> None:
    with pytest.raises(ValueError, match="w_ih_reverse"):
        call("lstm", {"bidirectional": True})
