"""Layers that join several inputs, and the same as functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._errors import short
from .._functional.shape import permute, unsqueeze
from .._kernels._call import op
from ..autograd import Tensor, apply, wrap
from .base import Layer

__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


def _any_of(masks: Any) -> Any:
    """What is a real step in any of the inputs; None where one of them has no mask."""
    if masks is None or any(m is None for m in masks):
        return None
    steps = masks[0].to(np.float32)
    for m in masks[1:]:
        steps = steps + m.to(np.float32)
    return steps > 0


class _Merge(Layer):
    """Inputs of fewer dimensions get new ones behind the batch."""

    _op = ""

    def call(self, inputs: list[Tensor]) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError(f"{self.name}: inputs: expected a list of tensors, got {short(inputs)}")
        rank = max(len(t.shape) for t in inputs)
        out, *others = (self._of_rank(t, rank) for t in inputs)
        for t in others:
            out = apply(op(self._op), out, t)
        return out

    @staticmethod
    def _of_rank(t: Tensor, rank: int) -> Tensor:
        for _ in range(rank - len(t.shape)):
            t = unsqueeze(t, 1)
        return t

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
        _two(self, inputs)
        return super().call(inputs)


class Average(Add):
    """The mean of the inputs."""

    def call(self, inputs: list[Tensor]) -> Tensor:
        return super().call(inputs) * (1.0 / len(inputs))


def _two(layer: Layer, inputs: Any) -> None:
    if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
        got = len(inputs) if isinstance(inputs, (list, tuple)) else type(inputs).__name__
        raise ValueError(f"{layer.name}: inputs: expected a list of 2 tensors, got {got}")


class Concatenate(Layer):
    """The inputs one after another along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not hasattr(axis, "__index__"):
            raise TypeError(f"Concatenate: axis: expected an integer, got {short(axis)}")
        self.axis = int(axis)

    def call(self, inputs: list[Tensor]) -> Tensor:
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError(f"{self.name}: inputs: expected a list of tensors, got {short(inputs)}")
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


class Dot(Layer):
    """The products of two inputs, summed over one axis of each, sample by sample.

    Parameters
    ----------
    axes : int or two ints
        The axis of both, or of each.
    normalize : bool
        Whether the inputs are first divided by their norms along these axes: then the results are cosines.
    **kwargs
        See `Layer`.

    Notes
    -----
    The other axes of the first input come before those of the second; if neither has any, the result is (n, 1).
    """

    supports_masking = True

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = axes if isinstance(axes, (list, tuple)) else [axes, axes]
        if len(given) != 2 or not all(hasattr(a, "__index__") for a in given):
            raise ValueError(f"Dot: axes: expected an integer or two of them, got {short(axes)}")
        self.axes: Any = [int(a) for a in axes] if isinstance(axes, (list, tuple)) else int(axes)
        self.normalize = bool(normalize)

    def call(self, inputs: list[Tensor]) -> Tensor:
        _two(self, inputs)
        given = [self.axes, self.axes] if isinstance(self.axes, int) else self.axes
        axes = []
        for t, axis in zip(inputs, given, strict=True):
            rank = len(t.shape)
            if rank < 2 or not -rank < axis < rank or axis % rank == 0:
                raise ValueError(f"{self.name}: axes: expected axes behind the batch of {tuple(t.shape)}, got {axis}")
            axes.append(axis % rank)
        (x, y), (a, b) = inputs, axes
        if x.shape[a] != y.shape[b]:
            raise ValueError(
                f"{self.name}: inputs: expected equal sizes along axes {a} and {b}, got shapes {tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
        if self.normalize:
            x, y = (t / t.norm(dim=i, keepdim=True).clamp(min=1e-12) for t, i in ((x, a), (y, b)))
        size = x.shape[a]
        rows, columns = ([d for i, d in enumerate(t.shape) if i not in (0, k)] for t, k in ((x, a), (y, b)))
        x = permute(x, [i for i in range(len(x.shape)) if i != a] + [a])
        y = permute(y, [0, b] + [i for i in range(1, len(y.shape)) if i != b])
        product = x.reshape(-1, int(np.prod(rows)), size).matmul(y.reshape(-1, size, int(np.prod(columns))))
        return product.reshape(-1, *(rows + columns or [1]))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def add(inputs: Any, **kwargs: Any) -> Any:
    """The sum of a list of tensors; `kwargs` are those of `Add`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """The first of two tensors less the second; `kwargs` are those of `Subtract`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """The product of a list of tensors; `kwargs` are those of `Multiply`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """The mean of a list of tensors; `kwargs` are those of `Average`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """The elementwise maximum of a list of tensors; `kwargs` are those of `Maximum`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """The elementwise minimum of a list of tensors; `kwargs` are those of `Minimum`."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """A list of tensors one after another along an axis; `kwargs` are those of `Concatenate`."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """The products of two tensors summed over one axis of each; `kwargs` are those of `Dot`."""
    return Dot(axes, **kwargs)(inputs)
