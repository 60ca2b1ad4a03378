"""Layers that join several inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._kernels._call import op
from ..autograd import Tensor, apply, wrap
from .base import Layer

__all__ = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"]


def _any_of(masks: Any) -> Any:
    """What is a real step in any of the inputs; None where one of them has no mask."""
    if masks is None or any(m is None for m in masks):
        return None
    steps = masks[0].to(np.float32)
    for m in masks[1:]:
        steps = steps + m.to(np.float32)
    return steps > 0


class _Merge(Layer):
    _op = ""

    def call(self, inputs: list[Tensor]) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(f"{self.name}: inputs: expected a list of at least 2 tensors, got {inputs!r}")
        out = inputs[0]
        for t in inputs[1:]:
            out = apply(op(self._op), out, t)
        return out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return _any_of(previous_mask)


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

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        masked = [(t, m) for t, m in zip(inputs, previous_mask or (), strict=False) if m is not None]
        if not masked:
            return None
        time = len(masked[0][1].shape) - 1
        if self.axis not in (time, time - len(inputs[0].shape)):
            return _any_of(previous_mask)
        # Steps of inputs without a mask are none of them padding.
        steps = [wrap(np.ones(t.shape[: time + 1], np.float32)) if m is None else m.to(np.float32)
                 for t, m in zip(inputs, previous_mask, strict=True)]  # fmt: skip
        return apply(op("concat", {"axis": time}), *steps) > 0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
