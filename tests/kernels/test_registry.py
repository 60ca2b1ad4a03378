"""Every op can be run raw: a function of lamella.kernels for each of the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference_loss
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import _cpu
from lamella import kernels as K
from lamella._kernels import _call

# Functions with another name than their op's.
ALIASES = {
    "metric_accuracy": "accuracy",
    "metric_confusion": "confusion_matrix",
    "metric_threshold_counts": "threshold_counts",
    **{f"random_{kind}": kind for kind in ("uniform", "normal", "truncated_normal", "bernoulli", "permutation")},
}
# Ops that have no function of their own, and why.
EXCEPTIONS: dict[str, str] = {}

rng = np.random.default_rng(0)
X = rng.uniform(0.1, 0.9, (2, 3, 4))
IMAGES = rng.standard_normal((2, 6, 5, 4))
SEQUENCES = IMAGES[:, 0]
LABELS = np.array([[1, 0, 3], [2, 2, 0]])


def weights(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def recurrent(gates: int, steps: bool = False) -> tuple[np.ndarray, ...]:
    return (SEQUENCES[:, 0] if steps else SEQUENCES, weights(4, 3 * gates), weights(3, 3 * gates))


# Arguments for the function of each op; a name for those of several.
CALLS: dict[str, Callable[..., Any]] = {
    "dense": lambda f: f(X, weights(4, 5)),
    "matmul": lambda f: f(X, weights(4, 5)),
    "gemm": lambda f: f(X[0], weights(4, 5)),
    "conv1d": lambda f: f(SEQUENCES, weights(3, 4, 2)),
    "conv2d": lambda f: f(IMAGES, weights(3, 3, 4, 2)),
    "conv1d_transpose": lambda f: f(SEQUENCES, weights(3, 2, 4)),
    "conv2d_transpose": lambda f: f(IMAGES, weights(3, 3, 2, 4)),
    **{f"{kind}_pool1d": lambda f: f(SEQUENCES, 2) for kind in ("max", "avg", "adaptive_max", "adaptive_avg")},
    **{f"{kind}_pool2d": lambda f: f(IMAGES, 2) for kind in ("max", "avg", "adaptive_max", "adaptive_avg")},
    "activation": lambda f: f(X, "tanh"),
    "clip": lambda f: f(X, 0.2, 0.3),
    "where": lambda f: f(X > 0.5, X, -X),
    **{
        name: lambda f: f(X, X + 0.5)
        for name in (
            *("add", "sub", "mul", "div", "maximum", "minimum", "pow"),
            *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
            *("mse_loss", "mae_loss", "huber_loss", "smooth_l1_loss", "log_cosh_loss", "poisson_loss", "hinge_loss"),
            *("squared_hinge_loss", "mape_loss", "msle_loss"),
        )
    },
    **{
        name: lambda f: f(X, X[::-1])
        for name in ("bce_with_logits_loss", "bce_loss", "kl_div_loss", "kl_div_log_loss", "cross_entropy")
    },
    "softmax_cross_entropy": lambda f: f(X, LABELS),
    "nll_loss": lambda f: f(np.log(X), LABELS),
    "attention": lambda f: f(X, X, X),
    "metric_accuracy": lambda f: f(X, LABELS),
    "metric_confusion": lambda f: f(LABELS, LABELS[::-1], 4),
    "metric_threshold_counts": lambda f: f(X, np.round(X), [0.3, 0.6]),
    "ctc_loss": lambda f: f(np.log(X), LABELS[:, 1:] % 3 + 1),
    "group_norm": lambda f: f(IMAGES, 2),
    "simple_rnn": lambda f: f(*recurrent(1)),
    "lstm": lambda f: f(*recurrent(4)),
    "gru": lambda f: f(*recurrent(3)),
    "rnn_step": lambda f: f(*recurrent(1, True)),
    "lstm_step": lambda f: f(*recurrent(4, True)),
    "gru_step": lambda f: f(*recurrent(3, True)),
    "reshape": lambda f: f(X, (4, -1)),
    "slice": lambda f: f(X, [0, 1], [2, 3]),
    "pad": lambda f: f(X, [(0, 0), (1, 2), (-1, 1)]),
    "concat": lambda f: f([X, X]),
    "stack": lambda f: f([X, X]),
    "split": lambda f: f(X, [1, 3]),
    "cast": lambda f: f(X, np.float32),
    "repeat": lambda f: f(X, 2),
    "tile": lambda f: f(X, 2),
    "broadcast_to": lambda f: f(X, (5, 2, 3, 4)),
    "gather": lambda f: f(X, np.array([1, 0])),
    "upsample2d": lambda f: f(IMAGES, 2),
    "embedding": lambda f: f(LABELS, weights(9, 4)),
    **{f"random_{kind}": lambda f: f((3, 4)) for kind in ("uniform", "normal", "truncated_normal", "bernoulli")},
    "random_permutation": lambda f: f(7),
    "dropout": lambda f: f(X, 0.3),
    "gaussian_noise": lambda f: f(X, 0.3),
    "gaussian_dropout": lambda f: f(X, 0.3),
    "affine_warp": lambda f: f(IMAGES, weights(2, 2, 3)),
    **{name: lambda f: f(IMAGES) for name in ("random_affine", "random_color", "random_erasing")},
}


def function_of(op: str) -> Any:
    return getattr(K, ALIASES.get(op, op))


def test_the_lists_name_ops() -> None:
    known = set(_cpu.op_names())
    assert K.op_names() == _cpu.op_names() and len(known) == len(K.op_names())
    for names in (ALIASES, EXCEPTIONS, CALLS):
        assert set(names) <= known
    assert not set(EXCEPTIONS) & {*ALIASES, *K.__all__}


@pytest.mark.parametrize("name", [n for n in _cpu.op_names() if n not in EXCEPTIONS])
def test_every_op_has_a_function(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a docstring, in __all__, that runs the op of that name."""
    assert ALIASES.get(name, name) in K.__all__
    function = function_of(name)
    assert inspect.getdoc(function)
    if hasattr(function, "shortcuts"):
        function.shortcuts.clear()
    ran = []
    make = _call.op
    monkeypatch.setattr(_call, "op", lambda op, attrs=None: ran.append(op) or make(op, attrs))
    result = CALLS.get(name, lambda f: f(X))(function)
    assert ran == [name]
    for array in result if isinstance(result, (list, tuple)) else [result]:
        assert np.all(np.isfinite(array))


