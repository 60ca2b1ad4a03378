"""Activations, unary functions, broadcasting arithmetic, comparisons; element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._call import run
from ._function import Call, gradient, kernel

__all__: list[str] = []


def _public(function: Any) -> Any:
    __all__.append(function.__name__)
    return function


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _gradient(function: Any, *by: str, y: bool = False, note: str = "") -> Any:
    return _public(gradient(function, *by, y=y, note=note))


# --- activations -------------------------------------------------------------------------------------------------


@_public
@kernel(in_place="x")
def activation(x: np.ndarray, name: str, alpha: float | None = None) -> Call:
    """An activation by its name.

    Parameters
    ----------
    x : ndarray of float32 or float64
    name : str
        "relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh",
        "hard_sigmoid", "hard_swish", "relu6", "softsign", "exp", "mish" or "identity".
    alpha : float, optional
        The slope of leaky_relu (default 0.01) or the scale of elu (default 1); the others have none.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return Call("activation", {"activation": name, "alpha": alpha}, {"x": x})


@_public
@kernel(in_place="x")
def leaky_relu(x: np.ndarray, negative_slope: float = 0.01) -> Call:
    """x where it is positive, else negative_slope * x.

    Parameters
    ----------
    x : ndarray of float32 or float64
    negative_slope : float

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return Call("activation", {"activation": "leaky_relu", "alpha": float(negative_slope)}, {"x": x})


@_public
@kernel(in_place="x")
def elu(x: np.ndarray, alpha: float = 1.0) -> Call:
    """x where it is positive, else alpha * (exp(x) - 1).

    Parameters
    ----------
    x : ndarray of float32 or float64
    alpha : float

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return Call("activation", {"activation": "elu", "alpha": float(alpha)}, {"x": x})


def _of_one(op: str, attrs: dict[str, Any], name: str, what: str) -> Any:
    def build(x: np.ndarray) -> Call:
        return Call(op, attrs, {"x": x})

    doc = f"""{what}.

    Parameters
    ----------
    x : ndarray of float32 or float64

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return _public(kernel(_named(build, name, doc), in_place="x"))


def _activation(name: str, formula: str) -> Any:
    return _of_one("activation", {"activation": name}, name, formula)


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

activation_backward = _gradient(activation, "x", y=True)
leaky_relu_backward = _gradient(leaky_relu, "x", y=True)
elu_backward = _gradient(elu, "x", y=True)
relu_backward = _gradient(relu, "x", y=True)
selu_backward = _gradient(selu, "x", y=True)
sigmoid_backward = _gradient(sigmoid, "x", y=True)
tanh_backward = _gradient(tanh, "x", y=True)
softplus_backward = _gradient(softplus, "x", y=True)
silu_backward = _gradient(silu, "x")
gelu_backward = _gradient(gelu, "x")
gelu_tanh_backward = _gradient(gelu_tanh, "x")
hard_sigmoid_backward = _gradient(hard_sigmoid, "x", y=True)
hard_swish_backward = _gradient(hard_swish, "x")
relu6_backward = _gradient(relu6, "x", y=True)
softsign_backward = _gradient(softsign, "x")
mish_backward = _gradient(mish, "x")


# --- unary functions ---------------------------------------------------------------------------------------------


FLAT = "It is zero."


def _unary(name: str, what: str) -> Any:
    return _of_one(name, {}, name, what)


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

neg_backward = _gradient(neg, "x")
abs_backward = _gradient(abs, "x")
sign_backward = _gradient(sign, "x", note=FLAT)
square_backward = _gradient(square, "x")
sqrt_backward = _gradient(sqrt, "x", y=True)
rsqrt_backward = _gradient(rsqrt, "x", y=True)
reciprocal_backward = _gradient(reciprocal, "x", y=True)
exp_backward = _gradient(exp, "x", y=True)
expm1_backward = _gradient(expm1, "x", y=True)
log_backward = _gradient(log, "x")
log1p_backward = _gradient(log1p, "x")
sin_backward = _gradient(sin, "x")
cos_backward = _gradient(cos, "x")
erf_backward = _gradient(erf, "x")
floor_backward = _gradient(floor, "x", note=FLAT)
ceil_backward = _gradient(ceil, "x", note=FLAT)
round_backward = _gradient(round, "x", note=FLAT)


@_public
@kernel(in_place="x")
def clip(x: np.ndarray, min: float | None = None, max: float | None = None) -> Call:
    """x limited to [min, max]; NaN stays.

    Parameters
    ----------
    x : ndarray of float32 or float64
    min, max : float, optional
        None for no bound.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    bounds = {"min": None if min is None else float(min), "max": None if max is None else float(max)}
    return Call("clip", bounds, {"x": x})


