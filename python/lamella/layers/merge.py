"""Layers that join several inputs."""

from __future__ import annotations

from typing import Any

from .._kernels._call import op
from ..autograd import Tensor, apply
from .base import Layer

__all__ = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]


class _Merge(Layer):
    _op = ""

    def call(self, inputs: list[Tensor]) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(f"{self.name}: inputs: expected a list of at least 2 tensors, got {inputs!r}")
        out = inputs[0]
        for t in inputs[1:]:
            out = apply(op(self._op), out, t)
        return out


class Add(_Merge):
    """The sum of the inputs."""

    _op = "add"


class Multiply(_Merge):
    """The product of the inputs."""

    _op = "mul"


class Maximum(_Merge):
    """The elementwise maximum of the inputs."""

    _op = "maximum"


class Minimum(_Merge):
    """The elementwise minimum of the inputs."""

    _op = "minimum"


class Subtract(_Merge):
    """The first of two inputs less the second."""

    _op = "sub"

    def call(self, inputs: list[Tensor]) -> Tensor:
        if len(inputs) != 2:
            raise ValueError(f"{self.name}: inputs: expected 2 tensors, got {len(inputs)}")
        return super().call(inputs)


class Average(Add):
    """The mean of the inputs."""

    def call(self, inputs: list[Tensor]) -> Tensor:
        return super().call(inputs) * (1.0 / len(inputs))


class Concatenate(Layer):
    """The inputs one after another along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    def call(self, inputs: list[Tensor]) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError(f"{self.name}: inputs: expected a list of tensors, got {inputs!r}")
        return apply(op("concat", {"axis": self.axis}), *inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
