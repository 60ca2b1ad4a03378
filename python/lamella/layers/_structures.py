"""Nested lists, tuples and dicts of tensors and shapes."""

from __future__ import annotations

from typing import Any


def flatten(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts."""
    if isinstance(structure, (list, tuple)):
        return [leaf for item in structure for leaf in flatten(item)]
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in flatten(item)]
    return [structure]


def map_structure(fn: Any, structure: Any) -> Any:
    """The same nesting with `fn` applied to every leaf."""
    if isinstance(structure, (list, tuple)):
        return type(structure)([map_structure(fn, item) for item in structure])
    if isinstance(structure, dict):
        return {k: map_structure(fn, v) for k, v in structure.items()}
    return fn(structure)


def map_structure_shape(shape: Any, fn: Any = None) -> Any:
    """Shapes with None as their batch size; lists of shapes stay lists. `fn` is applied to each."""
    if isinstance(shape, list) or (shape and isinstance(shape[0], (tuple, list))):
        return [map_structure_shape(s, fn) for s in shape]
    fixed = (None, *tuple(shape)[1:])
    return fixed if fn is None else fn(fixed)
