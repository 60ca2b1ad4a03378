"""Where a training stands: enough of it to go on in another process with the same bits."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _cpu
from ._rng import Generator, _Global
from .autograd import Tensor, as_array

# Where data sources keep the parts that draw random numbers.
_PARTS = ("dataset", "sampler", "batch_sampler", "data_source", "generator", "rng")


@dataclass
class FitState:
    """The place in a run of `fit`.

    Attributes
    ----------
    epoch, step : int
        The epoch under way, or the next one, and how many of its batches are done.
    loss, samples : float, int
        Their loss, summed over samples, and how many there were.
    position : int
        Batches taken from an iterable since it was started; it can be longer than an epoch.
    origin : dict, optional
        The random state in which the order of the samples was drawn, or the iterable started.
    layout : list of int
        Rows and batch size of arrays.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    samples: int = 0
    position: int = 0
    origin: dict[str, Any] | None = None
    layout: list[int] | None = None
    watched: bool = False  # whether anybody will ask for it
    source: Any = None
    metrics: list[dict[str, Any]] | None = None  # to be taken over when there are metrics
    random: dict[str, Any] | None = None  # to be taken over when the place in the data is found again

    def next_epoch(self, epoch: int) -> None:
        """The epoch before is done."""
        self.epoch, self.step, self.loss, self.samples = epoch, 0, 0.0, 0


def generators(model: Any, source: Any) -> dict[str, Any]:
    """The random generators that layers and the data source have of their own, by path."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, (Generator, np.random.Generator)) and not isinstance(value, _Global):
                found[f"model.{path}.{name}"] = value
    seen: set[int] = set()
    stack = [("data", source)]
    while stack:
        path, part = stack.pop()
        if isinstance(part, (Generator, np.random.Generator)):
            if not isinstance(part, _Global) and not any(part is g for g in found.values()):
                found[path] = part
        elif part is not None and id(part) not in seen and not isinstance(part, (np.ndarray, Tensor)):
            seen.add(id(part))
            stack.extend((f"{path}.{k}", getattr(part, k, None)) for k in reversed(_PARTS))
    return found


def random_state(model: Any, source: Any) -> dict[str, Any]:
    """The state of every random stream that a training may draw from: Lamella's, NumPy's, Python's, and generators."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    version, words, second = random.getstate()
    own = {}
    for path, g in generators(model, source).items():
        own[path] = [g._seed, g._stream] if isinstance(g, Generator) else _plain(g.bit_generator.state)
    return {
        "lamella": list(_cpu.rng_state()),
        "numpy": [kind, np.asarray(keys, np.int64), int(place), int(has_gauss), float(gauss)],
        "python": [version, np.asarray(words, np.int64), second],
        "own": own,
    }


def set_random_state(state: dict[str, Any], model: Any, source: Any) -> None:
    """Go back to what `random_state` gave."""
    _cpu.seed(*[int(v) for v in state["lamella"]])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, as_array(keys).astype(np.uint32), place, has_gauss, gauss))
    version, words, second = state["python"]
    random.setstate((version, tuple(int(w) for w in as_array(words)), second))
    for path, g in generators(model, source).items():
        saved = state["own"].get(path)
        if saved is None:
            continue
        if isinstance(g, Generator):
            g._seed, g._stream = (int(v) for v in saved)
        else:
            g.bit_generator.state = _arrays(saved)


def _plain(value: Any) -> Any:
    """Nested state with unsigned arrays as signed ones, which files hold."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [int(v) for v in value.ravel()] if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _arrays(v) for k, v in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value


def metric_states(metrics: Iterable[Any]) -> list[dict[str, Any]]:
    """The numbers and arrays that metrics hold."""
    kinds = (int, float, np.ndarray, np.generic, Tensor)
    return [
        {k: v for k, v in vars(m).items() if (isinstance(v, kinds) and not isinstance(v, bool)) or (k == "_sums" and v)}
        for m in metrics
    ]


def set_metric_states(metrics: Iterable[Any], states: list[dict[str, Any]]) -> None:
    """Take over what `metric_states` gave."""
    for m, state in zip(metrics, states, strict=True):
        for name, value in state.items():
            have = getattr(m, name, None)
            if isinstance(have, Tensor):
                have._data[...] = as_array(value)
            elif isinstance(value, list):
                setattr(m, name, [as_array(v).copy() if isinstance(v, Tensor) else v for v in value])
            else:
                setattr(m, name, as_array(value).copy() if isinstance(value, Tensor) else value)


def optimizer_state(model: Any) -> dict[str, Any]:
    """Steps, learning rate and the states of a compiled model's weights."""
    optimizer = model.optimizer
    names = {id(p): name for name, p, _ in model._named_weights()}
    rate = optimizer._learning_rate
    return {
        "iterations": optimizer._iterations,
        "learning_rate": None if callable(rate) else rate,
        "slots": {names[key]: arrays for key, (_, arrays) in optimizer._states.items() if key in names},
        "own": [as_array(v) for v in optimizer._own],
        "swapped": optimizer._swapped,
    }


def set_optimizer_state(model: Any, state: dict[str, Any]) -> None:
    """Take over what `optimizer_state` gave."""
    optimizer = model.optimizer
    optimizer._iterations, optimizer._swapped = int(state["iterations"]), bool(state["swapped"])
    if state["learning_rate"] is not None:
        optimizer._set_rate(float(state["learning_rate"]))
    for name, p, _ in model._named_weights():
        for have, new in zip(*_slots(optimizer, p, state["slots"].get(name, []), name), strict=True):
            have[...] = as_array(new)
    if state["own"]:
        if not optimizer._own:
            optimizer.build(model.trainable_variables)
        if len(optimizer._own) != len(state["own"]):
            raise ValueError(f"optimizer: expected {len(optimizer._own)} states, got {len(state['own'])}")
        for have, new in zip(optimizer._own, state["own"], strict=True):
            have._data[...] = as_array(new)


def _slots(optimizer: Any, p: Any, saved: list[Any], name: str) -> tuple[list[Any], list[Any]]:
    if not saved:
        return [], []
    have = optimizer.states([p])[0]
    if len(have) != len(saved) or any(a.shape != as_array(b).shape for a, b in zip(have, saved, strict=True)):
        raise ValueError(f"optimizer: {name}: expected {len(have)} states of shape {p.shape}, got others")
    return have, saved
