"""Recurrent layers in NumPy float64: one row, one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}

ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


def step(
    cell: str, x: np.ndarray, w: dict[str, Any], h: np.ndarray, c: np.ndarray | None, attrs: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """One step of one row: (h', c')."""
    f = ACTIVATIONS[attrs.get("activation", "tanh")]
    r = ACTIVATIONS[attrs.get("recurrent_activation", "sigmoid")]
    width = h.size
    b_ih = np.zeros(w["w_ih"].shape[1]) if w["b_ih"] is None else w["b_ih"]
    b_hh = np.zeros(w["w_ih"].shape[1]) if w["b_hh"] is None else w["b_hh"]
    gx = x @ w["w_ih"] + b_ih
    if cell == "simple_rnn":
        return f(gx + h @ w["w_hh"] + b_hh), None
    if cell == "lstm":
        i, f_, g, o = np.split(gx + h @ w["w_hh"] + b_hh, 4)
        c = r(f_) * c + r(i) * f(g)
        return r(o) * f(c), c
    gh = h @ w["w_hh"] + b_hh
    reset, z = r(gx[:width] + gh[:width]), r(gx[width : 2 * width] + gh[width : 2 * width])
    if attrs.get("reset_after", True):
        n = f(gx[2 * width :] + reset * gh[2 * width :])
    else:
        n = f(gx[2 * width :] + (reset * h) @ w["w_hh"][:, 2 * width :] + b_hh[2 * width :])
    return (1 - z) * n + z * h, None


def sequence(
    cell: str,
    x: np.ndarray,
    weights: list[dict[str, Any]],
    mask: np.ndarray | None = None,
    **attrs: Any,
) -> list[np.ndarray]:
    """Outputs of the op `cell`; `weights` holds w_ih, w_hh, b_ih, b_hh, h0, c0 (or None) of each direction."""
    as64 = [{k: None if v is None else np.asarray(v, np.float64) for k, v in w.items()} for w in weights]
    x = np.asarray(x, np.float64)
    if attrs.get("time_major"):
        x = x.swapaxes(0, 1)
    n, t, _ = x.shape
    active = np.ones((n, t), bool)
    if mask is not None:
        if mask.ndim == 1:
            active = np.arange(t)[None] < mask[:, None]
        else:
            active = (mask.T if attrs.get("time_major") else mask) != 0
    ys, finals = [], []
    for d, w in enumerate(as64):
        width = w["w_hh"].shape[0]
        y, hn, cn = np.zeros((n, t, width)), np.zeros((n, width)), np.zeros((n, width))
        backwards = d == 1 or attrs.get("reverse", False)
        for row in range(n):
            h = np.zeros(width) if w["h0"] is None else w["h0"][row]
            c = np.zeros(width) if w.get("c0") is None else w["c0"][row]
            for s in range(t):
                at = t - 1 - s if backwards else s
                if active[row, at]:
                    h, c = step(cell, x[row, at], w, h, c, attrs)
                shown = h if active[row, at] or not attrs.get("zero_masked_output") else np.zeros(width)
                y[row, s if attrs.get("processing_order") else at] = shown
            hn[row], cn[row] = h, 0 if c is None else c
        ys.append(y)
        finals += [hn, cn] if cell == "lstm" else [hn]
    y = np.concatenate(ys, axis=2)
    if attrs.get("time_major"):
        y = y.swapaxes(0, 1)
    return ([y] if attrs.get("return_sequences", True) else []) + finals
