"""Modules and functions beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella import nn

from .compare import TOLERANCE, TRAINED, array, close, leaves, mapped

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # arrays here are small

__all__ = ["check_functions", "check_modules", "copy_from_torch", "copy_to_torch", "module_pair", "shake", "torch"]


def copy_to_torch(ours: Any, theirs: Any) -> None:
    """Lamella's parameters and buffers into PyTorch's module, by name."""
    theirs.load_state_dict({k: torch.from_numpy(np.array(v.numpy())) for k, v in ours.state_dict().items()})


def copy_from_torch(ours: Any, theirs: Any) -> None:
    """PyTorch's parameters and buffers into Lamella's module, by name."""
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})


def shake(ours: Any, seed: int = 0) -> None:
    """Move all parameters and running statistics, for layers whose weights start as ones and zeros."""
    rng = np.random.default_rng(seed)
    for name, value in ours.state_dict().items():
        if value.dtype.kind == "f":
            noise = rng.uniform(0.0, 0.4, value.shape) if name.endswith("var") else rng.normal(0, 0.2, value.shape)
            data = value.numpy()
            data += noise.astype(np.float32).astype(data.dtype)


def module_pair(name: str, *args: Any, dtype: str = "float32", **kwargs: Any) -> tuple[Any, Any]:
    """`nn.<name>` of both sides with the same arguments and weights; PyTorch's in float64."""
    ours = getattr(nn, name)(*args, **kwargs).to(np.dtype(dtype))
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    shake(ours)
    copy_to_torch(ours, theirs)
    return ours, theirs


def _ours(x: Any, dtype: str, grad: bool = True) -> Any:
    x = np.asarray(x)
    return lamella.tensor(x.astype(dtype), requires_grad=grad) if x.dtype.kind == "f" else lamella.tensor(x)


def _theirs(x: Any, grad: bool = True) -> Any:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        return torch.from_numpy(np.array(x))
    return torch.tensor(x.astype(np.float64), requires_grad=grad)


def _floats(structure: Any) -> list[Any]:
    return [t for t in leaves(structure) if array(t).dtype.kind == "f"]


def _gradient(tensor: Any) -> Any:
    return np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad


def _check_once(
    ours: Any, theirs: Any, xs: Any, zs: Any, kwargs: Any, tolerance: float, what: str, least: float = 1e-3
) -> None:
    """One call of both, and the gradients of a random weighted sum of their outputs by the inputs."""
    ours_out = leaves(ours(*xs, **kwargs))
    theirs_out = leaves(theirs(*zs, **kwargs))
    assert len(ours_out) == len(theirs_out), f"{what}: {len(ours_out)} outputs, PyTorch has {len(theirs_out)}"
    for i, (y, z) in enumerate(zip(ours_out, theirs_out, strict=True)):
        close(y, z, f"{what}: output {i}", tolerance)
    rng = np.random.default_rng(1)
    total, their_total = None, None
    for y, z in zip(ours_out, theirs_out, strict=True):
        if not z.requires_grad:
            assert not y.requires_grad, f"{what}: an output has a gradient, PyTorch's has none"
            continue
        weights = rng.normal(size=tuple(z.shape)).astype(np.float32)
        part = (y * lamella.tensor(weights.astype(array(y).dtype))).sum()
        their_part = (z * torch.tensor(weights.astype(np.float64))).sum()
        total = part if total is None else total + part
        their_total = their_part if their_total is None else their_total + their_part
    if their_total is None:
        return
    total.backward()
    their_total.backward()
    for i, (x, z) in enumerate(zip(_floats(xs), _floats(zs), strict=True)):
        close(_gradient(x), _gradient(z), f"{what}: gradient of input {i}", tolerance, least)


