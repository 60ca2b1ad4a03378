"""The cases on Lamella. Each function gives (callable, result to check or None)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import lamella
from lamella import kernels, layers, models, optimizers

from . import cases

_Made = tuple[Callable[[], Any], Any]


def setup(threads: int) -> None:
    """Called once."""
    lamella.set_num_threads(threads)
    lamella.seed(0)


def _trainer(model: Any, x: np.ndarray, y: np.ndarray, batch: int, optimizer: Any) -> _Made:
    """One optimizer step a call, over shuffled batches of arrays in memory: what `fit` runs between two callbacks."""
    from lamella._kernels import random
    from lamella._training import Data

    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    data = Data(model, x, y)
    steps = len(x) // batch
    state = {"order": random.permutation(len(x)), "at": 0}
    # Several steps are one native call, as in fit.
    many = max(1, min(steps, 20))

    def run() -> None:
        if state["at"] + many > steps:
            state["order"], state["at"] = random.permutation(len(x)), 0
        model._engine.train(data, state["order"], state["at"] * batch, many, batch)
        state["at"] += many

    run.calls = many  # type: ignore[attr-defined]
    return run, None


def _mnist_cnn() -> Any:
    return models.Sequential(
        [
            layers.Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def train_iris(batch: int) -> _Made:
    x, y = cases.iris()
    model = models.Sequential(
        [
            layers.Dense(64, activation="relu", input_shape=(4,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return _trainer(model, x, y, batch, optimizers.Adam(1e-3))


def train_mnist_mlp(batch: int) -> _Made:
    x, y = cases.fashion()
    model = models.Sequential(
        [layers.Dense(128, activation="relu", input_shape=(784,)), layers.Dense(10, activation="softmax")]
    )
    return _trainer(model, x.reshape(-1, 784), y, batch, optimizers.SGD(0.01))


def train_mnist_cnn(batch: int) -> _Made:
    x, y = cases.fashion()
    return _trainer(_mnist_cnn(), x[..., None], y, batch, optimizers.Adam(1e-3))


def train_cifar_cnn(batch: int) -> _Made:
    x, y = cases.cifar_like()
    model = models.Sequential([layers.Input((32, 32, 3))])
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    return _trainer(model, x, y, batch, optimizers.Adam(1e-3))


def infer_mnist_cnn(batch: int) -> _Made:
    model = _mnist_cnn()
    x = np.ascontiguousarray(cases.fashion()[0][:batch, ..., None])
    return (lambda: model.predict_on_batch(x)), None


def gemm(m: int, k: int, n: int) -> _Made:
    a, b, c = cases.normal(m, k), cases.normal(k, n, seed=1), np.empty((m, n), np.float32)
    kernels.gemm(a, b, out=c)
    return (lambda: kernels.gemm(a, b, out=c)), c.copy()


def _conv_data(n: int, h: int, c: int, oc: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return cases.normal(n, h, h, c), cases.normal(k, k, c, oc, seed=1) / np.float32(k), cases.normal(oc, seed=2)


def conv_fwd(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int) -> _Made:
    x, w, b = _conv_data(n, h, c, oc, k)
    out = kernels.conv2d(x, w, b, stride=stride, padding=pad)
    return (lambda: kernels.conv2d(x, w, b, stride=stride, padding=pad, out=out)), out.copy()


def conv_bwd_data(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int) -> _Made:
    x, w, _ = _conv_data(n, h, c, oc, k)
    o = (h + 2 * pad - k) // stride + 1
    dy = cases.normal(n, o, o, oc, seed=3)

    def run() -> Any:
        return kernels.conv2d_backward_data(dy, w, x.shape, stride=stride, padding=pad)

    return run, run()


def conv_bwd_weight(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int) -> _Made:
    x, _, _ = _conv_data(n, h, c, oc, k)
    o = (h + 2 * pad - k) // stride + 1
    dy = cases.normal(n, o, o, oc, seed=3)

    def run() -> Any:
        return kernels.conv2d_backward_weight(x, dy, k, stride=stride, padding=pad)

    return run, run()


def _lstm_data(t: int, b: int, i: int, h: int) -> tuple[np.ndarray, ...]:
    scale = np.float32(h**-0.5)
    return (cases.normal(b, t, i), cases.normal(i, 4 * h, seed=1) * scale, cases.normal(h, 4 * h, seed=2) * scale,
            cases.normal(4 * h, seed=3) * scale)  # fmt: skip


def lstm_fwd(t: int, b: int, i: int, h: int) -> _Made:
    x, w_ih, w_hh, bias = _lstm_data(t, b, i, h)

    def run() -> Any:
        return kernels.lstm(x, w_ih, w_hh, bias)

    return run, run()[0]


def lstm_fwdbwd(t: int, b: int, i: int, h: int) -> _Made:
    x, w_ih, w_hh, bias = _lstm_data(t, b, i, h)
    dy = cases.normal(b, t, h, seed=4)

    def run() -> Any:
        return kernels.lstm_backward([dy, None, None], x, w_ih, w_hh, bias)

    return run, None


def maxpool(n: int, h: int, c: int) -> _Made:
    x = cases.normal(n, h, h, c)
    out = kernels.max_pool2d(x, 2)
    return (lambda: kernels.max_pool2d(x, 2, out=out)), out.copy()


def softmax(rows: int, cols: int) -> _Made:
    x = cases.normal(rows, cols)
    out = kernels.softmax(x)
    return (lambda: kernels.softmax(x, out=out)), out.copy()


def adam(n: int) -> _Made:
    from lamella import _cpu

    w, g, m, v = cases.normal(n), cases.normal(n, seed=1), np.zeros(n, np.float32), np.zeros(n, np.float32)
    native = _cpu.Optimizer("adam", {"learning_rate": 1e-3})
    return (lambda: native.step([w], [g], [[m, v]], 2)), None
