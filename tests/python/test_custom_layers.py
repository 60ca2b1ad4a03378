"""What a user's own layer may count on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import lamella
from lamella import initializers, layers, models, regularizers

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)


class Scale(layers.Layer):
    """Without get_config, without names for its weights."""

    def __init__(self, start: float = 2.0, shift: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.shift = start, shift

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(
            shape=(input_shape[-1],), initializer=initializers.Constant(self.start), regularizer="l2"
        )
        if self.shift:
            self.offset = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="offset")
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        y = x * self.factor
        return y + self.offset if self.shift else y


def test_weights_are_called_as_their_attributes() -> None:
    layer = Scale()
    y = layer(X)
    np.testing.assert_allclose(y.numpy(), 2 * X)
    assert [n for n, _, _ in layer._named_weights()] == ["factor", "offset", "count"]
    assert [w.name for w in layer.weights] == ["factor", "offset", "count"]
    assert len(layer.get_weights()) == 3 and len(layer.trainable_weights) == 2
    layer.set_weights([np.full(4, 3.0), np.ones(4), np.array(0.0)])
    np.testing.assert_allclose(layer(X).numpy(), 3 * X + 1, rtol=1e-6)


def test_a_weight_under_another_name_is_counted_once() -> None:
    class Two(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.matrix = self.add_weight((4, 2), name="kernel")
            self.same = self.matrix

        def call(self, x: Any) -> Any:
            return x @ self.same

    layer = Two()
    layer(X)
    assert [n for n, _, _ in layer._named_weights()] == ["kernel"] and len(layer.get_weights()) == 1


def test_add_weight_takes_keras_forms() -> None:
    class Forms(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.a = self.add_weight("first", shape=(2,))
            self.b = self.add_weight((3,), "ones")
            self.c = self.add_weight(shape=4, dtype="float64", initializer=lambda shape, dtype: np.ones(shape, dtype))
            self.d = self.add_weight()

        def call(self, x: Any) -> Any:
            return x

    layer = Forms()
    layer.build((None, 4))
    assert [tuple(w.shape) for w in layer.weights] == [(2,), (3,), (4,), ()]
    assert [w.name for w in layer.weights] == ["first", "b", "c", "d"] and layer.weights[2].dtype == np.float64
    with pytest.raises(ValueError, match="shape"):
        layer.add_weight(shape=(2, -1))


def test_build_may_be_called_beforehand() -> None:
    layer = Scale()
    layer.build((None, 4))
    assert layer.built
    weights = layer.weights
    layer(X)
    assert all(a is b for a, b in zip(weights, layer.weights, strict=True))


class Branches(layers.Layer):
    def __init__(self, width: int, depth: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.depth = width, depth
        self.blocks = [layers.Dense(width, activation="tanh") for _ in range(depth)]
        self.heads = {"a": layers.Dense(2), "b": layers.Dense(2)}
        self.later: list[Any] = []
        self.later.append(layers.Dense(2))

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.later[0](self.heads["a"](x) + self.heads["b"](x))


def test_layers_in_lists_and_dicts_are_found() -> None:
    layer = Branches(3, 2)
    layer(X)
    assert len(layer.trainable_weights) == 10
    names = [n for n, _, _ in layer._named_weights()]
    assert names[:2] == ["blocks_0.kernel", "blocks_0.bias"] and "heads_b.kernel" in names and "later_0.bias" in names
    layer.trainable = False
    assert not layer.trainable_weights and not layer.blocks[0].trainable
    layer.trainable = True
    gone = layer.blocks.pop()
    assert len(layer.weights) == 8 and all(w is not p for w in layer.weights for p in gone.weights)
    layer.blocks = [layers.Dense(3)]
    assert [m.name for m in layer.children()].count(gone.name) == 0


def test_copies_are_apart() -> None:
    layer = Branches(3, 2)
    y = layer(X).numpy()
    other = copy.deepcopy(layer)
    assert len(other.weights) == 10
    np.testing.assert_array_equal(other(X).numpy(), y)
    other.blocks[0].kernel._data[...] = 0
    np.testing.assert_array_equal(layer(X).numpy(), y)
    other.blocks.append(layers.Dense(7))
    assert len(list(layer.children())) == 5 and len(list(other.children())) == 6


def test_training_reaches_them_in_a_plan() -> None:
    lamella.seed(0)
    model = models.Sequential([Branches(5, 2, input_shape=(4,)), Scale()])
    model.compile("adam", "mse")
    before = model.get_weights()
    y = X[:, :2].copy()
    history = model.fit(X, y, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    assert all(step is not None for step in model._engine._steps.values())
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [True] * 12 + [False]


def test_configurations_without_get_config(tmp_path: Any) -> None:
    layer = Branches(3, depth=2, name="mine")
    config = layer.get_config()
    assert (config["width"], config["depth"], config["name"]) == (3, 2, "mine")
    assert Branches.from_config(config).get_config() == config
    model = models.Sequential([Scale(3.0, False, input_shape=(4,)), layer])
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", {"Branches": Branches, "Scale": Scale})
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.layers[0].shift is False


def test_constructors_that_take_no_name() -> None:
    class Plain(layers.Layer):
        def __init__(self, units: int) -> None:
            super().__init__()
            self.units = units

        def call(self, x: Any) -> Any:
            return x

    layer = Plain(3)
    layer.trainable = False
    again = Plain.from_config({**layer.get_config(), "name": "other"})
    assert (again.units, again.name, again.trainable) == (3, "other", False)


def test_arguments_that_are_no_plain_values_need_get_config() -> None:
    class Holds(layers.Layer):
        def __init__(self, array: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)

        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(NotImplementedError, match=r"get_config.*array"):
        Holds(np.ones(3)).get_config()


class Penalised(layers.Layer):
    def call(self, x: Any) -> Any:
        self.add_loss(0.5 * x.square().mean())
        return x


@pytest.mark.parametrize("eagerly", [False, True])
def test_add_loss_counts_in_training(eagerly: bool) -> None:
    model = models.Sequential([Penalised(input_shape=(4,)), layers.Dense(1, kernel_regularizer=regularizers.L2(0.1))])
    model.compile("sgd", "mse", run_eagerly=eagerly)
    y = np.zeros((12, 1), np.float32)
    kernel = model.layers[1].get_weights()[0]
    expected = 0.5 * (X**2).mean() + (model.predict(X) ** 2).mean() + 0.1 * (kernel**2).sum()
    assert model.evaluate(X, y, batch_size=12, verbose=0) == pytest.approx(float(expected), rel=1e-5)
    assert model.train_on_batch(X, y) == pytest.approx(float(expected), rel=1e-5)
    assert eagerly or all(step is not None for step in model._engine._steps.values())


def test_losses_after_a_call() -> None:
    model = models.Sequential([Penalised(input_shape=(4,)), layers.Dense(2, activity_regularizer="l2")])
    y = model(X)
    added, activity = model.losses
    assert added.item() == pytest.approx(0.5 * (X**2).mean(), rel=1e-5)
    assert activity.item() == pytest.approx(0.01 * (y.numpy() ** 2).sum() / 12, rel=1e-5)
    model(2 * X)  # the last call alone counts
    assert len(model.losses) == 2 and model.losses[0].item() == pytest.approx(2 * (X**2).mean(), rel=1e-5)
    model.losses[0].backward() if model.losses[0].requires_grad else None
    with pytest.raises(ValueError, match="scalar"):
        model.layers[0].add_loss(y)


def test_frozen_weights_are_not_penalised() -> None:
    layer = layers.Dense(2, kernel_regularizer="l2")
    layer(X)
    assert len(layer.losses) == 1
    layer.trainable = False
    assert layer.losses == []


def test_lambda_in_files(tmp_path: Any) -> None:
    def halve(x: Any, by: float = 2.0) -> Any:
        return x / by

    model = models.Sequential([layers.Lambda(halve, arguments={"by": 4.0}, input_shape=(4,)), layers.Dense(2)])
    np.testing.assert_allclose(model.predict(X), model.layers[1](X / 4).numpy(), rtol=1e-6)
    assert model.layers[0].compute_output_shape((None, 4)) == (None, 4)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", {"halve": halve})
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="halve"):
        models.load_model(tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match="name"):
        layers.Lambda(lambda x: x).get_config()
    with pytest.raises(ValueError, match="output_shape"):
        layers.Lambda(halve, output_shape=(3,))(X)


def test_lambda_is_told_of_mask_and_training() -> None:
    seen = []

    def look(x: Any, mask: Any = None, training: Any = None) -> Any:
        seen.append((mask, training))
        return x

    layers.Lambda(look)(X, training=True)
    assert seen == [(None, True)]


def test_hooks():
    """Those of modules, in eager calls and in training and prediction, whose values they may ask for."""
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)])
    x = np.ones((5, 4), np.float32)
    first, last = model.layers
    seen = []
    handle = first.register_forward_hook(lambda layer, args, out: seen.append((layer.name, args[0].shape, out.shape)))
    usual = model(x)
    assert seen == [(first.name, (5, 4), (5, 3))]
    doubled = first.register_forward_pre_hook(lambda layer, args: args[0] * 2.0)
    halved = last.register_forward_hook(lambda layer, args, out: out * 0.5)
    np.testing.assert_allclose(model(x), usual, rtol=1e-6)  # there are no biases yet
    doubled.remove()
    np.testing.assert_allclose(model(x), usual * 0.5, rtol=1e-6)
    halved.remove()
    handle.remove()
    plain = model.predict(x, verbose=0)
    handle = last.register_forward_hook(lambda layer, args, out: out * 0.5)  # nothing in it needs values
    np.testing.assert_allclose(model.predict(x, verbose=0), plain * 0.5, rtol=1e-6)
    handle.remove()
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain)
    sums = []
    last.register_forward_hook(lambda layer, args, out: sums.append(float(out.numpy().sum())))
    predicted = model.predict(np.concatenate([x, 2 * x]), batch_size=5, verbose=0)
    np.testing.assert_allclose(sums, [predicted[:5].sum(), predicted[5:].sum()], rtol=1e-5)
