"""Resizing in NumPy and float64: the truth for the kernels."""

from __future__ import annotations

import numpy as np


def resize_matrix(n: int, m: int, mode: str, align_corners: bool) -> np.ndarray:
    """The (m, n) matrix that maps an axis of n inputs to m outputs."""
    matrix = np.zeros((m, n))
    for o in range(m):
        if mode == "nearest":
            matrix[o, o * n // m] = 1
            continue
        at = o * (n - 1) / max(m - 1, 1) if align_corners else (o + 0.5) * n / m - 0.5
        at = min(max(at, 0.0), n - 1.0)
        low = int(at)
        matrix[o, low] += 1 - (at - low)
        matrix[o, min(low + 1, n - 1)] += at - low
    return matrix
