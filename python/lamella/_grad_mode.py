"""Whether operations are recorded, per thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled", "state"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Mode(threading.local):
    grad = True
    tracer: Any = None  # who is tracing on this thread
    autocast: Any = None  # what changes the precision of ops on this thread

    def __init__(self) -> None:
        self.outer_autocasts: list[Any] = []


state = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations on this thread are recorded."""
    return state.grad


class set_grad_enabled:
    """Switch recording on or off: as a statement, a context manager or a decorator.

    Parameters
    ----------
    mode : bool
        True records, False does not.
    """

    def __init__(self, mode: bool) -> None:
        self._wanted = bool(mode)
        self._before = [state.grad]
        state.grad = self._wanted

    def __enter__(self) -> None:
        self._before.append(state.grad)
        state.grad = self._wanted

    def __exit__(self, *exc: object) -> None:
        self._before.pop()
        state.grad = self._before[-1]

    def __call__(self, fn: _F) -> _F:
        state.grad = self._before[0]
        return _decorate(fn, self._wanted)


class _Switch:
    """A context manager and decorator that sets recording and restores it; usable with and without parentheses."""

    _wanted: bool

    def __new__(cls, fn: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if fn is None else _decorate(fn, cls._wanted)

    def __enter__(self) -> None:
        self._stack: list[bool] = [*getattr(self, "_stack", ()), state.grad]
        state.grad = self._wanted

    def __exit__(self, *exc: object) -> None:
        state.grad = self._stack.pop()

    def __call__(self, fn: _F) -> _F:
        return _decorate(fn, self._wanted)


def _decorate(fn: _F, wanted: bool) -> _F:
    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before = state.grad
        state.grad = wanted
        try:
            return fn(*args, **kwargs)
        finally:
            state.grad = before

    return cast(_F, wrapped)


class no_grad(_Switch):
    """Nothing is recorded inside; a context manager and a decorator."""

    _wanted = False


class inference_mode(no_grad):
    """The same as `no_grad`."""


class enable_grad(_Switch):
    """Operations are recorded inside, also within `no_grad`; a context manager and a decorator."""

    _wanted = True
