"""The arrays that the kernels' cases run on, channels last, made from the shapes in cases.py."""

from __future__ import annotations

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def conv_size(h: int, k: int, stride: int, pad: int) -> int:
    """Outputs along one axis."""
    return (h + 2 * pad - k) // stride + 1


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Random normal float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def conv(
    n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images channels last, kernels (k, k, c / groups, oc), bias, gradient by the result."""
    o = conv_size(h, k, stride, pad)
    w = normal(k, k, c // groups, oc, seed=1) / np.float32(k)
    return normal(n, h, h, c), w, normal(oc, seed=2), normal(n, o, o, oc, seed=3)


def pool_gradient(n: int, h: int, c: int, k: int, stride: int, pad: int) -> np.ndarray:
    """Gradient by the result."""
    o = conv_size(h, k, stride, pad)
    return normal(n, o, o, c, seed=1)


def rnn(cell: str, t: int, b: int, i: int, h: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Sequences (b, t, i), [w_ih (i, gates h), w_hh (h, gates h), b_ih, b_hh], gradient by all outputs.

    Gates are i, f, g, o and r, z, n; the LSTM's and the plain cell's b_hh is zero.
    """
    scale, width = np.float32(h**-0.5), GATES[cell] * h
    biases = [normal(width, seed=3) * scale, normal(width, seed=4) * scale * np.float32(cell == "gru")]
    parts = [normal(i, width, seed=1) * scale, normal(h, width, seed=2) * scale, *biases]
    return normal(b, t, i), parts, normal(b, t, h, seed=5)


def labels(n: int, classes: int) -> np.ndarray:
    """Random classes, also words of a text."""
    return np.random.default_rng(0).integers(0, classes, n)


def dense(m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, kernel (in, out), bias."""
    return normal(m, k), normal(k, n, seed=1) * np.float32(k**-0.5), normal(n, seed=2)


def norm(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, scale and shift of the last axis."""
    return normal(*shape), 1 + normal(shape[-1], seed=1) / np.float32(4), normal(shape[-1], seed=2)
