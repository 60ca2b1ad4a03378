"""Initializers whose values have a law of their own."""

import numpy as np
import pytest

import lamella
from lamella import initializers
from lamella._kernels import random


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1), (1, 3), (4, 2), (2, 4), (5, 5), (40, 160), (160, 40), (33, 65), (3, 3, 8, 6)]
)
def test_orthogonal(shape):
    lamella.seed(4)
    got = initializers.Orthogonal(gain=2.0)(shape, "float64").reshape(-1, shape[-1])
    long, short = max(got.shape), min(got.shape)
    columns = got if len(got) == long else got.T
    # float64 with a condition number of the random matrix below 1e3
    np.testing.assert_allclose(columns.T @ columns, 4 * np.eye(short), atol=1e-9)
    # the factor of the QR decomposition whose R has a positive diagonal: only that is uniformly distributed
    lamella.seed(4)
    a = random.normal((long, short), dtype="float64")
    assert (np.diag(columns.T @ a) > 0).all()
    np.testing.assert_allclose(np.tril(columns.T @ a, -1), 0, atol=1e-9 * max(long, 1))
