"""Penalties on weights or activities, added to the training loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._custom import custom, find, get_registered_name, named
from ._errors import short
from ._suggest import unknown_name

__all__ = [
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2",
    "orthogonal_regularizer", "serialize",
]  # fmt: skip


class Regularizer:
    """Called with a tensor, gives a scalar tensor."""

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError("a regularizer implements __call__(x)")

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A regularizer from what `get_config` gave."""
        return cls(**config)


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


class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean similarity of the rows, or the columns, of a matrix: 0 where they are orthogonal.

    Parameters
    ----------
    factor : float
    mode : {"rows", "columns"}
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise unknown_name("OrthogonalRegularizer: mode", mode, ["rows", "columns"])
        self.factor, self.mode = float(factor), mode

    def __call__(self, x: Any) -> Any:
        if len(x.shape) != 2:
            raise ValueError(f"OrthogonalRegularizer: expected a matrix, got shape {tuple(x.shape)}")
        vectors = x if self.mode == "rows" else x.transpose(0, 1)
        n = vectors.shape[0]
        # As Keras has it: norms from below 1e-12 up, half the sum over the pairs, divided by their number.
        unit = vectors / vectors.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        similarity = unit.matmul(unit.transpose(0, 1)) * (1 - np.eye(n, dtype=x.dtype))
        return similarity.abs().sum() * (0.5 * self.factor / max(n * (n - 1) / 2, 1e-12))


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

_CLASSES: dict[str, type[Regularizer]] = {c.__name__: c for c in (L1, L2, L1L2, OrthogonalRegularizer)}


def get(identifier: Any) -> Any:
    """A regularizer from its name ("l1", "l2", "l1_l2"), configuration or itself; None stays None."""
    identifier = named(identifier)
    if identifier is None or (callable(identifier) and not isinstance(identifier, type)):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    names = {"l1": L1, "l2": L2, "l1_l2": L1L2, "orthogonal_regularizer": OrthogonalRegularizer, **_CLASSES}
    if identifier not in names:
        raise unknown_name("regularizer", identifier, ["l1", "l2", "l1_l2", "orthogonal_regularizer"])
    return names[identifier]()


def serialize(regularizer: Any) -> dict[str, Any] | None:
    """The configuration from which `deserialize` rebuilds the regularizer."""
    if regularizer is None:
        return None
    if not isinstance(regularizer, Regularizer):
        raise TypeError(f"regularizer: only Regularizer objects can be saved, got {short(regularizer)}")
    return {"class_name": get_registered_name(type(regularizer)), "config": regularizer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer of a configuration; the user's own classes are looked up in `custom_objects`."""
    name = config.get("class_name")
    cls = find(name, _CLASSES, custom_objects)
    if cls is None:
        raise unknown_name("regularizer", name, {**_CLASSES, **custom(), **(custom_objects or {})})
    return cls(**config.get("config", {}))