@pytest.mark.parametrize("name", [n for n in _cpu.op_names() if n not in EXCEPTIONS])
def test_second_calls_do_the_same(name: str) -> None:
    """They may take a shortcut past the description of the call."""
    function, call = function_of(name), CALLS.get(name, lambda f: f(X))
    state = rng.bit_generator.state
    lamella.seed(1)
    first = call(function)
    rng.bit_generator.state = state  # the same weights
    lamella.seed(1)
    second = call(function)
    for a, b in zip(*([r] if isinstance(r, np.ndarray) else r for r in (first, second)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shortcuts() -> None:
    """They are taken for what does not depend on the arrays, and for nothing that needs a closer look."""
    x, y = rng.standard_normal((4, 4)).astype(np.float32), rng.standard_normal((4, 4)).astype(np.float32)
    for _ in range(2):
        np.testing.assert_allclose(K.gemm(x, y), x @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x.T, y), x.T @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x[::-1], y), x[::-1] @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x, y, trans_a=True), x.T @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x.astype(">f4"), y), x @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.dense(x, y, x[0]), x @ y + x[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.dense(x, y, None), x @ y, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(K.transpose(x), x.T)
        np.testing.assert_array_equal(K.transpose(x[None]), x[None].T)  # the order depends on the rank
        out = np.empty_like(x)
        assert K.gemm(x, y, out=out) is out
        assert K.relu(x, out=x.copy()) is not x
        kept = x.copy()
        assert K.relu(kept, out=kept) is kept
        np.testing.assert_array_equal(kept, np.maximum(x, 0))
        for bad, message in [
            (x.astype(np.float64), r"out: expected float32 \(4, 4\), got float64"),
            (x[:2], r"out: expected float32 \(4, 4\), got float32 \(2, 4\)"),
            (x.copy().T, "out: expected a C-contiguous array"),
            (y, "out: expected memory apart from the inputs'"),
        ]:
            with pytest.raises((TypeError, ValueError), match=message):
                K.gemm(x, y, out=bad)
        frozen = x.copy()
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="out: expected a writable array"):
            K.gemm(x, y, out=frozen)
        with pytest.raises(ValueError, match="gemm: b: expected 4 rows"):
            K.gemm(x, y[:3])
        with pytest.raises(TypeError, match="gemm: b: expected float32"):
            K.gemm(x, y.astype(np.float64))
    assert K.gemm.shortcuts.count(True) and K.dense.shortcuts.count(True)
    assert K.transpose.shortcuts.count(False) and not K.transpose.shortcuts.count(True)


