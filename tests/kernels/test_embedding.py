import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella._kernels._call import run_backward

DTYPES = [np.float32, np.float64]


def table_gradient(indices, grad, rows, padding=None):
    """Sums in the order of the indices, in the gradients' own precision: exactly what the kernel promises."""
    out = np.zeros((rows, grad.shape[-1]), grad.dtype)
    for i, g in zip(indices.reshape(-1), grad.reshape(indices.size, grad.shape[-1]), strict=True):
        if i != padding:
            out[i] += g
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    shape=st.sampled_from([(), (0,), (1,), (7,), (3, 50), (2, 3, 4)]),
    rows=st.sampled_from([1, 2, 13, 500]),
    dim=st.sampled_from([0, 1, 3, 16, 17, 64, 65, 130]),
    index=st.sampled_from(["int32", "int64"]),
    padding=st.sampled_from([None, 0, -1]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_embedding(dtype, shape, rows, dim, index, padding, seed):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((rows, dim)).astype(dtype)
    indices = np.asarray(rng.integers(0, rows, shape), index)
    y = K.embedding(indices, table)
    np.testing.assert_array_equal(y, table[indices])
    g = rng.standard_normal(y.shape).astype(dtype)
    attrs = {} if padding is None else {"padding_idx": padding}
    _, got = run_backward("embedding", attrs, [indices, table], [g], [False, True])
    skipped = None if padding is None else padding % rows
    np.testing.assert_array_equal(got, table_gradient(indices, g, rows, skipped))


@pytest.mark.parametrize("dim", [8, 100])
def test_large_gradients_for_any_thread_count(dim):
    rng = np.random.default_rng(1)
    indices = rng.integers(0, 40, 20_000)  # many gradients per row
    table = np.zeros((41, dim), np.float32)
    g = rng.standard_normal((20_000, dim)).astype(np.float32)
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        _, got = run_backward("embedding", {}, [indices, table], [g], [False, True])
        np.testing.assert_array_equal(got, table_gradient(indices, g, 41))
        np.testing.assert_array_equal(K.embedding(indices, got), got[indices])


def test_strided_indices():
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    indices = np.arange(10)
    np.testing.assert_array_equal(K.embedding(indices[::3], table), table[::3])


@pytest.mark.cpu  # devices name the argument and say less of it: tests/cuda_host/test_embedding.py
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_indices_are_checked(index):
    table = np.zeros((10, 2), np.float32)
    with pytest.raises(ValueError, match=r"index 10 at position 3 \(the table has 10 rows\)"):
        K.embedding(np.array([0, 1, 9, 10, 11], index), table)
    with pytest.raises(ValueError, match="index -1 at position 0"):
        K.embedding(np.array([-1], index), table)
