"""Optimizers in Keras' idiom, over the same native updates as `lamella.optim`."""

from __future__ import annotations

from typing import Any

from .._suggest import unknown_name
from . import schedules
from .algorithms import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lion, Nadam, RMSprop
from .base import Optimizer

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "Optimizer", "RMSprop",
    "deserialize", "get", "schedules", "serialize",
]  # fmt: skip

_CLASSES: dict[str, Any] = {
    c.__name__: c for c in (SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lion, Nadam, RMSprop)
}


def get(identifier: Any) -> Optimizer:
    """An optimizer from its name ("adam", ...), configuration, class, or itself."""
    if isinstance(identifier, Optimizer):
        return identifier
    cls: Any = identifier
    if isinstance(cls, type) and issubclass(cls, Optimizer):
        return cls()  # type: ignore[call-arg]
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        by_name = {n.lower(): c for n, c in _CLASSES.items()}
        if identifier.lower() not in by_name:
            raise unknown_name("optimizer", identifier, by_name)
        return by_name[identifier.lower()]()  # type: ignore[no-any-return]
    raise TypeError(f"optimizer: expected a name or an Optimizer, got {type(identifier).__name__}")


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The class name and configuration from which `deserialize` rebuilds an optimizer without its states."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
    """An optimizer from what `serialize` gave; other classes are looked up in `custom_objects`."""
    known = {**_CLASSES, **(custom_objects or {})}
    name = config.get("class_name")
    if name not in known:
        raise unknown_name("optimizer", name, known)
    return known[name].from_config(config.get("config", {}), *[custom_objects] * bool(custom_objects))
