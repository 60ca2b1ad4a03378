"""The user's own classes and functions, by name, while a model is rebuilt from its configuration."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["custom", "custom_scope"]


class _Scope(threading.local):
    objects: Mapping[str, Any] = {}


_scope = _Scope()


def custom() -> Mapping[str, Any]:
    """The objects of the scope that is open."""
    return _scope.objects


@contextmanager
def custom_scope(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Let names in configurations stand for these objects too."""
    before = _scope.objects
    _scope.objects = {**before, **(objects or {})}
    try:
        yield
    finally:
        _scope.objects = before
