"""Output shapes of layers whose input sizes are not all known: the layer runs twice on made-up sizes.

It runs on symbols; a layer that needs values (one with operations written in Python) gets zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._trace import NotTraceable, Tracer
from ..autograd import no_grad, wrap
from ._phase import phases
from ._structures import map_structure
from ._symbolic import KerasTensor
from .base import Layer

# Two sizes for each unknown dimension; what differs between the two runs is unknown in the output.
_BATCHES, _LENGTHS = (2, 3), (37, 43)


def _run(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], trial: int, make: Callable[..., Any]) -> Any:
    def stand_in(leaf: Any) -> Any:
        if not isinstance(leaf, KerasTensor):
            return leaf
        unknown = [_BATCHES[trial], *[_LENGTHS[trial]] * (leaf.ndim - 1)]
        return make(tuple(u if d is None else d for d, u in zip(leaf.shape, unknown, strict=True)), leaf.dtype)

    out = layer(*map_structure(stand_in, list(args)), **map_structure(stand_in, kwargs))
    return map_structure(lambda t: (tuple(t.shape), t.dtype.name), out)


def _run_symbols(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], trial: int) -> Any:
    count = iter(range(1000))
    with Tracer() as tracer:
        return _run(layer, args, kwargs, trial, lambda s, dtype: tracer.input(f"input_{next(count)}", s, dtype))


def output_specs(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """(shape, dtype) of the output, or nested lists of them, for a call with KerasTensors among its arguments."""
    losses, phases.now.losses = phases.now.losses, []
    before, phases.now.shapes_only = phases.now.shapes_only, True
    try:
        try:
            first, second = (_run_symbols(layer, args, kwargs, trial) for trial in (0, 1))
        except NotTraceable:
            with no_grad():
                first, second = (
                    _run(layer, args, kwargs, trial, lambda shape, dtype: wrap(np.zeros(shape, dtype)))
                    for trial in (0, 1)
                )
    finally:
        phases.now.losses, phases.now.shapes_only = losses, before
    return _joined(first, second)


def _is_spec(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)


def _joined(a: Any, b: Any) -> Any:
    if _is_spec(a):
        return _join(a, b)
    return [_joined(x, y) for x, y in zip(a, b, strict=True)]


def _join(a: Any, b: Any) -> tuple[tuple[int | None, ...], str]:
    return tuple(x if x == y else None for x, y in zip(a[0], b[0], strict=True)), a[1]
