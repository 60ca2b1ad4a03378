"""PyTorch's activation functions. `inplace` is taken and changes nothing but the memory that is used, which is decided
elsewhere: the functions ending in _ change their argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .._functional import elementwise as _e
from .._functional.indexing import inplace as _inplace
from .._functional.shape import axis_of, permute
from ._layout import channels_last

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "selu", "selu_", "sigmoid",
    "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip

Tensor = Any


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return _e.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]."""
    return _e.relu6(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    return _e.leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return _e.elu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalising variant of elu."""
    return _e.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    return _e.celu(input, alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _e.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _e.mish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 limited to [0, 1]."""
    return _e.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x)."""
    return _e.hardswish(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]."""
    return _e.hardtanh(input, min_val, max_val)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above the threshold, else the value."""
    return _e.threshold(input, threshold, value)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; approximate="tanh" for the usual approximation."""
    return _e.gelu(input, approximate)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _e.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _e.tanh(input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return _e.softsign(input)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return _e.tanhshrink(input)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return _e.hardshrink(input, lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, at most as far as 0."""
    return _e.softshrink(input, lambd)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
    if threshold < 20 or beta <= 0 or input.dtype.name != "float32":
        scaled = _e.mul(input, beta)
        return _e.where(scaled > threshold, input, _e.div(_e.softplus(scaled), beta))
    # From 20 on the two agree to the last bit of float32.
    return _e.softplus(input) if beta == 1 else _e.div(_e.softplus(_e.mul(input, beta)), beta)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    return _e.neg(_e.softplus(_e.neg(input)))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of x along a dimension times the sigmoid of the second."""
    if input._phys is None:
        return _e.glu(input, dim)
    source, perm = input._phys
    return permute(_e.glu(source, perm[axis_of("glu", dim, len(perm))]), perm)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, else weight * x, with one weight for all of (n, c, ...) or one a channel."""
    count = weight.numel()
    channels = input.shape[1] if len(input.shape) > 1 else 1
    if len(weight.shape) > 1 or count not in (1, channels):
        raise ValueError(
            f"prelu: weight: expected one element or one for each of {channels} channels, got shape "
            f"{tuple(weight.shape)}"
        )
    if len(input.shape) < 3:
        return _e.prelu(input, weight)
    x, back = channels_last(input)
    return permute(_e.prelu(x, weight), back)


def _changing(fn: Callable[..., Tensor]) -> Any:
    def change(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _inplace(input, lambda x: fn(x, *args, **kwargs))

    change.__name__ = change.__qualname__ = f"{fn.__name__}_"
    change.__doc__ = f"`{fn.__name__}` in the memory of its argument."
    own = inspect.signature(fn)
    kept = [p for p in own.parameters.values() if p.name != "inplace"]
    change.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
    return change


relu_ = _changing(relu)
leaky_relu_ = _changing(leaky_relu)
elu_ = _changing(elu)
selu_ = _changing(selu)
celu_ = _changing(celu)
hardtanh_ = _changing(hardtanh)
threshold_ = _changing(threshold)
