"""The products' truth, in float64."""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


def activation(name: str | None, x: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    """The activations that a product's epilogue applies."""
    with np.errstate(over="ignore"):
        return {
            None: lambda: x,
            "relu": lambda: np.maximum(x, 0.0),
            "relu6": lambda: np.minimum(np.maximum(x, 0.0), 6.0),
            "leaky_relu": lambda: np.where(x < 0, alpha * x, x),
            "sigmoid": lambda: 1.0 / (1.0 + np.exp(-x)),
            "tanh": lambda: np.tanh(x),
            "gelu": lambda: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
        }[name]()


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
    activation_name: str | None = None,
    slope: float = 0.01,
) -> np.ndarray:
    """act(alpha * op(a) @ op(b) + beta * c + bias) in float64."""
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    y = alpha * np.matmul(a.swapaxes(-1, -2) if trans_a else a, b.swapaxes(-1, -2) if trans_b else b)
    if c is not None:
        y = y + beta * np.asarray(c, np.float64)
    if bias is not None:
        y = y + np.asarray(bias, np.float64)
    return activation(activation_name, y, slope)
