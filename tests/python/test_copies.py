"""Models made from others' configurations, and the user's registered classes."""

import numpy as np
import pytest

import lamella
from lamella import layers, models, utils


def functional():
    a = layers.Input((4,))
    x = layers.Dense(3, activation="relu", name="first")(a)
    return models.Model(a, layers.Add()([layers.Dense(3)(x), x]))


def sequential():
    return models.Sequential([layers.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)])


@pytest.mark.parametrize("make", [functional, sequential])
def test_clones_have_weights_of_their_own(make):
    model = make()
    clone = models.clone_model(model)
    assert [type(m) for m in clone.layers] == [type(m) for m in model.layers]
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])
    clone.set_weights(model.get_weights())
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(clone.predict(x), model.predict(x))


def test_clones_with_other_layers():
    def other(layer):
        return layers.Dense(7) if isinstance(layer, layers.Dense) else type(layer).from_config(layer.get_config())

    clone = models.clone_model(sequential(), clone_function=other)
    assert [w.shape for w in clone.get_weights()][:1] == [(4, 7)] and clone.output_shape == (None, 7)
    with pytest.raises(TypeError, match="input_tensors"):
        models.clone_model(sequential(), input_tensors=[1])


@pytest.mark.parametrize("make", [functional, sequential])
def test_json(make):
    model = make()
    again = models.model_from_json(model.to_json())
    assert again.get_config() == model.get_config()
    with pytest.raises(ValueError, match="model_from_json"):
        models.model_from_json("[]")


@pytest.fixture
def registered():
    before = dict(utils.get_custom_objects())
    yield
    utils.get_custom_objects().clear()
    utils.get_custom_objects().update(before)


def test_registered_classes_are_found(registered, tmp_path):
    @utils.register_keras_serializable(package="mine")
    class Twice(layers.Layer):
        def call(self, x):
            return x * 2

    @utils.register_keras_serializable("mine", "half")
    def halved(x):
        return x * 0.5

    assert utils.get_registered_name(Twice) == "mine>Twice" and utils.get_registered_name(dict) == "dict"
    assert utils.get_registered_object("mine>half") is halved and utils.get_registered_object("nothing") is None
    model = models.Sequential([layers.Input((3,)), Twice(), layers.Dense(2, activation=halved)])
    models.save_model(model, tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", safe_mode=True)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    layer = layers.deserialize(layers.serialize(Twice(name="t")))
    assert type(layer) is Twice and layer.name == "t"
    with pytest.raises(ValueError, match="get_config"):
        utils.register_keras_serializable()(int)


def test_scopes():
    class Thrice(layers.Layer):
        def call(self, x):
            return x * 3

    config = layers.serialize(Thrice())
    with pytest.raises(ValueError, match="Thrice"):
        layers.deserialize(config)
    with utils.custom_object_scope({"Thrice": Thrice}):
        assert type(layers.deserialize(config)) is Thrice
    assert type(layers.deserialize(config, {"Thrice": Thrice})) is Thrice


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(utils.normalize(x), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(utils.normalize(x, 0, 1), [[1, 1], [0, 0]])


def test_metrics_as_functions_have_kernels():
    model = models.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[lamella.metrics.sparse_categorical_accuracy])
    x, y = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32), np.arange(9) % 3
    _, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy == pytest.approx((model.predict(x).argmax(-1) == y).mean())
    values = lamella.metrics.sparse_categorical_accuracy(y, model.predict(x))
    assert accuracy == pytest.approx(values.numpy().mean())
    with pytest.raises(ValueError, match="class numbers below 3"):
        lamella.metrics.sparse_top_k_categorical_accuracy([3], [[0.1, 0.2, 0.7]])
