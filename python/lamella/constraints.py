"""What weights are brought back to after each update."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._custom import custom, find, get_registered_name, named
from ._errors import short
from ._suggest import unknown_name
from .autograd import as_array, no_grad, wrap

__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get", "max_norm", "min_max_norm",
    "non_neg", "serialize", "unit_norm",
]  # fmt: skip

_EPSILON = 1e-7  # added to norms that are divided by, as in Keras


class Constraint:
    """Called with a weight, a tensor, gives the tensor of the same shape that takes its place."""

    def __call__(self, w: Any) -> Any:
        raise NotImplementedError("a constraint implements __call__(w)")

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A constraint from what `get_config` gave."""
        return cls(**config)


def _bound(cls: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not number >= 0:
        raise ValueError(f"{cls}: {name}: expected a number >= 0, got {short(value)}")
    return number


def _axes(cls: str, axis: Any) -> Any:
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if not all(hasattr(a, "__index__") for a in axes):
        raise ValueError(f"{cls}: axis: expected an integer or a list of them, got {short(axis)}")
    return [int(a) for a in axes] if isinstance(axis, (list, tuple)) else int(axis)


def _norms(w: Any, axis: Any) -> Any:
    return w.norm(dim=axis, keepdim=True)


class MaxNorm(Constraint):
    """Norms of at most `max_value`.

    Parameters
    ----------
    max_value : float
    axis : int or list of int
        The axes that a norm is taken over: 0 for each unit's incoming weights in a Dense layer, [0, 1, 2] for each
        filter of a Conv2D.
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value, self.axis = _bound("MaxNorm", "max_value", max_value), _axes("MaxNorm", axis)

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        return w * (norms.clamp(max=self.max_value) / (norms + _EPSILON))


class NonNeg(Constraint):
    """No negative weights: 0 in their place."""

    def __call__(self, w: Any) -> Any:
        return w.clamp(min=0.0)


class UnitNorm(Constraint):
    """Norms of 1.

    Parameters
    ----------
    axis : int or list of int
        As for `MaxNorm`.
    """

    def __init__(self, axis: Any = 0) -> None:
        self.axis = _axes("UnitNorm", axis)

    def __call__(self, w: Any) -> Any:
        return w / (_norms(w, self.axis) + _EPSILON)


class MinMaxNorm(Constraint):
    """Norms in [min_value, max_value].

    Parameters
    ----------
    min_value, max_value : float
    rate : float
        In [0, 1]: how much of the way is gone at each update.
    axis : int or list of int
        As for `MaxNorm`.
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        self.min_value = _bound("MinMaxNorm", "min_value", min_value)
        self.max_value = _bound("MinMaxNorm", "max_value", max_value)
        self.rate, self.axis = _bound("MinMaxNorm", "rate", rate), _axes("MinMaxNorm", axis)
        if self.rate > 1:
            raise ValueError(f"MinMaxNorm: rate: expected a number in [0, 1], got {short(rate)}")
        if self.min_value > self.max_value:
            raise ValueError(f"MinMaxNorm: min_value: expected at most max_value ({max_value}), got {min_value}")

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        desired = norms.clamp(self.min_value, self.max_value)
        if self.rate != 1:
            desired = desired * self.rate + norms * (1 - self.rate)
        return w * (desired / (norms + _EPSILON))


def constrain(weights: Iterable[Any]) -> None:
    """Bring weights back to what their constraints allow."""
    for w in weights:
        constraint = getattr(w, "constraint", None)
        if constraint is not None:
            with no_grad():
                w.assign(as_array(constraint(wrap(w._data)), w.dtype))


max_norm = MaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
min_max_norm = MinMaxNorm

_CLASSES: dict[str, type[Constraint]] = {c.__name__: c for c in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}
_BY_NAME = {"max_norm": MaxNorm, "min_max_norm": MinMaxNorm, "non_neg": NonNeg, "unit_norm": UnitNorm, **_CLASSES}


def get(identifier: Any) -> Any:
    """A constraint from its name ("max_norm", ...), class, configuration or itself; None stays None."""
    identifier = named(identifier)
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Constraint):
        return identifier()
    if identifier is None or callable(identifier):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(f"constraint: expected a name, a Constraint or a callable, got {type(identifier).__name__}")
    if identifier not in _BY_NAME:
        raise unknown_name("constraint", identifier, ["max_norm", "min_max_norm", "non_neg", "unit_norm"])
    return _BY_NAME[identifier]()


def serialize(constraint: Any) -> dict[str, Any] | None:
    """The configuration from which `deserialize` rebuilds the constraint."""
    if constraint is None:
        return None
    if not isinstance(constraint, Constraint):
        raise TypeError(f"constraint: only Constraint objects can be saved, got {short(constraint)}")
    return {"class_name": get_registered_name(type(constraint)), "config": constraint.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint of a configuration; the user's own classes are looked up in `custom_objects`."""
    name = config.get("class_name")
    cls = find(name, _CLASSES, custom_objects)
    if cls is None:
        raise unknown_name("constraint", name, {**_CLASSES, **custom(), **(custom_objects or {})})
    return cls(**config.get("config", {}))