def test_shortcuts_go_by_the_settings() -> None:
    """Of equal settings of another type, in another order and of another function; arrays may come by name."""
    x, b = rng.standard_normal((4, 4)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    for _ in range(3):
        np.testing.assert_allclose(K.dense(x, x, bias=b), x @ x + b, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(b=x.copy(), a=x), x @ x, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x, x, alpha=2, trans_b=True), 2 * x @ x.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(K.gemm(x, x, trans_b=True, alpha=1), x @ x.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(K.sum(x, axis=(1,)), K.sum(x, 1))
        np.testing.assert_array_equal(K.softmax(x, axis=1), K.softmax(x, 1))
        with pytest.raises(TypeError):
            K.gemm(x, x, unknown=1)
    for i in range(100):  # more settings than are kept
        np.testing.assert_allclose(K.gemm(x, x, alpha=float(i)), i * (x @ x), rtol=1e-4, atol=1e-4)


def test_every_function_is_described() -> None:
    assert len(set(K.__all__)) == len(K.__all__)
    for name in K.__all__:
        assert inspect.getdoc(getattr(K, name)), name
    assert set(K.__all__) <= set(dir(K))


# ---- the views, as copies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_views_are_copies(dtype: Any) -> None:
    x = np.arange(24).reshape(2, 3, 1, 4).astype(dtype)
    cases = [
        (K.reshape(x, (4, -1)), x.reshape(4, -1)),
        (K.reshape(x, (0, 12)), x.reshape(2, 12)),
        (K.reshape(x, -1), x.ravel()),
        (K.flatten(x), x.reshape(2, 12)),
        (K.flatten(x, 0, 1), x.reshape(6, 1, 4)),
        (K.expand_dims(x), x[..., None]),
        (K.expand_dims(x, 1), x[:, None]),
        (K.squeeze(x), x[:, :, 0]),
        (K.squeeze(x, 2), x[:, :, 0]),
        (K.squeeze(x, [-2]), x[:, :, 0]),
        (K.slice(x, [1], [None]), x[1:]),
        (K.slice(x, [None, -1], [None, None], [-1, -2]), x[::-1, -1::-2]),
        (K.reshape(np.swapaxes(x, 0, 1), (4, 6)), np.swapaxes(x, 0, 1).reshape(4, 6)),
    ]
    for got, expected in cases:
        assert got.dtype == dtype and got.flags.c_contiguous and not np.shares_memory(got, x)
        np.testing.assert_array_equal(got, expected)
    out = np.zeros((6, 4), dtype)
    assert K.reshape(x, (6, 4), out=out) is out
    np.testing.assert_array_equal(out, x.reshape(6, 4))


bounds = st.one_of(st.none(), st.integers(-9, 9), st.sampled_from([2**63 - 1, -(2**63) + 1, -(2**63)]))
steps = st.one_of(st.integers(-4, 4), st.sampled_from([2**63 - 1, -(2**63)])).filter(bool)


@settings(max_examples=300, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), min_size=2, max_size=3),
    cuts=st.lists(st.tuples(bounds, bounds, steps), max_size=2),
)
def test_slice_is_pythons(shape: list[int], cuts: list[tuple[Any, Any, int]]) -> None:
    x = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    starts, stops, strides = ([c[i] for c in cuts] for i in range(3))
    where = tuple(slice(*c) for c in cuts)
    np.testing.assert_array_equal(K.slice(x, starts, stops, strides), x[where])
    # The way back puts the gradients where the elements came from.
    g = np.arange(x[where].size, dtype=np.float64).reshape(x[where].shape) + 1
    expected = np.zeros_like(x)
    expected[where] = g
    last = 2**63 - 1
    attrs = {
        "starts": [(0 if d > 0 else last) if s is None else s for s, d in zip(starts, strides, strict=True)],
        "stops": [(last if d > 0 else -last) if s is None else s for s, d in zip(stops, strides, strict=True)],
        "steps": strides,
    }
    np.testing.assert_array_equal(K.backward("slice", [x], [g], **attrs)[0], expected)


