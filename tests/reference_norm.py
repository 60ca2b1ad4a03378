"""Normalisation in NumPy and float64: the truth for the kernels."""

from __future__ import annotations

import numpy as np


def normalise(x: np.ndarray, axes: tuple[int, ...], eps: float, center: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(x - mean) * inv_std and inv_std, with the statistics over `axes` kept as size-1 axes."""
    x = x.astype(np.float64)
    mean = x.mean(axis=axes, keepdims=True) if center else 0.0
    inv = 1 / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + eps)
    return (x - mean) * inv, inv


def backward(z: np.ndarray, inv: np.ndarray, h: np.ndarray, axes: tuple[int, ...], center: bool = True) -> np.ndarray:
    """Gradient of x from the gradient h of the normalised z."""
    a = h.mean(axis=axes, keepdims=True) if center else 0.0
    return inv * (h - a - z * (h * z).mean(axis=axes, keepdims=True))


def grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(n, ..., c) as (n, rows, groups, c / groups)."""
    return x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
