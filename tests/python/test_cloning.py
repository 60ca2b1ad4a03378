"""Models made again: clone_model, to_json and model_from_json, save_model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamella import layers, losses, metrics, models

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((6, 2)).astype(np.float32)


def tripled(x):
    return x * 3


class Offset(layers.Layer):
    def build(self, input_shape):
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return x + self.offset


def sequential():
    return models.Sequential(
        [
            layers.Dense(4, activation=tripled, input_shape=(3,)),
            layers.Lambda(lambda x: x * 2),
            Offset(),
            layers.BatchNormalization(trainable=False),
            layers.Dense(2),
        ],
        name="stack",
    )


def branched():
    inputs = layers.Input((3,))
    shared = layers.Dense(3, activation="tanh", name="shared")
    once = shared(inputs)
    inner = models.Sequential([layers.Dense(2, input_shape=(3,)), layers.Dropout(0.5)], name="inner")
    return models.Model(inputs, layers.Concatenate()([once, shared(once), inner(once)]), name="branches")


@pytest.mark.parametrize("make", [sequential, branched])
@pytest.mark.parametrize("recursive", [False, True])
def test_a_clone_computes_the_same_with_the_same_weights(make, recursive):
    model = make()
    clone = models.clone_model(model, recursive=recursive)
    assert clone.name == model.name
    assert [m.name for m in clone.layers][1:] == [m.name for m in model.layers][1:]
    assert not {id(w) for w in clone.weights} & {id(w) for w in model.weights}
    assert [w.shape for w in clone.trainable_weights] == [w.shape for w in model.trainable_weights]
    assert not np.array_equal(clone.predict(X, verbose=0), model.predict(X, verbose=0))
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(X, verbose=0), model.predict(X, verbose=0))


def test_a_clone_is_compiled_as_its_model():
    def distance(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    model = sequential()
    model.compile("adam", distance, metrics=["mae", metrics.MeanSquaredError("squares")], steps_per_execution=2)
    model.optimizer.learning_rate = 0.25
    clone = models.clone_model(model)
    assert clone.optimizer is not model.optimizer
    assert float(clone.optimizer.learning_rate) == 0.25
    assert clone.steps_per_execution == 2
    clone.set_weights(model.get_weights())
    assert clone.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    before = model.get_weights()
    clone.fit(X, Y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_unbuilt_models_stay_unbuilt():
    clone = models.clone_model(models.Sequential([layers.Dense(2)]))
    assert not clone.built
    assert clone.predict(X, verbose=0).shape == (6, 2)


def test_clone_function_and_input_tensors():
    def wider(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "units": 5} if isinstance(layer, layers.Dense) else config)

    model = models.Sequential([layers.Dense(4, input_shape=(3,)), layers.ReLU()])
    clone = models.clone_model(model, layers.Input((7,)), clone_function=wider)
    assert clone.layers[0].kernel.shape == (7, 5)
    assert clone.output_shape == (None, 5)
    start = layers.Input((3,), name="start")
    functional = models.clone_model(branched(), input_tensors=[layers.Rescaling(0.5)(start)])
    assert functional.predict(X, verbose=0).shape == (6, 8)


def test_call_function():
    def noisy(layer, *args, **kwargs):
        out = layer(*args, **kwargs)
        return layers.Dropout(0.5)(out) if isinstance(layer, layers.Dense) else out

    model = branched()
    clone = models.clone_model(model, clone_function=lambda layer: layer, call_function=noisy)
    assert sum(isinstance(m, layers.Dropout) for m in clone.layers) == 2
    np.testing.assert_array_equal(clone.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="call_function"):
        models.clone_model(sequential(), call_function=noisy)


class Written(models.Model):
    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)


def test_models_with_a_call_method():
    model = Written(3)
    assert models.clone_model(model).predict(X, verbose=0).shape == (6, 3)
    with pytest.raises(ValueError, match="clone_function"):
        models.clone_model(model, clone_function=lambda layer: layer)


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"input_tensors": X}, "input_tensors"),
        ({"input_tensors": [layers.Input((3,)), layers.Input((3,))]}, "input_tensors: expected 1"),
        ({"clone_function": 3}, "clone_function"),
        ({"clone_function": lambda layer: None}, "clone_function"),
        ({"call_function": "x"}, "call_function"),
    ],
)
def test_bad_arguments(kwargs, names):
    with pytest.raises((TypeError, ValueError), match=names):
        models.clone_model(branched(), **kwargs)


def test_only_models_are_cloned_and_saved(tmp_path):
    with pytest.raises(TypeError, match="model"):
        models.clone_model(layers.Dense(2))
    with pytest.raises(TypeError, match="model"):
        models.save_model(layers.Dense(2), tmp_path / "m.safetensors")


def test_json():
    model = branched()
    model.compile("sgd", losses.Huber(0.5), metrics=["mae"])
    text = model.to_json(indent=1)
    assert json.loads(text)["config"]["name"] == "branches"
    again = models.model_from_json(text)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert again._loss_arg.delta == 0.5
    with pytest.raises(ValueError, match=r"custom_objects.*Offset"):
        models.model_from_json(models.Sequential([layers.Dense(4, input_shape=(3,)), Offset()]).to_json())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"class_name": "Dense"}', '{"module": "keras"}'])
def test_bad_json(text):
    with pytest.raises(ValueError, match="model_from_json"):
        models.model_from_json(text)


def test_save_model(tmp_path):
    model, path = branched(), tmp_path / "m.safetensors"
    models.save_model(model, path)
    np.testing.assert_array_equal(models.load_model(path).predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(FileExistsError, match="overwrite"):
        models.save_model(model, path, overwrite=False)
