"""The cases on NumPy, where one call does them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import cases


def setup(threads: int) -> None:
    """NumPy's BLAS takes its thread count from the environment, which the main program has set."""


def gemm(m: int, k: int, n: int) -> tuple[Callable[[], Any], Any]:
    a, b, c = cases.normal(m, k), cases.normal(k, n, seed=1), np.empty((m, n), np.float32)
    np.matmul(a, b, out=c)
    return (lambda: np.matmul(a, b, out=c)), c.copy()
