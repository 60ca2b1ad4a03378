"""Scaled dot-product attention."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .. import autograd as ag
from .._kernels._call import op as make_op

__all__ = ["attention"]

Tensor = Any


@lru_cache(maxsize=256)
def _attention_op(heads: int, scale: float | None, causal: bool, dropout: float, weights: str, seed: int | None) -> Any:
    attrs = {"heads": heads, "scale": scale, "causal": causal, "dropout": dropout, "weights": weights, "seed": seed}
    return make_op("attention", attrs)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    *,
    heads: int = 1,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    weights: str = "none",
    seed: int | None = None,
) -> Any:
    """softmax(scale * q k^T + mask) v.

    Parameters
    ----------
    q : Tensor, shape (n, heads, l, e) or (n, l, heads * e)
    k : Tensor, shape (n, heads, s, e) or (n, s, heads * e)
    v : Tensor, shape (n, heads, s, ev) or (n, s, heads * ev)
    mask : Tensor, broadcast to (n, heads, l, s), optional
        Floats are added to the scores; of bool, false hides a key from a query. A query that sees no key gets zeros.
    key_mask : Tensor of bool, shape (n, s), optional
        False hides a key from all queries.
    heads : int
        How many heads lie side by side in tensors of three dimensions.
    scale : float, optional
        1 / sqrt(e) if None.
    causal : bool
        Hide keys j > i from query i.
    dropout : float
        The probability with which each weight is dropped, now: the caller knows whether this is training.
    weights : {"none", "plain", "dropped"}
        Whether the weights (n, heads, l, s) are wanted too, before or after dropout.
    seed : int, optional
        Of the dropout; the global one if None.

    Returns
    -------
    Tensor or (Tensor, Tensor)
        The result, and the weights where wanted.
    """
    inputs = [q, k, v, mask, key_mask]
    while inputs[-1] is None:
        inputs.pop()
    size = None if scale is None else float(scale)
    op = _attention_op(int(heads), size, bool(causal), float(dropout), weights, seed)
    return ag.apply(op, *inputs, training=dropout > 0)
