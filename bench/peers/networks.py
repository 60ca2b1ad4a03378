"""The networks of the cases: shapes, weights and data, once for all frameworks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

EPSILON = 1e-10  # Adam's; frameworks put it in two different places, so it must not matter where results are compared


@dataclass(frozen=True)
class Conv:
    """3x3, stride 1, relu."""

    c: int
    oc: int
    pad: int = 0


@dataclass(frozen=True)
class Pool:
    """Maximum of 2x2."""


@dataclass(frozen=True)
class Flatten:
    h: int
    w: int
    c: int


@dataclass(frozen=True)
class Dense:
    inputs: int
    units: int
    activation: str = "relu"  # relu, sigmoid, linear


@dataclass(frozen=True)
class Embedding:
    words: int
    width: int


@dataclass(frozen=True)
class LSTM:
    """The last state alone goes on."""

    inputs: int
    units: int


@dataclass(frozen=True)
class Network:
    """One network and how it is trained: `loss` is classes (of logits), yes_no (of probabilities) or mse."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[Any, ...]
    loss: str = "classes"
    optimizer: str = "adam"
    rate: float = 1e-3
    rows: int = 6_400
    frozen: int = 0  # so many layers at the start are not trained

    @property
    def images(self) -> bool:
        """Whether a memory layout of images has to be chosen."""
        return len(self.shape) == 3

    @property
    def recurrent(self) -> bool:
        return any(isinstance(layer, LSTM) for layer in self.layers)

    @property
    def classes(self) -> int:
        return self.layers[-1].units


def _mlp(*sizes: int, last: str = "linear") -> tuple[Dense, ...]:
    pairs = list(pairwise(sizes))
    return tuple(Dense(i, o, last if n == len(pairs) - 1 else "relu") for n, (i, o) in enumerate(pairs))


def _vgg16_base() -> tuple[Any, ...]:
    layers: list[Any] = []
    c = 3
    for oc, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers.append(Conv(c, oc, pad=1))
            c = oc
        layers.append(Pool())
    return (*layers, Flatten(7, 7, 512))


_MNIST_CNN = (Conv(1, 32), Pool(), Flatten(13, 13, 32), *_mlp(5408, 64, 10))
_CIFAR_CNN = (Conv(3, 32), Pool(), Conv(32, 64), Pool(), Conv(64, 128), Pool(), Flatten(2, 2, 128), *_mlp(512, 128, 10))

NETWORKS = {
    n.name: n
    for n in (
        Network("iris", (4,), _mlp(4, 64, 32, 3), rows=105),
        Network("mnist_mlp", (784,), _mlp(784, 128, 10), optimizer="sgd", rate=0.01, rows=12_800),
        Network("mnist_cnn", (28, 28, 1), _MNIST_CNN),
        Network("cifar_cnn", (32, 32, 3), _CIFAR_CNN, rows=2_560),
        Network("autoencoder", (784,), _mlp(784, 128, 32, 128, 784, last="sigmoid"), loss="mse", rows=12_800),
        Network("lstm", (200,), (Embedding(10_000, 128), LSTM(128, 128), Dense(128, 1, "sigmoid")), "yes_no", rows=320),
        Network("vgg16", (224, 224, 3), (*_vgg16_base(), *_mlp(25088, 4096, 4096, 1000)), rows=8),
        Network("vgg16_finetune", (224, 224, 3), (*_vgg16_base(), *_mlp(25088, 128, 10)), rows=16,
                frozen=len(_vgg16_base())),
    )
}  # fmt: skip


@lru_cache(maxsize=2)
def weights(name: str, channels_first: bool = False) -> list[list[np.ndarray]]:
    """One list per layer: kernels (kh, kw, c, oc) and (in, out), gates i, f, g, o on the last axis, then the bias.

    With `channels_first`, convolutions' kernels are (oc, c, kh, kw), and the layer after Flatten takes its inputs in
    that order; dense and recurrent kernels stay (in, out).
    """
    rng = np.random.default_rng(0)

    def normal(*shape: int, fan: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan) ** 0.5)

    out: list[list[np.ndarray]] = []
    before: Any = None
    for layer in NETWORKS[name].layers:
        match layer:
            case Conv(c, oc):
                kernel = normal(3, 3, c, oc, fan=9 * c)
                kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)) if channels_first else kernel
                out.append([kernel, normal(oc, fan=1000)])
            case Dense(i, o):
                kernel = normal(i, o, fan=i)
                if channels_first and isinstance(before, Flatten):
                    kernel = kernel.reshape(before.h, before.w, before.c, o).transpose(2, 0, 1, 3).reshape(i, o)
                out.append([kernel, normal(o, fan=1000)])
            case Embedding(words, width):
                out.append([normal(words, width, fan=200)])
            case LSTM(i, h):
                out.append([normal(i, 4 * h, fan=2 * h), normal(h, 4 * h, fan=2 * h), normal(4 * h, fan=1000)])
            case _:
                out.append([])
        before = layer
    return out


@lru_cache(maxsize=1)
def data(network: Network, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (images channels last, tokens int64) and targets (int64 classes, else float32)."""
    rows = rows or network.rows
    rng = np.random.default_rng(1)
    if network.name == "iris":
        return _iris(rows)
    if network.name.startswith("mnist") or network.loss == "mse":
        x, y = _fashion(rows)
        x = x.reshape(rows, *network.shape)
        return x, (x if network.loss == "mse" else y)
    if isinstance(network.layers[0], Embedding):
        words = network.layers[0].words
        return rng.integers(1, words, (rows, *network.shape)), rng.integers(0, 2, (rows, 1)).astype(np.float32)
    return rng.standard_normal((rows, *network.shape), dtype=np.float32), rng.integers(0, network.classes, rows)


def _iris(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows of four numbers in three classes."""
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    pick = np.resize(np.random.default_rng(0).permutation(150)[:105], rows)
    return ((x - x.mean(0)) / x.std(0))[pick].astype(np.float32), y[pick].astype(np.int64)


def _fashion(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST in [0, 1]; random numbers of the same shape where the data are not at hand."""
    from lamella.datasets import fashion_mnist

    try:
        (x, y), _ = fashion_mnist.load_data()
    except (OSError, ValueError):
        rng = np.random.default_rng(0)
        return rng.random((rows, 28, 28), np.float32), rng.integers(0, 10, rows)
    return x[:rows] / np.float32(255), y[:rows].astype(np.int64)


def keras_model(network: Network, sequential: Any, layers: Any) -> Any:
    """The network in Keras' idiom, by Keras itself or by Lamella; its weights are still to be set."""
    tokens = isinstance(network.layers[0], Embedding)
    model = sequential([layers.Input(network.shape, dtype="int64" if tokens else "float32")])
    for i, layer in enumerate(network.layers):
        match layer:
            case Conv(_, oc, pad):
                made: Any = layers.Conv2D(oc, 3, padding="same" if pad else "valid", activation="relu")
            case Pool():
                made = layers.MaxPooling2D(2)
            case Flatten():
                made = layers.Flatten()
            case Dense(_, units, activation):
                made = layers.Dense(units, activation=activation)
            case Embedding(words, width):
                made = layers.Embedding(words, width)
            case LSTM(_, units):
                made = layers.LSTM(units)
        made.trainable = i >= network.frozen
        model.add(made)
    return model


def keras_loss(network: Network, losses: Any) -> Any:
    """The network's loss in Keras' idiom."""
    return {
        "classes": losses.SparseCategoricalCrossentropy(from_logits=True),
        "yes_no": losses.BinaryCrossentropy(),
        "mse": losses.MeanSquaredError(),
    }[network.loss]
