"""Names of layers: made up where the user gives none, and unique in a model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._errors import short

if TYPE_CHECKING:
    from .base import Layer

_names: dict[str, int] = {}


def unique_name(base: str) -> str:
    """`base`, `base_1`, `base_2`, ... in the order of asking."""
    n = _names.get(base, 0)
    _names[base] = n + 1
    return base if n == 0 else f"{base}_{n}"


def reset_names() -> None:
    """Start counting again."""
    _names.clear()


def adopt(layer: Layer, taken: Iterable[str]) -> str:
    """Take a layer into a model; gives its name there. Names made up for it are counted per model, so that saved files
    do not depend on what else the process has built; in a second model it may have another name than in its first.
    """
    names = set(taken)
    if layer._named_by_user:
        if layer.name in names:
            raise ValueError(f"Model: layers: expected unique names, got {short(layer.name)} twice")
        name = layer.name
    else:
        base, n = snake_case(type(layer).__name__), 0
        name = layer.name if layer._owned else base
        while name in names:
            n += 1
            name = f"{base}_{n}"
        if not layer._owned:
            layer.name = name
    layer._owned = True
    return name


def snake_case(name: str) -> str:
    """`MaxPooling2D` -> `max_pooling2d`."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
