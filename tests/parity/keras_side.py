"""Layers beside those of Keras on its PyTorch backend, which computes in float64 here: files that use this module have
``pytestmark = pytest.mark.usefixtures("keras_in_float64")``.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import lamella
from lamella import layers

from .compare import array, close, leaves, mapped

os.environ["KERAS_BACKEND"] = "torch"
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras", minversion="3.0")
torch.set_num_threads(1)  # arrays here are small
if keras.backend.backend() != "torch":
    pytest.skip("keras was imported with another backend", allow_module_level=True)

# As in `compare`; Keras' PyTorch backend itself rounds some of its float64 to float32.
TOLERANCE = {"float32": 1e-5, "float64": 2e-6}
TRAINED = {"float32": 5e-5, "float64": 1e-5}

__all__ = [
    "TOLERANCE",
    "check_layers",
    "copy_from_keras",
    "copy_to_keras",
    "keras",
    "layer_pair",
    "match",
    "theirs_of",
    "torch",
]


def copy_to_keras(ours: Any, theirs: Any) -> None:
    """Lamella's weights into Keras' layer or model, in the order of `get_weights`."""
    theirs.set_weights(ours.get_weights())


def copy_from_keras(ours: Any, theirs: Any) -> None:
    """The weights of Keras' layer or model into Lamella's."""
    ours.set_weights(theirs.get_weights())


def theirs_of(x: Any, grad: bool = False) -> Any:
    """An array as Keras gets it: floats in float64."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        return torch.from_numpy(np.array(x))
    return torch.tensor(x.astype(np.float64), requires_grad=grad)


def _ours(x: Any, dtype: str, grad: bool = False) -> Any:
    x = np.asarray(x)
    return lamella.tensor(x.astype(dtype), requires_grad=grad) if x.dtype.kind == "f" else lamella.tensor(x)


def match(ours: Any, theirs: Any, inputs: Any, dtype: str = "float32", seed: int = 0) -> None:
    """Build both for these inputs, and give them the same random weights."""
    ours(mapped(lambda x: _ours(x, dtype), inputs))
    theirs(mapped(theirs_of, inputs))
    rng = np.random.default_rng(seed)
    weights = []
    for w in theirs.weights:
        value = array(w.value)
        if value.dtype.kind != "f":
            weights.append(value)
        elif "variance" in w.name:
            weights.append(rng.uniform(0.5, 1.5, value.shape).astype(np.float32))
        else:
            weights.append(rng.normal(0, 0.3, value.shape).astype(np.float32))
    theirs.set_weights(weights)
    copy_from_keras(ours, theirs)


def layer_pair(name: str, *args: Any, inputs: Any, dtype: str = "float32", seed: int = 0, **kwargs: Any) -> Any:
    """`layers.<name>` of both sides with the same arguments and random weights; Keras' in float64.

    Parameters
    ----------
    name : str
    *args, **kwargs
        The layer's arguments.
    inputs : array or list of arrays
        What the layers are built for.
    dtype : str
        Lamella's dtype.
    seed : int
        Of the weights.
    """
    ours = getattr(layers, name)(*args, dtype=dtype, **kwargs)
    theirs = getattr(keras.layers, name)(*args, dtype="float64", **kwargs)
    match(ours, theirs, inputs, dtype, seed)
    return ours, theirs


