"""How tensors print."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._device import to_host
from ._dtypes import is_float


def tensor_repr(t: Any) -> str:
    """tensor([...], dtype=..., requires_grad=True), as PyTorch prints it."""
    prefix = "tensor("
    data = to_host(t._data)
    with np.printoptions(precision=4, suppress=None, threshold=1000, linewidth=80):
        body = np.array2string(data, separator=", ", prefix=prefix)
    extra = []
    if t.device.type != "cpu":
        extra.append(f"device='{t.device}'")
    if data.dtype.name not in ("float32", "int64", "bool"):
        extra.append(f"dtype={data.dtype.name}")
    if t.grad_fn is not None and not t.is_leaf:
        extra.append(f"grad_fn=<{t.grad_fn.name}>")
    elif t.requires_grad:
        extra.append("requires_grad=True")
    return ", ".join([prefix + body, *extra]) + ")"


def tensor_html(t: Any, most: int = 10) -> str:
    """A tensor as a table of its first rows and columns, or as text where it is no matrix."""
    from html import escape

    from ._summary import html_table

    if t._data is None:  # while a model is traced there are no values
        return f"<pre>{escape(repr(t))}</pre>"
    about = f"Tensor {t.dtype.name} {tuple(t.shape)}" + (", requires_grad" if t.requires_grad else "")
    if t.ndim not in (1, 2) or 0 in t.shape:
        return f"<b>{escape(about)}</b><pre>{escape(tensor_repr(t))}</pre>"
    data = np.atleast_2d(to_host(t._data))
    rows, columns = data.shape
    shown = data[:most, :most]
    text = f"{{:{'.4g' if is_float(data.dtype) else ''}}}"
    cells = [[str(i), *(text.format(v) for v in row.tolist())] for i, row in enumerate(shown)]
    heads = ["", *map(str, range(shown.shape[1]))]
    if columns > most:
        heads.append("...")
        cells = [[*c, "..."] for c in cells]
    if rows > most:
        cells.append(["..."] * len(heads))
    return f"<b>{escape(about)}</b>" + html_table(heads, cells, right=range(len(heads)))
