"""Activations by name, as functions on tensors (Keras' names)."""

from __future__ import annotations

from typing import Any

from ._kernels._call import op
from ._suggest import unknown_name
from .autograd import Tensor, apply

__all__ = [
    "elu", "exponential", "gelu", "get", "hard_sigmoid", "hard_swish", "leaky_relu", "linear", "log_softmax", "mish",
    "relu", "relu6", "selu", "serialize", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip


def _activation(x: Tensor, name: str, alpha: float | None = None) -> Tensor:
    return apply(op("activation", {"activation": name, "alpha": alpha}), x)


def _keep_logits(y: Tensor, x: Tensor, kind: str, last_axis: bool = True) -> Tensor:
    # As plans join softmax or sigmoid with the cross-entropy that follows, the eager loss can do it, too.
    if last_axis and type(y) is Tensor:
        y._logits = (kind, x, y._version[0], x._version[0])
    return y


def logits_of(y: Tensor, kind: str) -> Tensor | None:
    """What went into the softmax or sigmoid that made `y`, if one did and neither was written to since."""
    note = getattr(y, "_logits", None)
    if note is None:
        return None
    made_by, x, *versions = note
    return x if made_by == kind and versions == [y._version[0], x._version[0]] else None


def linear(x: Tensor) -> Tensor:
    """The input itself."""
    return x


def relu(x: Tensor, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """``max(x, 0)``; `negative_slope` for x < 0; `max_value` 6 caps it. Other caps and thresholds are refused."""
    if threshold != 0.0 or max_value not in (None, 6, 6.0) or (negative_slope and max_value is not None):
        raise NotImplementedError("relu: supported are negative_slope alone, or max_value=6 alone; threshold must be 0")
    if max_value is not None:
        return relu6(x)
    return _activation(x, "leaky_relu", negative_slope) if negative_slope else _activation(x, "relu")


def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """x, or ``negative_slope * x`` where x < 0."""
    return _activation(x, "leaky_relu", negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or ``alpha * (exp(x) - 1)`` where x < 0."""
    return _activation(x, "elu", alpha)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """``x * Phi(x)`` with the normal distribution function, or its tanh approximation."""
    return _activation(x, "gelu_tanh" if approximate else "gelu")


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Exponentials that sum to 1 along the axis."""
    return _keep_logits(apply(op("softmax", {"axis": axis}), x), x, "softmax", axis in (-1, len(x.shape) - 1))


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return _keep_logits(_activation(x, "sigmoid"), x, "sigmoid")


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of softmax, without its cancellation."""
    return apply(op("log_softmax", {"axis": axis}), x)


def _named(name: str, doc: str) -> Any:
    def function(x: Tensor) -> Tensor:
        return _activation(x, name)

    function.__name__ = name
    function.__doc__ = doc
    return function


relu6 = _named("relu6", "``min(max(x, 0), 6)``.")
selu = _named("selu", "Scaled exponential unit (Klambauer et al. 2017).")
tanh = _named("tanh", "Hyperbolic tangent.")
softplus = _named("softplus", "``log(1 + exp(x))``.")
softsign = _named("softsign", "``x / (1 + |x|)``.")
silu = _named("silu", "``x * sigmoid(x)``, also called swish.")
swish = silu
mish = _named("mish", "``x * tanh(softplus(x))``.")
hard_sigmoid = _named("hard_sigmoid", "``clip(x / 6 + 1 / 2, 0, 1)``.")
hard_swish = _named("hard_swish", "``x * hard_sigmoid(x)``.")
exponential = _named("exp", "``exp(x)``.")

_FUNCTIONS: dict[str, Any] = {
    "elu": elu, "exponential": exponential, "gelu": gelu, "hard_sigmoid": hard_sigmoid, "hard_silu": hard_swish,
    "hard_swish": hard_swish, "leaky_relu": leaky_relu, "linear": linear, "log_softmax": log_softmax, "mish": mish,
    "relu": relu, "relu6": relu6, "selu": selu, "sigmoid": sigmoid, "silu": silu, "softmax": softmax,
    "softplus": softplus, "softsign": softsign, "swish": silu, "tanh": tanh,
}  # fmt: skip

# Those that a dense or convolution kernel applies in its epilogue, by the ops' name and parameter. Not sigmoid: plans
# join it with the cross-entropy that follows, or put it into the epilogue themselves.
FUSABLE: dict[Any, tuple[str, float | None]] = {
    linear: ("identity", None), relu: ("relu", None), relu6: ("relu6", None), elu: ("elu", 1.0), selu: ("selu", None),
    leaky_relu: ("leaky_relu", 0.2), tanh: ("tanh", None), softplus: ("softplus", None),
    hard_sigmoid: ("hard_sigmoid", None), silu: ("silu", None), gelu: ("gelu", None), mish: ("mish", None),
    hard_swish: ("hard_swish", None), softsign: ("softsign", None), exponential: ("exp", None),
}  # fmt: skip


def get(identifier: Any) -> Any:
    """An activation from its name, or a callable as it is; None is linear."""
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        if identifier not in _FUNCTIONS:
            raise unknown_name("activation", identifier, _FUNCTIONS)
        return _FUNCTIONS[identifier]
    if callable(identifier):
        return identifier
    raise TypeError(f"activation: expected a name or a callable, got {type(identifier).__name__}")


def serialize(function: Any) -> str:
    """The name by which `get` finds the activation again."""
    for name, known in _FUNCTIONS.items():
        if known is function:
            return name
    raise TypeError(f"activation: only activations with a name can be saved, got {function!r}")
