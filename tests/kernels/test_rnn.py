"""Recurrent kernels against NumPy in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import reference_rnn as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import op, run_backward

CELLS = ["simple_rnn", "lstm", "gru"]
# Around the vectors and the chunks of units of every ISA level.
SIZES = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 64, 70]


def make_weights(
    rng: np.random.Generator, cell: str, n: int, features: int, h: int, dtype: Any, biases: int = 2, states: bool = True
) -> dict[str, Any]:
    """Weights of a layer that forgets, so that rounding does not build up over the steps."""
    gates = ref.GATES[cell]

    def draw(*shape: int) -> np.ndarray:
        scale = 0.7 if len(shape) == 1 else 0.7 / max(1, shape[0]) ** 0.5
        return (rng.standard_normal(shape) * scale).astype(dtype)

    w: dict[str, Any] = {
        "w_ih": draw(features, gates * h),
        "w_hh": draw(h, gates * h),
        "b_ih": draw(gates * h) if biases > 0 else None,
        "b_hh": draw(gates * h) if biases > 1 else None,
        "h0": draw(n, h) if states else None,
    }
    if cell == "lstm":
        w["c0"] = draw(n, h) if states else None
    return w


def make_mask(rng: np.random.Generator, kind: str | None, n: int, t: int, time_major: bool) -> np.ndarray | None:
    if kind == "lengths":
        return rng.integers(0, t + 1, n).astype(rng.choice([np.int32, np.int64]))
    if kind == "mask":
        return rng.integers(0, 2, (t, n) if time_major else (n, t)).astype(bool)
    return None


def tolerance(dtype: Any, features: int, h: int) -> float:
    """A step's sums of `features + h` products round by about sqrt of that many eps; the state forgets, so a few such
    errors are all that a step ever sees. Relative to values of about 1."""
    return 8 * float(np.finfo(dtype).eps) * float(np.sqrt(features + h + 4))


def arrays_of(x: np.ndarray, weights: list[dict[str, Any]], mask: np.ndarray | None) -> list[np.ndarray | None]:
    return [x, *weights[0].values(), mask, *(weights[1].values() if len(weights) > 1 else [])]


def check(
    cell: str, x: np.ndarray, weights: list[dict[str, Any]], mask: np.ndarray | None, attrs: dict[str, Any]
) -> None:
    given_attrs = {**attrs, "bidirectional": len(weights) == 2}
    outputs, _ = op(cell, given_attrs).forward(arrays_of(x, weights, mask))
    expected = ref.sequence(cell, x, weights, mask, **attrs)
    atol = tolerance(x.dtype, x.shape[2], weights[0]["w_hh"].shape[0])
    for got, want in zip(outputs, expected, strict=True):
        assert got.dtype == x.dtype
        scale = max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=atol * scale, err_msg=f"{cell} {attrs}")


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    cell = draw(st.sampled_from(CELLS))
    attrs: dict[str, Any] = {
        "time_major": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "zero_masked_output": draw(st.booleans()),
        "activation": draw(st.sampled_from(["tanh", "tanh", "relu", "linear"])),
    }
    if cell != "simple_rnn":
        attrs["recurrent_activation"] = draw(st.sampled_from(["sigmoid", "sigmoid", "hard_sigmoid"]))
    if cell == "gru":
        attrs["reset_after"] = draw(st.booleans())
    direction = draw(st.sampled_from(["forward", "reverse", "processing", "both"]))
    attrs["reverse"] = direction in ("reverse", "processing")
    attrs["processing_order"] = direction == "processing"
    return {
        "cell": cell,
        "attrs": attrs,
        "directions": 2 if direction == "both" else 1,
        "n": draw(st.sampled_from([0, 1, 2, 3, 5, 8, 17])),
        "t": draw(st.sampled_from([0, 1, 2, 3, 6])),
        "features": draw(st.sampled_from([0, 1, 3, 8, 17])),
        "h": draw(st.sampled_from(SIZES)),
        "mask": draw(st.sampled_from([None, "lengths", "mask"])),
        "biases": draw(st.integers(0, 2)),
        "states": draw(st.booleans()),
        "dtype": draw(st.sampled_from([np.float32, np.float64])),
        "seed": draw(st.integers(0, 2**31)),
    }


@settings(max_examples=120, deadline=None)
@given(cases())
def test_sequences(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    n, t, features, dtype, attrs = case["n"], case["t"], case["features"], case["dtype"], case["attrs"]
    weights = [
        make_weights(rng, case["cell"], n, features, case["h"], dtype, case["biases"], case["states"])
        for _ in range(case["directions"])
    ]
    shape = (t, n, features) if attrs["time_major"] else (n, t, features)
    x = rng.standard_normal(shape).astype(dtype)
    check(case["cell"], x, weights, make_mask(rng, case["mask"], n, t, attrs["time_major"]), attrs)


# Several blocks of rows; several runs of steps; depths beyond one block of the products; units split among threads.
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("n", "t", "features", "h"), [(70, 5, 20, 48), (3, 90, 5, 33), (2, 4, 410, 500), (1, 12, 64, 420)]
)
def test_large(cell: str, n: int, t: int, features: int, h: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, t, features)).astype(np.float32)
    for attrs in [{"reset_after": True}, {"reset_after": False}] if cell == "gru" else [{}]:
        check(cell, x, [make_weights(rng, cell, n, features, h, np.float32)], None, attrs)
        both = [make_weights(rng, cell, n, features, h, np.float32, states=False) for _ in range(2)]
        check(cell, x, both, make_mask(rng, "lengths", n, t, False), attrs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "h"), [(0, 4), (1, 1), (1, 33), (4, 20), (40, 17)])
def test_steps(n: int, h: int, dtype: Any) -> None:
    rng = np.random.default_rng(h)
    for cell, step in [("simple_rnn", K.rnn_step), ("lstm", K.lstm_step), ("gru", K.gru_step)]:
        for biases in range(3):
            for states in [True, False]:
                w = make_weights(rng, cell, n, 6, h, dtype, biases, states)
                x = rng.standard_normal((n, 6)).astype(dtype)
                got = step(x, *w.values())
                want = ref.sequence(cell, x[:, None], [w], return_sequences=False)
                for a, b in zip(got if isinstance(got, list) else [got], want, strict=True):
                    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance(dtype, 6, h))


def test_wrappers() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 3))
    mask = np.array([2, 4])
    for cell in CELLS:
        first, second = (make_weights(rng, cell, 2, 3, 5, np.float64) for _ in range(2))
        got = getattr(K, cell)(x, *first.values(), mask, second=list(second.values()), zero_masked_output=True)
        want = ref.sequence(cell, x, [first, second], mask, zero_masked_output=True)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        inputs = [x, *first.values()]
        y = np.empty((2, 4, 5))
        finals = [np.empty((2, 5)) for _ in want[1 : len(want) // 2 + 1]]
        getattr(K, cell)(*inputs, out=[y, *finals])
        np.testing.assert_allclose(y, ref.sequence(cell, x, [first])[0], rtol=0, atol=1e-12)
        assert isinstance(getattr(K, cell)(*inputs, return_sequences=False), list)


def test_reverse_within_lengths() -> None:
    """A short sequence run in reverse is what it is without its padding, whatever stands there."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 6, 3)).astype(np.float32)
    x[0, 4:] = np.nan
    w = make_weights(rng, "lstm", 2, 3, 9, np.float32)
    got = K.lstm(x, *w.values(), np.array([4, 6]), reverse=True, zero_masked_output=True)
    alone = K.lstm(x[:1, :4], *[a[:1] if a.shape[0] == 2 else a for a in w.values()], reverse=True)
    # A device's products choose the order of their sums by the number of rows.
    np.testing.assert_allclose(got[0][:1, :4], alone[0], rtol=0, atol=tolerance(np.float32, 3, 9))
    np.testing.assert_array_equal(got[0][0, 4:], 0)
    np.testing.assert_allclose(got[1][0], alone[1][0], rtol=0, atol=tolerance(np.float32, 3, 9))


