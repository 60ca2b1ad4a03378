"""The norm of many arrays together, and clipping by it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K
from lamella import nn

BLOCK = 65536  # elements that the kernel adds up in one go


def expected(arrays: list[Any]) -> float:
    """Correctly rounded sums, of squares that are exact for float32."""
    return math.sqrt(math.fsum(float(v) ** 2 for a in arrays for v in np.asarray(a, np.float64).ravel()))


def close(got: float, want: float) -> None:
    """Runs of some 2,000 squares are added up in double: 2,000 eps holds even if every rounding goes the same way."""
    assert isinstance(got, float)
    assert got == want or abs(got - want) <= 2000 * np.finfo(np.float64).eps * want


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 70), st.sampled_from([1000, BLOCK - 1, BLOCK, BLOCK + 1])), max_size=8),
    kinds=st.lists(st.sampled_from([np.float32, np.float64]), min_size=8, max_size=8),
    seed=st.integers(0, 99),
)
def test_mixed_sizes_and_types(sizes: list[int], kinds: list[Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(n).astype(kind) for n, kind in zip(sizes, kinds, strict=False)]
    close(K.global_norm(arrays), expected(arrays))
    close(K.global_norm(arrays[::-1]), expected(arrays))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large(dtype: Any) -> None:
    """Naive float32 sums of this many positive terms would stop growing at 2**24 times the term."""
    x = np.full((1 << 24) + 12_345, 0.1, dtype)
    close(K.global_norm([x]), math.sqrt(x.size) * float(x[0]))
    close(K.global_norm([x[: 1 << 20]] * 3), math.sqrt(3 << 20) * float(x[0]))


def test_many_small_arrays() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(int(n)).astype(np.float32) for n in rng.integers(0, 400, 3000)]
    close(K.global_norm(arrays), expected(arrays))


def test_nothing() -> None:
    for arrays in ([], [np.zeros(0, np.float32)], [np.zeros((3, 0)), np.zeros((0,), np.float32)], [np.float32(0)]):
        assert K.global_norm(arrays) == 0.0
    assert K.global_norm((np.zeros(0), np.float32(-3), np.full((1, 1), 4.0))) == 5.0


def test_layouts() -> None:
    x = np.random.default_rng(1).standard_normal((20, 30, 5)).astype(np.float32)
    arrays = [x[::2, :, 1], x.T, np.asfortranarray(x), x[:, ::-3], x.astype(">f4"), np.broadcast_to(x[:1], x.shape)]
    for a in arrays:
        close(K.global_norm([a]), expected([a]))
    close(K.global_norm(arrays), expected(arrays))


def test_magnitudes() -> None:
    """Squares that float32 cannot hold."""
    assert K.global_norm([np.array([3e30, -4e30], np.float32)]) == pytest.approx(5e30, rel=1e-7)
    assert K.global_norm([np.array([3e-30, -4e-30], np.float32)]) == pytest.approx(5e-30, rel=1e-7)
    assert K.global_norm([np.full(4, np.finfo(np.float32).max)]) == 2 * float(np.finfo(np.float32).max)


@pytest.mark.parametrize("at", [0, 33, BLOCK - 1, BLOCK, BLOCK + 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(at: int, dtype: Any) -> None:
    x, others = np.ones(BLOCK + 21, dtype), [np.ones(5, np.float32), np.ones(3)]
    for value in (np.inf, -np.inf):
        x[at] = value
        assert K.global_norm([others[0], x, others[1]]) == np.inf
        assert math.isnan(K.global_norm([others[0], x, np.array([np.nan])]))
    x[at] = np.nan
    assert math.isnan(K.global_norm([others[0], x, others[1]]))


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (500_001, 3, 100_000, 70_000, 1)]
    arrays.append(rng.standard_normal(200_000))
    results = []
    for threads in (1, 2, 3):
        lamella.set_num_threads(threads)
        results.append(K.global_norm(arrays))
    assert results[0] == results[1] == results[2]


def test_errors() -> None:
    good = np.ones(3)
    with pytest.raises(TypeError, match="global_norm: array 1: expected float32 or float64, got int64"):
        K.global_norm([good, np.ones(3, np.int64)])
    with pytest.raises(TypeError, match=r"global_norm: array 0: .*got object"):
        K.global_norm([None, good])
    with pytest.raises(TypeError):
        K.global_norm(None)


# ---- clipping -------------------------------------------------------------------------------------------------------


def with_grads(*grads: np.ndarray) -> list[Any]:
    """Parameters with these gradients."""
    params = [nn.Parameter(lamella.tensor(np.zeros_like(g))) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = lamella.tensor(g)
    return params


def clipped(grads: list[np.ndarray], *args: Any, **kwargs: Any) -> tuple[Any, list[np.ndarray]]:
    params = with_grads(*grads)
    total = nn.utils.clip_grad_norm_(params, *args, **kwargs)
    return total, [p.grad.numpy() for p in params]


def test_clip_grad_norm_scales_by_the_global_norm() -> None:
    rng = np.random.default_rng(3)
    grads = [rng.standard_normal(s).astype(np.float32) for s in [(7, 5), (5,), (0, 3), (70_000,)]]
    norm = K.global_norm(grads)
    total, after = clipped(grads, 1.5)
    assert total.dtype == np.float32 and total.item() == np.float32(norm)
    for a, g in zip(after, grads, strict=True):
        np.testing.assert_array_equal(a, g * np.float32(1.5 / (norm + 1e-6)))
    _, after = clipped(grads, 2 * norm)
    for a, g in zip(after, grads, strict=True):
        np.testing.assert_array_equal(a, g)


def test_clip_grad_norm_is_the_optimizers() -> None:
    """Clipping before the step, and an optimizer that clips: PyTorch's rule adds 1e-6 to the norm, Keras' does not."""
    grads = [np.random.default_rng(4).standard_normal(n) for n in (100, 70_001)]
    _, after = clipped(grads, 0.25)
    weights = [np.zeros_like(g) for g in grads]
    K.optimizer_step("sgd", weights, grads, [[], []], 1, learning_rate=1.0, global_clipnorm=0.25)
    for a, w in zip(after, weights, strict=True):
        np.testing.assert_allclose(-w, a, rtol=1e-8)


def test_clip_grad_norm_of_two_types() -> None:
    grads = [np.array([3.0], np.float32), np.array([4.0])]
    total, after = clipped(grads, 1.0)
    assert total.dtype == np.float64 and total.item() == 5.0
    assert [a.dtype for a in after] == [np.float32, np.float64]
    np.testing.assert_allclose([a[0] for a in after], [0.6, 0.8], rtol=1e-6)


def test_clip_grad_norm_of_exploding_gradients() -> None:
    total, after = clipped([np.array([3e38, -3e38], np.float32)], 1.0)
    assert total.item() == np.inf  # more than a float32 holds, but the gradients are clipped
    np.testing.assert_allclose(after[0], [math.sqrt(0.5), -math.sqrt(0.5)], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clip_grad_norm_without_a_norm(value: float) -> None:
    grads = [np.array([1.0, value], np.float32), np.ones(2, np.float32)]
    total, after = clipped(grads, 1.0)
    np.testing.assert_equal(total.item(), value)
    # As in PyTorch: NaN spreads to all, infinity leaves zeros beside NaN.
    np.testing.assert_array_equal(after[1], np.full(2, np.nan if np.isnan(value) else 0.0))
    assert np.isnan(after[0][1])
    params = with_grads(*grads)
    with pytest.raises(RuntimeError, match="clip_grad_norm_: expected a finite norm"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(params[1].grad.numpy(), grads[1])


@pytest.mark.parametrize(("order", "norm"), [(1.0, 9.0), (2.0, math.sqrt(29.0)), (3.0, 99 ** (1 / 3)), (math.inf, 4.0)])
def test_clip_grad_norm_of_any_order(order: float, norm: float) -> None:
    grads = [np.array([2.0, -3.0], np.float32), np.array([[4.0]], np.float32)]
    total, after = clipped(grads, 1.0, norm_type=order)
    assert total.item() == pytest.approx(norm, rel=1e-6)
    for a, g in zip(after, grads, strict=True):
        np.testing.assert_allclose(a, g / norm, rtol=1e-5)


def test_clip_grad_norm_without_gradients() -> None:
    assert nn.utils.clip_grad_norm_([nn.Parameter(lamella.tensor([1.0]))], 1.0).item() == 0.0
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
