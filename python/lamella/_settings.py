"""What `compile` was given, as JSON in a saved model and back.

Lamella's own objects are written as their configuration. The user's functions and classes are written by name, and
found again in `custom_objects`: nothing in a file is ever run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import losses, metrics, optimizers
from ._custom import custom as registered
from ._custom import find, get_registered_name


class CannotSave(Exception):
    """Names what has no name to find it by."""


class Unknown(Exception):
    """Names what custom_objects lacks."""


def encode(model: Any) -> dict[str, Any]:
    """The settings of a compiled model; raises CannotSave."""
    return {
        "optimizer": _optimizer(model.optimizer),
        "loss": _map(_object, model._loss_arg),
        "loss_weights": model._loss_weight_arg,
        "metrics": _map(_object, model._metric_args),
        "weighted_metrics": _map(_object, model._weighted_metric_args),
    }


def decode(settings: dict[str, Any], custom_objects: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments for `compile`; raises Unknown."""
    custom = {**registered(), **(custom_objects or {})}
    custom = {**{name.rpartition(">")[2]: v for name, v in custom.items()}, **custom}
    found = {**settings}
    known: Any
    for key, known in (("loss", losses), ("metrics", metrics), ("weighted_metrics", metrics)):
        found[key] = _map(partial(_rebuild, known, custom), settings.get(key))
    optimizer = settings.get("optimizer")
    if isinstance(optimizer, dict):
        rate = (optimizer.get("config") or {}).get("learning_rate")
        _must_know(optimizer, optimizers._CLASSES, custom)
        if isinstance(rate, dict):
            _must_know(rate, optimizers.schedules._CLASSES, custom)
        found["optimizer"] = optimizers.deserialize(optimizer, custom)
    return found


def _must_know(item: dict[str, Any], known: dict[str, Any], custom: dict[str, Any]) -> None:
    what = "function" if "function" in item else "class"
    name = str(item.get("function", item.get("class_name")))
    if name not in custom and (what == "function" or name not in known):
        raise Unknown(f"the {what} {name!r}")


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (list, tuple, dict)) or (
        isinstance(value, dict) and ("class_name" in value or set(value) == {"function"})
    )


def _map(fn: Callable[[Any], Any], value: Any) -> Any:
    if value is None:
        return None
    if _is_leaf(value):
        return fn(value)
    if isinstance(value, dict):
        return {k: _map(fn, v) for k, v in value.items()}
    return [_map(fn, v) for v in value]


def _function(value: Any) -> dict[str, str]:
    name = getattr(value, "__name__", "<lambda>")
    if not name.isidentifier():
        raise CannotSave(f"{value!r} has no name")
    return {"function": get_registered_name(value)}


def _object(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, (losses.Wrapped, metrics.MeanMetricWrapper)):
        if getattr(value, "fn_kwargs", None):
            raise CannotSave(f"{value.name} has arguments for its function")
        return _function(value.fn)
    if isinstance(value, (losses.Loss, metrics.Metric)):
        return {"class_name": get_registered_name(type(value)), "config": value.get_config()}
    if isinstance(value, type):
        return {"class_name": get_registered_name(value), "config": {}}
    return _function(value)


def _optimizer(optimizer: Any) -> dict[str, Any]:
    try:
        return optimizers.serialize(optimizer)
    except (NotImplementedError, TypeError) as e:
        raise CannotSave(str(e)) from None


def _rebuild(known: Any, custom: dict[str, Any], item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    if "function" in item:
        name = str(item["function"])
        if (own := find(name, {}, custom)) is not None:
            return own
        if name in getattr(known, "_BY_NAME", {}):
            return name
        raise Unknown(f"the function {name!r}")
    name = str(item.get("class_name"))
    cls = find(name, known._CLASSES, custom)
    if cls is None:
        raise Unknown(f"the class {name!r}")
    return cls(**(item.get("config") or {}))
