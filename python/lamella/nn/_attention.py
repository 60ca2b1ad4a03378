"""F.scaled_dot_product_attention."""

from __future__ import annotations

import math
from typing import Any

from .._dtypes import is_float
from .._errors import short
from .._functional.attention import attention
from .._functional.masks import counting
from .._functional.shape import broadcast_shape, cast, expand, permute, reshape, unsqueeze

__all__ = ["scaled_dot_product_attention"]

Tensor = Any

_NAME = "scaled_dot_product_attention"
_HEADS_SECOND = (0, 2, 1, 3)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale * query key^T + mask) value, without ever holding all of the weights.

    Parameters
    ----------
    query : Tensor, shape (..., t, e)
    key : Tensor, shape (..., s, e)
    value : Tensor, shape (..., s, ev)
    attn_mask : Tensor, broadcast to (..., t, s), optional
        Floats are added to the scores; of bool, true means that the key takes part. A query without keys gets zeros.
    dropout_p : float
        The probability with which a weight is dropped, also outside of training.
    is_causal : bool
        Hide keys j > i from query i; not together with a mask.
    scale : float, optional
        1 / sqrt(e) if None.
    enable_gqa : bool
        Let groups of query heads (dimension -3) share a head of keys and values.

    Returns
    -------
    Tensor, shape (..., t, ev)
    """
    for what, x in (("query", query), ("key", key), ("value", value)):
        if len(x.shape) < 2:
            raise ValueError(f"{_NAME}: {what}: expected at least 2 dimensions, got shape {x.shape}")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{_NAME}: dropout_p: expected a probability, got {short(dropout_p)}")
    if is_causal and attn_mask is not None:
        raise ValueError(f"{_NAME}: attn_mask: expected None where is_causal is true, got a mask")
    if attn_mask is not None:
        attn_mask = cast(attn_mask, query.dtype) if is_float(attn_mask.dtype) else counting(attn_mask)
    if enable_gqa:
        key, value = (_shared("key", key, query), _shared("value", value, query))
    options: dict[str, Any] = {"causal": is_causal, "scale": scale, "dropout": dropout_p}
    views = [t._phys for t in (query, key, value)]
    if all(p is not None and p[1] == _HEADS_SECOND for p in views) and _alike(query, key, value):
        # Heads were split off the last dimension and moved: where they stood, nothing needs to be copied.
        n, heads, t, _ = query.shape
        joined = [reshape(p[0], (*p[0].shape[:2], -1)) for p in views]
        y = attention(joined[0], joined[1], joined[2], attn_mask, heads=heads, **options)
        return permute(reshape(y, (n, t, heads, -1)), _HEADS_SECOND)
    leading = broadcast_shape(*[tuple(t.shape[:-2]) for t in (query, key, value)])
    q, k, v = (_spread(t, leading) for t in (query, key, value))
    if attn_mask is not None:
        attn_mask = _mask4(attn_mask, leading)
    y = attention(q, k, v, attn_mask, **options)
    return reshape(y, (*leading, query.shape[-2], value.shape[-1]))


def _alike(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return tuple(query.shape[:2]) == tuple(key.shape[:2]) == tuple(value.shape[:2])


def _shared(what: str, x: Tensor, query: Tensor) -> Tensor:
    """x with each head as often as query heads share it."""
    if len(query.shape) < 3 or len(x.shape) != len(query.shape) or query.shape[-3] % x.shape[-3]:
        raise ValueError(
            f"{_NAME}: {what}: expected a number of heads that divides the query's, got {x.shape} for {query.shape}"
        )
    times = query.shape[-3] // x.shape[-3]
    if times == 1:
        return x
    wide = unsqueeze(x, -3)
    wide = expand(wide, (*wide.shape[:-3], times, *wide.shape[-2:]))
    return reshape(wide, (*x.shape[:-3], query.shape[-3], *x.shape[-2:]))


def _spread(x: Tensor, leading: tuple[int, ...]) -> Tensor:
    """(n, heads, rows, width) of x broadcast to these leading dimensions."""
    if tuple(x.shape[:-2]) != leading:
        x = expand(x, (*leading, *x.shape[-2:]))
    return reshape(x, (*_two(leading), *x.shape[-2:]))


def _two(leading: tuple[int, ...]) -> tuple[int, int]:
    if len(leading) < 2:
        return (1, leading[0]) if leading else (1, 1)
    return math.prod(leading[:-1]), leading[-1]


def _mask4(mask: Tensor, leading: tuple[int, ...]) -> Tensor:
    """The mask in four dimensions."""
    own = tuple(mask.shape[:-2])
    if len(own) <= 1 or len(leading) == 2:
        return mask
    if math.prod(own) == 1:
        return reshape(mask, mask.shape[-2:])
    return reshape(expand(mask, (*leading, *mask.shape[-2:])), (*_two(leading), *mask.shape[-2:]))
