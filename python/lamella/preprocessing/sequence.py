"""Sequences of equal length."""

from ..utils._sequences import pad_sequences

__all__ = ["pad_sequences"]
