"""The raw functions of lamella.kernels on CuPy's arrays: those that look at their arguments before they run an op."""

import numpy as np
import pytest

import lamella
from lamella import kernels as K

rng = np.random.default_rng(0)


def data(*shape):
    return rng.standard_normal(shape).astype(np.float32)


A, B, X, W = data(5, 7), data(7, 4), data(2, 9, 8, 3), data(3, 3, 3, 6)
DY = K.conv2d(X, W)
CALLS = {
    "gemm": lambda a: K.gemm(a(A), a(B)),
    "gemm transposed": lambda a: K.gemm(a(B).T, a(A).T),
    "matmul": lambda a: K.matmul(a(A), a(B)),
    "conv2d": lambda a: K.conv2d(a(X), a(W)),
    "conv2d_backward_data": lambda a: K.conv2d_backward_data(a(DY), a(W), X.shape),
    "conv2d_backward_weight": lambda a: K.conv2d_backward_weight(a(X), a(DY), 3),
    "add": lambda a: K.add(a(A), 2.0),
    "max_pool2d": lambda a: K.max_pool2d(a(X), 2),
    "softmax": lambda a: K.softmax(a(A)),
    "sum": lambda a: K.sum(a(X), axis=(0, 2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_on_cupy_arrays(name, cuda):
    import cupy

    lamella.zeros(1, device=cuda)
    got, want = CALLS[name](cupy.asarray), CALLS[name](np.asarray)
    assert isinstance(got, cupy.ndarray)
    np.testing.assert_allclose(got.get(), want, rtol=1e-4, atol=1e-5)


def test_global_norm(cuda):
    import cupy

    lamella.zeros(1, device=cuda)
    norm = K.global_norm([cupy.asarray(A), cupy.asarray(B)])
    assert norm == pytest.approx(np.sqrt((A**2).sum() + (B**2).sum()), rel=1e-6)
    with pytest.raises(TypeError, match="global_norm: arrays: expected all on one device"):
        K.global_norm([cupy.asarray(A), B])