@pytest.mark.parametrize("cell", CELLS)
def test_empty_sequences_keep_the_state(cell: str) -> None:
    rng = np.random.default_rng(4)
    w = make_weights(rng, cell, 3, 2, 5, np.float32)
    x = rng.standard_normal((3, 4, 2)).astype(np.float32)
    outputs = getattr(K, cell)(x, *w.values(), np.zeros(3, np.int32))
    np.testing.assert_array_equal(outputs[0], np.repeat(w["h0"][:, None], 4, axis=1))
    np.testing.assert_array_equal(outputs[1], w["h0"])
    outputs = getattr(K, cell)(x[:, :0], *w.values())
    assert outputs[0].shape == (3, 0, 5)
    np.testing.assert_array_equal(outputs[1], w["h0"])


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_row(cell: str) -> None:
    rng = np.random.default_rng(5)
    w = make_weights(rng, cell, 3, 4, 20, np.float32)
    x = rng.standard_normal((3, 5, 4)).astype(np.float32)
    clean = getattr(K, cell)(x, *w.values())
    x[1, 2, 0] = np.nan
    y = getattr(K, cell)(x, *w.values())[0]
    assert np.isnan(y[1, 2:]).all()
    np.testing.assert_array_equal(y[[0, 2]], clean[0][[0, 2]])
    np.testing.assert_array_equal(y[1, :2], clean[0][1, :2])
    x[1, 2, 0] = 1e30  # gates saturate, nothing overflows
    assert np.isfinite(getattr(K, cell)(x, *w.values())[0]).all()


