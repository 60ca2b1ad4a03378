import numpy as np
import pytest
import reference_attention as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K

DTYPES = [np.float32, np.float64]


def eps(dtype):
    return float(np.finfo(dtype).eps)


def data(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def arrays(n, heads, t, s, e, ev, dtype, side_by_side, seed=0):
    shapes = [(t, e), (s, e), (s, ev)]
    whole = [(n, a, heads * b) if side_by_side else (n, heads, a, b) for a, b in shapes]
    return [data(shape, dtype, seed + i) for i, shape in enumerate(whole)]


def tolerance(dtype, e):
    # A score errs by some sqrt(e) roundings of products of size sqrt(e) / sqrt(e), a weight by as much relative to
    # itself, and the result is a mean of values of size 1 to 4.
    return 40 * eps(dtype) * (1 + e**0.5)


def masks(n, heads, t, s, kind, dtype, seed=0):
    rng = np.random.default_rng(seed)
    shape = [(n, heads, t, s), (1, 1, t, s), (n, 1, 1, s), (t, s), (n, 1, t, 1), (s,)][seed % 6]
    if kind == "float":
        added = rng.standard_normal(shape).astype(dtype)
        added[rng.random(shape) < 0.2] = -np.inf
        return added
    return (rng.random(shape) < 0.7).astype(bool if seed % 2 else np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    sizes=st.tuples(
        st.integers(0, 3), st.integers(1, 3), st.integers(0, 40), st.integers(0, 40), st.integers(1, 20),
        st.integers(1, 20),
    ),
    side_by_side=st.booleans(),
    causal=st.booleans(),
    mask=st.sampled_from([None, "float", "bool"]),
    key_mask=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 50),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_forward(dtype, sizes, side_by_side, causal, mask, key_mask, scale, seed):
    n, heads, t, s, e, _ = sizes
    q, k, v = arrays(*sizes, dtype, side_by_side, seed)
    m = None if mask is None else masks(n, heads, t, s, mask, dtype, seed)
    km = (np.random.default_rng(seed).random((n, s)) < 0.8) if key_mask else None
    expected, weights, _ = ref.attention(q, k, v, m, km, heads, scale, causal)
    args = {"heads": heads if side_by_side else 1, "scale": scale, "causal": causal}
    y = K.attention(q, k, v, m, km, **args)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance(dtype, e))
    again, w = K.attention_with_weights(q, k, v, m, km, **args)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_allclose(w, weights, rtol=0, atol=tolerance(dtype, e))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("t,s", [(300, 700), (700, 300), (1, 5000), (130, 1)])
def test_many_rows(t, s, causal, dtype):
    """Several blocks of queries a head."""
    q, k, v = arrays(2, 2, t, s, 16, 24, dtype, True)
    mask = np.zeros((2, s), bool)
    mask[0], mask[1, : s // 2 + 1] = True, True
    expected, _, _ = ref.attention(q, k, v, None, mask, 2, None, causal)
    np.testing.assert_allclose(
        K.attention(q, k, v, None, mask, 2, causal=causal), expected, rtol=0, atol=tolerance(dtype, 16)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.1, 0.9, 1.0])
def test_dropout(rate, dtype):
    q, k, v = arrays(2, 3, 50, 37, 8, 8, dtype, True)
    key = (5, 2**63 + 3)
    y, w = K.attention_with_weights(q, k, v, heads=3, dropout=rate, dropped=True, key=key)
    if rate == 1:
        assert not y.any() and not w.any()
        return
    expected, plain, dropped = ref.attention(q, k, v, heads=3, dropout=rate, key=key)
    atol = tolerance(dtype, 8) / (1 - rate)
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(w, dropped, rtol=0, atol=atol)
    y, w = K.attention_with_weights(q, k, v, heads=3, dropout=rate, key=key)
    np.testing.assert_allclose(w, plain, rtol=0, atol=tolerance(dtype, 8))
    np.testing.assert_array_equal(y, K.attention(q, k, v, heads=3, dropout=rate, key=key))
    lamella.seed(3)
    a = K.attention(q, k, v, heads=3, dropout=rate)
    assert (a != K.attention(q, k, v, heads=3, dropout=rate)).any()
    lamella.seed(3)
    np.testing.assert_array_equal(a, K.attention(q, k, v, heads=3, dropout=rate))


