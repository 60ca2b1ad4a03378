"""A convolution with a max pooling by 2x2 in it, against the two apart; plans make one of the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_conv import operands

import lamella
from lamella import _cpu, nn
from lamella._kernels._call import op
from lamella._trace import trace

# An algorithm, its kernel and most channels.
ALGORITHMS = {
    "small_channels": ((2, 3), 4),
    "winograd2": ((3, 3), 20),
    "winograd4": ((3, 3), 20),
    "winograd_stride2": ((3, 3), 20),
    "igemm": ((2, 3), 20),
    "depthwise": ((3, 3), 20),
    "reference": ((2, 3), 5),
}


def cpu(algorithm: str) -> Any:
    """Devices have no such algorithm."""
    return pytest.param(algorithm, marks=pytest.mark.cpu)


EACH = [a if a in ("igemm", "depthwise", "reference") else cpu(a) for a in ALGORITHMS]


def apart(attrs: dict[str, Any], inputs: list[Any], dy: np.ndarray) -> list[Any]:
    """[y, dx, dw, db] of convolution, pooling and activation one after the other."""
    act = {"activation": attrs["activation"]}
    conv = op("conv2d", {k: v for k, v in attrs.items() if k not in ("pool", "activation")})
    steps = [conv, op("max_pool2d", {"window": 2}), op("activation", act)]
    runs = []
    value = inputs
    for step in steps:
        outputs, saved = step.forward(value, True)
        runs.append((value, outputs, saved))
        value = outputs
    y, gradient = value[0], dy
    for step, (taken, outputs, saved) in zip(steps[:0:-1], runs[:0:-1], strict=True):
        gradient = step.backward(taken, outputs, saved, [gradient], (True,))[0]
    taken, outputs, saved = runs[0]
    return [y, *conv.backward(taken, outputs, saved, [gradient], (True,) * len(inputs))]


def together(attrs: dict[str, Any], inputs: list[Any], dy: np.ndarray, wanted: tuple[bool, ...]) -> list[Any]:
    fused = op("conv2d", attrs)
    outputs, saved = fused.forward(inputs, True)
    (inferred,), _ = fused.forward(inputs, False)
    np.testing.assert_array_equal(inferred, outputs[0])
    return [outputs[0], *fused.backward(inputs, outputs, saved, [dy], wanted)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("algorithm", EACH)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_against_the_two_apart(algorithm: str, dtype: Any, data: st.DataObject) -> None:
    kernel, most = ALGORITHMS[algorithm]
    draw = data.draw
    stride = (
        2 if algorithm == "winograd_stride2" else 1 if algorithm.startswith("winograd") else draw(st.integers(1, 2))
    )
    least = 2 * stride + 2
    size = draw(st.integers(least, 14)), draw(st.integers(least, 17))
    c = draw(st.integers(2 if algorithm == "depthwise" else 1, most))
    oc, groups = (2 * c, c) if algorithm == "depthwise" else (draw(st.integers(1, 40)), 1)
    act = draw(st.sampled_from(["identity", "relu", "tanh", "gelu"]))
    attrs = {"algorithm": algorithm, "padding": draw(st.sampled_from(["valid", "same", 1])), "stride": stride,
             "groups": groups, "activation": act, "pool": True}  # fmt: skip
    n = draw(st.integers(1, 5))
    bias = draw(st.booleans())
    inputs = [a.astype(dtype) for a in operands("conv2d", size, kernel, c, oc, groups, n=n)][: 3 if bias else 2]
    (shape,) = (o.shape for o in op("conv2d", attrs).forward(inputs, False)[0])
    dy = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    wanted = tuple(draw(st.booleans()) for _ in inputs)
    # The same algorithm gives the same values and so the same windows; sums of gradients may be taken in another order.
    bound = 200 * np.finfo(dtype).eps
    for name, got, expected in zip(["y", "dx", "dw", "db"], together(attrs, inputs, dy, wanted),
                                   apart(attrs, inputs, dy), strict=False):  # fmt: skip
        if got is None:
            assert not wanted[["dx", "dw", "db"].index(name)]
            continue
        assert got.shape == expected.shape and got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound * max(1, np.abs(expected).max()), err_msg=name)


@pytest.mark.parametrize("algorithm", [cpu("small_channels"), cpu("winograd4"), "igemm"])
def test_gradients(algorithm: str) -> None:
    kernel, _ = ALGORITHMS[algorithm]
    for act in ("identity", "relu", "sigmoid", "silu"):
        attrs = {"algorithm": algorithm, "padding": "same", "activation": act, "pool": True}
        check_gradients("conv2d", attrs, operands("conv2d", (5, 4), kernel, 2, 3, n=2))


@pytest.mark.parametrize("algorithm", [cpu("small_channels"), cpu("winograd2"), cpu("winograd4"), "igemm"])
def test_nan_and_infinity(algorithm: str) -> None:
    """NaN wins in its windows, and in no other."""
    kernel, _ = ALGORITHMS[algorithm]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 8, 2)).astype(np.float32)
    w, b = rng.standard_normal((*kernel, 2, 5)).astype(np.float32), np.zeros(5, np.float32)
    b[1], b[2] = np.nan, -np.inf
    attrs = {"algorithm": algorithm, "padding": "same", "pool": True}
    for act in ("identity", "relu"):
        (y,), _ = op("conv2d", attrs | {"activation": act}).forward([x, w, b], False)
        assert np.isnan(y[..., 1]).all() and np.isfinite(y[..., [0, 3, 4]]).all()
        assert (y[..., 2] == (0 if act == "relu" else -np.inf)).all()
    x[0, 0, 0, 0] = np.nan
    (y,), _ = op("conv2d", attrs | {"algorithm": "igemm"}).forward([x, w, b], True)
    assert np.isnan(y[0, 0, 0]).all() and np.isfinite(y[1][..., [0, 3, 4]]).all()


@pytest.mark.cpu
def test_the_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    for c, size in [(1, 28), (3, 31), (24, 15)]:
        x = rng.standard_normal((9, size, size, c)).astype(np.float32)
        w, b = rng.standard_normal((3, 3, c, 32)).astype(np.float32), rng.standard_normal(32).astype(np.float32)
        attrs = {"activation": "relu", "pool": True, "padding": "same"}
        dy = rng.standard_normal((9, size // 2, size // 2, 32)).astype(np.float32)
        results = []
        for threads in (1, 2, 3):
            lamella.set_num_threads(threads)
            results.append(together(attrs, [x, w, b], dy, (c > 3, True, True)))
        for other in results[1:]:
            for a, b_ in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b_) if a is not None else None


def test_too_small_an_output_is_refused() -> None:
    x, w = np.zeros((1, 3, 9, 1), np.float32), np.zeros((3, 3, 1, 2), np.float32)
    with pytest.raises(ValueError, match=r"conv2d: pool: expected an output of at least 2 rows and .*, got 1 row"):
        op("conv2d", {"pool": True}).forward([x, w], False)
    with pytest.raises(ValueError, match="pool"):
        op("conv1d", {"pool": True})


def plan_of(net: Any, x: np.ndarray, training: bool = False) -> Any:
    traced = trace(net, [(x.dtype, x.shape)], training=training)
    return _cpu.Plan(traced.graph, [(x.dtype.name, x.shape)], traced.outputs, training)


NETS = {
    "relu_then_pool": lambda: [nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2)],
    "pool_then_relu": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.ReLU()],
    "pool_then_tanh": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.Tanh()],
    "norm_between": lambda: [nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2, stride=2)],
}
KEPT_APART = {
    "tanh_then_pool": lambda: [nn.Conv2d(2, 5, 3), nn.Tanh(), nn.MaxPool2d(2)],
    "other_window": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(3)],
    "other_stride": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(2, stride=1)],
    "padded": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(2, padding=1)],
    "ceil_mode": lambda: [nn.Conv2d(2, 5, 3), nn.MaxPool2d(2, ceil_mode=True)],
    "average": lambda: [nn.Conv2d(2, 5, 3), nn.AvgPool2d(2)],
}


@pytest.mark.parametrize("case", NETS | KEPT_APART)
def test_plans(case: str) -> None:
    net = nn.Sequential(*(NETS | KEPT_APART)[case]()).eval()
    x = np.random.default_rng(0).standard_normal((3, 2, 9, 10)).astype(np.float32)
    plan = plan_of(net, x)
    alone = plan_of(nn.Sequential(net[0]), x)
    assert (plan.step_count == alone.step_count) == (case in NETS)
    with lamella.no_grad():
        expected = net(lamella.tensor(x)).numpy()
    np.testing.assert_allclose(plan.run([x])[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["relu_then_pool", "pool_then_relu"])
def test_training_with_the_pooling_in_the_convolution(order: str) -> None:
    """`fit`, whose plan has one op, ends where a loop by hand ends."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 11, 10, 1)).astype(np.float32)
    y = rng.integers(0, 3, 40)
    layers = lamella.layers

    def make() -> Any:
        lamella.manual_seed(3)
        act = "relu" if order == "relu_then_pool" else None
        parts = [layers.Input((11, 10, 1)), layers.Conv2D(8, 3, activation=act), layers.MaxPooling2D(2)]
        parts += [layers.ReLU()] if act is None else []
        parts += [layers.Conv2D(24, 3, padding="same", activation=act), layers.MaxPooling2D(2)]
        parts += [layers.ReLU()] if act is None else []
        return lamella.models.Sequential([*parts, layers.Flatten(), layers.Dense(3)])

    fitted, by_hand = make(), make()
    fitted.compile("sgd", lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    fitted.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    optimizer = lamella.optim.SGD(by_hand.parameters(), lr=0.01)
    for _ in range(2):
        for at in range(0, 40, 8):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(by_hand(lamella.tensor(x[at : at + 8])), lamella.tensor(y[at : at + 8]))
            loss.backward()
            optimizer.step()
    for a, b in zip(fitted.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