def check_functions(
    ours: Any,
    theirs: Any,
    *inputs: Any,
    dtype: str = "float32",
    tolerance: float | None = None,
    least: float = 1e-3,
    **kwargs: Any,
) -> None:
    """The same outputs and gradients by all inputs of floats.

    Parameters
    ----------
    ours, theirs : callable
        Functions of tensors.
    *inputs
        Arrays, in nested tuples and lists where the functions want that; None stays. PyTorch gets floats in float64.
    dtype : str
        What Lamella computes in.
    tolerance : float, optional
        Of the scale of what is compared; default: `compare.TOLERANCE`.
    least : float
        The least scale of gradients: more where they are differences of nearly equal numbers.
    **kwargs
        Further arguments for both.
    """
    xs = [mapped(lambda x: _ours(x, dtype), x) for x in inputs]
    zs = [mapped(_theirs, x) for x in inputs]
    what = getattr(ours, "__name__", type(ours).__name__)
    _check_once(ours, theirs, xs, zs, kwargs, tolerance or TOLERANCE[dtype], what, least)


def check_modules(
    ours: Any,
    theirs: Any,
    *inputs: Any,
    dtype: str = "float32",
    training: bool = True,
    steps: int = 10,
    rate: float = 0.05,
    tolerance: float | None = None,
    least: float = 1e-3,
) -> None:
    """The same outputs, gradients by inputs and parameters, and the same weights after some steps of SGD.

    Parameters
    ----------
    ours, theirs : Module
        With equal weights, as `module_pair` makes them.
    *inputs
        As in `check_functions`.
    dtype : str
        Lamella's dtype, as in `module_pair`.
    training : bool
        The mode of both.
    steps : int
        How many steps of training follow; 0 for none.
    rate : float
        Their learning rate.
    tolerance : float, optional
        As in `check_functions`.
    least : float
        The least scale of gradients: more where they are differences of nearly equal numbers.
    """
    what = type(ours).__name__
    tolerance = tolerance or TOLERANCE[dtype]
    ours.train(training)
    theirs.train(training)
    xs = [mapped(lambda x: _ours(x, dtype), x) for x in inputs]
    zs = [mapped(_theirs, x) for x in inputs]
    ours.zero_grad()
    theirs.zero_grad()
    _check_once(ours, theirs, xs, zs, {}, tolerance, what, least)
    parameters, their_parameters = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(parameters) == list(their_parameters), f"{what}: names of parameters"
    for name, p in parameters.items():
        close(_gradient(p), _gradient(their_parameters[name]), f"{what}: gradient of {name}", tolerance, least)
    if steps and any(p.requires_grad for p in parameters.values()):
        xs = [mapped(lambda x: _ours(x, dtype, False), x) for x in inputs]
        zs = [mapped(lambda x: _theirs(x, False), x) for x in inputs]
        _train(ours, theirs, xs, zs, steps, rate, dtype, max(TRAINED[dtype], tolerance))
    _same_states(ours, theirs, what, max(TRAINED[dtype], tolerance))


def _train(ours: Any, theirs: Any, xs: Any, zs: Any, steps: int, rate: float, dtype: str, tolerance: float) -> None:
    what = type(ours).__name__
    optimizer = lamella.optim.SGD(ours.parameters(), lr=rate, momentum=0.5)
    their_optimizer = torch.optim.SGD(theirs.parameters(), lr=rate, momentum=0.5)
    rng = np.random.default_rng(2)
    targets: list[np.ndarray] = []
    for step in range(steps):
        optimizer.zero_grad()
        their_optimizer.zero_grad()
        out, their_out = leaves(ours(*xs)), leaves(theirs(*zs))
        pairs = [(y, z) for y, z in zip(out, their_out, strict=True) if z.requires_grad]
        if not targets:
            targets = [rng.normal(size=tuple(z.shape)).astype(np.float32) for _, z in pairs]
        loss = sum(
            ((y - lamella.tensor(t.astype(dtype))) ** 2).mean() for (y, _), t in zip(pairs, targets, strict=True)
        )
        their_loss = sum(
            ((z - torch.tensor(t.astype(np.float64))) ** 2).mean() for (_, z), t in zip(pairs, targets, strict=True)
        )
        close(loss, their_loss, f"{what}: loss of step {step}", tolerance)
        loss.backward()
        their_loss.backward()
        optimizer.step()
        their_optimizer.step()


def _same_states(ours: Any, theirs: Any, what: str, tolerance: float) -> None:
    state, their_state = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(their_state), f"{what}: names in state_dict"
    for name, value in state.items():
        close(value, their_state[name], f"{what}: {name} at the end", tolerance)
