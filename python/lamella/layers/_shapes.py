"""Output shapes of layers whose input sizes are not all known: the layer is traced twice with made-up sizes."""

from __future__ import annotations

from typing import Any

from .._trace import Tracer
from .base import KerasTensor, Layer, _phase, map_structure

# Two sizes for each unknown dimension; what differs between the two traces is unknown in the output.
_TRIALS = (2, 3), (37, 43)


def _trace(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], trial: int) -> Any:
    tracer = Tracer()
    count = 0

    def symbol(leaf: Any) -> Any:
        nonlocal count
        if not isinstance(leaf, KerasTensor):
            return leaf
        shape = tuple(
            d if d is not None else _TRIALS[0][trial] if i == 0 else _TRIALS[1][trial] for i, d in enumerate(leaf.shape)
        )
        count += 1
        return tracer.input(f"input_{count}", shape, leaf.dtype)

    out = layer(*map_structure(symbol, list(args)), **map_structure(symbol, kwargs))
    return map_structure(lambda t: (tuple(t.shape), t.dtype.name), out)


def output_specs(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """(shape, dtype) of the output, or a list of them, for a call with KerasTensors among its arguments."""
    losses, _phase.losses = _phase.losses, None
    try:
        first, second = (_trace(layer, args, kwargs, trial) for trial in (0, 1))
    finally:
        _phase.losses = losses
    if _is_spec(first):
        return _join(first, second)
    return [_join(a, b) for a, b in zip(first, second, strict=True)]


def _is_spec(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)


def _join(a: Any, b: Any) -> tuple[tuple[int | None, ...], str]:
    return tuple(x if x == y else None for x, y in zip(a[0], b[0], strict=True)), a[1]
