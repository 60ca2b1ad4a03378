"""Multi-head attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .._errors import short
from .._functional.attention import attention
from .._functional.elementwise import add, where
from .._functional.joining import cat, cut
from .._functional.layers import dense
from .._functional.masks import inverted
from .._functional.reduce import mean
from .._functional.shape import cast, expand, permute, unsqueeze
from .._trace import beside
from . import init
from .linear import Linear, new_parameter, positive
from .module import Module

__all__ = ["MultiheadAttention"]

_MATRIX = (1, 0)
_SWAP = (1, 0, 2)


class MultiheadAttention(Module):
    """Attention of several heads over projections of its inputs (Vaswani et al. 2017).

    A query whose keys are all masked gets weights of zero.

    Parameters
    ----------
    embed_dim : int
        Size of queries and of the output.
    num_heads : int
        Must divide embed_dim.
    dropout : float
        Probability with which an attention weight is dropped in training.
    bias : bool
        Whether the projections have biases.
    add_bias_kv : bool
        Append a trained step to keys and values.
    add_zero_attn : bool
        Append a step of zeros to keys and values.
    kdim, vdim : int, optional
        Sizes of keys and values; default: embed_dim.
    batch_first : bool
        Whether sequences are (n, t, c) rather than (t, n, c).
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = "MultiheadAttention"
        positive(name, embed_dim=embed_dim, num_heads=num_heads)
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        positive(name, kdim=self.kdim, vdim=self.vdim)
        if embed_dim % num_heads:
            raise ValueError(f"{name}: embed_dim: expected a multiple of {num_heads} heads, got {embed_dim}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout: expected a probability, got {short(dropout)}")
        self.num_heads, self.dropout, self.batch_first = num_heads, float(dropout), batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        if self._qkv_same_embed_dim:
            self.in_proj_weight = new_parameter((3 * embed_dim, embed_dim), device, dtype, perm=_MATRIX)
            for key in names:
                self.register_parameter(key, None)
        else:
            for key, width in zip(names, (embed_dim, self.kdim, self.vdim), strict=True):
                self.register_parameter(key, new_parameter((embed_dim, width), device, dtype, perm=_MATRIX))
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", new_parameter((3 * embed_dim,), device, dtype) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        for key in ("bias_k", "bias_v"):
            self.register_parameter(key, new_parameter((1, 1, embed_dim), device, dtype) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if self._parameters[key] is not None:
                init.xavier_uniform_(self._parameters[key])
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    # -- projections --

    def _project(self, query: Any, key: Any, value: Any) -> list[Any]:
        e, bias = self.embed_dim, beside(self.in_proj_bias, query)
        if not self._qkv_same_embed_dim:
            biases = [None] * 3 if bias is None else cut(bias, (e, e, e))
            names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
            return [
                dense(x, permute(getattr(self, n), _MATRIX), b)
                for x, n, b in zip((query, key, value), names, biases, strict=True)
            ]
        weight = beside(permute(self.in_proj_weight, _MATRIX), query)
        # Inputs that are one tensor go through one product.
        groups = [[query, 1], [key, 1], [value, 1]]
        for i in (1, 0):
            if groups[i][0] is groups[i + 1][0]:
                groups[i][1] += groups.pop(i + 1)[1]
        sizes = [g[1] * e for g in groups]
        weights = [weight] if len(sizes) == 1 else cut(weight, sizes, 1)
        biases = [None] * len(sizes) if bias is None else [bias] if len(sizes) == 1 else cut(bias, sizes)
        found: list[Any] = []
        for (x, count), w, b in zip(groups, weights, biases, strict=True):
            y = dense(x, w, b)
            found += [y] if count == 1 else cut(y, [e] * count, -1)
        return found

    # -- masks --

    def _masks(self, n: int, t: int, s: int, attn_mask: Any, key_padding_mask: Any, dtype: Any) -> tuple[Any, Any]:
        """(mask to broadcast with (n, heads, t, s), key mask (n, s)) in the op's terms."""
        if key_padding_mask is not None and tuple(key_padding_mask.shape) != (n, s):
            raise ValueError(
                f"MultiheadAttention: key_padding_mask: expected shape {(n, s)}, got {tuple(key_padding_mask.shape)}"
            )
        if attn_mask is not None:
            shape = tuple(attn_mask.shape)
            if shape not in ((t, s), (n * self.num_heads, t, s)):
                raise ValueError(
                    f"MultiheadAttention: attn_mask: expected shape {(t, s)} or {(n * self.num_heads, t, s)}, "
                    f"got {shape}"
                )
            if len(shape) == 3:
                attn_mask = attn_mask.reshape(n, self.num_heads, t, s)
        if key_padding_mask is None or not is_float(key_padding_mask.dtype):
            seen = None if key_padding_mask is None else inverted(key_padding_mask)
            return self._op_mask(attn_mask, dtype), seen
        padding = cast(key_padding_mask, dtype).reshape(n, 1, 1, s)
        if attn_mask is None:
            return padding, None
        if is_float(attn_mask.dtype):
            return add(cast(attn_mask, dtype), padding), None
        never = ag.wrap(np.full((1, 1, 1, 1), -np.inf, dtype))
        return where(inverted(attn_mask), padding, never), None

    def _op_mask(self, mask: Any, dtype: Any) -> Any:
        if mask is None:
            return None
        return cast(mask, dtype) if is_float(mask.dtype) else inverted(mask)

    # -- running --

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """Attend.

        Parameters
        ----------
        query : Tensor, shape (t, n, embed_dim), or (n, t, embed_dim) if batch_first, or (t, embed_dim)
        key, value : Tensor
            Likewise, of s steps.
        key_padding_mask : Tensor, shape (n, s) or (s,), optional
            True hides a key; floats are added to its scores.
        need_weights : bool
            Whether the weights are given too; without, they are never held all at once.
        attn_mask : Tensor, shape (t, s) or (n * num_heads, t, s), optional
            True hides a key from a query; floats are added to their score.
        average_attn_weights : bool
            The mean of the weights over the heads, rather than (n, heads, t, s).
        is_causal : bool
            Says that `attn_mask`, which must be given, hides later steps and nothing else.

        Returns
        -------
        (Tensor, Tensor or None)
            The output, and the weights (n, t, s) if they are needed.
        """
        name = "MultiheadAttention"
        rank = len(query.shape)
        for what, x, width in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if rank not in (2, 3) or len(x.shape) != rank or x.shape[-1] != width:
                raise ValueError(
                    f"{name}: {what}: expected {'2 or 3' if what == 'query' else rank} dimensions, the last of "
                    f"{width}, got shape {tuple(x.shape)}"
                )
        if is_causal and attn_mask is None:
            raise ValueError(f"{name}: attn_mask: expected a mask, as is_causal only says which one it is, got None")
        made: dict[int, Any] = {}
        for x in (query, key, value):
            if id(x) not in made:
                made[id(x)] = unsqueeze(x, 0) if rank == 2 else x if self.batch_first else permute(x, _SWAP)
        q, k, v = (made[id(x)] for x in (query, key, value))
        if tuple(k.shape[:2]) != tuple(v.shape[:2]) or k.shape[0] != q.shape[0]:
            raise ValueError(
                f"{name}: key, value: expected steps and batches that agree, got {key.shape}, {value.shape}"
            )
        n, t, s = q.shape[0], q.shape[1], k.shape[1]
        if rank == 2 and key_padding_mask is not None:
            key_padding_mask = unsqueeze(key_padding_mask, 0)
        # Steps that are appended are seen by all, which the hint does not know.
        appended = self.bias_k is not None or self.add_zero_attn
        causal = is_causal and not (need_weights or appended)
        mask, seen = self._masks(n, t, s, None if causal else attn_mask, key_padding_mask, query.dtype)
        q, k, v = self._project(q, k, v)
        if self.bias_k is not None:
            k, v = (
                cat([x, expand(beside(b, x), (n, 1, self.embed_dim))], 1)
                for x, b in ((k, self.bias_k), (v, self.bias_v))
            )
            mask, seen = _seen_by_all(mask), _seen_by_all(seen)
        if self.add_zero_attn:
            zero = ag.wrap(np.zeros((n, 1, self.embed_dim), query.dtype))
            k, v = cat([k, zero], 1), cat([v, zero], 1)
            mask, seen = _seen_by_all(mask), _seen_by_all(seen)
        found = attention(
            q, k, v, mask, seen, heads=self.num_heads, causal=causal, dropout=self.dropout if self.training else 0.0,
            weights="dropped" if need_weights else "none",
        )  # fmt: skip
        y = self.out_proj(found[0] if need_weights else found)
        y = y[0] if rank == 2 else y if self.batch_first else permute(y, _SWAP)
        if not need_weights:
            return y, None
        weights = mean(found[1], 1) if average_attn_weights else found[1]
        return y, (weights[0] if rank == 2 else weights)


def _seen_by_all(mask: Any) -> Any:
    """The mask with one more key, which every query sees."""
    if mask is None:
        return None
    shape = (*mask.shape[:-1], 1)
    if is_float(mask.dtype):
        return cat([mask, ag.wrap(np.zeros(shape, mask.dtype))], -1)
    if mask._data is not None:
        return ag.wrap(np.concatenate([mask._data, np.ones(shape, mask.dtype)], -1))
    return cat([cast(mask, np.float32), ag.wrap(np.ones(shape, np.float32))], -1) > 0
