"""Parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import autograd as ag
from ..._functional.joining import cat

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, flattened and joined."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Copy a vector's parts into the parameters."""
    start = 0
    for p in parameters:
        part = vec._data[start : start + p.numel()]
        p._data[...] = part.reshape(p.shape)
        ag.written(p)
        start += p.numel()
