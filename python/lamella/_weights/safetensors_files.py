"""Safetensors files with element types that Lamella has not: they are converted while they are read."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from .._errors import short

__all__ = ["read"]

_BFLOAT16 = "bfloat16"
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": _BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1",
}  # fmt: skip


def read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file; half precision becomes float32.

    Raises
    ------
    ValueError
        If the file is damaged.
    TypeError
        For other types of elements.
    """
    try:
        return _read(path)
    except (KeyError, IndexError, AttributeError, RecursionError, OverflowError) as e:
        raise ValueError(f"{path}: malformed safetensors header: {type(e).__name__}: {e}") from e


def _read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, 100_000_000):
            raise ValueError(f"{path}: not a safetensors file, or cut short")
        header = json.loads(file.read(length))
        left = size - 8 - length  # bytes that arrays may still take: none is shared by two
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, entry in header.items():
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            if dtype not in _TYPES:
                raise TypeError(f"{path}: tensor {name!r}: expected one of {', '.join(_TYPES)}, got {short(dtype)}")
            kind = _TYPES[dtype]
            if not all(type(d) is int and d >= 0 for d in [*shape, begin, end]) or len(shape) > 32:
                raise ValueError(f"{path}: tensor {name!r}: expected sizes and offsets, got {entry}")
            width = 2 if kind == _BFLOAT16 else np.dtype(kind).itemsize
            left -= end - begin
            if end - begin != math.prod(shape) * width or end > size - 8 - length or left < 0:
                raise ValueError(f"{path}: tensor {name!r}: shape {shape} does not fit bytes {begin} to {end}")
            file.seek(8 + length + begin)
            tensors[name] = _array(file.read(end - begin), dtype, kind).reshape(shape)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for kv in metadata.items() for v in kv):
        raise ValueError(f"{path}: __metadata__: expected strings")
    return tensors, metadata


def _array(raw: bytes, dtype: str, kind: str) -> np.ndarray:
    if kind == _BFLOAT16:
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    found = np.frombuffer(raw, kind)
    if dtype == "BOOL":
        return found != 0
    return found.astype(np.float32 if dtype == "F16" else found.dtype.newbyteorder("="))
