"""Images and sequences with their channels first, which the kernels want last."""

from __future__ import annotations

from typing import Any

from .._errors import short
from .._functional.shape import permute
from ..nn._layout import channels_last as _moved
from ._arguments import pair, positive

__all__ = ["channel_axis", "channels_first", "checked_format", "checked_padding", "from_last", "sizes", "to_last"]

Tensor = Any


def checked_format(layer: str, data_format: Any) -> str:
    """ "channels_last", which None stands for, or "channels_first"."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"{layer}: data_format: expected 'channels_last' or 'channels_first', got {short(data_format)}"
        )
    return data_format or "channels_last"


def channels_first(layer: Any) -> bool:
    """Whether the layer's inputs have their channels first."""
    return layer.data_format == "channels_first"


def channel_axis(layer: Any) -> int:
    """Where the layer's inputs have their channels."""
    return 1 if channels_first(layer) else -1


def to_last(layer: Any, x: Tensor) -> Tensor:
    """The layer's input with channels last: no copy where the layer before has made it so."""
    return _moved(x)[0] if channels_first(layer) else x


def from_last(layer: Any, y: Tensor) -> Tensor:
    """The layer's output in its own format: a view."""
    rank = len(y.shape)
    return permute(y, (0, rank - 1, *range(1, rank - 1))) if channels_first(layer) and rank > 2 else y


def sizes(value: Any, rank: int, what: str) -> tuple[int, ...]:
    """A positive integer or `rank` of them, as a tuple."""
    if rank == 2:
        return pair(value, what)
    return (positive(value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value, what),)


def checked_padding(layer: str, padding: Any, known: tuple[str, ...]) -> str:
    """One of the known paddings, in lower case."""
    if not isinstance(padding, str) or padding.lower() not in known:
        raise ValueError(f"{layer}: padding: expected one of {', '.join(known)}, got {short(padding)}")
    return padding.lower()
