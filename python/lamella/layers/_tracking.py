"""Lists and dicts of layers kept in a layer's attributes: the layers in them are its children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..nn.module import Module

__all__ = ["holds_modules", "track"]


def _parts(value: Any, name: str) -> Iterator[tuple[str, Module]]:
    """The modules in nested lists, tuples and dicts, with names after their places."""
    if isinstance(value, Module):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, f"{name}_{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _parts(item, f"{name}_{i}")


def holds_modules(value: Any) -> bool:
    """Whether there is a module in nested lists, tuples and dicts."""
    return any(True for _ in _parts(value, ""))


def track(owner: Module, attribute: str, value: Any) -> Any:
    """The value with lists and dicts that tell their owner of changes; what is in them becomes the owner's."""
    watched = _watched(owner, attribute, value)
    _adopt(owner, attribute, watched)
    return watched


def _watched(owner: Module, attribute: str, value: Any) -> Any:
    if isinstance(value, (list, dict)):
        made: Any = TrackedList() if isinstance(value, list) else TrackedDict()
        if isinstance(value, list):
            list.extend(made, [_watched(owner, attribute, v) for v in value])
        else:
            dict.update(made, {k: _watched(owner, attribute, v) for k, v in value.items()})
        made.owner, made.attribute = owner, attribute
        return made
    if type(value) is tuple:
        return tuple(_watched(owner, attribute, v) for v in value)
    return value


def _adopt(owner: Module, attribute: str, value: Any) -> None:
    """Make children of what is in the value now, and of nothing else that was."""
    tracked: dict[str, list[Module]] = owner.__dict__.setdefault("_tracked", {})
    now = dict(_parts(value, attribute))
    kept = {id(m) for m in now.values()}
    gone = {id(m) for m in tracked.get(attribute, ())} - kept
    for name in [n for n, m in owner._modules.items() if id(m) in gone]:
        del owner._modules[name]
    known = {id(m) for m in owner._modules.values()}
    for name, module in now.items():
        if id(module) not in known:
            known.add(id(module))
            free = name.replace(".", "_")
            while free in owner._modules:
                free += "_"
            owner.add_module(free, module)
    tracked[attribute] = list(now.values())


def _telling(base: type, names: str) -> Callable[[type], type]:
    """Let these methods tell the owner."""

    def one(method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = method(self, *args, **kwargs)
            owner = self.__dict__.get("owner")
            if owner is not None and "_modules" in owner.__dict__:  # else one of the two is being copied
                value = owner.__dict__.get(self.attribute)
                if value is not None:
                    _adopt(owner, self.attribute, value)
            return result

        call.__name__, call.__doc__ = method.__name__, method.__doc__
        return call

    def dress(cls: type) -> type:
        for name in names.split():
            setattr(cls, name, one(getattr(base, name)))
        return cls

    return dress


@_telling(list, "__setitem__ __delitem__ __iadd__ append clear extend insert pop remove reverse sort")
class TrackedList(list):  # type: ignore[type-arg]
    """A list of layers in an attribute of a layer."""


@_telling(dict, "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update")
class TrackedDict(dict):  # type: ignore[type-arg]
    """A dict of layers in an attribute of a layer."""