def test_strided_inputs() -> None:
    rng = np.random.default_rng(6)
    w = make_weights(rng, "gru", 3, 4, 6, np.float32)
    x = rng.standard_normal((3, 5, 4)).astype(np.float32)
    want = K.gru(x, *w.values())
    fortran = {k: np.asfortranarray(v) for k, v in w.items()}
    strided = np.repeat(x, 2, axis=2)[..., ::2]
    for a, b in zip(K.gru(strided, *fortran.values()), want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_backward_float32(cell: str) -> None:
    """Against the float64 kernels, whose gradients tests/ops checks: sizes that finite differences cannot afford."""
    rng = np.random.default_rng(7)
    for n, t, features, h, attrs in [
        (37, 6, 30, 50, {}),
        (1, 20, 40, 300, {"reverse": True}),
        (5, 7, 9, 33, {"bidirectional": True, "zero_masked_output": True}),
        (4, 9, 9, 20, {"reset_after": False}),
        (1, 5, 16, 410, {"reset_after": False, "return_sequences": False}),
    ]:
        if "reset_after" in attrs and cell != "gru":
            continue
        weights = [make_weights(rng, cell, n, features, h, np.float32) for _ in range(1 + ("bidirectional" in attrs))]
        mask = make_mask(rng, "mask" if n > 1 else None, n, t, False)
        inputs = arrays_of(rng.standard_normal((n, t, features)).astype(np.float32), weights, mask)
        outputs, _ = op(cell, attrs).forward(inputs)
        grads = [rng.standard_normal(o.shape).astype(np.float32) for o in outputs]
        got = run_backward(cell, attrs, inputs, grads)

        def double(a: np.ndarray | None) -> np.ndarray | None:
            return a.astype(np.float64) if a is not None and a.dtype == np.float32 else a

        want = run_backward(cell, attrs, [double(a) for a in inputs], [double(g) for g in grads])
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            assert (a is None) == (b is None) == (inputs[i] is None or inputs[i].dtype != np.float32)
            if a is None:
                continue
            # Sums over n * t rows and 4 h gates of terms that carry the forward pass's errors.
            atol = 4 * tolerance(np.float32, features, 4 * h) * max(1.0, float(np.abs(b).max()))
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=f"{cell} {attrs}: input {i}")


