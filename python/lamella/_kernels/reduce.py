"""Sums, means, extrema, norms and variances over any set of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu
from ._call import an_array, run
from ._function import Call, gradient, kernel

__all__: list[str] = []


def _attrs(axis: int | Sequence[int] | None, keepdims: bool) -> dict[str, Any]:
    return {"axes": [axis] if isinstance(axis, int) else axis, "keepdims": keepdims}


def _public(function: Any) -> Any:
    __all__.append(function.__name__)
    return function


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


_PARAMETERS = """
    Parameters
    ----------
    x : ndarray of float32 or float64
    axis : int or sequence of int, optional
        The axes to reduce; all of them if None."""
_KEEPDIMS = """
    keepdims : bool
        Whether they stay, with size 1.

    Returns
    -------
    ndarray
        Without the reduced axes, or with size 1 there; a scalar where none is left.
    """


def _reduction(name: str, what: str) -> Any:
    def build(x: np.ndarray, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Call:
        return Call(name, _attrs(axis, keepdims), {"x": x})

    return _public(kernel(_named(build, name, f"{what}.\n{_PARAMETERS}{_KEEPDIMS}")))


def _variance(name: str, what: str) -> Any:
    def build(
        x: np.ndarray, axis: int | Sequence[int] | None = None, ddof: float = 0.0, keepdims: bool = False
    ) -> Call:
        return Call(name, _attrs(axis, keepdims) | {"ddof": float(ddof)}, {"x": x})

    ddof = """
    ddof : float
        What is taken off the number of elements in the denominator."""
    return _public(kernel(_named(build, name, f"{what}.\n{_PARAMETERS}{ddof}{_KEEPDIMS}")))


def _gradient(function: Any, y: bool = False, note: str = "") -> Any:
    return _public(gradient(function, "x", y=y, note=note))


sum = _reduction("sum", "The sum, blocked and pairwise: accurate, and the same bits for any number of threads")
mean = _reduction("mean", "The mean")
prod = _reduction("prod", "The product")
max = _reduction("max", "The largest element, NaN if there is one")
min = _reduction("min", "The smallest element, NaN if there is one")
sum_squares = _reduction("sum_squares", "The sum of squares")
norm = _reduction("norm", "The square root of the sum of squares")
var = _variance("var", "The variance, in two passes")
std = _variance("std", "The standard deviation")

SHARED = "Equal extrema share it evenly."

sum_backward = _gradient(sum)
mean_backward = _gradient(mean)
prod_backward = _gradient(prod)
max_backward = _gradient(max, y=True, note=SHARED)
min_backward = _gradient(min, y=True, note=SHARED)
sum_squares_backward = _gradient(sum_squares)
norm_backward = _gradient(norm, y=True)
var_backward = _gradient(var)
std_backward = _gradient(std)


def _arg(name: str, what: str) -> Any:
    def function(
        x: np.ndarray, axis: int | None = None, keepdims: bool = False, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        return run(name, {"axis": axis, "keepdims": keepdims}, [x], out=out)

    doc = f"""{what}: the first of equal ones, the first NaN if there is one.

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
    """
    return _public(_named(function, name, doc))


@_public
def global_norm(arrays: Sequence[np.ndarray]) -> float:
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
    return _cpu.global_norm([an_array(x) for x in arrays])


argmax = _arg("argmax", "Where the largest element is")
argmin = _arg("argmin", "Where the smallest element is")
