"""Activations as layers."""

from __future__ import annotations

from typing import Any

from .._functional import elementwise as _e
from . import functional as F
from .module import Module

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
]


def _layer(name: str, fn: Any, inplace: bool = False) -> Any:
    """A Module around a function without parameters; `inplace` is taken and changes nothing that can be seen."""

    def forward(self: Module, input: Any) -> Any:
        return fn(input)

    def init_inplace(self: Any, inplace: bool = False) -> None:
        Module.__init__(self)
        self.inplace = inplace

    body: dict[str, Any] = {"forward": forward, "__doc__": fn.__doc__, "__module__": __name__, "__qualname__": name}
    if inplace:
        body["__init__"] = init_inplace
        body["extra_repr"] = lambda self: "inplace=True" if self.inplace else ""
    return type(name, (Module,), body)


ReLU = _layer("ReLU", _e.relu, True)
ReLU6 = _layer("ReLU6", _e.relu6, True)
SELU = _layer("SELU", _e.selu, True)
SiLU = _layer("SiLU", _e.silu, True)
Mish = _layer("Mish", _e.mish, True)
Hardsigmoid = _layer("Hardsigmoid", _e.hardsigmoid, True)
Hardswish = _layer("Hardswish", _e.hardswish, True)
Sigmoid = _layer("Sigmoid", _e.sigmoid)
Tanh = _layer("Tanh", _e.tanh)
Softsign = _layer("Softsign", _e.softsign)
LogSigmoid = _layer("LogSigmoid", F.logsigmoid)


class LeakyReLU(Module):
    """x where it is positive, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return _e.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(Module):
    """x where it is positive, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return _e.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """x times the normal distribution function of x, or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return _e.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """exp(x) divided by its sum over a dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of softmax over a dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
