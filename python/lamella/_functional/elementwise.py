"""Arithmetic, comparison and activation functions, element by element with broadcasting."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float, promoted
from .._errors import short
from .._kernels._call import op as make_op
from .shape import cast, inverse, on_memory, permute, reshape

__all__ = [
    "abs",
    "activation",
    "add",
    "bitwise",
    "clamp",
    "compare",
    "cos",
    "div",
    "elu",
    "erf",
    "exp",
    "expm1",
    "floor_divide",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "log",
    "log1p",
    "logical_not",
    "maximum",
    "minimum",
    "mish",
    "mul",
    "neg",
    "pow",
    "reciprocal",
    "relu",
    "relu6",
    "remainder",
    "round",
    "rsqrt",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "where",
]

Tensor = Any


# --- two operands ------------------------------------------------------------------------------------------------


def _constant(value: Any, like: Tensor) -> Tensor:
    """A number or array as a tensor; numbers take the dtype of the other operand where that can hold them."""
    if type(value) is float or type(value) is int:
        dtype = like.dtype
        if not is_float(dtype) and (type(value) is float or dtype.kind == "b"):
            dtype = np.dtype(np.float32 if type(value) is float else np.int64)
        return ag.wrap(np.asarray(value, dtype))
    array = ag.as_array(value)
    if array.ndim == 0 and is_float(array.dtype) and is_float(like.dtype):
        array = array.astype(like.dtype, copy=False)
    return ag.wrap(array)


def _promoted(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    da, db = a.dtype, b.dtype
    fa, fb = is_float(da), is_float(db)
    if fa != fb:
        dtype = da if fa else db
    elif len(a.shape) == 0 and len(b.shape) > 0:
        dtype = db
    elif len(b.shape) == 0 and len(a.shape) > 0:
        dtype = da
    else:
        dtype = promoted(da, db)
    return cast(a, dtype), cast(b, dtype)


def _operands(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(b, ag.Tensor):
        b = _constant(b, a)
    elif not isinstance(a, ag.Tensor):
        a = _constant(a, b)
    if a.dtype != b.dtype:
        return _promoted(a, b)
    return a, b


def _run(op: Any, a: Tensor, b: Tensor) -> Tensor:
    """The op on the memory as it lies, where an operand is a permuted view."""
    phys = a._phys or b._phys
    if phys is None:
        return ag.apply(op, a, b)
    perm = phys[1]
    rank = len(perm)
    if len(a.shape) > rank or len(b.shape) > rank:
        return ag.apply(op, a, b)
    back = inverse(perm)
    return permute(ag.apply(op, _in_order(a, back), _in_order(b, back)), perm)


def _in_order(x: Tensor, back: tuple[int, ...]) -> Tensor:
    rank = len(x.shape)
    if rank == 0:
        return x
    if rank < len(back):
        x = reshape(x, (1,) * (len(back) - rank) + x.shape)
    return permute(x, back)


@lru_cache(maxsize=64)
def named_op(name: str) -> Any:
    return make_op(name)


def _binary(name: str, of_integers: Any, doc: str) -> Any:
    def function(a: Any, b: Any) -> Tensor:
        a, b = _operands(a, b)
        if not is_float(a.dtype):
            return ag.wrap(ag.as_result(of_integers(_known(name, a), _known(name, b))))
        if a._phys is None and b._phys is None:
            return ag.apply(named_op(name), a, b)
        return _run(named_op(name), a, b)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _known(name: str, x: Tensor) -> np.ndarray:
    """The array of a tensor that is not part of a graph: integers, comparisons."""
    if x._data is None:
        x._refuse(f"{name} of {x.dtype}")
    return x._data


add = _binary("add", np.add, "a + b.")
sub = _binary("sub", np.subtract, "a - b.")
mul = _binary("mul", np.multiply, "a * b.")
maximum = _binary("maximum", np.maximum, "The larger of a and b.")
minimum = _binary("minimum", np.minimum, "The smaller of a and b.")
_div = _binary("div", None, "a / b.")
_pow = _binary("pow", np.power, "a ** b.")


def div(a: Any, b: Any) -> Tensor:
    """a / b; integers become float32."""
    a, b = _operands(a, b)
    if not is_float(a.dtype):
        a, b = cast(a, np.float32), cast(b, np.float32)
    return _div(a, b)


def pow(a: Any, b: Any) -> Tensor:
    """a ** b."""
    if type(b) in (int, float) and isinstance(a, ag.Tensor) and is_float(a.dtype):
        if b == 2:
            return square(a)
        if b == 0.5:
            return sqrt(a)
        if b == 1:
            return a
    return _pow(a, b)


def floor_divide(a: Any, b: Any) -> Tensor:
    """The largest whole number not above a / b."""
    a, b = _operands(a, b)
    if not is_float(a.dtype):
        return ag.wrap(ag.as_result(_known("floor_divide", a) // _known("floor_divide", b)))
    return floor(_div(a, b))


def remainder(a: Any, b: Any) -> Tensor:
    """a - floor(a / b) * b."""
    a, b = _operands(a, b)
    if not is_float(a.dtype):
        return ag.wrap(ag.as_result(_known("remainder", a) % _known("remainder", b)))
    return sub(a, mul(floor(_div(a, b)), b))


def compare(name: str, a: Tensor, b: Any) -> Tensor:
    """A bool tensor (uint8 when traced) of the comparison with NumPy's name: "equal", "less_equal", ..."""
    if name == "equal" and b is None:
        return ag.wrap(np.zeros(a.shape, bool))
    a, b = _operands(a, b)
    if (a._data is None or b._data is None) and is_float(a.dtype):
        return ag.apply(named_op(name), a, b)
    return ag.wrap(ag.as_result(getattr(np, name)(_known(name, a), _known(name, b))))


