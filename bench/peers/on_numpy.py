"""The cases on NumPy, where one call does them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import arrays
from .measure import Form


def setup(threads: int) -> None:
    """NumPy's BLAS takes its thread count from the environment, which the main program has set."""


def _into(function: Callable[..., Any], *args: Any) -> Form:
    """A function that writes into an array made before."""
    out = function(*args)
    return Form(lambda: function(*args, out=out), out.copy())


def gemm(m: int, k: int, n: int) -> Form:
    return _into(np.matmul, arrays.normal(m, k), arrays.normal(k, n, seed=1))


def batched_gemm(count: int, m: int, k: int, n: int) -> Form:
    return _into(np.matmul, arrays.normal(count, m, k), arrays.normal(count, k, n, seed=1))


def pointwise_fwd(function: str, n: int) -> Form | dict[str, Form]:
    x = arrays.normal(n)
    if function == "relu":
        return _into(np.maximum, x, np.float32(0))
    return _into(getattr(np, function), x) if function in ("exp", "tanh") else {}


def reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Form:
    x = arrays.normal(*shape)
    over = axis if len(axis) > 1 else axis[0]
    function = getattr(np, op)
    return Form(lambda: function(x, axis=over), function(x, axis=over))


def embedding_fwd(words: int, width: int, n: int) -> Form:
    table, indices = arrays.normal(words, width), arrays.labels(n, words)
    return Form(lambda: table[indices], table[indices])