def test_slice_errors() -> None:
    with pytest.raises(ValueError, match="slice: starts, stops, steps: expected lists of one length, got 1, 2, 1"):
        K.slice(X, [0], [1, 2])
    with pytest.raises(ValueError, match="slice: steps: expected steps other than 0, got 0"):
        K.slice(X, [0], [1], [0])
    with pytest.raises(ValueError, match="slice: starts: expected at most 3 entries, got 4"):
        K.slice(X, [0] * 4, [1] * 4)
    with pytest.raises(ValueError, match="squeeze: axis: expected an axis of size 1"):
        K.squeeze(X, 1)
    with pytest.raises(ValueError, match="expand_dims: axis"):
        K.expand_dims(X, 5)
    with pytest.raises(ValueError, match="reshape: shape"):
        K.reshape(X, (5, -1))


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("pad", "padding", [2**63 - 1, 2**63 - 1]),
        ("tile", "reps", 2**62 + 1),
        ("repeat", "repeats", 2**62 + 1),
        ("upsample2d", "scale", [2**62 + 1, 1]),
        ("max_pool2d", "window", 2**63 - 1),
        ("adaptive_avg_pool2d", "output_size", 2**63 - 1),
        ("conv2d", "stride", 2**62),
        ("conv1d", "padding", [0, 2**32]),
    ],
)
def test_numbers_that_would_wrap_around(name: str, argument: str, value: Any) -> None:
    """4 elements 2**62 + 1 times are 4 elements modulo 2**64: memory for those, and writes to all."""
    with pytest.raises(ValueError, match=f"{name}: {argument}: expected .*2147483647, got [0-9]+$"):
        _cpu.Op(name, {argument: value})


# ---- losses, noise, the way back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", reference_loss.ELEMENT_LOSSES)
def test_loss_functions(name: str) -> None:
    function = getattr(K, name)
    x, t = X, X[::-1].copy()
    own = [p for p in ("delta", "beta", "epsilon", "label_smoothing") if p in inspect.signature(function).parameters]
    for extra in ({}, *({p: 0.3} for p in own)):
        for settings_ in ({}, {"reduction": "sum", "row_mean": True}, {"reduction": "none"}):
            got = function(x, t, **settings_, **extra)
            expected = reference_loss.element_loss(name, x, t, **settings_, **extra)
            np.testing.assert_allclose(got, expected, rtol=1e-12)
    weight = np.array([0.5, 2.0])
    np.testing.assert_allclose(function(x, t, weight), reference_loss.element_loss(name, x, t, weight), rtol=1e-12)


def test_noise() -> None:
    """400,000 draws: means err by 1 / sqrt(400,000) = 0.0016 deviations, by 5 times that once in two million runs."""
    x = np.full((400_000,), 2.0, np.float32)
    lamella.seed(5)
    noise = K.gaussian_noise(x, 0.5) - x
    factor = K.gaussian_dropout(x, 0.2) / x
    assert abs(noise.mean()) < 0.5 * 0.008 and abs(noise.std() - 0.5) < 0.5 * 0.008
    assert abs(factor.mean() - 1) < 0.5 * 0.008 and abs(factor.std() - 0.5) < 0.5 * 0.008  # 0.2 / 0.8 = 0.5**2
    lamella.seed(5)
    np.testing.assert_array_equal(K.gaussian_noise(x, 0.5) - x, noise)
    np.testing.assert_array_equal(K.gaussian_noise(x, 0.0), x)
    y = x.copy()
    assert K.gaussian_dropout(y, 0.5, out=y) is y and np.any(y != x)


def test_backward() -> None:
    w, b = weights(4, 5), weights(5)
    g = weights(2, 3, 5)
    dx, dw, db = K.backward("dense", [X, w, b], [g], activation="identity")
    np.testing.assert_allclose(dx, g @ w.T, rtol=1e-12)
    np.testing.assert_allclose(dw, np.tensordot(X, g, ([0, 1], [0, 1])), rtol=1e-12)
    np.testing.assert_allclose(db, g.sum((0, 1)), rtol=1e-12)
    assert K.backward("dense", [X, w, None], [g], [False, True, True])[::2] == [None, None]
    with pytest.raises(ValueError, match="did you mean 'dense'"):
        K.backward("dence", [X, w], [g])
    with pytest.raises(NotImplementedError, match="argmax: not differentiable"):
        K.backward("argmax", [X], [np.array(0)])