def bitwise(name: str, a: Tensor, b: Any) -> Tensor:
    """Bits of integers, or logic of bools: "and", "or", "xor"."""
    a, b = _operands(a, b)
    return ag.wrap(ag.as_result(getattr(np, f"bitwise_{name}")(_known(name, a), _known(name, b))))


def logical_not(x: Tensor) -> Tensor:
    """The bits inverted; not x for bools."""
    return ag.wrap(ag.as_result(np.invert(_known("logical_not", x))))


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """a where the condition holds, else b."""
    if not isinstance(a, ag.Tensor) and not isinstance(b, ag.Tensor):
        a = ag.wrap(ag.as_array(a))
    a, b = _operands(a, b)
    if not is_float(a.dtype):
        return ag.wrap(np.where(_known("where", condition), _known("where", a), _known("where", b)))
    return ag.apply(named_op("where"), condition, a, b)


# --- one operand -------------------------------------------------------------------------------------------------


def _float(x: Any) -> Tensor:
    if not isinstance(x, ag.Tensor):
        x = ag.wrap(ag.as_array(x))
    return x if is_float(x.dtype) else cast(x, np.float32)


def _unary(name: str, doc: str, of_integers: Any = None) -> Any:
    def function(x: Tensor) -> Tensor:
        if not isinstance(x, ag.Tensor) or not is_float(x.dtype):
            if of_integers is not None and isinstance(x, ag.Tensor):
                return ag.wrap(ag.as_result(of_integers(_known(name, x))))
            x = _float(x)
        if x._phys is not None:
            return on_memory(function, x)
        return ag.apply(named_op(name), x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


neg = _unary("neg", "-x.", np.negative)
abs = _unary("abs", "The absolute value.", np.abs)
sign = _unary("sign", "-1, 0 or 1.", np.sign)
square = _unary("square", "x * x.", np.square)
sqrt = _unary("sqrt", "The square root.")
rsqrt = _unary("rsqrt", "1 / sqrt(x).")
reciprocal = _unary("reciprocal", "1 / x.")
exp = _unary("exp", "e to the power of x.")
expm1 = _unary("expm1", "exp(x) - 1.")
log = _unary("log", "The natural logarithm.")
log1p = _unary("log1p", "log(1 + x).")
sin = _unary("sin", "The sine.")
cos = _unary("cos", "The cosine.")
erf = _unary("erf", "The error function.")
floor = _unary("floor", "The largest whole number not above x.", np.positive)
ceil = _unary("ceil", "The smallest whole number not below x.", np.positive)
round = _unary("round", "The nearest whole number, halves to even.", np.positive)
__all__ += ["ceil", "floor"]


@lru_cache(maxsize=128)
def clip_op(low: float | None, high: float | None) -> Any:
    return make_op("clip", {"min": low, "max": high})


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element limited to [min, max].

    Parameters
    ----------
    x : Tensor
        Any tensor.
    min, max : number or Tensor, optional
        The bounds; None for no bound.
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min or max, got neither")
    if isinstance(min, ag.Tensor) or isinstance(max, ag.Tensor):
        x = x if min is None else maximum(x, min)
        return x if max is None else minimum(x, max)
    if not is_float(x.dtype):
        return ag.wrap(np.clip(_known("clamp", x), min, max))
    op = clip_op(None if min is None else float(min), None if max is None else float(max))
    return on_memory(lambda m: ag.apply(op, m), x)


# --- activations -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=128)
def activation_op(name: str, alpha: float | None = None) -> Any:
    return make_op("activation", {"activation": name, "alpha": alpha})


def activation(x: Tensor, name: str, alpha: float | None = None) -> Tensor:
    """An activation by the name that the kernels know.

    Parameters
    ----------
    x : Tensor
        Any float tensor.
    name : str
        "relu", "sigmoid", "gelu", ...
    alpha : float, optional
        The slope or scale of those that have one.
    """
    if not isinstance(x, ag.Tensor) or not is_float(x.dtype):
        x = _float(x)
    op = activation_op(name, alpha)
    if x._phys is not None:
        return on_memory(lambda m: ag.apply(op, m), x)
    return ag.apply(op, x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return activation(x, "relu")


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else negative_slope * x."""
    return activation(x, "leaky_relu", float(negative_slope))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    return activation(x, "elu", float(alpha))


def selu(x: Tensor) -> Tensor:
    """The self-normalising variant of elu."""
    return activation(x, "selu")


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return activation(x, "sigmoid")


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return activation(x, "tanh")


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return activation(x, "softplus")


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return activation(x, "silu")


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; approximate="tanh" for the usual approximation."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {short(approximate)}")
    return activation(x, "gelu" if approximate == "none" else "gelu_tanh")


def hardsigmoid(x: Tensor) -> Tensor:
    """x / 6 + 1/2 limited to [0, 1]."""
    return activation(x, "hard_sigmoid")


def hardswish(x: Tensor) -> Tensor:
    """x * hardsigmoid(x)."""
    return activation(x, "hard_swish")


def relu6(x: Tensor) -> Tensor:
    """x limited to [0, 6]."""
    return activation(x, "relu6")


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return activation(x, "softsign")


def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return activation(x, "mish")


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise ValueError("celu: alpha: expected a number other than 0, got 0")
    return elu(x) if alpha == 1 else mul(elu(mul(x, 1.0 / alpha)), alpha)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]."""
    if not min_val <= max_val:
        raise ValueError(f"hardtanh: min_val, max_val: expected min_val <= max_val, got {min_val} and {max_val}")
    return clamp(x, min_val, max_val)


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    """x where it is above the threshold, else the value."""
    return on_memory(lambda m: where(compare("less_equal", m, float(threshold)), float(value), m), x)


def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return on_memory(lambda m: where(compare("less_equal", abs(m), float(lambd)), 0.0, m), x)


def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, at most as far as 0."""
    if not lambd >= 0:
        raise ValueError(f"softshrink: lambd: expected a number >= 0, got {lambd}")
    # Not x less x limited to [-lambd, lambd]: infinities would be NaN.
    return on_memory(lambda m: sub(relu(sub(m, float(lambd))), relu(sub(-float(lambd), m))), x)


def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return sub(x, tanh(x))


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, else weight * x; the weight broadcasts."""
    above = compare("greater", x, 0.0)
    # The inner choice keeps infinities, where they are not wanted, out of the gradient by the weight.
    return where(above, x, mul(where(above, 0.0, x), weight))


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of x along a dimension times the sigmoid of the second."""
    from .shape import axis_of, chunk

    axis = axis_of("glu", dim, len(x.shape))
    if x.shape[axis] % 2:
        raise ValueError(f"glu: x: expected an even size along dimension {dim}, got shape {tuple(x.shape)}")
    a, b = chunk(x, 2, axis)
    return mul(a, sigmoid(b))


__all__ += ["celu", "glu", "hardshrink", "hardtanh", "prelu", "softshrink", "tanhshrink", "threshold"]
