"""Convolution ops: gradients by finite differences, parity with NumPy, algorithms, prepared weights."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_conv import Conv, operands
from reference_elementwise import ACTIVATIONS

import lamella
from lamella import _cpu
from lamella._kernels._call import op

OPS = ["conv1d", "conv2d", "conv1d_transpose", "conv2d_transpose"]
# Where an activation's derivative jumps.
KINKS = {
    "relu": [0],
    "leaky_relu": [0],
    "selu": [0],
    "relu6": [0, 6],
    "hard_sigmoid": [-3, 3],
    "hard_swish": [-3, 3],
}


def forward_and_backward(
    name: str, attrs: dict[str, Any], inputs: list[Any], dy: np.ndarray, wanted: tuple[bool, ...] = (True,) * 3
) -> list[Any]:
    """[y, dx, dw, db]"""
    o = op(name, attrs)
    outputs, saved = o.forward(inputs, True)
    return [outputs[0], *o.backward(inputs, outputs, saved, [dy], wanted[: len(inputs)])]


# ---- finite differences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 4], ids="groups{}".format)
@pytest.mark.parametrize("padding", ["valid", "same", [1, 0, 2, 1]], ids=str)
def test_gradients_2d(padding: Any, groups: int) -> None:
    """4 groups are depthwise, with a multiplier of 2; a transpose's is in the convolution that it is the adjoint of."""
    for stride, dilation in [(1, 1), ([2, 3], 1), (1, [2, 1]), ([2, 1], [1, 2]), (2, 2)]:
        attrs = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
        check_gradients("conv2d", attrs, operands("conv2d", (5, 5), (2, 3), 4, 8, groups, n=1))
        attrs["padding"] = [0, 1, 1, 0] if isinstance(padding, list) else padding
        check_gradients("conv2d_transpose", attrs, operands("conv2d_transpose", (3, 2), (3, 2), 8, 4, groups, n=1))


@pytest.mark.parametrize("groups", [1, 3], ids="groups{}".format)
@pytest.mark.parametrize("padding", ["valid", "same", "causal", 1, [2, 0]], ids=str)
def test_gradients_1d(padding: Any, groups: int) -> None:
    for stride, dilation in itertools.product([1, 2, 3], [1, 2]):
        attrs = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
        check_gradients("conv1d", attrs, operands("conv1d", (7,), (3,), 3, 6, groups))
        if padding != "causal":
            check_gradients("conv1d_transpose", attrs, operands("conv1d_transpose", (4,), (3,), 3, 6, groups))


@pytest.mark.parametrize("padding", ["valid", "same", 1], ids=str)
def test_gradients_with_output_padding(padding: Any) -> None:
    for stride, dilation, extra in [(3, 1, 2), (2, 1, 0), (1, 3, 2)]:
        attrs = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": extra}
        check_gradients("conv1d_transpose", attrs, operands("conv1d_transpose", (4,), (2,), 2, 3))
    attrs = {"stride": [2, 3], "padding": padding, "output_padding": [1, 2]}
    check_gradients("conv2d_transpose", attrs, operands("conv2d_transpose", (3, 2), (2, 3), 2, 3))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradients_through_activations(act: str) -> None:
    for name, size, kernel in [("conv2d", (4, 3), (3, 2)), ("conv1d_transpose", (3,), (2,))]:
        inputs = operands(name, size, kernel, 2, 5)
        check_gradients(name, {"activation": act}, inputs)
        check_gradients(name, {"activation": act}, inputs[:2])


@pytest.mark.parametrize("act", ["leaky_relu", "elu"])
@pytest.mark.parametrize("alpha", [0.3, -0.7])
def test_gradients_through_activations_with_alpha(act: str, alpha: float) -> None:
    attrs = {"activation": act, "alpha": alpha, "padding": "same"}
    check_gradients("conv2d", attrs, operands("conv2d", (4, 3), (3, 2), 2, 3))
    check_gradients("conv1d_transpose", attrs, operands("conv1d_transpose", (5,), (3,), 2, 3))


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1)], ids=str)
def test_gradients_of_size_1(size: tuple[int, int]) -> None:
    for name in ("conv2d", "conv2d_transpose"):
        check_gradients(name, {"padding": 1, "activation": "tanh"}, operands(name, size, (3, 3), 1, 1, n=1))
        check_gradients(name, {"padding": "same", "stride": 3}, operands(name, size, (1, 2), 1, 3, n=1))
        check_gradients(name, {"activation": "sigmoid"}, operands(name, size, (1, 1), 3, 1, n=1))


