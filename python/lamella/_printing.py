"""How tensors print."""

from __future__ import annotations

from typing import Any

import numpy as np


def tensor_repr(t: Any) -> str:
    """tensor([...], dtype=..., requires_grad=True), as PyTorch prints it."""
    prefix = "tensor("
    data = t._data
    with np.printoptions(precision=4, suppress=None, threshold=1000, linewidth=80):
        body = np.array2string(data, separator=", ", prefix=prefix)
    extra = []
    if data.dtype.name not in ("float32", "int64", "bool"):
        extra.append(f"dtype={data.dtype.name}")
    if t.grad_fn is not None and not t.is_leaf:
        extra.append(f"grad_fn=<{t.grad_fn.name}>")
    elif t.requires_grad:
        extra.append("requires_grad=True")
    return ", ".join([prefix + body, *extra]) + ")"
