"""KerasTensor: what functional models are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._names import unique_name

if TYPE_CHECKING:
    from .base import Layer


class KerasTensor:
    """A tensor to come: shape (with None for unknown sizes), dtype, and the layer call that makes it."""

    def __init__(self, shape: Sequence[int | None], dtype: str = "float32", name: str | None = None) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype).name
        self.name = name or unique_name("keras_tensor")
        self.layer: Layer | None = None
        self.call: Call | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def _merge(self, layer: str, function: str, other: Any, swap: bool = False) -> Any:
        from . import merge, operators

        if not isinstance(other, KerasTensor) or other.ndim != self.ndim:
            return operators.calculate(function, self, other, swap)
        return getattr(merge, layer)()([other, self] if swap else [self, other])

    def _calculate(self, function: str, other: Any = None, swap: bool = False) -> Any:
        from . import operators

        return operators.calculate(function, self, other, swap)

    def __add__(self, other: Any) -> Any:
        return self._merge("Add", "add", other)

    def __radd__(self, other: Any) -> Any:
        return self._merge("Add", "add", other, True)

    def __sub__(self, other: Any) -> Any:
        return self._merge("Subtract", "sub", other)

    def __rsub__(self, other: Any) -> Any:
        return self._merge("Subtract", "sub", other, True)

    def __mul__(self, other: Any) -> Any:
        return self._merge("Multiply", "mul", other)

    def __rmul__(self, other: Any) -> Any:
        return self._merge("Multiply", "mul", other, True)

    def __truediv__(self, other: Any) -> Any:
        return self._calculate("div", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._calculate("div", other, True)

    def __pow__(self, other: Any) -> Any:
        return self._calculate("pow", other)

    def __rpow__(self, other: Any) -> Any:
        return self._calculate("pow", other, True)

    def __matmul__(self, other: Any) -> Any:
        return self._calculate("matmul", other)

    def __neg__(self) -> Any:
        return self._calculate("neg")

    def __abs__(self) -> Any:
        return self._calculate("abs")

    def __getitem__(self, index: Any) -> Any:
        from . import operators

        return operators.pick(self, index)

    def __iter__(self) -> Any:
        raise TypeError("KerasTensor: a symbolic tensor cannot be iterated over")

    def __bool__(self) -> bool:
        raise TypeError("KerasTensor: a symbolic tensor has no truth value")

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


class Call:
    """One call of a layer on KerasTensors."""

    def __init__(self, layer: Layer, args: Any, kwargs: dict[str, Any]) -> None:
        self.layer, self.args, self.kwargs = layer, args, kwargs
        self.outputs: list[KerasTensor] = []
