"""Scaled dot-product attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._function import Call, gradient, kernel
from .random import Key, _signed

__all__ = ["attention", "attention_backward", "attention_with_weights", "attention_with_weights_backward"]


def _call(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None,
    key_mask: np.ndarray | None,
    attrs: dict[str, Any],
    dropout: float,
    key: Key | None,
) -> Call:
    if dropout:
        attrs["dropout"] = dropout
        if key is not None:
            attrs["key"] = _signed(key)
    inputs = {"q": q, "k": k, "v": v, "mask": mask, "key_mask": key_mask}
    return Call("attention", attrs, inputs, training=dropout > 0, once=dropout > 0 and key is None)


@kernel
def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    key_mask: np.ndarray | None = None,
    heads: int = 1,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    *,
    key: Key | None = None,
) -> Call:
    """softmax(scale * q k^T + mask) v, without ever holding all of the weights.

    Parameters
    ----------
    q : ndarray, shape (n, heads, l, e) or (n, l, heads * e)
        Queries. Of three dimensions, the last holds the heads side by side.
    k : ndarray, shape (n, heads, s, e) or (n, s, heads * e)
        Keys.
    v : ndarray, shape (n, heads, s, ev) or (n, s, heads * ev)
        Values.
    mask : ndarray, broadcast to (n, heads, l, s), optional
        Floats are added to the scores; of uint8 or bool, zero hides a key from a query. A query that sees no key gets
        zeros.
    key_mask : ndarray of uint8 or bool, shape (n, s), optional
        Zero hides a key from all queries.
    heads : int
        How many heads lie side by side; 1 for four dimensions.
    scale : float, optional
        1 / sqrt(e) if None.
    causal : bool
        Hide keys j > i from query i.
    dropout : float
        The probability with which each weight is dropped; the others are scaled by 1 / (1 - dropout).
    key : (seed, stream), optional
        The random stream of the dropout; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of q's shape, with the size of the values in its last dimension.
    """
    attrs = {"heads": heads, "scale": scale, "causal": causal}
    return _call(q, k, v, mask, key_mask, attrs, dropout, key)


@kernel(several=True)
def attention_with_weights(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    key_mask: np.ndarray | None = None,
    heads: int = 1,
    scale: float | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    dropped: bool = False,
    *,
    key: Key | None = None,
) -> Call:
    """`attention` with its weights.

    Parameters
    ----------
    q, k, v, mask, key_mask, heads, scale, causal, dropout, key
        As in `attention`.
    dropped : bool
        Whether the weights are those after dropout.

    Returns
    -------
    list of ndarray
        The result of `attention`, and the weights (n, heads, l, s).
    """
    attrs = {"heads": heads, "scale": scale, "causal": causal, "weights": "dropped" if dropped else "plain"}
    return _call(q, k, v, mask, key_mask, attrs, dropout, key)


_NOTE = "A mask has a gradient where it holds floats. With dropout, `key` must be that of the forward call."
attention_backward = gradient(attention, "q", "k", "v", "mask", note=_NOTE)
attention_with_weights_backward = gradient(attention_with_weights, "q", "k", "v", "mask", note=_NOTE)
