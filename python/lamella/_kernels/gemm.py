"""Products of matrices."""

from __future__ import annotations

import numpy as np

from ._call import run

__all__ = ["dense", "gemm", "matmul"]


def _plain(x: np.ndarray, transposed: bool) -> tuple[np.ndarray, bool]:
    """A column-major matrix as its row-major transpose, so that views like `w.T` need no copy."""
    x = np.asarray(x)
    if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
        return x.T, not transposed
    return x, transposed


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
    out: np.ndarray | None = None,
) -> np.ndarray:
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
    out : ndarray, optional
        Apart from the inputs, `c` included.

    Returns
    -------
    ndarray (..., m, n)
    """
    a, trans_a = _plain(a, trans_a)
    b, trans_b = _plain(b, trans_b)
    attrs = {
        "transpose_a": trans_a,
        "transpose_b": trans_b,
        "alpha": float(alpha),
        "beta": float(beta),
        "activation": activation,
        "activation_alpha": activation_alpha,
    }
    inputs = [a, b] if c is None and bias is None else [a, b, c] if bias is None else [a, b, c, bias]
    return run("gemm", attrs, inputs, out=out)


def matmul(
    a: np.ndarray, b: np.ndarray, *, trans_a: bool = False, trans_b: bool = False, out: np.ndarray | None = None
) -> np.ndarray:
    """Compute ``op(a) @ op(b)`` for stacks of matrices, broadcasting as `numpy.matmul` does.

    Parameters
    ----------
    a, b : ndarray (..., m, k) and (..., k, n)
    trans_a, trans_b : bool
        The last two dimensions of `a`, `b` are swapped.
    out : ndarray, optional

    Returns
    -------
    ndarray (..., m, n)
    """
    a, trans_a = _plain(a, trans_a)
    b, trans_b = _plain(b, trans_b)
    return run("matmul", {"transpose_a": trans_a, "transpose_b": trans_b}, [a, b], out=out)


def dense(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    alpha: float | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Compute ``act(x @ weight + bias)`` over the last axis of `x`.

    Parameters
    ----------
    x : ndarray (..., in)
    weight : ndarray (in, out)
    bias : ndarray (out,), optional
    activation : str, optional
    alpha : float, optional
        The activation's parameter.
    out : ndarray, optional

    Returns
    -------
    ndarray (..., out)
    """
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return run("dense", {"activation": activation, "alpha": alpha}, inputs, out=out)