# Shapes that each algorithm can run, and a stride for it.
FORCED = {
    "reference": ((4, 5), (2, 3), 3, 4, 2, 1),
    "igemm": ((4, 5), (2, 3), 3, 4, 2, 1),
    "direct": ((4, 5), (2, 3), 6, 4, 2, 2),
    "small_channels": ((4, 5), (2, 3), 3, 4, 2, 1),
    "depthwise": ((4, 5), (2, 3), 4, 8, 2, 4),
    "grouped": ((4, 5), (2, 3), 3, 3, 2, 3),
    "winograd2": ((5, 4), (3, 3), 2, 3, 1, 1),
    "winograd4": ((5, 6), (3, 3), 2, 3, 1, 1),
    "winograd_stride2": ((5, 6), (3, 3), 2, 3, 2, 1),
}


# Devices have some of them.
EVERYWHERE = ["reference", "igemm", "depthwise"]
EACH = [a if a in EVERYWHERE else pytest.param(a, marks=pytest.mark.cpu) for a in FORCED]


@pytest.mark.parametrize("algorithm", EACH)
def test_gradients_of_each_algorithm(algorithm: str) -> None:
    size, kernel, c, oc, stride, groups = FORCED[algorithm]
    attrs = {"padding": "same", "stride": stride, "groups": groups, "algorithm": algorithm, "activation": "tanh"}
    check_gradients("conv2d", attrs, operands("conv2d", size, kernel, c, oc, groups, n=2))
    # The convolution that this is the adjoint of.
    check_gradients("conv2d_transpose", attrs, operands("conv2d_transpose", size, kernel, oc, c, groups, n=1))


# ---- against float64 NumPy ------------------------------------------------------------------------------------------


def check_against_reference(name: str, attrs: dict[str, Any], inputs: list[Any], dtype: Any) -> None:
    """Sums of `length` products err by eps per rounding, growing like sqrt(length), on values of the size of the same
    sums of absolute values; 16 covers that distribution's tail and Winograd's transforms, whose errors follow the
    largest value in reach."""
    reference = Conv(name, **attrs)
    x, w, b = (a.astype(dtype) for a in inputs)
    y = reference.forward(x, w, b)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    got = forward_and_backward(name, attrs, [x, w, b], dy)
    expected = [y, *reference.backward(x, w, dy), dy.astype(np.float64).sum(axis=tuple(range(dy.ndim - 1)))]
    sizes = [reference.forward(abs(x), abs(w), abs(b)), *reference.backward(abs(x), abs(w), abs(dy))]
    sizes.append(abs(dy).sum(axis=tuple(range(dy.ndim - 1))))
    taps, rows = w.size // w.shape[-1] * w.shape[-2], dy.size // dy.shape[-1] + x.size // x.shape[-1]
    for a, e, s, length in zip(got, expected, sizes, [taps, taps, rows, rows], strict=True):
        assert a.dtype == dtype and a.shape == e.shape
        bound = 16 * np.finfo(dtype).eps * np.sqrt(length + 1) * s.max(initial=0.0)
        np.testing.assert_allclose(a, e, rtol=0, atol=bound, err_msg=f"{name} {attrs}")


