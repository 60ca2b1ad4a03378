"""The user's own classes and functions, by name, while a model is rebuilt from its configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = [
    "CustomObjectScope",
    "custom",
    "custom_object_scope",
    "custom_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
]


class _Scope(threading.local):
    objects: Mapping[str, Any] = {}


_scope = _Scope()
_registered: dict[str, Any] = {}  # by "package>name"


def custom() -> Mapping[str, Any]:
    """The objects of the scope that is open, and those that are registered, by the names in configurations."""
    own = {name.rpartition(">")[2]: found for name, found in _registered.items()}
    return {**{getattr(found, "__name__", name): found for name, found in own.items()}, **own, **_scope.objects}


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorate a class or function of yours, so that models which use it can be loaded without `custom_objects`.

    Parameters
    ----------
    package : str
        What its registered name begins with.
    name : str, optional
        Default: its own.
    """

    def register(found: Any) -> Any:
        if isinstance(found, type) and not hasattr(found, "get_config"):
            raise ValueError(
                f"register_keras_serializable: {found.__name__}: expected a class with a get_config method"
            )
        _registered[f"{package}>{name or found.__name__}"] = found
        return found

    return register


def get_custom_objects() -> dict[str, Any]:
    """What is registered, by "package>name"; may be changed."""
    return _registered


def get_registered_name(obj: Any) -> str:
    """The registered name of a class or function, or its own."""
    return next((name for name, found in _registered.items() if found is obj), obj.__name__)


def get_registered_object(
    name: str, custom_objects: dict[str, Any] | None = None, module_objects: dict[str, Any] | None = None
) -> Any:
    """What has this registered name, here or in the dicts; None for nothing."""
    for known in (_registered, custom_objects or {}, module_objects or {}, custom()):
        if name in known:
            return known[name]
    return None


@contextmanager
def custom_scope(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Let names in configurations stand for these objects too."""
    before = _scope.objects
    _scope.objects = {**before, **(objects or {})}
    try:
        yield
    finally:
        _scope.objects = before


CustomObjectScope = custom_object_scope = custom_scope  # Keras' names
