"""Rows of a table by index."""

from __future__ import annotations

import numpy as np

from ._call import run

__all__ = ["embedding"]


def embedding(indices: np.ndarray, table: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """table[indices], checked.

    Parameters
    ----------
    indices : ndarray of int32 or int64
        Of any shape, values in [0, rows).
    table : ndarray, shape (rows, dim)
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (*indices.shape, dim)
    """
    return run("embedding", {}, [indices, table], out=out)
