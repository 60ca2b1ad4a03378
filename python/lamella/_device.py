"""Devices. This build has one: the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import short

__all__ = ["CPU", "device", "parse_to"]


class device:
    """Where arrays live.

    Parameters
    ----------
    type : str or device
        "cpu", or a name such as "cuda" or "cuda:0".
    index : int, optional
        Which one of that type.
    """

    type: str
    index: int | None

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        name, _, number = str(type).partition(":")
        self.type = name
        self.index = int(number) if number else index
        if name not in ("cpu", "cuda"):
            raise RuntimeError(f"device: type: expected 'cpu' or 'cuda', got {short(name)}")

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))


CPU = device("cpu")


def check_device(value: Any) -> None:
    """Refuse a device that is not there."""
    if value is not None and device(value).type != "cpu":
        raise RuntimeError(f"device: {value}: the CUDA module is not built; only 'cpu' is available")


def parse_to(args: tuple[Any, ...], dtype: Any, where: Any) -> np.dtype | None:
    """The dtype wanted by the arguments of `to`, whose devices are checked."""
    from .autograd import Tensor

    for a in args:
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, device) or (isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda")):
            where = a
        elif isinstance(a, bool):
            continue  # non_blocking: everything is done when `to` returns
        elif a is not None:
            dtype = a
    check_device(where)
    return None if dtype is None else np.dtype(dtype)
