"""The user's own classes and functions: registered, in scopes, and in saved models."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import activations, constraints, initializers, keras, layers, losses, metrics, models, regularizers, utils

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
Y = np.zeros((6, 2), np.float32)


@pytest.fixture(autouse=True)
def registry():
    known = utils.get_custom_objects()
    before = dict(known)
    yield known
    known.clear()
    known.update(before)


class Offset(layers.Layer):
    def build(self, input_shape):
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return x + self.offset


class Ones(initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.ones(shape, dtype or np.float32)


class Small(regularizers.Regularizer):
    def __call__(self, x):
        return (x * x).sum() * 0.001

    def get_config(self):
        return {}


class Positive(constraints.Constraint):
    def __call__(self, w):
        return w.abs()


class Distance(losses.Loss):
    def call(self, y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)


class Steps(metrics.Mean):
    pass


def halved(x):
    return x * 0.5


def squares(y_true, y_pred):
    return ((y_true - y_pred) ** 2).mean(-1)


def model_of_mine():
    model = models.Sequential(
        [
            layers.Dense(2, halved, True, Ones(), kernel_regularizer=Small(), kernel_constraint=Positive(),
                         input_shape=(3,)),
            layers.Lambda(halved),
            Offset(),
        ]
    )  # fmt: skip
    model.compile("sgd", Distance(), metrics=[squares])
    return model


MINE = (Offset, Ones, Small, Positive, Distance, halved, squares)


def check(model, again):
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_registered_objects_are_found(tmp_path):
    register = utils.register_keras_serializable("mine")
    assert all(register(obj) is obj for obj in MINE)
    model, path = model_of_mine(), tmp_path / "m.safetensors"
    model.save(path)
    check(model, models.load_model(path))
    assert "mine>Offset" in model.to_json()
    utils.get_custom_objects().clear()
    with pytest.raises(ValueError, match=r"mine>Offset|halved"):
        models.load_model(path)
    # What was registered may be given by its own name, too.
    check(model, models.load_model(path, custom_objects={obj.__name__: obj for obj in MINE}))


def test_scopes(tmp_path):
    model, path = model_of_mine(), tmp_path / "m.safetensors"
    model.save(path)
    scope = utils.custom_object_scope({obj.__name__: obj for obj in MINE})
    with scope, scope:
        check(model, models.load_model(path))
    with pytest.raises(ValueError, match="expected one of"):
        models.load_model(path)
    with pytest.raises(TypeError, match="custom_objects"):
        utils.CustomObjectScope([Offset])


def test_the_global_dict(tmp_path):
    model, path = model_of_mine(), tmp_path / "m.safetensors"
    model.save(path)
    utils.get_custom_objects().update({obj.__name__: obj for obj in MINE})
    check(model, models.load_model(path))


def test_names_stand_for_the_users_objects():
    with utils.custom_object_scope({"halved": halved, "Ones": Ones, "Small": Small, "Positive": Positive}):
        assert activations.get("halved") is halved
        assert isinstance(initializers.get("Ones"), Ones)
        assert isinstance(regularizers.get("Small"), Small)
        assert isinstance(constraints.get("Positive"), Positive)
    with utils.custom_object_scope({"Distance": Distance, "squares": squares, "Steps": Steps}):
        assert isinstance(losses.get("Distance"), Distance)
        assert losses.get("squares").fn is squares
        assert isinstance(metrics.get("Steps"), Steps)
    with pytest.raises(ValueError, match="halved"):
        activations.get("halved")


def test_serialize_takes_registered_classes():
    with pytest.raises(TypeError, match="registered"):
        losses.serialize(Distance())
    keras.saving.register_keras_serializable()(Distance)
    config = losses.serialize(Distance(name="far"))
    assert config["class_name"] == "Custom>Distance"
    assert losses.deserialize(config).name == "far"
    keras.saving.register_keras_serializable(name="stairs")(Steps)
    assert isinstance(metrics.deserialize(metrics.serialize(Steps())), Steps)


def test_registered_names():
    utils.register_keras_serializable("mine", "other")(halved)
    assert utils.get_registered_name(halved) == "mine>other"
    assert utils.get_registered_object("mine>other") is halved
    assert utils.get_registered_name(squares) == "squares"
    assert utils.get_registered_object("squares") is None
    assert utils.get_registered_object("squares", {"squares": squares}) is squares
    assert utils.get_registered_object("squares", module_objects={"squares": squares}) is squares


def test_what_cannot_be_registered():
    class Bare:
        pass

    with pytest.raises(ValueError, match="get_config"):
        utils.register_keras_serializable()(Bare)
    with pytest.raises(TypeError, match="class or function"):
        utils.register_keras_serializable()(3)
    with pytest.raises(ValueError, match="package"):
        utils.register_keras_serializable("a>b")
