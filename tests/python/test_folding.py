"""Batch norms in inference plans: folded into the layer before, and following every change of the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella import _cpu, layers, models, nn
from lamella._trace import trace


def fill(module: Any, seed: int) -> None:
    """Parameters and statistics that an error would show in."""
    rng = np.random.default_rng(seed)
    for name, t in module.state_dict().items():
        if "num_batches" not in name:
            t[...] = lamella.tensor((rng.random(tuple(t.shape)) + 0.5).astype(t.dtype))


def plan_of(module: Any, x: np.ndarray) -> Any:
    traced = trace(module.eval(), [(x.dtype, x.shape)], training=False)
    return _cpu.Plan(traced.graph, [(x.dtype.name, x.shape)], traced.outputs, False)


def check_plan(net: Any, x: np.ndarray) -> None:
    """A plan gives what the eager layers give, with other weights than it was made with."""
    plan = plan_of(net, x)
    fill(net, 1)
    with lamella.no_grad():
        expected = net(lamella.tensor(x)).numpy()
    np.testing.assert_allclose(plan.run([x])[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


CASES = {
    "conv2d": (lambda: [nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)], (2, 3, 6, 7)),
    "conv2d_relu": (lambda: [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()], (2, 3, 6, 7)),
    "conv2d_silu": (lambda: [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU()], (2, 3, 6, 7)),
    "no_bias": (lambda: [nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)], (2, 3, 6, 7)),
    "not_affine": (lambda: [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False)], (2, 3, 6, 7)),
    "grouped": (lambda: [nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)], (2, 4, 6, 7)),
    "conv1d": (lambda: [nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)], (2, 3, 9)),
    "dense": (lambda: [nn.Linear(7, 5), nn.BatchNorm1d(5)], (4, 7)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_folded_batch_norm(case: str, dtype: Any) -> None:
    make, shape = CASES[case]
    parts = make()
    net = nn.Sequential(*parts).to(dtype)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    plan = plan_of(net, x)
    with_norm = plan_of(nn.Sequential(*parts[:1]), x)
    assert plan.step_count == with_norm.step_count  # nothing is left of norm and activation
    for seed in range(3):  # every change of weights and statistics is seen
        fill(net, seed)
        with lamella.no_grad():
            expected = net(lamella.tensor(x)).numpy()
        for _ in range(2):
            got = plan.run([x])[0]
            np.testing.assert_allclose(got, expected, rtol=0, atol=40 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.BatchNorm2d(5)],  # not linear in between
        lambda: [nn.ConvTranspose2d(3, 5, 3), nn.BatchNorm2d(5)],  # its weights end in the input channels
        lambda: [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False)],  # the batch's statistics
        lambda: [nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, padding=1)],  # padding is not normalised
    ],
    ids=["after_activation", "transposed", "batch_statistics", "before"],
)
def test_what_cannot_be_folded_is_right_too(parts: Any) -> None:
    net = nn.Sequential(*parts())
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    check_plan(net, x)


def test_a_shared_output_is_not_folded() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)

        def forward(self, x: Any) -> Any:
            y = self.conv(x)
            return self.norm(y) + y

    net = Net()
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    check_plan(net, x)


def test_training_and_prediction_take_turns() -> None:
    """Each epoch moves weights and statistics; predictions are those of the eager layers."""
    lamella.seed(3)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 8, 8, 2)).astype(np.float32), rng.integers(0, 3, 40)
    model = models.Sequential(
        [
            layers.Conv2D(8, 3, use_bias=False, input_shape=(8, 8, 2)),
            layers.BatchNormalization(momentum=0.5),
            layers.Activation("relu"),
            layers.Flatten(),
            layers.Dense(3),
            layers.BatchNormalization(momentum=0.5),
            layers.Softmax(),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    for _ in range(3):
        model.fit(x, y, epochs=1, batch_size=8, verbose=0)
        np.testing.assert_allclose(model.predict(x), model(x, training=False).numpy(), rtol=2e-5, atol=1e-6)


def test_values_of_parameters_alone_are_computed_once() -> None:
    """exp(w) of a parameter is no step of the plan, but follows the parameter."""
    w, x = np.zeros(3, np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = _cpu.Graph()
    ids = [graph.add_input("x", "float32", x.shape), graph.add_param("w", w)]
    (e,) = graph.apply(_cpu.Op("exp", {}), [ids[1]])
    (e,) = graph.apply(_cpu.Op("square", {}), [e])
    (y,) = graph.apply(_cpu.Op("mul", {}), [ids[0], e])
    graph.set_outputs([y, e])
    plan = _cpu.Plan(graph, [("float32", x.shape)])
    assert plan.step_count == 1
    for value in (0.0, 1.0, -1.0):
        w[...] = value
        for _ in range(2):
            out = plan.run([x])
            np.testing.assert_allclose(out[0], x * np.exp(2 * value), rtol=1e-6)
            np.testing.assert_allclose(out[1], np.exp(2 * w), rtol=1e-6)
