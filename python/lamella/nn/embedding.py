"""Embedding tables."""

from __future__ import annotations

from typing import Any

from .. import autograd as ag
from .._errors import refuse, short
from . import functional as F
from . import init
from .linear import new_parameter, positive
from .module import Module
from .parameter import Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """What tables of vectors share."""

    def _set_table(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        table: Any,
        device: Any,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        positive(name, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        refuse(name, False, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"{name}: padding_idx: expected a row of {num_embeddings}, got {padding_idx}")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = None if max_norm is None else float(max_norm)
        self.norm_type = float(norm_type)
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if table is None:
            self.weight = new_parameter((num_embeddings, embedding_dim), device, dtype)
            self.reset_parameters()
            return
        array = ag.as_array(table)
        if array.shape != (num_embeddings, embedding_dim):
            raise ValueError(
                f"{name}: _weight: expected shape {(num_embeddings, embedding_dim)}, got {tuple(array.shape)}"
            )
        self.weight = Parameter(array)

    def reset_parameters(self) -> None:
        """Draw new vectors."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight._data[self.padding_idx] = 0

    def extra_repr(self) -> str:
        s = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            s += f", padding_idx={self.padding_idx}"
        return s if self.max_norm is None else f"{s}, max_norm={self.max_norm}"


def _checked_table(name: str, embeddings: Any) -> Any:
    table = ag.as_array(embeddings)
    if table.ndim != 2:
        raise ValueError(f"{name}.from_pretrained: embeddings: expected 2 dimensions, got shape {table.shape}")
    return table


class Embedding(_Table):
    """A table of vectors, looked up by index.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    padding_idx : int, optional
        A row of zeros that gets no gradient.
    max_norm : float, optional
        Rows are cut down to this norm, in place, when they are read.
    norm_type : float
        The order of that norm.
    scale_grad_by_freq, sparse : bool
        Only False is supported.
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._set_table(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            device,
            dtype,
        )
        if _freeze:
            self.weight.requires_grad = False

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An embedding with these vectors."""
        table = _checked_table(cls.__name__, embeddings)
        rest = (padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        return cls(table.shape[0], table.shape[1], *rest, _weight=table, _freeze=freeze)

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type)


class EmbeddingBag(_Table):
    """Sums, means or maxima of a table's vectors, one for each bag of indices.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    max_norm, norm_type, scale_grad_by_freq, sparse
        See `Embedding`.
    mode : {"sum", "mean", "max"}
    include_last_offset : bool
        Whether the last offset is where the last bag ends.
    padding_idx : int, optional
        An index that counts for nothing.
    device, dtype
        "cpu"; float32 or float64.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode: expected 'sum', 'mean' or 'max', got {short(mode)}")
        self.mode = mode
        self.include_last_offset = include_last_offset
        self._set_table(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            device,
            dtype,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """An embedding bag with these vectors."""
        table = _checked_table(cls.__name__, embeddings)
        rest = (max_norm, norm_type, scale_grad_by_freq, mode, sparse, table, include_last_offset, padding_idx)
        layer = cls(table.shape[0], table.shape[1], *rest)
        layer.weight.requires_grad = not freeze
        return layer

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"
