"""Products of matrices."""

from __future__ import annotations

import numpy as np

from ._call import an_array
from ._function import Call, gradient, kernel

__all__ = ["dense", "dense_backward", "gemm", "gemm_backward", "matmul", "matmul_backward"]


def _column_major_too(call: Call) -> Call:
    """A column-major matrix as its row-major transpose, so that views like `w.T` need no copy."""
    for name in ("a", "b"):
        x = call.inputs[name] = an_array(call.inputs[name])
        if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
            call.inputs[name] = x.T
            call.attrs[f"transpose_{name}"] = not call.attrs[f"transpose_{name}"]
    return call


@kernel(forward=_column_major_too)
def gemm(
    a: np.ndarray,
    b: np.ndarray,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    c: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    activation_alpha: float | None = None,
) -> Call:
    """Compute ``act(alpha * op(a) @ op(b) + beta * c + bias)``.

    Parameters
    ----------
    a, b : ndarray (..., m, k) and (..., k, n)
        Leading dimensions broadcast as in `numpy.matmul`. Column-major matrices (``w.T``) are taken as they are.
    trans_a, trans_b : bool
        The last two dimensions of `a`, `b` are swapped.
    alpha, beta : float
    c : ndarray (..., m, n), optional
        Needed where `beta` is not 0, and refused where it is.
    bias : ndarray (n,), optional
    activation : str, optional
        "relu", "tanh", "gelu", ...
    activation_alpha : float, optional
        The activation's parameter: the slope of "leaky_relu".

    Returns
    -------
    ndarray (..., m, n)
    """
    attrs = {
        "transpose_a": trans_a,
        "transpose_b": trans_b,
        "alpha": float(alpha),
        "beta": float(beta),
        "activation": activation,
        "activation_alpha": activation_alpha,
    }
    return Call("gemm", attrs, {"a": a, "b": b, "c": c, "bias": bias})


@kernel(forward=_column_major_too)
def matmul(a: np.ndarray, b: np.ndarray, *, trans_a: bool = False, trans_b: bool = False) -> Call:
    """Compute ``op(a) @ op(b)`` for stacks of matrices, broadcasting as `numpy.matmul` does.

    Parameters
    ----------
    a, b : ndarray (..., m, k) and (..., k, n)
        Column-major matrices (``w.T``) are taken as they are.
    trans_a, trans_b : bool
        The last two dimensions of `a`, `b` are swapped.

    Returns
    -------
    ndarray (..., m, n)
    """
    return Call("matmul", {"transpose_a": trans_a, "transpose_b": trans_b}, {"a": a, "b": b})


@kernel
def dense(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    alpha: float | None = None,
) -> Call:
    """Compute ``act(x @ weight + bias)`` over the last axis of `x`.

    Parameters
    ----------
    x : ndarray (..., in)
    weight : ndarray (in, out)
    bias : ndarray (out,), optional
    activation : str, optional
        "relu", "tanh", "gelu", ...
    alpha : float, optional
        The activation's parameter: the slope of "leaky_relu".

    Returns
    -------
    ndarray (..., out)
    """
    return Call("dense", {"activation": activation, "alpha": alpha}, {"x": x, "weight": weight, "bias": bias})


gemm_backward = gradient(gemm, "a", "b", "c", "bias", note="They are sums over leading dimensions that were broadcast.")
matmul_backward = gradient(matmul, "a", "b", note="They are sums over leading dimensions that were broadcast.")
dense_backward = gradient(dense, "x", "weight", "bias")
