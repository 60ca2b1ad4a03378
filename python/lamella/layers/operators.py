"""Arithmetic and indexing of symbolic tensors, as layers."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .._errors import short
from ._symbolic import KerasTensor
from .base import Layer

__all__ = ["Operator"]

_BINARY: dict[str, Any] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
}
_UNARY: dict[str, Any] = {"neg": operator.neg, "abs": operator.abs}


class Operator(Layer):
    """What arithmetic on symbolic tensors makes: ``1 - x``, ``x / y``, ``-x``, ``x @ y``, ``x[:, -1]``.

    Parameters
    ----------
    function : {"add", "sub", "mul", "div", "pow", "matmul", "neg", "abs", "getitem"}
    constant : float, optional
        The other operand, where it is no tensor.
    reflected : bool
        Whether the constant comes first.
    index : list, optional
        For "getitem": integers, None, "..." and slices as [start, stop, step].
    **kwargs
        See `Layer`.
    """

    def __init__(
        self, function: str, constant: float | None = None, reflected: bool = False, index: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        known = (*_BINARY, *_UNARY, "matmul", "getitem")
        if function not in known:
            raise ValueError(f"Operator: function: expected one of {', '.join(known)}, got {short(function)}")
        self.function, self.constant, self.reflected = function, constant, bool(reflected)
        self.index = None if index is None else [list(i) if isinstance(i, (list, tuple)) else i for i in index]
        self.supports_masking = function in _UNARY or constant is not None

    def call(self, inputs: Any) -> Any:
        if self.function in _UNARY:
            return _UNARY[self.function](inputs)
        if self.function == "getitem":
            places = {"...": Ellipsis}
            return inputs[tuple(slice(*i) if isinstance(i, list) else places.get(i, i) for i in self.index or [])]
        if self.function == "matmul":
            return inputs[0] @ inputs[1]
        operation = _BINARY[self.function]
        if self.constant is None:
            return operation(inputs[0], inputs[1])
        return operation(self.constant, inputs) if self.reflected else operation(inputs, self.constant)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "function": self.function}
        if self.constant is not None:
            config.update(constant=self.constant, reflected=self.reflected)
        if self.index is not None:
            config["index"] = self.index
        return config


def calculate(function: str, x: KerasTensor, other: Any = None, reflected: bool = False) -> Any:
    """The symbolic tensor that an operator gives; NotImplemented where `other` is no operand for it."""
    if function in _UNARY:
        return Operator(function)(x)
    if isinstance(other, KerasTensor):
        return Operator(function)([other, x] if reflected else [x, other])
    if function != "matmul" and isinstance(other, (int, float, np.number)) and not isinstance(other, bool):
        return Operator(function, constant=float(other), reflected=reflected)(x)
    return NotImplemented


def pick(x: KerasTensor, index: Any) -> Any:
    """The symbolic tensor x[index]."""
    entries = index if isinstance(index, tuple) else (index,)
    found: list[Any] = []
    for i in entries:
        if isinstance(i, slice):
            found.append([i.start, i.stop, i.step])
        elif i is Ellipsis:
            found.append("...")
        elif i is None or hasattr(i, "__index__"):
            found.append(i if i is None else int(i))
        else:
            raise TypeError(f"KerasTensor: index: expected integers, slices, None and ..., got {short(i)}")
    return Operator("getitem", index=found)(x)
