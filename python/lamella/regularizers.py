"""Penalties on weights or activities, added to the training loss."""

from __future__ import annotations

from typing import Any

from ._suggest import unknown_name

__all__ = ["L1", "L1L2", "L2", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2", "serialize"]


class Regularizer:
    """Called with a tensor, gives a scalar tensor."""

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError("a regularizer implements __call__(x)")

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))


class L1L2(Regularizer):
    """``l1 * sum(|x|) + l2 * sum(x**2)``."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        l1, l2 = 0.0 if l1 is None else float(l1), 0.0 if l2 is None else float(l2)
        if not (l1 >= 0 and l2 >= 0):
            raise ValueError(f"regularizer: l1, l2: expected numbers >= 0, got {l1}, {l2}")
        self.l1, self.l2 = l1, l2

    def __call__(self, x: Any) -> Any:
        terms = []
        if self.l1:
            terms.append(x.abs().sum() * self.l1)
        if self.l2:
            terms.append((x * x).sum() * self.l2)
        return (x * 0.0).sum() if not terms else terms[0] if len(terms) == 1 else terms[0] + terms[1]


class L1(L1L2):
    """``l1 * sum(|x|)``."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """``l2 * sum(x**2)``."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """The sum of both penalties."""
    return L1L2(l1, l2)


l1 = L1
l2 = L2

_CLASSES: dict[str, type[Regularizer]] = {"L1": L1, "L2": L2, "L1L2": L1L2}


def get(identifier: Any) -> Any:
    """A regularizer from its name ("l1", "l2", "l1_l2"), configuration or itself; None stays None."""
    if identifier is None or (callable(identifier) and not isinstance(identifier, type)):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    names: dict[str, Any] = {"l1": L1, "l2": L2, "l1_l2": l1_l2, **_CLASSES}
    if identifier not in names:
        raise unknown_name("regularizer", identifier, ["l1", "l2", "l1_l2"])
    return names[identifier]()


def serialize(regularizer: Any) -> dict[str, Any] | None:
    """The configuration from which `deserialize` rebuilds the regularizer."""
    if regularizer is None:
        return None
    if type(regularizer).__name__ not in _CLASSES:
        raise TypeError(f"regularizer: only L1, L2 and L1L2 can be saved, got {regularizer!r}")
    return {"class_name": type(regularizer).__name__, "config": regularizer.get_config()}


def deserialize(config: dict[str, Any]) -> Regularizer:
    """The regularizer of a configuration."""
    name = config.get("class_name")
    if name not in _CLASSES:
        raise unknown_name("regularizer", name, _CLASSES)
    return _CLASSES[name](**config.get("config", {}))
