"""The raw gradients: every function that has one, against finite differences in float64."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np
import pytest
from gradcheck import compare_gradient

import lamella
from lamella import _cpu
from lamella import kernels as K
from lamella._kernels._call import op

BACKWARD = [n for n in K.__all__ if n.endswith("_backward")]
FORWARD = [n.removesuffix("_backward") for n in BACKWARD]

# Functions without a gradient of their own, and why.
STEPS = "steps of an optimizer"
DRAWS = "draws from a distribution"
FLAT = "its results are counts, indices or truth values"
WITHOUT = {
    **dict.fromkeys(["sgd_step", "adam_step", "adamw_step", "rmsprop_step", "adagrad_step"], STEPS),
    **dict.fromkeys(["optimizer_step", "optimizer_states", "clip_global_norm"], STEPS),
    **dict.fromkeys(["bernoulli", "normal", "permutation", "truncated_normal", "uniform"], DRAWS),
    **dict.fromkeys(["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"], FLAT),
    **dict.fromkeys(["argmax", "argmin", "accuracy", "confusion_matrix", "threshold_counts"], FLAT),
    "global_norm": "clipping takes it for a constant",
    "conv2d_backward_data": "a gradient itself",
    "conv2d_backward_weight": "a gradient itself",
    "backward": "gives gradients",
    "vjp": "gives gradients",
    "op_names": "names",
}

rng = np.random.default_rng(20)


def r(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return rng.uniform(0.3, 2.0, shape)


def simplex(*shape: int) -> np.ndarray:
    p = positive(*shape)
    return p / p.sum(-1, keepdims=True)


def case(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def cell(gates: int, states: int, n: int = 2, features: int = 2, h: int = 3) -> list[np.ndarray]:
    """w_ih, w_hh, b_ih, b_hh and the initial states."""
    g = gates * h
    return [r(features, g), r(h, g), r(g), r(g), *(r(n, h) for _ in range(states))]


IMAGE, SERIES = r(2, 5, 4, 4), r(2, 6, 4)
LABELS = np.array([2, 0, 1])
ROWS = np.array([0.5, 2.0, 1.0])
CONV = [
    case(IMAGE, r(3, 2, 4, 3), r(3), stride=2, padding="same"),
    case(IMAGE, r(2, 2, 2, 2), None, dilation=(2, 1), groups=2, padding=(1, 0, 0, 1), activation="gelu"),
]
CONV1 = [
    case(SERIES, r(3, 4, 2), r(2), padding="causal", activation="tanh"),
    case(SERIES, r(2, 2, 2), None, stride=2, groups=2),
]
CASES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    # gemm
    "gemm": [
        case(r(3, 2), r(3, 4), trans_a=True, alpha=0.5, beta=-2.0, c=r(2, 4), bias=r(4), activation="gelu"),
        case(r(2, 1, 2, 3), r(3, 4, 3), trans_b=True, bias=r(4), activation="tanh"),
        case(np.asfortranarray(r(2, 3)), r(4, 3).T, alpha=3.0),
        case(r(0, 3), r(3, 2), bias=r(2), activation="relu"),
        case(r(2, 3), r(3, 2), activation="leaky_relu", activation_alpha=-0.5),
    ],
    "matmul": [case(r(2, 3), r(3, 4)), case(r(2, 4, 3), r(4, 2), trans_a=True), case(r(3, 2).T, r(2, 3, 1))],
    "dense": [case(r(2, 2, 3), r(3, 4), r(4), "silu"), case(r(2, 3), r(3, 2), None, "sigmoid"), case(r(3), r(3, 2))],
    # conv
    "conv2d": CONV,
    "conv1d": CONV1,
    "conv2d_transpose": [
        case(r(1, 3, 2, 4), r(3, 2, 2, 4), r(2), stride=2, padding="same"),
        case(r(1, 2, 2, 2), r(2, 2, 3, 2), None, stride=2, output_padding=1, activation="sigmoid"),
    ],
    "conv1d_transpose": [case(r(2, 3, 4), r(3, 2, 4), r(2), stride=2, activation="softplus")],
    "depthwise_conv2d": [case(IMAGE, r(3, 3, 1, 8), r(8), padding=1), case(IMAGE, r(2, 2, 1, 4), None, stride=2)],
    # pool
    "max_pool2d": [case(IMAGE, 2), case(IMAGE, [3, 2], 1, "same", dilation=[1, 2])],
    "max_pool1d": [case(SERIES, 3, 2, 1, ceil_mode=True)],
    "avg_pool2d": [case(IMAGE, 2), case(IMAGE, 3, 2, 1, count_include_pad=True), case(IMAGE, 2, divisor=3)],
    "avg_pool1d": [case(SERIES, 4, 1, "same")],
    "global_max_pool": [case(IMAGE), case(SERIES, keepdims=True)],
    "global_avg_pool": [case(IMAGE, keepdims=True), case(SERIES)],
    "adaptive_max_pool2d": [case(IMAGE, [2, 3])],
    "adaptive_max_pool1d": [case(SERIES, 4)],
    "adaptive_avg_pool2d": [case(IMAGE, [3, -1])],
    "adaptive_avg_pool1d": [case(SERIES, 4)],
    # norm
    "batch_norm": [
        case(r(3, 2, 4), r(4), r(4), r(4), positive(4), training=True, momentum=0.9),
        case(r(5, 3), r(3), r(3), r(3), positive(3), activation="relu"),
        case(r(5, 3), None, r(3)),
    ],
    "group_norm": [case(r(2, 3, 4), 2, r(4), r(4)), case(r(2, 3, 4), 1)],
    "instance_norm": [case(r(2, 3, 4), r(4), r(4))],
    "layer_norm": [case(r(3, 4), r(4), r(4)), case(r(2, 3, 2), r(3, 2), None, 2)],
    "rms_norm": [case(r(3, 4), r(4)), case(r(2, 3, 2), None, 2)],
    # attention
    "attention": [
        case(r(2, 3, 4), r(2, 5, 4), r(2, 5, 6), r(3, 5), np.array([[1, 1, 0, 1, 1]] * 2, np.uint8), 2),
        case(r(1, 2, 3, 4), r(1, 2, 3, 4), r(1, 2, 3, 1), scale=0.3, causal=True, dropout=0.3, key=(7, 4)),
    ],
    "attention_with_weights": [case(r(2, 3, 4), r(2, 5, 4), r(2, 5, 6), None, None, 2)],
    # softmax, embedding, dropout
    "softmax": [case(r(3, 4)), case(r(2, 3, 2), 1)],
    "log_softmax": [case(r(3, 4)), case(r(2, 3, 2), 0)],
    "embedding": [case(np.array([[0, 3], [3, 1]]), r(5, 3))],
    "dropout": [case(r(4, 5), 0.4, key=(7, 1)), case(r(2, 3, 4), 0.5, [-1, 1, -1], key=(2**63 + 5, 2**64 - 1))],
    "gaussian_dropout": [case(r(4, 5), 0.3, key=(7, 2))],
    "affine_warp": [
        case(r(2, 4, 5, 3), r(2, 2, 3), (3, 6), "reflect"),
        case(r(2, 4, 5, 1), r(2, 2, 3), fill_value=2.0, interpolation="nearest"),
    ],
    "random_affine": [case(r(2, 4, 5, 3), (-1.0, 1.0), key=(7, 3)), case(r(2, 4, 5, 3), crop=(2, 3), key=(7, 4))],
    "random_color": [
        case(r(2, 4, 5, 3), (0.5, 2.0), (0.2, 1.8), (-1.0, 1.0), key=(7, 6)),
        case(r(2, 4, 5, 3), 1.5, (0.2, 1.8), gray=True, low=-0.4, high=0.6, key=(7, 7)),
        case(r(2, 3, 3, 20), contrast=0.3, gray=True, key=(7, 8)),
    ],
    "random_erasing": [case(r(2, 4, 5, 3), area=(0.1, 0.5), noise=1.0, key=(7, 5))],
    "gaussian_noise": [case(r(4, 5), 0.3, key=(7, 3))],
    # losses
    "softmax_cross_entropy": [
        case(r(3, 4), LABELS, positive(4), ROWS, "weighted_mean", 0.1, 1),
        case(r(3, 4), simplex(3, 4), reduction="none"),
    ],
    "cross_entropy": [case(simplex(3, 4), LABELS, None, ROWS, "sum"), case(simplex(3, 4), simplex(3, 4))],
    "nll_loss": [case(r(3, 4), LABELS), case(r(3, 4), LABELS, positive(4), reduction="none", label_smoothing=0.2)],
    "element_loss": [
        case("smooth_l1_loss", r(3, 4), r(3, 4), ROWS, beta=0.5),
        case("log_cosh_loss", r(3, 4), r(3, 4), reduction="none", row_mean=True),
        case("kl_div_loss", simplex(3, 4), simplex(3, 4), reduction="sum"),
        case("poisson_loss", positive(3, 4), positive(3, 4)),
        case("hinge_loss", r(3, 4), np.sign(r(3, 4))),
    ],
    "mse_loss": [case(r(3, 4), r(3, 4)), case(r(3, 4), r(3, 4), ROWS, "weighted_mean", True)],
    "mae_loss": [case(r(3, 4), r(3, 4), reduction="sum")],
    "huber_loss": [case(r(3, 4), r(3, 4), None, 0.7)],
    "smooth_l1_loss": [case(r(3, 4), r(3, 4), None, 0.3, "none")],
    "log_cosh_loss": [case(r(3, 4), r(3, 4))],
    "poisson_loss": [case(positive(3, 4), positive(3, 4), None, 0.1)],
    "kl_div_loss": [case(simplex(3, 4), simplex(3, 4), None, 1e-3, "sum")],
    "kl_div_log_loss": [case(np.log(simplex(3, 4)), simplex(3, 4), ROWS)],
    "hinge_loss": [case(r(3, 4), np.sign(r(3, 4)))],
    "squared_hinge_loss": [case(r(3, 4), np.sign(r(3, 4)), ROWS)],
    "mape_loss": [case(positive(3, 4), positive(3, 4), None, 0.1)],
    "msle_loss": [case(positive(3, 4), positive(3, 4), row_mean=True)],
    "bce_loss": [case(rng.uniform(0.1, 0.9, (3, 4)), positive(3, 4) / 2, ROWS, label_smoothing=0.1)],
    "bce_with_logits_loss": [case(r(3, 4), positive(3, 4) / 2, None, positive(4), "none")],
    "ctc_loss": [
        case(np.log(simplex(2, 4, 3)), np.array([[1, 2], [2, 0]])),
        case(np.log(simplex(4, 2, 3)), np.array([0, 1, 1]), np.array([4, 3]), np.array([1, 2]), 2, time_first=True),
    ],
    # recurrent
    "simple_rnn": [
        case(r(2, 3, 2), *cell(1, 1)),
        case(r(3, 2, 2), *cell(1, 0)[:2], time_major=True, activation="sigmoid", return_sequences=False),
    ],
    "lstm": [
        case(r(2, 3, 2), *cell(4, 2), np.array([2, 3]), cell(4, 2), zero_masked_output=True),
        case(r(2, 3, 2), *cell(4, 0)[:3], second=cell(4, 0)[:2]),
        case(r(2, 3, 2), *cell(4, 2), reverse=True),
    ],
    "gru": [case(r(2, 3, 2), *cell(3, 1)), case(r(2, 3, 2), *cell(3, 1), reset_after=False)],
    "rnn_step": [case(r(2, 2), *cell(1, 1)), case(r(2, 2), *cell(1, 0)[:3])],
    "lstm_step": [case(r(2, 2), *cell(4, 2)), case(r(2, 2), *cell(4, 0)[:2])],
    "gru_step": [case(r(2, 2), *cell(3, 1))],
    # shape
    "reshape": [case(r(2, 6), [3, -1]), case(r(2, 3), -1)],
    "flatten": [case(r(2, 3, 2))],
    "expand_dims": [case(r(2, 3), 1)],
    "squeeze": [case(r(2, 1, 3, 1)), case(r(2, 1, 3, 1), [1])],
    "slice": [case(r(4, 5), [None, 1], [None, 4], [-2, 1])],
    "transpose": [case(r(2, 3, 4), [1, 2, 0]), case(r(2, 3))],
    "concat": [case([r(2, 3), r(2, 1), r(2, 2)])],
    "stack": [case([r(2, 3), r(2, 3)], 1)],
    "split": [case(r(2, 5), [1, 4])],
    "pad": [case(r(2, 3), [(1, 0), (-1, 2)], 0.5)],
    "repeat": [case(r(2, 3), 3, 1)],
    "tile": [case(r(2, 3), [2, 1, 2])],
    "broadcast_to": [case(r(3, 1), [2, 3, 2])],
    "reverse": [case(r(2, 3), 1)],
    "gather": [case(r(3, 2), np.array([[2, 0], [2, 2]]))],
    "cast": [case(r(2, 3), np.float64)],
    "upsample2d": [
        case(IMAGE, 2),
        case(r(1, 3, 2, 2), size=[5, 3], mode="bilinear"),
        case(r(1, 3, 2, 2), size=[5, 3], mode="bilinear", align_corners=True),
    ],
    # reductions
    **{
        name: [case(r(2, 3, 2)), case(r(2, 3, 2), [0, 2], keepdims=True)]
        for name in ("sum", "mean", "prod", "max", "min", "sum_squares", "norm")
    },
    **{name: [case(r(3, 4)), case(r(3, 4), 1, 1.0)] for name in ("var", "std")},
    # element by element
    "activation": [case(r(7), "gelu"), case(r(7), "leaky_relu", -0.5), case(r(7), "exp")],
    "leaky_relu": [case(r(7)), case(r(7), -0.3)],
    "elu": [case(r(7)), case(r(7), -0.3)],
    "clip": [case(r(9), -0.5, 0.7), case(r(9), None, 0.2)],
    **{name: [case(positive(2, 3))] for name in ("sqrt", "rsqrt", "log", "log1p")},
    **{
        name: [case(r(2, 3), r(2, 3)), case(r(2, 1), r(3)), case(positive(3), 1.5)]
        for name in ("add", "sub", "mul", "div", "maximum", "minimum")
    },
    "pow": [case(positive(2, 1), r(3)), case(2.5, r(2, 2))],
    "where": [case(np.array([True, False, True]), r(2, 1), r(3)), case(np.array([[1, 0]], np.uint8), r(2), 0.5)],
}
for name in FORWARD:
    if list(inspect.signature(getattr(K, name)).parameters) == ["x", "out"]:  # unary functions and activations
        CASES.setdefault(name, [case(r(3, 5)), case(r(0))])

RUNS = [(name, i) for name in FORWARD for i in range(len(CASES.get(name, [])))]


def listed(x: Any) -> list[Any]:
    """The arrays of an argument, a result or a gradient."""
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


def as_given(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return inspect.signature(function).bind(*args, **kwargs).arguments


DEVICE = "LAMELLA_TEST_BACKEND" in os.environ or "LAMELLA_TEST_CUDA" in os.environ


def gradient_of_result(function: Any, args: Any, kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    grads = [np.random.default_rng(i).standard_normal(y.shape) for i, y in enumerate(listed(result))]
    return grads if isinstance(result, list) else grads[0]


def same(got: Any, want: Any) -> None:
    if want is None or got is None:
        assert got is None and want is None
    elif isinstance(want, (list, tuple)):
        assert type(got) is type(want)
        for a, b in zip(got, want, strict=True):
            same(a, b)
    elif DEVICE and np.asarray(want).dtype.kind == "f":
        # There the order of a sum may depend on how memory is aligned: results written elsewhere round differently.
        eps = np.finfo(want.dtype).eps
        np.testing.assert_allclose(got, want, rtol=16 * eps, atol=16 * eps * (1 + np.abs(want).max(initial=0)))
    else:
        np.testing.assert_array_equal(got, want)


# --- the set of functions ----------------------------------------------------------------------------------------


def test_every_function_has_its_gradient() -> None:
    names = set(K.__all__)
    assert names == {*FORWARD, *BACKWARD, *WITHOUT}
    assert not set(FORWARD) & set(WITHOUT)
    assert set(FORWARD) == set(CASES)
    for name in set(WITHOUT) & set(_cpu.op_names()):
        attrs = {"axis": 0} if name.startswith("arg") else {}
        assert not op(name, attrs).differentiable(0), name


# Losses that are symmetric could be differentiated by their targets as well; as in PyTorch's own backward functions a
# target is data.
SYMMETRIC = ["mse_loss", "mae_loss", "huber_loss", "smooth_l1_loss", "log_cosh_loss", "element_loss"]
DATA = dict.fromkeys(SYMMETRIC, "target")


@pytest.mark.parametrize("name", FORWARD)
def test_gradients_are_by_what_the_op_says(name: str) -> None:
    function = getattr(K, name)
    for args, kwargs in CASES[name]:
        call = function.__wrapped__(*args, **kwargs)
        o, i = op(call.name, call.attrs), 0
        arrays = call.arrays()
        for argument, x in call.inputs.items():
            for _ in listed(x):
                if arrays[i] is not None and arrays[i].dtype.kind == "f" and argument != DATA.get(name):
                    assert o.differentiable(i) == (argument in function.rule.by), argument
                i += 1
            i += x is None


# Their arguments decide whether the gradient needs the result alone; `vjp` is for those.
DEPENDS = ["gemm", "dense", "conv2d", "conv1d", "conv2d_transpose", "conv1d_transpose", "depthwise_conv2d"]
DEPENDS += ["batch_norm", "simple_rnn"]


@pytest.mark.parametrize("name", [n for n in FORWARD if n not in DEPENDS])
def test_y_is_there_where_it_spares_a_run(name: str) -> None:
    function = getattr(K, name)
    spares = False
    for args, kwargs in CASES[name]:
        call = function.__wrapped__(*args, **kwargs)
        o = op(call.name, call.attrs)
        specs = [None if a is None else (a.dtype.name.replace("bool", "uint8"), a.shape) for a in call.arrays()]
        spares |= o.uses[1] != 0 and not o.infer(specs, True)[1]
    assert spares == ("y" in inspect.signature(getattr(K, f"{name}_backward")).parameters)


@pytest.mark.parametrize("name", FORWARD)
def test_signatures_and_docstrings(name: str) -> None:
    function, backward = getattr(K, name), getattr(K, f"{name}_backward")
    ours, theirs = (list(inspect.signature(f).parameters) for f in (backward, function))
    assert ours[0] == "grad" and [p for p in ours[1:] if p not in ("y", "wanted", "out")] == [
        p for p in theirs if p != "out"
    ]
    assert ("wanted" in ours) == (len(function.rule.by) > 1)
    for f, parameters in ((function, theirs), (backward, ours)):
        assert f.__module__.startswith("lamella._kernels.") and f.__qualname__ == f.__name__
        text, _, rest = f.__doc__.partition("\n\nParameters\n----------\n")
        section, _, returns = rest.partition("\n\nReturns\n-------\n")
        assert text and returns
        described = [
            n.strip("* ")
            for line in section.splitlines()
            if not line.startswith(" ")
            for n in line.split(" : ")[0].split(",")
        ]
        assert sorted(described) == sorted(parameters)
    assert all(by in text for by in function.rule.by)


# --- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "i"), RUNS)
def test_finite_differences(name: str, i: int) -> None:
    function, backward = getattr(K, name), getattr(K, f"{name}_backward")
    args, kwargs = CASES[name][i]
    grad = gradient_of_result(function, args, kwargs)
    got = backward(grad, *args, **kwargs)
    by = function.rule.by
    given = as_given(function, args, kwargs)
    assert isinstance(got, tuple) == (len(by) > 1)

    def loss() -> float:
        result = listed(function(*args, **kwargs))
        return float(sum((y * g).sum() for y, g in zip(result, listed(grad), strict=True)))

    for argument, found in zip(by, got if len(by) > 1 else [got], strict=True):
        x = given.get(argument)
        assert isinstance(found, list) == isinstance(x, list)
        for a, g in zip(listed(x), listed(found), strict=not isinstance(x, list)):
            if isinstance(a, float):  # a number is an operand of no dimensions
                assert g.shape == ()
                continue
            assert g.shape == a.shape and g.dtype == a.dtype and g.flags.c_contiguous
            compare_gradient(g, loss, a, f"{name}: {argument}")


@pytest.mark.parametrize(("name", "i"), RUNS)
def test_out_wanted_y_and_vjp(name: str, i: int) -> None:
    """All ways to the gradients give the same bits."""
    function, backward = getattr(K, name), getattr(K, f"{name}_backward")
    args, kwargs = CASES[name][i]
    before = [None if a is None else a.copy() for a in function.__wrapped__(*args, **kwargs).arrays()]
    grad = gradient_of_result(function, args, kwargs)
    want = backward(grad, *args, **kwargs)

    def place(g: Any) -> Any:
        return None if g is None else np.full_like(g, np.nan) if isinstance(g, np.ndarray) else [place(x) for x in g]

    out: Any = tuple(place(g) for g in want) if isinstance(want, tuple) else place(want)
    got = backward(grad, *args, **kwargs, out=out)
    same(got, want)
    flat = [(a, b) for x, y in zip(listed(got), listed(out), strict=True) for a, b in zip(listed(x), listed(y))]  # noqa: B905
    assert all(a is b for a, b in flat)
    if not (name == "batch_norm" and kwargs.get("training")):  # running statistics move in forward, not in backward
        y, pull = K.vjp(function, *args, **kwargs)
        same(y, function(*args, **kwargs))
        same(pull(grad), want)
        same(pull(grad, out=out), want)
    if isinstance(want, tuple):
        for k, argument in enumerate(function.rule.by):
            alone = backward(grad, *args, **kwargs, wanted=argument)
            assert all(g is None for j, g in enumerate(alone) if j != k)
            # A gradient may be computed otherwise, and round otherwise, when others are not wanted.
            for a, b in zip(listed(alone[k]), listed(want[k]), strict=True):
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.abs(b).max(initial=0)))
    if "y" in inspect.signature(backward).parameters:
        same(backward(grad, *args, **kwargs, y=function(*args, **kwargs)), want)
    after = function.__wrapped__(*args, **kwargs).arrays()
    if not (name == "batch_norm" and kwargs.get("training")):
        same(after, before)


def test_y_is_read() -> None:
    x = r(5)
    np.testing.assert_allclose(K.sigmoid_backward(np.ones(5), x, y=np.full(5, 0.5)), 0.25)


def test_running_statistics_stay() -> None:
    mean, var = r(3), positive(3)
    kept = mean.copy(), var.copy()
    x, grad = r(5, 3), r(5, 3)
    got = K.batch_norm_backward(grad, x, r(3), None, mean, var, training=True)
    same((mean, var), kept)
    assert got[2] is None
    y, backward = K.vjp(K.batch_norm, x, None, None, mean, var, training=True)
    assert not np.array_equal(mean, kept[0])
    moved = mean.copy()
    backward(grad)
    same(mean, moved)
    same(y, K.batch_norm(x))  # without running statistics the batch's serve
    mean.flags.writeable = False
    K.batch_norm_backward(grad, x, None, None, mean, var, training=True)


def test_dropout_draws_the_same_mask() -> None:
    x = np.ones((50, 40), np.float32)
    y, backward = K.vjp(K.dropout, x, 0.3)
    np.testing.assert_array_equal(backward(x), y)
    y = K.dropout(x, 0.3, key=(5, 6))
    np.testing.assert_array_equal(y, K.dropout(x, 0.3, key=(5, 6)))
    assert not np.array_equal(y, K.dropout(x, 0.3, key=(5, 7)))
    np.testing.assert_array_equal(K.dropout_backward(x, x, 0.3, key=(5, 6)), y)
    with pytest.raises(ValueError, match="dropout_backward: key: expected the key"):
        K.dropout_backward(x, x, 0.3)
    y, backward = K.vjp(K.gaussian_dropout, x, 0.3)
    np.testing.assert_array_equal(backward(x), y)
    lamella.seed(1)
    want = K.gaussian_noise(x)
    lamella.seed(1)
    np.testing.assert_array_equal(K.gaussian_noise_backward(y, x), y)
    np.testing.assert_array_equal(K.gaussian_noise(x), want)  # the gradient took no stream


def test_gradients_of_several_outputs() -> None:
    args = (r(2, 3, 2), *cell(4, 0)[:2])
    y, h, c = K.lstm(*args)
    dy = r(*y.shape)
    want = K.lstm_backward([dy, np.zeros_like(h), np.zeros_like(c)], *args)
    same(K.lstm_backward([dy, None, None], *args), want)
    assert all(not g.any() for g in K.lstm_backward([None] * 3, *args) if g is not None)
    assert want[3:] == (None,) * 5  # biases, states and the second direction are not given
    with pytest.raises(ValueError, match="lstm: output gradient: expected 3 arrays, got 1"):
        K.lstm_backward([dy], *args)
    with pytest.raises(TypeError, match="lstm_backward: grad: expected a list of one array or None per result, got nd"):
        K.lstm_backward(dy, *args)
    a, b = K.split_backward([None, r(2, 4)], r(2, 5), [1, 4])[:, :1], np.zeros((2, 1))
    same(a, b)


def test_no_gradient_by_the_result() -> None:
    for name in ("gemm", "conv2d", "batch_norm", "max_pool2d", "mse_loss", "embedding", "mul"):
        args, kwargs = CASES[name][0]
        for g in listed(getattr(K, f"{name}_backward")(None, *args, **kwargs)):
            assert g is not None and not g.any()


def test_threads_give_the_same_bits() -> None:
    """Gradients of gemm, whose products, sums and activation run one after the other in one workspace."""
    a, b, c, bias, grad = (x.astype(np.float32) for x in (r(300, 200), r(200, 500), r(300, 500), r(500), r(300, 500)))
    given = {"alpha": 0.5, "beta": 0.3, "c": c, "bias": bias, "activation": "gelu"}
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        results.append(K.gemm_backward(grad, a, b, **given))
    same(results[1], results[0])
    want = K.gemm_backward(*(x.astype(np.float64) for x in (grad, a, b)), **_double(given))
    for got, w in zip(results[0], want, strict=True):
        # Sums of up to 500 terms: some eps times the square root of their number, 3e-6, here and in what goes into the
        # activation, whose slope carries it on.
        np.testing.assert_allclose(got, w, rtol=0, atol=1e-5 * float(np.abs(w).max()))


def _double(given: dict[str, Any]) -> dict[str, Any]:
    return {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in given.items()}


@pytest.mark.parametrize("name", ["mse_loss", "softmax_cross_entropy", "sum"])
def test_a_number_takes_the_dtype(name: str) -> None:
    x = r(3, 4).astype(np.float32)
    more = {"mse_loss": [x * 2], "softmax_cross_entropy": [LABELS], "sum": []}[name]
    backward = getattr(K, f"{name}_backward")
    got = backward(2, x, *more)
    assert got.dtype == np.float32
    same(got, backward(np.float32(2), x, *more))


@pytest.mark.parametrize("name", ["conv2d", "dense", "lstm", "layer_norm", "max_pool2d", "softmax_cross_entropy"])
def test_float32_and_strided_arrays(name: str) -> None:
    def single(x: Any) -> Any:
        if isinstance(x, list):
            return [single(a) for a in x]
        return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x

    def strided(x: Any) -> Any:
        return np.repeat(x, 2, axis=-1)[..., ::2] if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x

    function, backward = getattr(K, name), getattr(K, f"{name}_backward")
    args, kwargs = CASES[name][0]
    grad = gradient_of_result(function, args, kwargs)
    low = [single(a) for a in args]
    want = backward(grad, *args, **kwargs)
    got = backward(single(grad) if isinstance(grad, list) else np.float32(grad), *low, **kwargs)
    for a, b in zip(listed(got), listed(want), strict=True):
        for p, q in zip(listed(a), listed(b), strict=True):
            assert p.dtype == np.float32
            # Sums of some hundred terms of order 1, a few of them one after the other.
            np.testing.assert_allclose(p, q, rtol=0, atol=1e-5 * max(1.0, np.abs(q).max()))
    same(backward(grad, *[strided(a) for a in args], **kwargs), want)


# --- bad arguments -----------------------------------------------------------------------------------------------

X, W, B, G = r(1, 4, 4, 2), r(3, 3, 2, 3), r(3), r(1, 2, 2, 3)


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (
            (np.empty_like(X), np.empty((3, 3, 2, 4)), None),
            ValueError,
            r"conv2d: out for input 1: expected .*\(3, 3, 2",
        ),
        ((X.astype(np.float32), None, None), ValueError, "conv2d: out for input 0: expected float64"),
        ((None, None, read_only(B)), ValueError, "conv2d: out for input 2: expected a writable array"),
        ((None, np.asfortranarray(W), None), ValueError, "conv2d: out for input 1: expected a C-contiguous array"),
        ((None, None, B.astype(">f8")), TypeError, "conv2d: out for input 2: expected a native-endian array"),
        ((X, None, None), ValueError, "out for input 0: expected memory apart .* overlaps input 0"),
        ((None, None, G[0, 0, 0]), ValueError, "out for input 2: expected memory apart .* overlaps output gradient 0"),
        ((None, None, [0.0] * 3), TypeError, "conv2d: out for input 2: expected an? .*array"),
        ((None, None), ValueError, "conv2d_backward: out: expected 3 arrays or None, one per gradient, got 2"),
        (np.empty_like(X), TypeError, "conv2d_backward: out: expected a tuple of 3 arrays or None, got ndarray"),
    ],
)
def test_wrong_out(out: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        K.conv2d_backward(G, X, W, B, out=out)
    _, backward = K.vjp(K.conv2d, X, W, B)
    with pytest.raises(error, match=text):
        backward(G, out=out)


def test_out_that_has_no_place() -> None:
    with pytest.raises(ValueError, match="conv2d: out for input 2: expected None, as no gradient is wanted"):
        K.conv2d_backward(G, X, W, None, out=(None, None, np.empty(3)))
    with pytest.raises(ValueError, match="conv2d: out for input 0: expected None"):
        K.conv2d_backward(G, X, W, wanted="weight", out=(np.empty_like(X), None, None))
    with pytest.raises(ValueError, match="lstm_step: out for input 5: expected None"):
        K.lstm_step_backward([None, None], r(2, 2), *cell(4, 0), out=[None] * 5 + [np.empty((2, 3)), None])
    with pytest.raises(ValueError, match="lstm_backward: out: expected None for second, which is not given"):
        K.lstm_backward([None] * 3, r(2, 1, 2), *cell(4, 2), out=[None] * 7 + [[np.empty(3)]])
    a = np.empty(4)
    with pytest.raises(ValueError, match=r"mul: out for input 1: .* overlaps out for input 0"):
        K.mul_backward(r(3), r(3), r(3), out=(a[:3], a[1:]))
    with pytest.raises(ValueError, match="concat_backward: out: expected 2 arrays or None, one for each of arrays"):
        K.concat_backward(r(2, 4), [r(2, 2), r(2, 2)], out=[np.empty((2, 2))])
    part = np.empty((2, 1))
    got = K.concat_backward(np.array([[1.0, 2, 3]] * 2), [r(2, 2), r(2, 1)], out=[None, part])
    assert got[1] is part
    same(got[0], np.array([[1.0, 2]] * 2))
    # What backward does not read may be overwritten.
    same(K.add_backward(np.ones(4), a, a, out=(None, a))[1], np.ones(4))


def test_wrong_out_of_forward() -> None:
    h = np.empty((2, 3))
    with pytest.raises(ValueError, match=r"lstm_step: out: .* overlaps output 0"):
        K.lstm_step(r(2, 2), *cell(4, 0), out=[h, h])
    got = K.lstm_step(r(2, 2), *cell(4, 0), out=[h, None])
    assert got[0] is h and got[1].shape == (2, 3)
    loss = np.empty(())
    assert K.mse_loss(r(3), r(3), out=loss) is loss
    with pytest.raises(ValueError, match="softmax_cross_entropy: out"):
        K.softmax_cross_entropy(r(3, 4), LABELS, out=np.empty(3))


def test_wrong_arguments() -> None:
    with pytest.raises(
        ValueError, match="conv2d_backward: wanted: expected names among 'x', 'weight', 'bias', got 'w'"
    ):
        K.conv2d_backward(G, X, W, wanted="w")
    with pytest.raises(ValueError, match=r"wanted: .* got \['x', 1\]"):
        K.conv2d_backward(G, X, W, wanted=["x", 1])
    with pytest.raises(TypeError, match="wanted"):
        K.softmax_backward(r(3), r(3), wanted="x")
    with pytest.raises(TypeError, match="'y'"):
        K.conv2d_backward(G, X, W, y=G)
    with pytest.raises(ValueError, match=r"softmax: output 0: expected float64 \(3,\)"):
        K.softmax_backward(r(3), r(3), y=r(4))
    with pytest.raises(ValueError, match=r"conv2d: output gradient 0: expected float64 \(1, 2, 2, 3\)"):
        K.conv2d_backward(G[:, :1], X, W)
    with pytest.raises(TypeError, match=r"vjp: function: expected a function of lamella.kernels .* got sin"):
        K.vjp(np.sin, X)
    with pytest.raises(TypeError, match="got equal"):
        K.vjp(K.equal, X, X)