@pytest.mark.cpu
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_for_any_number_of_threads(cell: str) -> None:
    rng = np.random.default_rng(8)
    for n, t, features, h, attrs in [
        (37, 9, 40, 70, {}),
        (9, 5, 20, 130, {"bidirectional": True}),
        (1, 6, 30, 600, {}),
        (3, 4, 30, 410, {"bidirectional": True}),
        (1, 4, 30, 600, {"reset_after": False}),
        (1, 1, 300, 900, {}),
        # Many steps of a row or three, in runs: the threads meet after each step.
        (1, 150, 8, 200, {}),
        (2, 70, 8, 161, {"reverse": True}),
        (3, 50, 8, 130, {"reset_after": False}),
    ]:
        if "reset_after" in attrs and cell != "gru":
            continue
        weights = [make_weights(rng, cell, n, features, h, np.float32) for _ in range(1 + ("bidirectional" in attrs))]
        x = rng.standard_normal((n, t, features)).astype(np.float32)
        inputs = arrays_of(x, weights, make_mask(rng, "lengths", n, t, False) if n > 1 else None)
        grads = [rng.standard_normal(o.shape).astype(np.float32) for o in op(cell, attrs).forward(inputs)[0]]
        results = []
        for count in [1, 2, 3, 8]:
            lamella.set_num_threads(count)
            results.append(op(cell, attrs).forward(inputs)[0] + run_backward(cell, attrs, inputs, grads))
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                if a is not None:
                    np.testing.assert_array_equal(a, b)


@pytest.mark.cpu
def test_same_bits_beside_another_caller() -> None:
    # The pool serves one caller at a time: what the other asks for in steps runs on its own thread alone.
    rng = np.random.default_rng(9)
    x = rng.standard_normal((1, 120, 8)).astype(np.float32)
    inputs = arrays_of(x, [make_weights(rng, "lstm", 1, 8, 300, np.float32)], None)
    layer = op("lstm", {})
    want = layer.forward(inputs)[0]
    with ThreadPoolExecutor(3) as pool:
        for got in pool.map(lambda _: layer.forward(inputs)[0], range(30)):
            for a, b in zip(got, want, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates(cell: str, dtype: Any) -> None:
    # Weights of 0: the biases are the gates, every value with every other; a unit is a combination.
    values = [-np.inf, -1e30, -150.0, -90.0, -9.0, -1e-30, -0.0, 1e-3, 8.9, 60.0, 150.0, 1e30, np.inf, np.nan]
    gates = ref.GATES[cell]
    b = np.stack([g.ravel() for g in np.meshgrid(*[values] * min(gates, 3))][:gates])
    if gates == 4:  # o follows f
        b = np.stack([b[0], b[1], b[2], b[1]])
    h = b.shape[1]
    weights = {"w_ih": np.zeros((2, gates * h)), "w_hh": np.zeros((h, gates * h)), "b_ih": b.ravel(), "b_hh": None}
    weights["h0"] = np.full((1, h), 0.5)
    if cell == "lstm":
        weights["c0"] = np.full((1, h), 0.25)
    weights = {k: v if v is None else v.astype(dtype) for k, v in weights.items()}
    x = np.zeros((1, 2, 2), dtype)
    with np.errstate(all="ignore"):
        want = ref.sequence(cell, x, [weights], None)
    got = op(cell, {}).forward(arrays_of(x, [weights], None))[0]
    for a, b in zip(got, want, strict=True):
        # A state is a sum of two products of gates.
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * float(np.finfo(dtype).eps))
    assert np.nanmax(np.abs(got[0])) <= 1
