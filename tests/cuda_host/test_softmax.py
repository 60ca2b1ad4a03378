"""Rows of the lengths and addresses that take the device's other paths."""

from __future__ import annotations

import numpy as np
import pytest
from reference_loss import log_softmax, softmax

from lamella import kernels as K
from lamella._kernels._call import run_backward

from .test_loss import unaligned

# Some lanes to a row, registers of a warp, a warp without them, blocks because rows are few or long.
SHAPES = [(300, 1), (301, 5), (70, 16), (70, 100), (20, 512), (1024, 1024), (1030, 1101), (5, 600), (3, 2501)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows(shape: tuple[int, int], shift: int, name: str) -> None:
    rng = np.random.default_rng(1)
    x = unaligned((rng.standard_normal(shape) * 3).astype(np.float32), shift)
    g = unaligned(rng.standard_normal(shape).astype(np.float32), shift)
    y = softmax(x) if name == "softmax" else log_softmax(x)
    np.testing.assert_allclose(getattr(K, name)(x), y, rtol=4e-6, atol=4e-6)
    (dx,) = run_backward(name, {}, [x], [g])
    p, d = softmax(x), g.astype(np.float64)
    expected = p * (d - (p * d).sum(-1, keepdims=True)) if name == "softmax" else d - p * d.sum(-1, keepdims=True)
    # exp(y) errs by the rounding of y, some 10 eps, and is multiplied with the sum over the row.
    size = max(1.0, float(np.abs(p * d.sum(-1, keepdims=True)).max()))
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=2e-6 * size)


@pytest.mark.parametrize("n", [5, 40, 600, 3000])
def test_values_that_are_no_numbers(n: int) -> None:
    x = np.zeros((4, n), np.float32)
    x[0, 1], x[1, 2], x[2], x[3, 1:] = np.nan, np.inf, -np.inf, -np.inf
    y = K.softmax(x)
    assert np.isnan(y[:3]).all() and y[3, 0] == 1 and not y[3, 1:].any()
