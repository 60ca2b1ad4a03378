"""Layers inside layers: their configurations, and arguments in Keras' order."""

from __future__ import annotations

import inspect
from typing import Any

from .. import _saving
from .._custom import get_registered_name

__all__ = ["deserialize", "in_order", "rebuilt", "serialized", "shown"]


def serialized(layer: Any) -> dict[str, Any]:
    """The configuration of a layer inside another."""
    if not hasattr(layer, "get_config"):
        raise NotImplementedError(f"{type(layer).__name__}: get_config: must be defined for the layer to be saved")
    return {"class_name": get_registered_name(type(layer)), "config": layer.get_config()}


def rebuilt(config: Any, custom_objects: dict[str, type] | None) -> Any:
    """The layer of such a configuration; layers pass as they are."""
    from ..models import _layer_classes

    if not isinstance(config, dict):
        return config
    return _saving.rebuild(config, _layer_classes(custom_objects), custom_objects)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Any:
    """A layer of the configuration that `serialize` gave.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        The user's own layers, by name.
    """
    return rebuilt(config, custom_objects)


def in_order(label: str, order: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name: those given by their places, by name, and the defaults of the others."""
    if len(args) > len(order):
        raise TypeError(f"{label}: expected at most {len(order)} arguments by their places, got {len(args)}")
    given = dict(zip(order, args, strict=False))
    twice = given.keys() & kwargs.keys()
    if twice:
        raise TypeError(f"{label}: {min(twice)}: given twice")
    found = {**order, **given, **kwargs}
    missing = [k for k, v in found.items() if v is inspect.Parameter.empty]
    if missing:
        raise TypeError(f"{label}: {missing[0]}: expected a value, got none")
    return found


def shown(order: dict[str, Any]) -> Any:
    """Decorate an `__init__` that takes its arguments by `in_order`: it shows them as its own."""
    P = inspect.Parameter
    signature = inspect.Signature(
        [
            P("self", P.POSITIONAL_OR_KEYWORD),
            *(P(name, P.POSITIONAL_OR_KEYWORD, default=default) for name, default in order.items()),
            P("kwargs", P.VAR_KEYWORD),
        ]
    )

    def dress(init: Any) -> Any:
        init.__signature__ = signature
        return init

    return dress
