"""The user's own classes and functions, by name: registered for good, or while a model is rebuilt."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ._errors import short

__all__ = [
    "CustomObjectScope", "custom", "custom_object_scope", "custom_scope", "find", "get_custom_objects",
    "get_registered_name", "get_registered_object", "named", "register_keras_serializable",
]  # fmt: skip

_registered: dict[str, Any] = {}  # the user may change it: see get_custom_objects


class _Scope(threading.local):
    objects: Mapping[str, Any] = {}


_scope = _Scope()


def custom() -> Mapping[str, Any]:
    """The objects that names stand for: those registered, and over them those of the scope that is open."""
    return {**_registered, **_scope.objects}


@contextmanager
def custom_scope(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Let names in configurations stand for these objects too."""
    before = _scope.objects
    _scope.objects = {**before, **(objects or {})}
    try:
        yield
    finally:
        _scope.objects = before


def find(name: Any, known: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The class or function of a name in a configuration; None where nothing has it. The user's own go first; one that
    was registered as "package>name" may also be given by its name alone.
    """
    own = {**custom(), **(custom_objects or {})}
    plain = name.rpartition(">")[2] if isinstance(name, str) else name
    return next((place[key] for key, place in ((name, own), (plain, own), (name, known)) if key in place), None)


def named(identifier: Any) -> Any:
    """What the user's own name stands for; anything else as it is."""
    return custom().get(identifier, identifier) if isinstance(identifier, str) else identifier


class CustomObjectScope:
    """Names that stand for the user's own classes and functions, inside a with statement.

    Parameters
    ----------
    custom_objects : dict of str to class or function

    Examples
    --------
    >>> with lamella.utils.CustomObjectScope({"Scaled": Scaled}):
    ...     model = lamella.models.load_model("model.safetensors")
    """

    def __init__(self, custom_objects: Mapping[str, Any]) -> None:
        if not isinstance(custom_objects, Mapping):
            raise TypeError(f"CustomObjectScope: custom_objects: expected a dict, got {type(custom_objects).__name__}")
        self.custom_objects = dict(custom_objects)
        self._open: list[Any] = []

    def __enter__(self) -> CustomObjectScope:
        scope = custom_scope(self.custom_objects)
        scope.__enter__()
        self._open.append(scope)
        return self

    def __exit__(self, *args: Any) -> None:
        self._open.pop().__exit__(*args)


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """The registered objects by name: a dict that may be changed."""
    return _registered


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorate a class or function that saved models use, so that they are loaded without `custom_objects`.

    Parameters
    ----------
    package : str
        Tells equal names apart: model files hold "package>name".
    name : str, optional
        Default: the object's own.
    """
    for argument, value in (("package", package), ("name", name or "name")):
        if not isinstance(value, str) or not value or ">" in value:
            raise ValueError(
                f"register_keras_serializable: {argument}: expected a string without '>', got {short(value)}"
            )

    def register(obj: Any) -> Any:
        if not hasattr(obj, "__name__"):
            raise TypeError(f"register_keras_serializable: expected a class or function, got {type(obj).__name__}")
        if inspect.isclass(obj) and not hasattr(obj, "get_config"):
            raise ValueError(f"register_keras_serializable: {obj.__name__}: expected a class with a get_config method")
        _registered[f"{package}>{name or obj.__name__}"] = obj
        return obj

    return register


def get_registered_name(obj: Any) -> str:
    """The name that stands for a class or function in model files.

    Parameters
    ----------
    obj : class or function

    Returns
    -------
    str
        "package>name" where it is registered, else its own name.
    """
    return next((name for name, known in _registered.items() if known is obj), obj.__name__)


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """The class or function that a name stands for; None where nothing does.

    Parameters
    ----------
    name : str
    custom_objects, module_objects : dict of str to class or function, optional
        Where it may be found too; the first before what is registered, the second after it.
    """
    return find(name, module_objects or {}, custom_objects)
