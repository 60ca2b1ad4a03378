"""Recurrent layers in plans: weights packed once give what weights packed at every call give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import _cpu
from lamella._kernels._call import op

pytestmark = pytest.mark.bindings

GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
STEPS = {"simple_rnn": "rnn_step", "lstm": "lstm_step", "gru": "gru_step"}


def inputs_of(
    cell: str, n: int, t: int, c: int, h: int, attrs: dict[str, Any], mask: str = "none", dtype: Any = np.float32
) -> list[Any]:
    """x, the first direction, the mask, the second direction: as the op takes them."""
    rng = np.random.default_rng(n + 3 * t + 5 * c + 7 * h)
    gates = GATES[cell]

    def direction() -> list[np.ndarray]:
        shapes = [(c, gates * h), (h, gates * h), (gates * h,), (gates * h,), (n, h)]
        shapes += [(n, h)] if cell == "lstm" else []
        return [(0.5 * rng.standard_normal(s)).astype(dtype) for s in shapes]

    time_major = attrs.get("time_major", False)
    x = rng.standard_normal((t, n, c) if time_major else (n, t, c)).astype(dtype)
    active = {
        "none": lambda: None,
        "lengths32": lambda: rng.integers(0, t + 1, n).astype(np.int32),
        "lengths64": lambda: rng.integers(0, t + 1, n),
        "mask": lambda: rng.integers(0, 2, (t, n) if time_major else (n, t)).astype(np.uint8),
    }[mask]()
    inputs = [x, *direction(), active]
    return inputs + direction() if attrs.get("bidirectional") else inputs


def weights_at(cell: str, inputs: list[Any]) -> list[int]:
    """Where w_ih, w_hh, b_ih and b_hh of each direction stand."""
    second = 8 if cell == "lstm" else 7
    return [1, 2, 3, 4] + (list(range(second, second + 4)) if len(inputs) > second else [])


def plan_of(name: str, attrs: dict[str, Any], inputs: list[Any], given: set[int]) -> Any:
    """An inference plan; inputs in `given` come with every run, the others are its parameters."""
    graph = _cpu.Graph()
    ids: list[int | None] = []
    for i, a in enumerate(inputs):
        if a is None:
            ids.append(None)
        elif i in given:
            ids.append(graph.add_input(f"x{i}", a.dtype.name, a.shape))
        else:
            ids.append(graph.add_param(f"p{i}", a, False))
    graph.set_outputs(graph.apply(op(name, attrs), ids))
    specs = [(inputs[i].dtype.name, inputs[i].shape) for i in sorted(given) if inputs[i] is not None]
    return _cpu.Plan(graph, specs)


def check(name: str, attrs: dict[str, Any], inputs: list[Any], given: set[int], exact: bool = True) -> None:
    plan = plan_of(name, attrs, inputs, given)
    expected = op(name, attrs).forward(inputs)[0]
    for _ in range(2):
        got = plan.run([inputs[i] for i in sorted(given) if inputs[i] is not None])
        for a, b in zip(got, expected, strict=True):
            if exact:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=0, atol=32 * np.finfo(b.dtype).eps)


OPTIONS = [
    {},
    {"reverse": True},
    {"reverse": True, "processing_order": True},
    {"bidirectional": True},
    {"bidirectional": True, "time_major": True, "return_sequences": False},
    {"bidirectional": True, "zero_masked_output": True},
]


@pytest.mark.parametrize("mask", ["none", "lengths32", "lengths64", "mask"])
@pytest.mark.parametrize("cell", GATES)
def test_same_bits(cell: str, mask: str) -> None:
    """Masks and initial states given to every run, or as parameters; only the weights are packed."""
    for attrs in OPTIONS:
        for extra in [{"reset_after": True}, {"reset_after": False}] if cell == "gru" else [{}]:
            for n, h, dtype in [(1, 33, np.float32), (5, 16, np.float32), (3, 7, np.float64)]:
                inputs = inputs_of(cell, n, 6, 9, h, attrs, mask, dtype)
                weights = weights_at(cell, inputs)
                check(cell, attrs | extra, inputs, {0})
                check(cell, attrs | extra, inputs, set(range(len(inputs))) - set(weights))


@pytest.mark.parametrize("cell", GATES)
def test_without_biases_and_states(cell: str) -> None:
    for attrs in OPTIONS[:4]:
        inputs = inputs_of(cell, 4, 5, 3, 18, attrs)
        first = weights_at(cell, inputs)[:2] + weights_at(cell, inputs)[4:6]
        few = [a if i == 0 or i in first else None for i, a in enumerate(inputs)]
        check(cell, attrs, few, {0})
        one_bias = [inputs[3] if i == 3 else a for i, a in enumerate(few)]
        check(cell, attrs, one_bias, {0})


@pytest.mark.parametrize("cell", GATES)
def test_single_steps(cell: str) -> None:
    """Without packed weights a single step takes them where they stand, in another order of sums."""
    for n, h in [(1, 33), (4, 16), (0, 5)]:
        inputs = inputs_of(cell, n, 1, 9, h, {})
        check(cell, {}, inputs, {0}, exact=False)
        check(cell, {"bidirectional": True}, inputs_of(cell, n, 1, 9, h, {"bidirectional": True}), {0}, exact=False)
        step = [inputs[0][:, 0], *inputs[1:-1]]
        check(STEPS[cell], {}, step, {0}, exact=False)
        check(STEPS[cell], {}, step, {0, *range(5, len(step))}, exact=False)


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(list(GATES)),
    n=st.integers(0, 9),
    t=st.integers(0, 9).filter(lambda t: t != 1),
    c=st.integers(1, 40),
    h=st.integers(1, 70),
    attrs=st.sampled_from(OPTIONS),
    mask=st.sampled_from(["none", "lengths64", "mask"]),
    activation=st.sampled_from(["tanh", "relu", "hard_sigmoid"]),
)
def test_random_shapes(
    cell: str, n: int, t: int, c: int, h: int, attrs: dict[str, Any], mask: str, activation: str
) -> None:
    inputs = inputs_of(cell, n, t, c, h, attrs, mask)
    check(cell, attrs | {"activation": activation}, inputs, {0, 6 if cell != "lstm" else 7})


@pytest.mark.cpu
@pytest.mark.parametrize("given_too", ["nothing", "the mask", "the states"])
@pytest.mark.parametrize("cell", GATES)
def test_packed_weights_are_what_runs(cell: str, given_too: str) -> None:
    """There are some, whatever comes with every run, and they follow the weights."""
    attrs = {"bidirectional": True}
    inputs = inputs_of(cell, 3, 5, 4, 9, attrs, "mask")
    mask, weights = (7 if cell == "lstm" else 6), weights_at(cell, inputs)
    states = set(range(len(inputs))) - {0, mask, *weights}
    given = {0} | {"nothing": set(), "the mask": {mask}, "the states": states}[given_too]
    runs = [inputs[i] for i in sorted(given)]
    plan = plan_of(cell, attrs, inputs, given)
    assert plan.prepared_bytes > 0
    for i in weights:
        before = op(cell, attrs).forward(inputs)[0]
        for a, b in zip(plan.run(runs), before, strict=True):
            np.testing.assert_array_equal(a, b)
        inputs[i][..., -1] += np.float32(0.25)  # the last gate
        after = op(cell, attrs).forward(inputs)[0]
        assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
        for a, b in zip(plan.run(runs), after, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", GATES)
def test_weights_that_come_with_every_run(cell: str) -> None:
    """Nothing is packed ahead where a weight, or only a bias, is no parameter."""
    inputs = inputs_of(cell, 3, 5, 4, 9, {})
    for i in weights_at(cell, inputs):
        plan = plan_of(cell, {}, inputs, {0, i})
        assert plan.prepared_bytes == 0
        for _ in range(3):
            for a, b in zip(plan.run([inputs[0], inputs[i]]), op(cell, {}).forward(inputs)[0], strict=True):
                np.testing.assert_array_equal(a, b)
            inputs[i] = inputs[i] + np.float32(0.25)


@pytest.mark.cpu
@pytest.mark.parametrize("cell", GATES)
def test_threads_do_not_change_a_bit(cell: str) -> None:
    results = []
    for threads in (1, 2, 3):
        lamella.set_num_threads(threads)
        one = []
        for n, h in [(1, 120), (37, 48)]:
            inputs = inputs_of(cell, n, 12, 30, h, {"bidirectional": True}, "lengths64")
            one += plan_of(cell, {"bidirectional": True}, inputs, {0}).run(inputs[:1])
        results.append(one)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
