"""Activations, unary functions, broadcasting arithmetic, comparisons; element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from ._call import op, run, run_backward

__all__ = [
    "activation",
    "activation_backward",
    "clip",
    "clip_backward",
    "where",
]

Array = np.ndarray


# --- activations -------------------------------------------------------------------------------------------------


def activation(x: Array, name: str, alpha: float | None = None, out: Array | None = None) -> Array:
    """An activation by its name.

    Parameters
    ----------
    x : ndarray of float32 or float64
    name : str
        "relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh",
        "hard_sigmoid", "hard_swish", "relu6", "softsign", "exp", "mish" or "identity".
    alpha : float, optional
        The slope of leaky_relu (default 0.01) or the scale of elu (default 1); the others have none.
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return run("activation", {"activation": name, "alpha": alpha}, [x], out=out)


def activation_backward(grad: Array, x: Array, name: str, alpha: float | None = None) -> Array:
    """The gradient of an activation by its input.

    Parameters
    ----------
    grad : ndarray
        The gradient by the activation's output.
    x : ndarray
        The activation's input.
    name, alpha
        As for `activation`.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return cast(Array, run_backward("activation", {"activation": name, "alpha": alpha}, [x], [grad])[0])


def _activation(name: str, formula: str) -> Callable[..., Array]:
    def function(x: Array, out: Array | None = None) -> Array:
        return run("activation", {"activation": name}, [x], out=out)

    return _named(
        function,
        name,
        f"""{formula}.

    Parameters
    ----------
    x : ndarray of float32 or float64
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """,
    )


def _gradient(name: str, of: str) -> Callable[..., Array]:
    def function(grad: Array, value: Array) -> Array:
        return _activation_gradient(name, None, grad, value)

    what = "output, which is all that the gradient needs" if of == "y" else "input"
    return _named(
        function,
        f"{name}_backward",
        f"""The gradient of `{name}` by its input.

    Parameters
    ----------
    grad : ndarray
        The gradient by the output of `{name}`.
    value : ndarray
        Its {what}.

    Returns
    -------
    ndarray
        Of value's shape and dtype.
    """,
    )


def _activation_gradient(name: str, alpha: float | None, grad: Array, value: Array) -> Array:
    # The op reads its input or its output, whichever it keeps; both have one shape.
    o = op("activation", {"activation": name, "alpha": alpha})
    return o.backward([value], [value], [], [grad], [True])[0]


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    __all__.append(name)
    return function


relu = _activation("relu", "max(x, 0)")
selu = _activation("selu", "The self-normalising variant of elu")
sigmoid = _activation("sigmoid", "1 / (1 + exp(-x))")
tanh = _activation("tanh", "The hyperbolic tangent")
softplus = _activation("softplus", "log(1 + exp(x))")
silu = _activation("silu", "x * sigmoid(x), also called swish")
gelu = _activation("gelu", "x times the normal distribution function of x, by erf")
gelu_tanh = _activation("gelu_tanh", "The approximation of `gelu` by tanh")
hard_sigmoid = _activation("hard_sigmoid", "x / 6 + 1/2 limited to [0, 1]")
hard_swish = _activation("hard_swish", "x * hard_sigmoid(x)")
relu6 = _activation("relu6", "x limited to [0, 6]")
softsign = _activation("softsign", "x / (1 + |x|)")
mish = _activation("mish", "x * tanh(softplus(x))")

relu_backward = _gradient("relu", "y")
selu_backward = _gradient("selu", "y")
sigmoid_backward = _gradient("sigmoid", "y")
tanh_backward = _gradient("tanh", "y")
softplus_backward = _gradient("softplus", "y")
hard_sigmoid_backward = _gradient("hard_sigmoid", "y")
relu6_backward = _gradient("relu6", "y")
silu_backward = _gradient("silu", "x")
gelu_backward = _gradient("gelu", "x")
gelu_tanh_backward = _gradient("gelu_tanh", "x")
hard_swish_backward = _gradient("hard_swish", "x")
softsign_backward = _gradient("softsign", "x")
mish_backward = _gradient("mish", "x")


def leaky_relu(x: Array, negative_slope: float = 0.01, out: Array | None = None) -> Array:
    """x where it is positive, else negative_slope * x.

    Parameters
    ----------
    x : ndarray of float32 or float64
    negative_slope : float
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return activation(x, "leaky_relu", float(negative_slope), out)


def leaky_relu_backward(grad: Array, x: Array, negative_slope: float = 0.01) -> Array:
    """The gradient of `leaky_relu` by its input.

    Parameters
    ----------
    grad : ndarray
        The gradient by the output.
    x : ndarray
        The input; where the slope is not negative the output serves as well.
    negative_slope : float

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return _activation_gradient("leaky_relu", float(negative_slope), grad, x)


def elu(x: Array, alpha: float = 1.0, out: Array | None = None) -> Array:
    """x where it is positive, else alpha * (exp(x) - 1).

    Parameters
    ----------
    x : ndarray of float32 or float64
    alpha : float
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return activation(x, "elu", float(alpha), out)


def elu_backward(grad: Array, y: Array, alpha: float = 1.0) -> Array:
    """The gradient of `elu` by its input.

    Parameters
    ----------
    grad : ndarray
        The gradient by the output.
    y : ndarray
        The output.
    alpha : float
        Not negative: else the output does not tell where the input was; see `activation_backward`.

    Returns
    -------
    ndarray
        Of y's shape and dtype.
    """
    if alpha < 0:
        raise ValueError(f"elu_backward: alpha: expected at least 0, got {alpha}")
    return _activation_gradient("elu", float(alpha), grad, y)


