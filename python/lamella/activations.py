"""Activations by name, as functions on tensors (Keras' names)."""

from __future__ import annotations

from typing import Any

from . import autograd as ag
from ._custom import custom, find, get_registered_name
from ._errors import short
from ._functional import elementwise as e
from ._kernels._call import op
from ._suggest import unknown_name

Tensor = ag.Tensor

__all__ = [
    "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "serialize", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
    "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip


def _activation(x: Tensor, name: str, alpha: float | None = None) -> Tensor:
    return ag.apply(op("activation", {"activation": name, "alpha": alpha}), x)


def _keep_logits(y: Tensor, x: Tensor, kind: str, last_axis: bool = True) -> Tensor:
    # As plans join softmax or sigmoid with the cross-entropy that follows, the eager loss can do it, too.
    if last_axis and type(y) is ag.Tensor:
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
    """x above `threshold`, at most `max_value`; ``negative_slope * (x - threshold)`` below it."""
    if max_value is None and threshold == 0.0:
        return _activation(x, "leaky_relu", negative_slope) if negative_slope else _activation(x, "relu")
    y = e.threshold(x, threshold, 0.0) if threshold != 0.0 else _activation(x, "relu6" if max_value == 6 else "relu")
    if max_value is not None and (threshold != 0.0 or max_value != 6):
        y = y.clamp(0.0, max_value)
    if negative_slope:
        y = y - _activation(threshold - x if threshold else -x, "relu") * negative_slope
    return y


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
    return _keep_logits(ag.apply(op("softmax", {"axis": axis}), x), x, "softmax", axis in (-1, len(x.shape) - 1))


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return _keep_logits(_activation(x, "sigmoid"), x, "sigmoid")


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of softmax, without its cancellation."""
    return ag.apply(op("log_softmax", {"axis": axis}), x)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or ``alpha * (exp(x / alpha) - 1)`` where x < 0."""
    return e.celu(x, alpha)


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """Half of the input along the axis times the sigmoid of the other half."""
    return e.glu(x, axis)


def hard_tanh(x: Tensor) -> Tensor:
    """x limited to [-1, 1]."""
    return e.hardtanh(x)


def hard_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """x, or 0 where |x| <= threshold."""
    return e.hardshrink(x, threshold)


def soft_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """x moved towards 0 by the threshold, at most as far as 0."""
    return e.softshrink(x, threshold)


def tanh_shrink(x: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    return e.tanhshrink(x)


def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """x where it is above the threshold, else the default value."""
    return e.threshold(x, threshold, default_value)


def log_sigmoid(x: Tensor) -> Tensor:
    """The logarithm of sigmoid."""
    return -_activation(-x, "softplus")


def sparse_plus(x: Tensor) -> Tensor:
    """0 up to -1, x from 1 on, and ``(x + 1)**2 / 4`` between."""
    return e.where(x < 1.0, (x.clamp(min=-1.0) + 1.0).square() * 0.25, x)


def sparse_sigmoid(x: Tensor) -> Tensor:
    """``(x + 1) / 2`` limited to [0, 1]."""
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0)


def squareplus(x: Tensor, b: float = 4) -> Tensor:
    """``(x + sqrt(x**2 + b)) / 2``."""
    return (x + (x.square() + float(b)).sqrt()) * 0.5


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
hard_silu = hard_swish
exponential = _named("exp", "``exp(x)``.")

_FUNCTIONS: dict[str, Any] = {
    "elu": elu, "exponential": exponential, "gelu": gelu, "hard_sigmoid": hard_sigmoid, "hard_silu": hard_swish,
    "hard_swish": hard_swish, "leaky_relu": leaky_relu, "linear": linear, "log_softmax": log_softmax, "mish": mish,
    "relu": relu, "relu6": relu6, "selu": selu, "sigmoid": sigmoid, "silu": silu, "softmax": softmax,
    "softplus": softplus, "softsign": softsign, "swish": silu, "tanh": tanh, "celu": celu, "glu": glu,
    "hard_shrink": hard_shrink, "hard_tanh": hard_tanh, "log_sigmoid": log_sigmoid, "soft_shrink": soft_shrink,
    "sparse_plus": sparse_plus, "sparse_sigmoid": sparse_sigmoid, "squareplus": squareplus,
    "tanh_shrink": tanh_shrink, "threshold": threshold,
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
        found = find(identifier, _FUNCTIONS)
        if found is None:
            raise unknown_name("activation", identifier, {**_FUNCTIONS, **custom()})
        return found
    if callable(identifier):
        return identifier
    raise TypeError(f"activation: expected a name or a callable, got {type(identifier).__name__}")


def serialize(activation: Any) -> str:
    """The name by which `get` finds the activation again; the user's own are found in `custom_objects`."""
    for name, known in _FUNCTIONS.items():
        if known is activation:
            return name
    name = getattr(activation, "__name__", "")
    if not name.isidentifier() or name in _FUNCTIONS:
        raise TypeError(f"activation: only activations with a name can be saved, got {short(activation)}")
    return get_registered_name(activation)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The activation of a name that `serialize` gave."""
    return find(config, {}, custom_objects) or get(config)
