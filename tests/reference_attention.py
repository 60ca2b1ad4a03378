"""Attention in float64 NumPy, written as its definition."""

from __future__ import annotations

import numpy as np
import reference_random


def kept(shape, rate, key):
    """The factors of dropout: word i of the stream decides about element i."""
    words = reference_random.words(key, int(np.prod(shape))).reshape(shape)
    return (words >= round(rate * 2.0**32)) / (1 - rate)


def apart(x, heads):
    """(n, rows, heads * width) as (n, heads, rows, width)."""
    n, rows, width = x.shape
    return x.reshape(n, rows, heads, width // heads).transpose(0, 2, 1, 3)


def together(x):
    n, heads, rows, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, rows, heads * width)


def attention(q, k, v, mask=None, key_mask=None, heads=1, scale=None, causal=False, dropout=0.0, key=None):
    """(result, weights before dropout, weights after it)."""
    side_by_side = q.ndim == 3
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    if side_by_side:
        q, k, v = (apart(a, heads) for a in (q, k, v))
    t, s = q.shape[2], k.shape[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        x = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
        if mask is not None:
            x = x + mask if mask.dtype.kind == "f" else np.where(mask != 0, x, -np.inf)
        if key_mask is not None:
            x = np.where(key_mask[:, None, None, :] != 0, x, -np.inf)
        if causal:
            x = np.where(np.tri(t, s, dtype=bool), x, -np.inf)
        top = x.max(-1, keepdims=True, initial=-np.inf)
        e = np.exp(x - np.where(top == -np.inf, 0, top))
        total = e.sum(-1, keepdims=True)
        w = e / np.where(total == 0, 1, total)
    dropped = w * kept(w.shape, dropout, key) if dropout else w
    out = dropped @ v
    return (together(out) if side_by_side else out), w, dropped