def check_layers(
    ours: Any,
    theirs: Any,
    inputs: Any,
    *,
    dtype: str = "float32",
    training: bool = False,
    steps: int = 10,
    rate: float = 0.05,
    tolerance: float | None = None,
    least: float = 1e-3,
    **kwargs: Any,
) -> None:
    """The same outputs, gradients by inputs and weights, and the same weights after some steps of descent.

    Parameters
    ----------
    ours, theirs : Layer
        With equal weights, as `layer_pair` makes them.
    inputs : array or list of arrays
    dtype : str
        Lamella's dtype, as in `layer_pair`.
    training : bool
        Passed to both.
    steps : int
        How many steps of training follow; 0 for none.
    rate : float
        Their learning rate.
    tolerance : float, optional
        Of the scale of what is compared; default: `TOLERANCE`.
    least : float
        The least scale of gradients: more where they are differences of nearly equal numbers.
    **kwargs
        Arrays for further arguments of both calls, such as `mask` and `initial_state`.
    """
    what = type(ours).__name__
    tolerance = tolerance or TOLERANCE[dtype]
    xs, zs = mapped(lambda x: _ours(x, dtype, True), inputs), mapped(lambda x: theirs_of(x, True), inputs)
    more, their_more = mapped(lambda x: _ours(x, dtype), kwargs), mapped(theirs_of, kwargs)
    _clear(ours, theirs)
    out = leaves(ours(xs, training=training, **more))
    their_out = leaves(theirs(zs, training=training, **their_more))
    assert len(out) == len(their_out), f"{what}: {len(out)} outputs, Keras has {len(their_out)}"
    for i, (y, z) in enumerate(zip(out, their_out, strict=True)):
        close(y, z, f"{what}: output {i}", tolerance)
    rng = np.random.default_rng(1)
    differentiable = [i for i, z in enumerate(their_out) if z.requires_grad]
    if not differentiable:
        return
    weights = {i: rng.normal(size=tuple(their_out[i].shape)).astype(np.float32) for i in differentiable}
    sum((out[i] * lamella.tensor(w.astype(dtype))).sum() for i, w in weights.items()).backward()
    sum((their_out[i] * torch.tensor(w.astype(np.float64))).sum() for i, w in weights.items()).backward()
    for i, (x, z) in enumerate(zip(leaves(xs), leaves(zs), strict=True)):
        if z.requires_grad:
            close(_gradient(x), _gradient(z), f"{what}: gradient of input {i}", tolerance, least)
    for w, a, b in zip(theirs.weights, _gradients(ours), _their_gradients(theirs), strict=True):
        close(a, b, f"{what}: gradient of {w.name}", tolerance, least)
    if steps and theirs.trainable_weights:
        _train(ours, theirs, inputs, more, their_more, differentiable, training, steps, rate, dtype,
               max(TRAINED[dtype], tolerance))  # fmt: skip
    for w, a, b in zip(theirs.weights, ours.get_weights(), theirs.get_weights(), strict=True):
        close(a, b, f"{what}: {w.name} at the end", max(TRAINED[dtype], tolerance))


def _train(
    ours: Any, theirs: Any, inputs: Any, more: Any, their_more: Any, outputs: list[int], training: bool, steps: int,
    rate: float, dtype: str, tolerance: float,
) -> None:  # fmt: skip
    what = type(ours).__name__
    xs, zs = mapped(lambda x: _ours(x, dtype), inputs), mapped(theirs_of, inputs)
    optimizer = lamella.optim.SGD(ours.trainable_weights, lr=rate)
    rng = np.random.default_rng(2)
    targets: dict[int, np.ndarray] = {}
    for step in range(steps):
        _clear(ours, theirs)
        out = leaves(ours(xs, training=training, **more))
        their_out = leaves(theirs(zs, training=training, **their_more))
        for i in outputs:
            targets.setdefault(i, rng.normal(size=tuple(their_out[i].shape)).astype(np.float32))
        loss = sum(((out[i] - lamella.tensor(t.astype(dtype))) ** 2).mean() for i, t in targets.items())
        their_loss = sum(((their_out[i] - torch.tensor(t.astype(np.float64))) ** 2).mean() for i, t in targets.items())
        close(loss, their_loss, f"{what}: loss of step {step}", tolerance)
        loss.backward()
        their_loss.backward()
        optimizer.step()
        with torch.no_grad():
            for w in theirs.trainable_weights:
                if w.value.grad is not None:
                    w.value.sub_(rate * w.value.grad)


def _clear(ours: Any, theirs: Any) -> None:
    ours.zero_grad()
    for w in theirs.weights:
        w.value.grad = None


def _gradient(tensor: Any) -> Any:
    return np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad


def _gradients(layer: Any) -> list[np.ndarray]:
    """The gradients in the order and form of `get_weights`, which may show the weights in another order."""
    kept = [p.data.numpy().copy() for p in layer.weights]
    for p in layer.weights:
        p.data.numpy()[...] = 0 if p.grad is None else p.grad.numpy()
    found = layer.get_weights()
    for p, values in zip(layer.weights, kept, strict=True):
        p.data.numpy()[...] = values
    return found


def _their_gradients(layer: Any) -> list[np.ndarray]:
    return [np.zeros(tuple(w.shape)) if w.value.grad is None else w.value.grad.numpy().copy() for w in layer.weights]
