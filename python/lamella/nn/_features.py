"""PyTorch's functions of features and tables: bilinear forms, embeddings and their sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._errors import refuse, short
from .._functional import elementwise as _e
from .._functional import layers as _layers
from .._functional import reduce as _r
from .._functional.shape import permute

__all__ = ["bilinear", "embedding", "embedding_bag"]

Tensor = Any


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x1 @ weight[k] @ x2 + bias[k]`` for every k.

    Parameters
    ----------
    input1, input2 : Tensor, shapes (..., in1) and (..., in2)
    weight : Tensor, shape (out, in1, in2)
    bias : Tensor, shape (out,), optional

    Returns
    -------
    Tensor, shape (..., out)
    """
    if len(weight.shape) != 3:
        raise ValueError(f"bilinear: weight: expected 3 dimensions, got shape {tuple(weight.shape)}")
    out, n1, n2 = weight.shape
    lead = tuple(input1.shape[:-1])
    if input1.shape[-1] != n1 or input2.shape[-1] != n2 or tuple(input2.shape[:-1]) != lead:
        raise ValueError(
            f"bilinear: input1, input2: expected shapes (..., {n1}) and (..., {n2}) alike before, got "
            f"{tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    # (n, in1) @ (in1, out * in2), whose rows are then multiplied with x2.
    inner = permute(weight, (1, 0, 2)).reshape(n1, out * n2)
    rows = _layers.matmul(input1.reshape(-1, n1), inner).reshape(-1, out, n2)
    y = _layers.matmul(rows, input2.reshape(-1, n2, 1)).reshape(-1, out)
    y = y if bias is None else y + bias
    return y if len(lead) == 1 else y.reshape(*lead, out)


def _row(padding_idx: int | None, rows: int, name: str) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx: expected a row of {rows}, got {padding_idx}")
    return padding_idx % rows


def _cut_norms(name: str, indices: Tensor, weight: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale rows that are about to be read down to a norm, in place."""
    if indices._data is None or weight._data is None:
        (indices if indices._data is None else weight)._refuse(f"max_norm of {name}")
    rows = np.unique(indices._data)
    with ag.no_grad():
        table = weight._data
        norms = _r.norm(ag.wrap(table[rows]), norm_type, 1).numpy()
        long = norms > max_norm
        if long.any():
            table[rows[long]] *= (max_norm / (norms[long] + 1e-7))[:, None].astype(table.dtype)
            ag.written(weight)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight (rows, dim) by index.

    Parameters
    ----------
    input : Tensor of integers
    weight : Tensor, shape (rows, dim)
    padding_idx : int, optional
        A row that gets no gradient.
    max_norm : float, optional
        Rows that are read are first cut down to this norm, in place.
    norm_type : float
        The order of that norm.
    scale_grad_by_freq, sparse : bool
        Only False is supported.
    """
    refuse("embedding", False, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    if max_norm is not None:
        _cut_norms("embedding", input, weight, max_norm, norm_type)
    return _layers.embedding(input, weight, _row(padding_idx, weight.shape[0], "embedding"))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows of weight (rows, dim), one for each bag of indices.

    Parameters
    ----------
    input : Tensor of integers
        (bags, indices), or all indices in a row with `offsets`.
    weight : Tensor, shape (rows, dim)
    offsets : Tensor of integers, optional
        Where each bag begins in a row of indices.
    max_norm, norm_type
        See `embedding`.
    scale_grad_by_freq, sparse : bool
        Only False is supported.
    mode : {"sum", "mean", "max"}
    per_sample_weights : Tensor, optional
        A factor for each index; with "sum" alone.
    include_last_offset : bool
        Whether the last offset is where the last bag ends.
    padding_idx : int, optional
        An index that counts for nothing.

    Returns
    -------
    Tensor, shape (bags, dim)
        Zeros for bags without indices.
    """
    name = "embedding_bag"
    refuse(name, False, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"{name}: mode: expected 'sum', 'mean' or 'max', got {short(mode)}")
    if per_sample_weights is not None and mode != "sum":
        raise ValueError(f"{name}: per_sample_weights: expected None with mode {mode!r}, got a tensor")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"{name}: per_sample_weights: expected shape {tuple(input.shape)}, got {tuple(per_sample_weights.shape)}"
        )
    padding = _row(padding_idx, weight.shape[0], name)
    if max_norm is not None:
        _cut_norms(name, input, weight, max_norm, norm_type)
    if len(input.shape) == 2:
        if offsets is not None:
            raise ValueError(f"{name}: offsets: expected None with bags of equal length, got a tensor")
        factors: Any = per_sample_weights
        counts: Any = None if padding is None else _known(name, input) != padding
    elif len(input.shape) == 1 and offsets is not None:
        input, factors, counts = _bags(name, input, offsets, per_sample_weights, include_last_offset, padding)
    else:
        raise ValueError(f"{name}: input: expected (bags, indices), or a row with offsets, got shape {input.shape}")
    rows = _layers.embedding(input, weight, padding)
    return _joined(rows, factors, counts, mode)


def _known(name: str, x: Tensor) -> np.ndarray:
    if x._data is None:
        x._refuse(f"the indices of {name}")
    return x._data


def _bags(
    name: str, indices: Tensor, offsets: Tensor, factors: Tensor | None, ends: bool, padding: int | None
) -> tuple[Tensor, Tensor | None, np.ndarray]:
    """(indices, factors, which of them count) as rectangles, a row a bag."""
    flat, starts = _known(name, indices), _known(name, offsets)
    if not ends:
        starts = np.append(starts, len(flat))
    if len(starts) < 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > len(flat):
        raise ValueError(f"{name}: offsets: expected growing numbers from 0 to {len(flat)}, got {short(offsets)}")
    sizes = np.diff(starts)
    places = starts[:-1, None] + np.arange(max(int(sizes.max(initial=0)), 1))
    counts = places < starts[1:, None]
    if len(flat) == 0:
        flat = np.zeros(1, flat.dtype)
    places = np.minimum(places, len(flat) - 1)
    if padding is not None:
        counts &= flat[places] != padding
    picked = None
    if factors is not None:
        picked = factors[ag.wrap(places.reshape(-1))].reshape(*places.shape)
    return ag.wrap(flat[places]), picked, counts


def _joined(rows: Tensor, factors: Tensor | None, counts: Any, mode: str) -> Tensor:
    """(bags, indices, dim) over the indices that count."""
    if counts is None:
        if mode == "max":
            return _r.amax(rows, 1)
        if factors is not None:
            rows = rows * factors.reshape(*factors.shape, 1)
        return _r.sum(rows, 1) if mode == "sum" else _r.mean(rows, 1)
    mask = counts[:, :, None]
    if mode == "max":
        lowest = float(np.finfo(rows.dtype).min)
        largest = _r.amax(_e.where(ag.wrap(np.broadcast_to(mask, rows.shape).copy()), rows, lowest), 1)
        return _e.where(ag.wrap(np.broadcast_to(counts.any(1)[:, None], largest.shape).copy()), largest, 0.0)
    scale = mask.astype(rows.dtype)
    if mode == "mean":
        scale /= np.maximum(counts.sum(1), 1)[:, None, None]
    weights = ag.wrap(scale)
    if factors is not None:
        weights = weights * factors.reshape(*factors.shape, 1)
    return _r.sum(rows * weights, 1)
