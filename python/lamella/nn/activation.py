"""Activations as layers."""

from __future__ import annotations

from typing import Any

from . import _activation as A
from . import functional as F
from . import init
from .linear import new_parameter, positive
from .module import Module

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin",
    "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


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


ReLU = _layer("ReLU", A.relu, True)
ReLU6 = _layer("ReLU6", A.relu6, True)
SELU = _layer("SELU", A.selu, True)
SiLU = _layer("SiLU", A.silu, True)
Mish = _layer("Mish", A.mish, True)
Hardsigmoid = _layer("Hardsigmoid", A.hardsigmoid, True)
Hardswish = _layer("Hardswish", A.hardswish, True)
Sigmoid = _layer("Sigmoid", A.sigmoid)
Tanh = _layer("Tanh", A.tanh)
Softsign = _layer("Softsign", A.softsign)
LogSigmoid = _layer("LogSigmoid", A.logsigmoid)
Tanhshrink = _layer("Tanhshrink", A.tanhshrink)


class _Scaled(Module):
    """One with a parameter called alpha."""

    _fn: Any

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return type(self)._fn(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class ELU(_Scaled):
    """x where it is positive, else alpha * (exp(x) - 1)."""

    _fn = staticmethod(A.elu)


class CELU(_Scaled):
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""

    _fn = staticmethod(A.celu)


class LeakyReLU(Module):
    """x where it is positive, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return A.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """x where it is positive, else weight * x.

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels.
    init : float
        Where the weights start.
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        positive("PReLU", num_parameters=num_parameters)
        self.num_parameters = num_parameters
        self.init = init
        self.weight = new_parameter((num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start again."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return A.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val, max_val: expected min_val < max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return A.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class Threshold(Module):
    """x where it is above the threshold, else the value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return A.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class Hardshrink(Module):
    """x where |x| > lambd, else 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        return A.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Module):
    """x moved towards 0 by lambd, at most as far as 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        return A.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class GLU(Module):
    """The first half of x along a dimension times the sigmoid of the second."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return A.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class GELU(Module):
    """x times the normal distribution function of x, or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return A.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Any) -> Any:
        return A.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Distribution(Module):
    _fn: Any

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return type(self)._fn(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Distribution):
    """exp(x) divided by its sum over a dimension."""

    _fn = staticmethod(F.softmax)


class Softmin(_Distribution):
    """exp(-x) divided by its sum over a dimension."""

    _fn = staticmethod(F.softmin)


class LogSoftmax(_Distribution):
    """The logarithm of softmax over a dimension."""

    _fn = staticmethod(F.log_softmax)


class Softmax2d(Module):
    """Softmax over the channels of (n, c, h, w) at every pixel."""

    def forward(self, input: Any) -> Any:
        if len(input.shape) not in (3, 4):
            raise ValueError(f"Softmax2d: input: expected 3 or 4 dimensions, got shape {tuple(input.shape)}")
        return F.softmax(input, -3)
