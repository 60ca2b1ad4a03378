"""Sums, means, extrema, norms and variances over any set of axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .. import _cpu
from ._call import run, run_backward

__all__: list[str] = []

Array = np.ndarray
Axis = int | Sequence[int] | None


def _attrs(axis: Axis, keepdims: bool, **more: Any) -> dict[str, Any]:
    axes = [axis] if isinstance(axis, int) else axis
    return {"axes": axes, "keepdims": keepdims, **more}


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    __all__.append(name)
    return function


_PARAMETERS = """
    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int or sequence of int, optional
        The axes to reduce; all of them if None.
    keepdims : bool
        Whether they stay, with size 1."""
_DDOF = """
    ddof : float
        What is taken off the number of elements in the denominator."""
_RETURNS = """
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray
        Without the reduced axes, or with size 1 there.
    """
_GRADIENT = """
    Parameters
    ----------
    grad : ndarray
        The gradient by the output.
    x : ndarray
        The input."""
_GRADIENT_RETURNS = """

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """


def _reduction(name: str, what: str) -> Callable[..., Array]:
    def function(x: Array, axis: Axis = None, keepdims: bool = False, out: Array | None = None) -> Array:
        return run(name, _attrs(axis, keepdims), [x], out=out)

    return _named(function, name, f"{what}.\n{_PARAMETERS}{_RETURNS}")


def _gradient(name: str) -> Callable[..., Array]:
    def function(grad: Array, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return cast(Array, run_backward(name, _attrs(axis, keepdims), [x], [grad])[0])

    doc = f"The gradient of `{name}` by its input.\n{_GRADIENT}\n    axis, keepdims\n        As for `{name}`."
    return _named(function, f"{name}_backward", doc + _GRADIENT_RETURNS)


sum = _reduction("sum", "The sum, blocked and pairwise: accurate, and the same bits for any number of threads")
mean = _reduction("mean", "The mean")
prod = _reduction("prod", "The product")
max = _reduction("max", "The largest element, NaN if there is one")
min = _reduction("min", "The smallest element, NaN if there is one")
sum_squares = _reduction("sum_squares", "The sum of squares")
norm = _reduction("norm", "The square root of the sum of squares")

sum_backward = _gradient("sum")
mean_backward = _gradient("mean")
prod_backward = _gradient("prod")
max_backward = _gradient("max")
min_backward = _gradient("min")
sum_squares_backward = _gradient("sum_squares")
norm_backward = _gradient("norm")


def _variance(name: str, what: str) -> Callable[..., Array]:
    def function(
        x: Array, axis: Axis = None, ddof: float = 0.0, keepdims: bool = False, out: Array | None = None
    ) -> Array:
        return run(name, _attrs(axis, keepdims, ddof=float(ddof)), [x], out=out)

    return _named(function, name, f"{what}.\n{_PARAMETERS}{_DDOF}{_RETURNS}")


def _variance_gradient(name: str) -> Callable[..., Array]:
    def function(grad: Array, x: Array, axis: Axis = None, ddof: float = 0.0, keepdims: bool = False) -> Array:
        return cast(Array, run_backward(name, _attrs(axis, keepdims, ddof=float(ddof)), [x], [grad])[0])

    doc = f"The gradient of `{name}` by its input.\n{_GRADIENT}\n    axis, ddof, keepdims\n        As for `{name}`."
    return _named(function, f"{name}_backward", doc + _GRADIENT_RETURNS)


var = _variance("var", "The variance, in two passes")
std = _variance("std", "The standard deviation")
var_backward = _variance_gradient("var")
std_backward = _variance_gradient("std")


def _arg(name: str, what: str) -> Callable[..., Array]:
    def function(x: Array, axis: int | None = None, keepdims: bool = False, out: Array | None = None) -> Array:
        return run(name, {"axis": axis, "keepdims": keepdims}, [x], out=out)

    return _named(
        function,
        name,
        f"""{what}: the first of equal ones, the first NaN if there is one.

    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int, optional
        The axis to search along; the whole array in order if None.
    keepdims : bool
        Whether the axis (or, with None, every axis) stays, with size 1.
    out : ndarray of int64, optional
        Where to put the result.

    Returns
    -------
    ndarray of int64
    """,
    )


def global_norm(arrays: Sequence[Array]) -> float:
    """The L2 norm of all elements of several arrays together: what gradients are clipped by.

    Parameters
    ----------
    arrays : sequence of ndarray
        Of any shapes, float32 or float64, also mixed.

    Returns
    -------
    float
        0 where there are no elements. Squares and sums are taken in double, so that float32 arrays of any size and
        magnitude have a finite norm; the bits are the same for any number of threads.
    """
    return _cpu.global_norm([np.asarray(x) for x in arrays])


__all__.append("global_norm")

argmax = _arg("argmax", "Where the largest element is")
argmin = _arg("argmin", "Where the smallest element is")
