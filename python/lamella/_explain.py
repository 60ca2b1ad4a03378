"""Errors for arrays, lists and None in a tensor's place.

Checking each argument of each call would cost more than many a small op; instead the missing attribute is caught.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from . import autograd as ag


def explain(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: AttributeError
) -> None:
    """Raise a TypeError that names the argument, if the attribute is missing because a tensor was expected there."""
    if not hasattr(ag.Tensor, error.name or "") or isinstance(error.obj, ag.Tensor):
        return
    parameters = inspect.signature(fn).parameters
    for key, value in [*zip(parameters, args, strict=False), *kwargs.items()]:
        if value is None and key in parameters and parameters[key].default is not inspect.Parameter.empty:
            continue
        if value is error.obj:
            raise TypeError(f"{name}: {key}: {ag.not_a_tensor(value)}") from None
        if isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if item is error.obj:
                    raise TypeError(f"{name}: {key}[{i}]: {ag.not_a_tensor(item)}") from None


def _explained(fn: Any) -> Any:
    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except AttributeError as error:
            explain(fn.__name__, fn, args, kwargs, error)
            raise

    return call


def explain_all(namespace: dict[str, Any], names: list[str]) -> None:
    """Let the functions of a module explain such errors; those behind it call each other without the detour."""
    for name in names:
        fn = namespace[name]
        if isinstance(fn, types.FunctionType) and not hasattr(fn, "__wrapped__"):
            namespace[name] = _explained(fn)