__all__ += ["elu", "elu_backward", "leaky_relu", "leaky_relu_backward"]


# --- unary functions ---------------------------------------------------------------------------------------------


def _unary(name: str, what: str) -> Callable[..., Array]:
    def function(x: Array, out: Array | None = None) -> Array:
        return run(name, {}, [x], out=out)

    return _named(
        function,
        name,
        f"""{what}.

    Parameters
    ----------
    x : ndarray of float32 or float64
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """,
    )


neg = _unary("neg", "-x")
abs = _unary("abs", "The absolute value")
sign = _unary("sign", "-1, 0 or 1 as x is negative, zero or positive; NaN stays")
square = _unary("square", "x * x")
sqrt = _unary("sqrt", "The square root")
rsqrt = _unary("rsqrt", "1 / sqrt(x)")
reciprocal = _unary("reciprocal", "1 / x")
exp = _unary("exp", "e to the power of x")
expm1 = _unary("expm1", "exp(x) - 1, accurate near 0")
log = _unary("log", "The natural logarithm")
log1p = _unary("log1p", "log(1 + x), accurate near 0")
sin = _unary("sin", "The sine")
cos = _unary("cos", "The cosine")
erf = _unary("erf", "The error function")
floor = _unary("floor", "The largest whole number not above x")
ceil = _unary("ceil", "The smallest whole number not below x")
round = _unary("round", "The nearest whole number, halves to even")


def clip(x: Array, min: float | None = None, max: float | None = None, out: Array | None = None) -> Array:
    """x limited to [min, max]; NaN stays.

    Parameters
    ----------
    x : ndarray of float32 or float64
    min, max : float, optional
        None for no bound.
    out : ndarray, optional
        Where to put the result; may be `x` itself.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return run("clip", _bounds(min, max), [x], out=out)


def clip_backward(grad: Array, x: Array, min: float | None = None, max: float | None = None) -> Array:
    """The gradient of `clip` by its input: grad where min <= x <= max, else 0.

    Parameters
    ----------
    grad : ndarray
        The gradient by the output.
    x : ndarray
        The input.
    min, max : float, optional
        As for `clip`.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return op("clip", _bounds(min, max)).backward([x], [None], [], [grad], [True])[0]


def _bounds(low: float | None, high: float | None) -> dict[str, float | None]:
    return {"min": None if low is None else float(low), "max": None if high is None else float(high)}


# --- two operands ------------------------------------------------------------------------------------------------


def _pair(a: Any, b: Any) -> list[Any]:
    """Plain numbers take the dtype of the other operand."""
    if isinstance(b, (int, float)) and isinstance(a, np.ndarray):
        b = np.asarray(b, a.dtype)
    elif isinstance(a, (int, float)) and isinstance(b, np.ndarray):
        a = np.asarray(a, b.dtype)
    return [a, b]


def _binary(name: str, what: str, result: str = "float") -> Callable[..., Array]:
    def function(a: Any, b: Any, out: Array | None = None) -> Array:
        return run(name, {}, _pair(a, b), out=out)

    returns = (
        "Of the shape that both broadcast to."
        if result == "float"
        else "uint8 of the shape that both broadcast to: 1 where it holds, else 0."
    )
    return _named(
        function,
        name,
        f"""{what}, with NumPy's broadcasting.

    Parameters
    ----------
    a, b : ndarray of float32 or float64, or number
        Both of one dtype; a number takes the other's.
    out : ndarray, optional
        Where to put the result{"; may be `a` itself" if result == "float" else ""}.

    Returns
    -------
    ndarray
        {returns}
    """,
    )


def _binary_gradient(name: str) -> Callable[..., tuple[Array, Array]]:
    def function(grad: Array, a: Any, b: Any) -> tuple[Array, Array]:
        da, db = run_backward(name, {}, _pair(a, b), [grad])
        return cast(Array, da), cast(Array, db)

    return _named(
        function,
        f"{name}_backward",
        f"""The gradients of `{name}` by both operands, summed over the dimensions that were broadcast.

    Parameters
    ----------
    grad : ndarray
        The gradient by the output.
    a, b : ndarray or number
        The operands.

    Returns
    -------
    tuple of ndarray
        Of the operands' shapes.
    """,
    )


add = _binary("add", "a + b")
sub = _binary("sub", "a - b")
mul = _binary("mul", "a * b")
div = _binary("div", "a / b")
maximum = _binary("maximum", "The larger of a and b, NaN if either is")
minimum = _binary("minimum", "The smaller of a and b, NaN if either is")
pow = _binary("pow", "a to the power of b")
equal = _binary("equal", "a == b", "mask")
not_equal = _binary("not_equal", "a != b", "mask")
less = _binary("less", "a < b", "mask")
less_equal = _binary("less_equal", "a <= b", "mask")
greater = _binary("greater", "a > b", "mask")
greater_equal = _binary("greater_equal", "a >= b", "mask")

add_backward = _binary_gradient("add")
sub_backward = _binary_gradient("sub")
mul_backward = _binary_gradient("mul")
div_backward = _binary_gradient("div")
maximum_backward = _binary_gradient("maximum")
minimum_backward = _binary_gradient("minimum")
pow_backward = _binary_gradient("pow")


def where(condition: Array, a: Any, b: Any, out: Array | None = None) -> Array:
    """a where the condition holds, else b; all three broadcast.

    Parameters
    ----------
    condition : ndarray of bool or uint8
    a, b : ndarray of float32 or float64, or number
        Both of one dtype; a number takes the other's.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray
        Of the shape that the three broadcast to.
    """
    return run("where", {}, [condition, *_pair(a, b)], out=out)