@pytest.mark.parametrize("dtype", DTYPES)
def test_queries_without_keys_and_values_that_are_not_numbers(dtype):
    q, k, v = arrays(1, 1, 6, 5, 4, 3, dtype, False)
    mask = np.ones((6, 5), bool)
    mask[2] = False
    y, w = K.attention_with_weights(q, k, v, mask)
    assert not y[0, 0, 2].any() and not w[0, 0, 2].any()
    assert np.isfinite(y).all()
    additive = np.where(mask, 0, -np.inf).astype(dtype)
    np.testing.assert_array_equal(K.attention(q, k, v, additive), y)
    grads = K.attention_backward(np.ones_like(y), q, k, v, mask)
    assert all(np.isfinite(g).all() for g in grads[:3]) and not grads[0][0, 0, 2].any()
    q[0, 0, 1, 0] = np.nan
    y = K.attention(q, k, v)
    assert np.isnan(y[0, 0, 1]).all() and np.isfinite(y[0, 0, [0, 2, 3, 4, 5]]).all()
    # what is hidden may hold anything but in the values
    k[0, 0, 4] = np.inf
    q = np.abs(np.nan_to_num(q)) + 1
    assert np.isfinite(K.attention(q, k, v, np.arange(5) < 4)).all()
    # a large score wins without an overflow
    k = np.zeros_like(k)
    k[0, 0, 3] = 1e4
    np.testing.assert_allclose(K.attention(q, k, v)[0, 0], np.repeat(v[0, 0, 3:4], 6, 0), rtol=1e-6)


def test_layouts_agree_and_strides_are_copied():
    q, k, v = arrays(2, 3, 7, 9, 4, 5, np.float32, True)
    y = K.attention(q, k, v, heads=3)
    parts = [ref.apart(a, 3) for a in (q, k, v)]  # not contiguous
    np.testing.assert_array_equal(ref.together(K.attention(*parts)), y)
    out = np.empty_like(y)
    assert K.attention(q, k, v, heads=3, out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("causal", [False, True])
def test_the_number_of_threads_does_not_matter(causal):
    q, k, v = arrays(3, 2, 200, 210, 16, 16, np.float32, True)
    mask = data((200, 210), np.float32)
    g = data(q.shape, np.float32, 9)
    args = {"heads": 2, "causal": causal, "dropout": 0.2, "key": (1, 2)}

    def run():
        return [K.attention(q, k, v, mask, **args), *K.attention_backward(g, q, k, v, mask, **args)]

    lamella.set_num_threads(1)
    one = run()
    lamella.set_num_threads(2)
    for a, b in zip(one, run(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("t,s", [(70, 600), (600, 70), (33, 33)])
def test_backward_in_float32(t, s, causal, side_by_side):
    """Against float64, whose gradients finite differences check, over several blocks."""
    args = {"heads": 2 if side_by_side else 1, "causal": causal, "dropout": 0.25, "key": (1, 2)}
    single = arrays(2, 2, t, s, 12, 10, np.float32, side_by_side)
    double = [a.astype(np.float64) for a in single]
    g = data(K.attention(*single, **args).shape, np.float32, 5)
    got = K.attention_backward(g, *single, **args)
    want = K.attention_backward(g.astype(np.float64), *double, **args)
    for a, b in zip(got[:3], want[:3], strict=True):
        # Sums over up to 600 rows of products of size 1; the gradients are of size 1.
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, float(np.abs(b).max())))