clip_backward = _gradient(clip, "x", note="It passes where min <= x <= max, and is zero elsewhere.")


# --- two operands ------------------------------------------------------------------------------------------------


def _pair(a: Any, b: Any) -> tuple[Any, Any]:
    """Plain numbers take the dtype of the other operand."""
    if isinstance(b, (int, float)) and hasattr(a, "dtype"):
        b = np.asarray(b, a.dtype)
    elif isinstance(a, (int, float)) and hasattr(b, "dtype"):
        a = np.asarray(a, b.dtype)
    return a, b


_OPERANDS = """

    Parameters
    ----------
    a, b : ndarray of float32 or float64, or number
        Both of one dtype; a number takes the other's."""
SUMMED = "They are sums over the dimensions that were broadcast."


def _binary(name: str, what: str) -> Any:
    def build(a: np.ndarray | float, b: np.ndarray | float) -> Call:
        a, b = _pair(a, b)
        return Call(name, {}, {"a": a, "b": b})

    doc = f"""{what}, with NumPy's broadcasting.{_OPERANDS}

    Returns
    -------
    ndarray
        Of the shape that both broadcast to.
    """
    return _public(kernel(_named(build, name, doc), in_place="a"))


def _comparison(name: str, what: str) -> Any:
    def function(a: np.ndarray | float, b: np.ndarray | float, *, out: np.ndarray | None = None) -> np.ndarray:
        return run(name, {}, _pair(a, b), out=out)

    doc = f"""{what}, with NumPy's broadcasting.{_OPERANDS}
    out : ndarray of uint8, optional
        Where to put the result.

    Returns
    -------
    ndarray of uint8
        Of the shape that both broadcast to: 1 where it holds, else 0.
    """
    return _public(_named(function, name, doc))


add = _binary("add", "a + b")
sub = _binary("sub", "a - b")
mul = _binary("mul", "a * b")
div = _binary("div", "a / b")
maximum = _binary("maximum", "The larger of a and b, NaN if either is")
minimum = _binary("minimum", "The smaller of a and b, NaN if either is")
pow = _binary("pow", "a to the power of b")
equal = _comparison("equal", "a == b")
not_equal = _comparison("not_equal", "a != b")
less = _comparison("less", "a < b")
less_equal = _comparison("less_equal", "a <= b")
greater = _comparison("greater", "a > b")
greater_equal = _comparison("greater_equal", "a >= b")

add_backward = _gradient(add, "a", "b", note=SUMMED)
sub_backward = _gradient(sub, "a", "b", note=SUMMED)
mul_backward = _gradient(mul, "a", "b", note=SUMMED)
div_backward = _gradient(div, "a", "b", note=SUMMED)
maximum_backward = _gradient(maximum, "a", "b", note=SUMMED)
minimum_backward = _gradient(minimum, "a", "b", note=SUMMED)
pow_backward = _gradient(pow, "a", "b", y=True, note=SUMMED)


@_public
@kernel
def where(condition: np.ndarray, a: np.ndarray | float, b: np.ndarray | float) -> Call:
    """a where the condition holds, else b; all three broadcast.

    Parameters
    ----------
    condition : ndarray of bool or uint8
    a, b : ndarray of float32 or float64, or number
        Both of one dtype; a number takes the other's.

    Returns
    -------
    ndarray
        Of the shape that the three broadcast to.
    """
    a, b = _pair(a, b)
    return Call("where", {}, {"condition": condition, "a": a, "b": b})


where_backward = _gradient(where, "a", "b", note=SUMMED)
