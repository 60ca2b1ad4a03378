"""Pooling written out in NumPy, in the dtype of its input (tests pass float64): the truth for the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Spans = list[list[int]]  # per output: the inputs it sees


def sliding(n: int, window: int, stride: int, lo: int, hi: int, dilation: int = 1, ceil_mode: bool = False) -> Spans:
    """The inputs that each output along one axis sees."""
    extent = (window - 1) * dilation + 1
    spans: Spans = []
    start = -lo
    while start + extent <= n + hi or (ceil_mode and start < n and start + extent - stride < n + hi):
        taps = range(start, start + extent, dilation)
        spans.append([i for i in taps if 0 <= i < n])
        start += stride
    return spans


def padded_counts(n: int, window: int, stride: int, lo: int, hi: int, outputs: int) -> list[int]:
    """Positions of each window inside the padded input."""
    return [min(o * stride - lo + window, n + hi) - (o * stride - lo) for o in range(outputs)]


def same_padding(n: int, window: int, stride: int) -> tuple[int, int]:
    total = max((-(-n // stride) - 1) * stride + window - n, 0)
    return total // 2, total - total // 2


def adaptive(n: int, outputs: int) -> Spans:
    return [list(range(o * n // outputs, -(-(o + 1) * n // outputs))) for o in range(outputs)]


def _fold(x: np.ndarray, rows: Spans, cols: Spans, f: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
    y = np.empty((x.shape[0], len(rows), len(cols), x.shape[3]), x.dtype)
    for i, r in enumerate(rows):
        for j, c in enumerate(cols):
            y[:, i, j] = f(x[:, r][:, :, c].reshape(x.shape[0], -1, x.shape[3]), i, j)
    return y


def max_pool(x: np.ndarray, rows: Spans, cols: Spans) -> np.ndarray:
    return _fold(x, rows, cols, lambda v, i, j: v.max(axis=1))


def avg_pool(
    x: np.ndarray, rows: Spans, cols: Spans, counts: tuple[list[int], list[int]] | None = None, divisor: int = 0
) -> np.ndarray:
    def mean(v: np.ndarray, i: int, j: int) -> np.ndarray:
        count = divisor or (counts[0][i] * counts[1][j] if counts else v.shape[1])
        return v.sum(axis=1) / count

    return _fold(x, rows, cols, mean)


def max_pool_backward(x: np.ndarray, rows: Spans, cols: Spans, grad: np.ndarray) -> np.ndarray:
    """Each output's gradient goes to the first of its largest inputs in scan order."""
    out = np.zeros_like(x)
    for i, r in enumerate(rows):
        for j, c in enumerate(cols):
            first = x[:, r][:, :, c].reshape(x.shape[0], -1, x.shape[3]).argmax(axis=1)
            for n, ch in np.ndindex(first.shape):
                k = first[n, ch]
                out[n, r[k // len(c)], c[k % len(c)], ch] += grad[n, i, j, ch]
    return out


def avg_pool_backward(
    shape: tuple[int, ...],
    rows: Spans,
    cols: Spans,
    grad: np.ndarray,
    counts: tuple[list[int], list[int]] | None = None,
    divisor: int = 0,
) -> np.ndarray:
    out = np.zeros(shape, grad.dtype)
    for i, r in enumerate(rows):
        for j, c in enumerate(cols):
            count = divisor or (counts[0][i] * counts[1][j] if counts else len(r) * len(c))
            out[np.ix_(range(shape[0]), r, c, range(shape[3]))] += grad[:, i : i + 1, j : j + 1] / count
    return out
