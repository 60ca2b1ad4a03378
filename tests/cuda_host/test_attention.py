"""Attention beyond what tests/kernels reaches: heads wider than a block's columns, unaligned arrays, several tiles with
every kind of mask, and all gradients against their definition."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import reference_attention as ref

from lamella._kernels._call import op

LIBRARY = os.environ.get("LAMELLA_TEST_BACKEND", "")
pytestmark = pytest.mark.backend

KEY = (3, 2**40 + 1)


def anywhere(x: np.ndarray) -> np.ndarray:
    """A copy that begins one element behind a multiple of 16 bytes."""
    room = np.empty(x.size + 5, x.dtype)
    start = (-room.ctypes.data // x.itemsize) % 4 + 1
    y = room[start : start + x.size].reshape(x.shape)
    y[...] = x
    return y


def gradients(
    q: Any, k: Any, v: Any, mask: Any, causal: bool, dropout: float, dropped: bool, g: Any, gw: Any
) -> list[np.ndarray]:
    """Of q, k, v and the mask, in float64."""
    q, k, v, g, gw = (a.astype(np.float64) for a in (q, k, v, g, gw))
    _, w, after = ref.attention(q, k, v, mask, None, 1, None, causal, dropout, KEY)
    factor = ref.kept(w.shape, dropout, KEY) if dropout else np.ones_like(w)
    dafter = g @ v.swapaxes(-1, -2) + (gw if dropped else 0)
    dw = dafter * factor + (0 if dropped else gw)
    ds = w * (dw - (w * dw).sum(-1, keepdims=True))
    scale = 1 / np.sqrt(q.shape[-1])
    dmask = ds
    for axis in range(4):
        if mask is not None and ([1] * (4 - mask.ndim) + list(mask.shape))[axis] == 1:
            dmask = dmask.sum(axis, keepdims=True)
    return [scale * ds @ k, scale * ds.swapaxes(-1, -2) @ q, after.swapaxes(-1, -2) @ g, dmask]


def check(
    n: int, heads: int, t: int, s: int, e: int, ev: int, dtype: Any, kind: str, causal: bool, dropout: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((n, heads, *d)).astype(dtype) for d in [(t, e), (s, e), (s, ev)])
    if seed % 2:
        q, k, v = anywhere(q), anywhere(k), anywhere(v)
    shape = {"whole": (n, heads, t, s), "heads": (1, heads, t, s), "batch": (n, 1, t, s), "plane": (t, s)}.get(kind)
    shape = shape or {"keys": (n, 1, 1, s), "queries": (1, heads, t, 1), "one": (1, 1, 1, 1)}.get(kind)
    mask = None
    if shape is not None:
        mask = rng.standard_normal(shape).astype(dtype)
        mask[rng.random(shape) < 0.2] = -np.inf if kind != "one" else 0
    elif kind == "bytes":
        mask = (rng.random((t, s)) < 0.6).astype(np.uint8)
    dropped = bool(seed % 3)
    attrs: dict[str, Any] = {"causal": causal, "weights": "dropped" if dropped else "plain"}
    if dropout:
        attrs.update(dropout=dropout, key=list(KEY))
    layer = op("attention", attrs)
    inputs = [q, k, v, mask]
    outputs, saved = layer.forward(inputs, True)
    expected, w, after = ref.attention(q, k, v, mask, None, 1, None, causal, dropout, KEY)
    # Scores err by sqrt(e) roundings, results by a few of their size; dropout scales them up.
    atol = 60 * float(np.finfo(dtype).eps) * (1 + e**0.5) / (1 - dropout)
    np.testing.assert_allclose(outputs[0], expected, rtol=0, atol=atol)
    np.testing.assert_allclose(outputs[1], after if dropped else w, rtol=0, atol=atol)
    g, gw = (rng.standard_normal(o.shape).astype(dtype) for o in outputs)
    differentiable = mask is not None and mask.dtype == dtype
    wanted = [True, True, True, differentiable]
    got = layer.backward(inputs, outputs, saved, [g, gw], wanted)
    for a, b in zip(got, gradients(q, k, v, mask, causal, dropout, dropped, g, gw), strict=True):
        if a is not None:
            np.testing.assert_allclose(a.reshape(b.shape), b, rtol=0, atol=4 * atol * max(1, np.abs(b).max()))


# Columns of queries and values on both sides of 32, 64 and 128, in one part or more.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("e", "ev"), [(4, 33), (33, 4), (64, 64), (65, 70), (128, 128), (130, 20), (20, 260), (1, 1)])
def test_widths(e: int, ev: int, dtype: Any) -> None:
    check(1, 2, 9, 70, e, ev, dtype, "none", False, 0.0, e + ev)
    check(1, 1, 70, 9, e, ev, dtype, "plane", True, 0.3, e + ev + 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["whole", "heads", "batch", "plane", "keys", "queries", "one", "bytes", "none"])
def test_masks_over_several_tiles(kind: str, dropout: float, causal: bool) -> None:
    for seed, (t, s) in enumerate([(130, 67), (67, 131), (16, 66), (65, 3)]):
        check(2, 2, t, s, 8, 12, np.float32, kind, causal, dropout, seed)


def test_nothing_wanted_of_some() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 1, d, 5)).astype(np.float32) for d in (70, 66, 66))
    layer = op("attention", {})
    outputs, saved = layer.forward([q, k, v], True)
    whole = layer.backward([q, k, v], outputs, saved, [outputs[0]], [True] * 3)
    for i in range(3):
        part = layer.backward([q, k, v], outputs, saved, [outputs[0]], [j == i for j in range(3)])
        np.testing.assert_array_equal(part[i], whole[i])
