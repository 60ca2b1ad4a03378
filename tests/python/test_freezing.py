"""Frozen layers: no gradient is computed below the lowest layer that is trained. Counted in ops, not in time."""

import numpy as np
import pytest

import lamella
from lamella import _cpu, layers, models, nn, optim
from lamella.applications import VGG16


def steps(model, x, y):
    """The (op, layer) of forward and of backward in the plan that trains on these data."""
    from lamella._data import Data

    plan = model._engine.step_for(Data(model, x, y), len(x), "train").plan
    found = {"forward": [], "backward": []}
    for op, phase, label in plan.steps:
        found[phase].append((op, label))
    return found


def mlp():
    lamella.seed(0)
    model = models.Sequential([layers.Dense(6, activation="tanh", input_shape=(4,), name=f"d{i}") for i in range(4)])
    model.compile("sgd", "mse")
    return model


X, Y = np.ones((8, 4), np.float32), np.zeros((8, 6), np.float32)


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_backward_ends_at_the_lowest_trained_layer(frozen):
    model = mlp()
    for layer in model.layers[:frozen]:
        layer.trainable = False
    found = steps(model, X, Y)
    assert [label for op, label in found["forward"] if op == "dense"] == ["d0", "d1", "d2", "d3"]
    assert [label for op, label in found["backward"] if op == "dense"] == [f"d{i}" for i in range(3, frozen - 1, -1)]
    before = model.get_weights()
    model.fit(X, Y, epochs=1, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert not any(changed[: 2 * frozen]) and all(changed[2 * frozen + 1 :: 2])


def test_a_frozen_layer_above_a_trained_one_passes_gradients_on():
    model = mlp()
    model.layers[2].trainable = False
    backward = [label for op, label in steps(model, X, Y)["backward"] if op == "dense"]
    assert backward == ["d3", "d2", "d1", "d0"]


def test_thawing_makes_another_plan():
    model = mlp()
    model.layers[0].trainable = False
    assert len(steps(model, X, Y)["backward"]) < len(steps(mlp(), X, Y)["backward"])
    model.layers[0].trainable = True
    assert len(steps(model, X, Y)["backward"]) == len(steps(mlp(), X, Y)["backward"])


def test_transfer_learning_differentiates_the_head_alone():
    base = VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    for layer in base.layers:
        layer.trainable = False
    out = layers.Dense(2, activation="softmax")(layers.Dense(4, activation="relu")(layers.Flatten()(base.output)))
    model = models.Model(base.input, out)
    model.compile("adam", "categorical_crossentropy")
    assert len(model.trainable_weights) == 4
    x, y = np.ones((2, 32, 32, 3), np.float32), np.eye(2, dtype=np.float32)
    found = steps(model, x, y)
    assert sum(op == "conv2d" for op, _ in found["forward"]) == 13
    ops = [op for op, _ in found["backward"]]
    assert "conv2d" not in ops and "max_pool2d" not in ops and ops.count("dense") == 2


class Counter:
    """Backward calls of the eager tape, by op."""

    def __enter__(self):
        _cpu.profile_start()
        return self

    def __exit__(self, *exc):
        sites, _, _ = _cpu.profile_stop()
        self.counts = {}
        for s in sites:
            if s["phase"] == "backward":
                self.counts[s["op"]] = self.counts.get(s["op"], 0) + s["calls"]


def test_requires_grad_false_in_pytorchs_idiom():
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten())
    head = nn.Linear(64, 2)
    features.requires_grad_(False)
    opt = optim.SGD([p for p in head.parameters() if p.requires_grad], lr=0.1)
    before = [p.numpy().copy() for p in features.parameters()]
    with Counter() as c:
        nn.CrossEntropyLoss()(head(features(lamella.ones(3, 1, 8, 8))), lamella.tensor([0, 1, 0])).backward()
    opt.step()
    assert "conv2d" not in c.counts and sum(n for op, n in c.counts.items() if op in ("dense", "matmul", "linear")) == 1
    assert all(p.grad is None for p in features.parameters()) and head.weight.grad is not None
    assert all(np.array_equal(a, p.numpy()) for a, p in zip(before, features.parameters(), strict=True))


def test_freezing_the_lower_half():
    net = nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1) for _ in range(4)])
    for p in list(net.parameters())[:4]:
        p.requires_grad = False
    with Counter() as c:
        net(lamella.ones(1, 2, 5, 5)).sum().backward()
    assert c.counts["conv2d"] == 2
    assert [p.grad is not None for p in net.parameters()] == [False] * 4 + [True] * 4
