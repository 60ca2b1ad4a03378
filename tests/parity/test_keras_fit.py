"""`fit` beside Keras': the same weights and the same order of data give the same losses, step by step."""

import numpy as np
import pytest

import lamella
import lamella.keras

from .keras_side import copy_from_keras, keras

pytestmark = pytest.mark.usefixtures("keras_in_float64")

RNG = np.random.default_rng(0)
N = 40


def dense(keras):
    return keras.models.Sequential([
        keras.layers.Input((6,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3, "softmax"),
    ])  # fmt: skip


def regularised(keras):
    return keras.models.Sequential([
        keras.layers.Input((6,)),
        keras.layers.Dense(8, "tanh", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.Dense(3, "softmax", bias_regularizer="l1"),
    ])  # fmt: skip


def functional(keras):
    x = keras.layers.Input((6,))
    a = keras.layers.Dense(5, "elu")(x)
    b = keras.layers.Dense(5, "sigmoid")(x)
    y = keras.layers.Concatenate()([keras.layers.Add()([a, b]), a])
    return keras.models.Model(x, keras.layers.Dense(3, "softmax")(y))


def convolutional(keras):
    return keras.models.Sequential([
        keras.layers.Input((8, 8, 2)),
        keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(3, "softmax"),
    ])  # fmt: skip


def recurrent(keras):
    return keras.models.Sequential([
        keras.layers.Input((5, 4)), keras.layers.LSTM(6, return_sequences=True), keras.layers.GRU(5),
        keras.layers.Dense(3, "softmax"),
    ])  # fmt: skip


def words(keras):
    return keras.models.Sequential([
        keras.layers.Input((7,), dtype="int32"), keras.layers.Embedding(12, 5, mask_zero=True), keras.layers.LSTM(4),
        keras.layers.Dense(3, "softmax"),
    ])  # fmt: skip


MODELS = [dense, regularised, functional, convolutional, recurrent, words]
SHAPES = {convolutional: (8, 8, 2), recurrent: (5, 4)}


def data(model):
    if model is words:
        x = RNG.integers(1, 12, (N, 7))
        x[np.arange(7) >= RNG.integers(1, 8, (N, 1))] = 0
        return x.astype(np.int32), RNG.integers(0, 3, N)
    return RNG.normal(size=(N, *SHAPES.get(model, (6,)))).astype(np.float32), RNG.integers(0, 3, N)


def pair(model, x):
    ours, theirs = model(lamella.keras), model(keras)
    ours(x[:2]), theirs(x[:2])
    copy_from_keras(ours, theirs)
    return ours, theirs


def same_history(ours, theirs, tolerance=1e-5):
    assert set(ours.history) == set(theirs.history)
    for key, values in theirs.history.items():
        np.testing.assert_allclose(ours.history[key], values, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("model", MODELS)
def test_losses_over_epochs(model):
    x, y = data(model)
    ours, theirs = pair(model, x)
    arguments = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    ours.compile(lamella.keras.optimizers.SGD(0.05, momentum=0.9), **arguments)
    theirs.compile(keras.optimizers.SGD(0.05, momentum=0.9), **arguments)
    options = {"batch_size": 16, "epochs": 4, "shuffle": False, "verbose": 0, "validation_split": 0.2}
    same_history(ours.fit(x, y, **options), theirs.fit(x, y, **options))
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1.0, np.abs(b).max()))
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=2e-5)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), atol=2e-5)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers(name):
    x, y = data(dense)
    ours, theirs = pair(dense, x)
    for model, module in ((ours, lamella.keras), (theirs, keras)):
        optimizer = getattr(module.optimizers, name)(0.01, clipnorm=1.0)
        model.compile(optimizer, loss="sparse_categorical_crossentropy")
    options = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    same_history(ours.fit(x, y, **options), theirs.fit(x, y, **options))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "categorical_crossentropy", "binary_crossentropy"])
def test_losses_and_weights(loss):
    x, y = data(dense)
    y = np.eye(3, dtype=np.float32)[y]
    weight = RNG.uniform(0.2, 2.0, N).astype(np.float32)
    ours, theirs = pair(dense, x)
    for model, module in ((ours, lamella.keras), (theirs, keras)):
        model.compile(module.optimizers.SGD(0.1), loss=loss, metrics=["mae"], weighted_metrics=["mse"])
    options = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0, "sample_weight": weight}
    same_history(ours.fit(x, y, **options), theirs.fit(x, y, **options))


def test_class_weights():
    x, y = data(dense)
    ours, theirs = pair(dense, x)
    for model, module in ((ours, lamella.keras), (theirs, keras)):
        model.compile(module.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    options = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0, "class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}
    same_history(ours.fit(x, y, **options), theirs.fit(x, y, **options))


def test_single_batches():
    x, y = data(dense)
    ours, theirs = pair(dense, x)
    for model, module in ((ours, lamella.keras), (theirs, keras)):
        model.compile(module.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for i in range(0, N, 8):
        a, b = (np.ravel(m.train_on_batch(x[i : i + 8], y[i : i + 8])) for m in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(ours.test_on_batch(x, y), theirs.test_on_batch(x, y), atol=1e-5)
    np.testing.assert_allclose(ours.predict_on_batch(x), theirs.predict_on_batch(x), atol=1e-5)