@st.composite
def cases(draw: Any) -> tuple[str, dict[str, Any], list[np.ndarray]]:
    name = draw(st.sampled_from(OPS))
    axes, transposed = (1 if "1d" in name else 2), name.endswith("transpose")
    small = st.sampled_from([1, 1, 1, 2, 3])
    groups = draw(small)
    c, oc = (groups * draw(st.integers(1, 20 // groups)) for _ in range(2))
    if draw(st.integers(0, 4)) == 0 and c > 1:
        groups, oc = c, c * draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    stride, dilation = [draw(small) for _ in range(axes)], [draw(small) for _ in range(axes)]
    # A transpose that cuts more off than it spreads has no output: cut less than the kernel spans.
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    most = [(e - 1) // 2 if transposed else 4 for e in extent]
    explicit = st.tuples(*[st.integers(0, m) for m in most for _ in range(2)])
    names = ["same", "valid"] + (["causal"] if name == "conv1d" else [])
    padding = draw(st.one_of(st.sampled_from(names), explicit))
    attrs: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding}
    if transposed and draw(st.booleans()):
        limits = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        attrs["output_padding"] = [draw(st.integers(0, m)) for m in limits]
        if padding == "same" and any(e % 2 == 0 for e in extent):
            attrs["padding"] = "valid"  # Keras' rule may leave nothing of one pixel
    size = []
    for i in range(axes):
        around = sum(padding[2 * i : 2 * i + 2]) if not isinstance(padding, str) else 0
        least = 1 if transposed or padding in ("same", "causal") else max(1, extent[i] - around)
        size.append(draw(st.integers(least, least + 9)))
    return name, attrs, operands(name, tuple(size), kernel, c, oc, groups, n=draw(st.integers(1, 3)))


@settings(max_examples=400, deadline=None)
@given(case=cases(), dtype=st.sampled_from([np.float32, np.float64]))
def test_random_shapes(case: tuple[str, dict[str, Any], list[np.ndarray]], dtype: Any) -> None:
    name, attrs, inputs = case
    check_against_reference(name, attrs, inputs, dtype)


def slope(act: str, z: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return (ACTIVATIONS[act](z + h) - ACTIVATIONS[act](z - h)) / (2 * h)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize(("name", "c", "oc"), [("conv2d", 3, 21), ("conv2d", 24, 21), ("conv1d_transpose", 8, 35)])
def test_activations_in_float32(name: str, c: int, oc: int, act: str) -> None:
    """Forward and backward, with the weights' gradient alone too (few channels: in one kernel with the activation's).
    No gradient comes in near a kink, where the sum that enters is within rounding of it."""
    axes = 2 if "2d" in name else 1
    x, w, b = operands(name, (9, 7)[:axes], (3, 3)[:axes], c, oc, dtype=np.float32)
    w /= np.sqrt(3**axes * c).astype(np.float32)
    reference = Conv(name, padding="same")
    z = reference.forward(x, w, b)
    far = np.all([abs(z - kink) > 1e-4 for kink in KINKS.get(act, [])], axis=0)
    dy = (np.random.default_rng(2).standard_normal(z.shape) * far).astype(np.float32)
    dz = dy * slope(act, z)
    expected = [ACTIVATIONS[act](z), *reference.backward(x, w, dz), dz.sum(axis=tuple(range(z.ndim - 1)))]
    # z errs by some 1e-6, which the slope and, in dz, the curvature carry on: exp's are the largest.
    steep = max(1.0, float(abs(slope(act, z)).max()))
    attrs = {"padding": "same", "activation": act}
    got = forward_and_backward(name, attrs, [x, w, b], dy)
    for a, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=4e-6 * steep * max(1.0, float(abs(e).max())))
    for wanted in [(False, True, True), (False, True, False), (False, False, True), (True, False, False)]:
        some = forward_and_backward(name, attrs, [x, w, b], dy, wanted)
        assert [g is not None for g in some[1:]] == list(wanted)
        for a, e in zip(some, expected, strict=True):
            if a is not None:
                np.testing.assert_allclose(a, e, rtol=0, atol=4e-6 * steep * max(1.0, float(abs(e).max())))


@pytest.mark.parametrize("name", OPS)
def test_empty_batches(name: str) -> None:
    axes = 2 if "2d" in name else 1
    for act in ("identity", "relu", "gelu"):
        inputs = operands(name, (5, 4)[:axes], (3, 3)[:axes], 2, 3, n=0)
        y, dx, dw, db = forward_and_backward(name, {"activation": act}, inputs, op(name, {}).forward(inputs)[0][0])
        full = op(name, {}).infer([("float64", (1, *inputs[0].shape[1:])), ("float64", inputs[1].shape)])
        assert y.shape == (0, *full[0][0][1][1:]) and dx.shape == inputs[0].shape
        np.testing.assert_array_equal(dw, np.zeros(inputs[1].shape))
        np.testing.assert_array_equal(db, np.zeros(3))


def test_missing_output_gradient_is_zero() -> None:
    for name in ("conv2d", "conv2d_transpose"):
        inputs = operands(name, (5, 4), (3, 3), 2, 3)
        o = op(name, {"activation": "tanh"})
        for grad in o.backward(inputs, *o.forward(inputs, True), [None], [True] * 3):
            assert not grad.any()


@pytest.mark.parametrize(("c", "oc", "groups"), [(1, 2, 1), (6, 6, 6), (20, 8, 1)])
def test_strides_and_dilations_beyond_the_image(c: int, oc: int, groups: int) -> None:
    """Far more phases than pixels in the gradient to data, more rows between two taps than memory holds."""
    x, w, b = operands("conv2d", (4, 3), (3, 3), c, oc, groups)
    check_against_reference("conv2d", {"stride": 2**31 - 1, "padding": 1, "groups": groups}, [x, w, b], np.float32)
    huge, plain = 10**6, Conv("conv2d", groups=groups)
    # Of the 3x3 outputs only the middle one sees pixels.
    dy = np.random.default_rng(4).standard_normal((2, 3, 3, oc))
    y, dx, dw = forward_and_backward("conv2d", {"stride": huge, "padding": huge, "groups": groups}, [x, w], dy)
    corner = np.zeros_like(y)
    corner[:, 1:2, 1:2] = plain.forward(x[:, :3], w)
    seen, expected_dw = plain.backward(x[:, :3], w, dy[:, 1:2, 1:2])
    for got, expected in [(y, corner), (dx[:, :3], seen), (dx[:, 3:], 0 * x[:, 3:]), (dw, expected_dw)]:
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    # Only the kernel's middle row does.
    dy = dy.reshape(2, 9, 1, oc)[:, :4]
    attrs = {"dilation": [huge, 1], "padding": [huge, 0], "groups": groups}
    y, dx, dw = forward_and_backward("conv2d", attrs, [x, w], dy)
    seen, middle = plain.backward(x, w[1:2], dy)
    np.testing.assert_allclose(y, plain.forward(x, w[1:2]), rtol=0, atol=1e-13)
    np.testing.assert_allclose(dx, seen, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dw, np.pad(middle, [(1, 1), (0, 0), (0, 0), (0, 0)]), rtol=0, atol=1e-13)


# ---- what backward gets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_backward_reads_what_it_says(name: str) -> None:
    """Backward gets only the inputs and outputs of `uses`: a recorded call must give the same gradients."""
    axes = 2 if "2d" in name else 1
    for attrs in [{}, {"activation": "relu"}, {"activation": "silu"}, {"activation": "elu", "alpha": -0.5}]:
        inputs = operands(name, (5, 4)[:axes], (3, 2)[:axes], 2, 3)
        outputs, record = op(name, attrs).record(inputs)
        dy = np.random.default_rng(3).standard_normal(outputs[0].shape)
        expected = forward_and_backward(name, attrs, inputs, dy)[1:]
        for a, b in zip(record.backward([dy], [True] * 3), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_saved() -> None:
    x, w, _ = operands("conv2d", (5, 4), (3, 2), 2, 3)
    for act, alpha, count in [
        ("identity", None, 0),
        ("relu", None, 0),
        ("gelu", None, 1),
        ("leaky_relu", 0.1, 0),
        ("leaky_relu", -0.1, 1),
    ]:
        o = op("conv2d", {"activation": act, "alpha": alpha})
        assert len(o.forward([x, w], training=True)[1]) == count
        assert len(o.forward([x, w])[1]) == 0
    (before,) = op("conv2d", {"activation": "gelu"}).forward([x, w], training=True)[1]
    np.testing.assert_allclose(before, Conv("conv2d").forward(x, w), rtol=0, atol=1e-13)


def test_a_bias_may_be_absent() -> None:
    for name in OPS:
        axes = 2 if "2d" in name else 1
        x, w, b = operands(name, (5, 4)[:axes], (3, 2)[:axes], 2, 3)
        with_zeros = op(name, {}).forward([x, w, 0 * b])[0][0]
        for inputs in ([x, w], [x, w, None]):
            np.testing.assert_array_equal(op(name, {}).forward(inputs)[0][0], with_zeros)
            grads = op(name, {}).backward(inputs, [None], [], [with_zeros], [True] * len(inputs))
            assert [g is not None for g in grads] == [True, True, False][: len(inputs)]


def test_inputs_of_any_layout() -> None:
    x, w, b = operands("conv2d", (6, 5), (3, 2), 2, 4)
    expected = op("conv2d", {}).forward([x, w, b])[0][0]
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    got = op("conv2d", {}).forward([channels_first, np.asfortranarray(w), np.repeat(b, 2)[::2]])[0][0]
    np.testing.assert_array_equal(got, expected)
    out = np.full(expected.shape, np.nan)
    assert op("conv2d", {}).forward([x, w, b], out=[out])[0][0] is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.cpu
@pytest.mark.parametrize("name", OPS)
def test_threads_do_not_change_a_bit(name: str) -> None:
    axes = 2 if "2d" in name else 1
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        one = []
        for c, oc, groups, stride, act in [(3, 40, 1, 2, "gelu"), (32, 48, 1, 1, "relu"), (32, 32, 32, 1, "tanh")]:
            inputs = operands(name, (37, 29)[:axes], (3, 3)[:axes], c, oc, groups, n=12, dtype=np.float32)
            attrs = {"padding": "same", "stride": stride, "groups": groups, "activation": act}
            outputs, saved = op(name, attrs).forward(inputs, True)
            grads = op(name, attrs).backward(inputs, outputs, saved, [0.5 * outputs[0]], [True] * 3)
            one += [*outputs, *saved, *grads]
        results.append(one)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- algorithms, prepared weights -----------------------------------------------------------------------------------


@pytest.fixture
def restored_precision() -> Any:
    before = _cpu.strict_precision()
    yield
    _cpu.set_strict_precision(before)


def shape_for(algorithm: str, name: str, dtype: Any = np.float32) -> tuple[dict[str, Any], list[np.ndarray]]:
    """More than a tile of everything, but no more input channels than the algorithm takes."""
    size, kernel, c, oc, stride, groups = FORCED[algorithm]
    size, oc = tuple(3 * s for s in size), 5 * oc
    if algorithm == "depthwise":
        c = groups = 20
    elif algorithm == "grouped":
        c = oc = groups = 20
    elif algorithm != "small_channels":
        c *= 10
    if name.endswith("transpose"):
        c, oc = oc, c
    attrs = {"padding": "same", "stride": stride, "groups": groups}
    return attrs, operands(name, size, kernel, c, oc, groups, dtype=dtype)


def check_algorithm_switch(algorithm: str) -> None:
    """Run with LAMELLA_CONV_ALGO set: it does what the attribute does, in every pass that has the algorithm."""
    for name in ("conv2d", "conv2d_transpose"):
        attrs, inputs = shape_for(algorithm, name)
        dy = np.random.default_rng(5).standard_normal(op(name, attrs).forward(inputs)[0][0].shape).astype(np.float32)
        expected = forward_and_backward(name, {**attrs, "algorithm": algorithm}, inputs, dy)
        for a, b in zip(forward_and_backward(name, attrs, inputs, dy), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        for dtype in (np.float32, np.float64):
            check_against_reference(name, attrs, inputs, dtype)
        if algorithm == "winograd4":  # the others' sums may be in one order, with the same bits
            # What the op itself asks for comes first; that its rounding is another shows that something was switched.
            own = op(name, {**attrs, "algorithm": "igemm"}).forward(inputs)[0][0]
            assert np.any(own != expected[0])


def check_algorithm_switch_error(expected: str) -> None:
    inputs = operands("conv2d", (5, 5), (3, 2), 8, 8)
    with pytest.raises(ValueError, match=expected):
        op("conv2d", {}).forward(inputs)


def in_environment(algorithm: str, call: str) -> None:
    """The environment is read once, so every value wants a process of its own."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; import test_conv; test_conv.{call}"
    env = {**os.environ, "LAMELLA_CONV_ALGO": algorithm}
    run = subprocess.run([sys.executable, "-c", program], env=env, cwd=Path(__file__).parent, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.cpu
@pytest.mark.parametrize("algorithm", ["reference", "winograd4", "depthwise"])
def test_algorithm_switch(algorithm: str) -> None:
    in_environment(algorithm, f"check_algorithm_switch({algorithm!r})")


@pytest.mark.cpu
def test_algorithm_switch_errors() -> None:
    expected = r"conv2d: LAMELLA_CONV_ALGO: expected one of auto, .*winograd4.*'winograd'"
    in_environment("winograd", f"check_algorithm_switch_error({expected!r})")
    expected = "LAMELLA_CONV_ALGO: expected an algorithm that can run.*3x2.*'winograd4'"
    in_environment("winograd4", f"check_algorithm_switch_error({expected!r})")


@pytest.mark.parametrize("name", ["winograd4", "depthwise", "small_channels"])
def test_algorithm_errors(name: str) -> None:
    inputs = operands("conv2d", (5, 5), (3, 2), 8, 8)
    with pytest.raises(ValueError, match=f"algorithm: expected an algorithm that can run.*3x2.*'{name}'"):
        op("conv2d", {"algorithm": name}).infer([(str(a.dtype), a.shape) for a in inputs])


def plan_of(name: str, attrs: dict[str, Any], inputs: list[np.ndarray]) -> Any:
    """An inference plan whose weights are parameters: what it prepares it keeps until told otherwise."""
    graph = _cpu.Graph()
    dtype = inputs[0].dtype.name
    ids = [graph.add_input("x", dtype, inputs[0].shape)]
    ids += [graph.add_param(f"p{i}", a) for i, a in enumerate(inputs[1:])]
    graph.set_outputs(graph.apply(op(name, attrs), ids))
    return _cpu.Plan(graph, [(dtype, inputs[0].shape)])


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose"])
@pytest.mark.parametrize("algorithm", [a for a in FORCED if a != "direct"])  # that one is for gradients alone
def test_prepared_weights(algorithm: str, name: str, dtype: Any) -> None:
    attrs, inputs = shape_for(algorithm, name, dtype)
    attrs |= {"activation": "silu", "algorithm": algorithm}
    plan = plan_of(name, attrs, inputs)
    first = op(name, attrs).forward(inputs)[0][0]
    for _ in range(2):
        np.testing.assert_array_equal(plan.run(inputs[:1])[0], first)
    inputs[1] *= dtype(1.5)
    second = op(name, attrs).forward(inputs)[0][0]
    assert np.any(second != first)
    packs = algorithm in ("igemm", "winograd2", "winograd4", "winograd_stride2")
    assert (plan.prepared_bytes > 0) == packs
    np.testing.assert_array_equal(plan.run(inputs[:1])[0], second)


@pytest.mark.cpu
@pytest.mark.parametrize("c", [40, 150])
@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4", "winograd_stride2"])
def test_prepared_weights_of_few_tiles(algorithm: str, c: int) -> None:
    """Such are taken some output channels at a time, over several blocks of input channels."""
    attrs = {"padding": "same", "stride": 2 if algorithm == "winograd_stride2" else 1, "algorithm": algorithm}
    inputs = operands("conv2d", (9, 6), (3, 3), c, 70, n=1, dtype=np.float32)
    plan = plan_of("conv2d", attrs, inputs)
    assert plan.prepared_bytes > 0
    np.testing.assert_array_equal(plan.run(inputs[:1])[0], op("conv2d", attrs).forward(inputs)[0][0])
    # Weights that are read faster than their transforms are left as they are.
    large = operands("conv2d", (5, 4), (3, 3), 260, 510, n=1, dtype=np.float32)
    if algorithm != "winograd2":
        assert plan_of("conv2d", attrs, large).prepared_bytes == 0


@pytest.mark.bindings
@pytest.mark.parametrize("name", ["conv1d", "conv1d_transpose"])
def test_prepared_weights_1d(name: str) -> None:
    for attrs in [{"stride": 2, "padding": "same"}, {"dilation": 2, "groups": 2}, {"padding": [3, 1]}]:
        inputs = operands(name, (31,), (3,), 8, 24, attrs.get("groups", 1), dtype=np.float32)
        plan = plan_of(name, attrs, inputs)
        for _ in range(2):
            np.testing.assert_array_equal(plan.run(inputs[:1])[0], op(name, attrs).forward(inputs)[0][0])


@pytest.mark.cpu
def test_prepared_weights_under_a_computed_bias() -> None:
    """Only the weights need to be parameters."""
    x, w, b = operands("conv2d", (9, 8), (3, 3), 40, 24, dtype=np.float32)
    graph = _cpu.Graph()
    ids = [graph.add_input("x", "float32", x.shape), graph.add_param("w", w), graph.add_input("b", "float32", b.shape)]
    graph.set_outputs(graph.apply(op("conv2d", {"algorithm": "igemm"}), ids))
    plan = _cpu.Plan(graph, [("float32", x.shape), ("float32", b.shape)])
    assert plan.prepared_bytes > 0
    for step in range(3):
        b += np.float32(step)
        expected = op("conv2d", {"algorithm": "igemm"}).forward([x, w, b])[0][0]
        np.testing.assert_array_equal(plan.run([x, b])[0], expected)
        w += np.float32(0.5)


@pytest.mark.bindings
def test_prepared_weights_follow_every_change() -> None:
    """Changes that sums and differences of words would not show: signs, swaps, one bit, the last element."""
    x, w = operands("conv2d", (9, 8), (3, 3), 40, 24, dtype=np.float32)[:2]
    plan = plan_of("conv2d", {"algorithm": "igemm"}, [x, w])
    flat = w.reshape(-1)

    def swap(i: int, j: int) -> None:
        flat[[i, j]] = flat[[j, i]]

    def flip(*at: int) -> None:
        flat[list(at)] *= np.float32(-1)

    changes = [lambda: flip(5), lambda: flip(1, 17), lambda: flip(1, 17), lambda: swap(0, 1), lambda: swap(2, 18),
               lambda: swap(0, 4096), lambda: flip(-1), lambda: flat.__setitem__(7, np.nextafter(flat[7], 9)),
               lambda: flat.__setitem__(slice(None), 0)]  # fmt: skip
    for change in changes:
        change()
        for _ in range(2):
            expected = op("conv2d", {"algorithm": "igemm"}).forward([x, w])[0][0]
            np.testing.assert_array_equal(plan.run([x])[0], expected)


@pytest.mark.cpu
def test_frozen_weights_are_prepared_in_training() -> None:
    x, w = operands("conv2d", (9, 8), (3, 3), 40, 24, dtype=np.float32)[:2]
    scale = np.ones(24, np.float32)

    def plan(frozen: bool) -> Any:
        graph = _cpu.Graph()
        ids = [graph.add_input("x", "float32", x.shape), graph.add_param("w", w, trainable=not frozen)]
        (y,) = graph.apply(op("conv2d", {"algorithm": "igemm"}), ids)
        (y,) = graph.apply(op("mul"), [y, graph.add_param("scale", scale)])
        (loss,) = graph.apply(op("sum", {"axis": None}), [y])
        return _cpu.Plan(graph, [("float32", x.shape)], [loss], True)

    frozen, trained = plan(True), plan(False)
    assert frozen.prepared_bytes > 0 and trained.prepared_bytes == 0
    for _ in range(2):
        np.testing.assert_array_equal(frozen.run([x])[0], trained.run([x])[0])
        np.testing.assert_array_equal(frozen.gradients()[0], trained.gradients()[-1])
        w *= np.float32(1.5)


@pytest.mark.bindings
def test_prepared_weights_of_another_algorithm(restored_precision: None) -> None:
    """The choice may change between the making of a plan, the preparation and a run: each has its own size."""
    inputs = operands("conv2d", (14, 15), (3, 3), 48, 40, dtype=np.float32)
    o = op("conv2d", {"padding": "same"})
    _cpu.set_strict_precision(False)
    strict = [False, True, True, False]
    for first in (False, True):
        _cpu.set_strict_precision(first)
        plan = plan_of("conv2d", o.attrs, inputs)
        for now in strict:
            _cpu.set_strict_precision(now)
            expected = o.forward(inputs)[0][0]
            np.testing.assert_array_equal(plan.run(inputs[:1])[0], expected)


@pytest.mark.cpu
def test_verbose_says_what_was_chosen() -> None:
    program = """
import numpy as np
from lamella import kernels
x, w = np.ones((2, 9, 9, 8), np.float32), np.ones((3, 3, 8, 5), np.float32)
for _ in range(2):
    kernels.conv2d(x, w, stride=2, algorithm="reference")
"""
    env = {**os.environ, "LAMELLA_VERBOSE": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    (line,) = [text for text in run.stderr.splitlines() if "conv2d" in text]
    assert "forward, 2x9x9x8 -> 4x4x5, kernel 3x3, stride 2x2" in line and line.endswith("float32: reference")
