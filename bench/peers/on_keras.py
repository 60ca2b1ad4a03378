"""The networks in Keras 3 on TensorFlow: `fit`, `train_on_batch` and `predict_on_batch` with their default settings."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow
from keras import layers

from . import networks
from .measure import Form, Forms


def setup(threads: int) -> None:
    """Called once."""
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    tensorflow.get_logger().setLevel("ERROR")


def _model(network: networks.Network) -> Any:
    keras.backend.clear_session()
    model = networks.keras_model(network, keras.Sequential, layers)
    # Frozen weights come last in Keras' lists of weights, so each layer gets its own.
    for made, parts in zip(model.layers, networks.weights(network.name), strict=True):
        made.set_weights(parts)
    return model


def train(network: str, batch: int, rows: int | None = None) -> Forms:
    """`fit` runs an epoch a call, of at most 100 steps; small sets repeat, to spread what `fit` costs itself."""
    net = networks.NETWORKS[network]
    loss = networks.keras_loss(net, keras.losses)
    adam = net.optimizer == "adam"
    model = _model(net)
    model.compile(keras.optimizers.Adam(net.rate, epsilon=networks.EPSILON) if adam else keras.optimizers.SGD(net.rate),
                  loss)  # fmt: skip
    x, y = networks.data(net, rows)
    first = []
    for _ in range(3):
        model.reset_metrics()
        first.append(float(model.train_on_batch(x[:batch], y[:batch])))
    if len(x) < 10 * batch and not net.frozen:
        x, y = np.tile(x, (32,) + (1,) * (x.ndim - 1)), np.tile(y, (32,) + (1,) * (y.ndim - 1))
    x, y = x[: 100 * batch], y[: 100 * batch]
    state = {"at": 0}

    def one() -> None:
        if state["at"] + batch > len(x):
            state["at"] = 0
        at = slice(state["at"], state["at"] + batch)
        model.train_on_batch(x[at], y[at])
        state["at"] += batch

    epoch = Form(lambda: model.fit(x, y, batch, verbose=0), np.array(first), calls=-(-len(x) // batch))
    return {"fit": epoch, "train_on_batch": Form(one)}


def infer(network: str, batch: int) -> Form:
    """NumPy in and out."""
    net = networks.NETWORKS[network]
    model, x = _model(net), networks.data(net, batch)[0]
    return Form(lambda: model.predict_on_batch(x), model.predict_on_batch(x))
