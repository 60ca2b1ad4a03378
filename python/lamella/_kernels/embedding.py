"""Rows of a table by index."""

from __future__ import annotations

import numpy as np

from ._function import Call, gradient, kernel

__all__ = ["embedding", "embedding_backward"]


@kernel
def embedding(indices: np.ndarray, table: np.ndarray) -> Call:
    """table[indices], checked.

    Parameters
    ----------
    indices : ndarray of int32 or int64
        Of any shape, values in [0, rows).
    table : ndarray, shape (rows, dim)

    Returns
    -------
    ndarray, shape (*indices.shape, dim)
    """
    return Call("embedding", {}, {"indices": indices, "table": table})


embedding_backward = gradient(embedding, "table", note="Rows that no index names have a gradient of zero.")
