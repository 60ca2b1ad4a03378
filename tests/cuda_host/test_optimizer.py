"""Updates of more tensors than one launch takes, and of arrays that begin anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_optimizer as ref

from lamella import _cpu
from lamella import kernels as K


def anywhere(x: np.ndarray, shift: int) -> np.ndarray:
    """A copy that begins `shift` elements behind a multiple of 16 bytes."""
    room = np.empty(x.size + 8, x.dtype)
    start = (-room.ctypes.data // x.itemsize) % 4 + shift
    y = room[start : start + x.size].reshape(x.shape)
    y[...] = x
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("sgd", {}),
        ("adam", {"amsgrad": True, "clipvalue": 0.8, "weight_decay": 0.1}),
        ("rmsprop", {"centered": True, "momentum": 0.8, "eps": 1e-4}),
        ("ftrl", {"power": 0.3, "l1": 0.5, "l2": 0.1}),
    ],
)
def test_many_tensors(name: str, hyper: dict[str, Any], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    sizes = [int(n) for n in rng.integers(0, 60, 230)]
    sizes[7], sizes[100], sizes[229] = 4096, 13_001, 4099
    shifts = rng.integers(0, 4, len(sizes))
    hyper = {"learning_rate": 0.01, **hyper}
    params = [anywhere(rng.standard_normal(n).astype(dtype), k) for n, k in zip(sizes, shifts, strict=True)]
    wanted = [p.astype(np.float64) for p in params]
    states = K.optimizer_states(name, params, **hyper)
    ref_states: list[dict[str, Any]] = [{} for _ in sizes]
    h = _cpu.Optimizer(name, hyper).hyper
    for t in range(1, 4):
        grads = [rng.standard_normal(n).astype(dtype) for n in sizes]
        K.optimizer_step(name, params, grads, states, t, **hyper)
        wanted = ref.step(name, wanted, grads, ref_states, t, h, 1.0)
    eps = float(np.finfo(dtype).eps)
    for p, w in zip(params, wanted, strict=True):
        # Three steps round w (up to 5) twice each and move it by a few lr; the centered variance loses three digits.
        np.testing.assert_allclose(p, w, rtol=0, atol=30 * eps + 40 * eps)


def test_tensors_have_rates_and_decays_of_their_own() -> None:
    n = 150
    params = [np.full(3, 2.0) for _ in range(n)]
    grads = [np.ones(3) for _ in range(n)]
    o = _cpu.Optimizer("sgd", {"learning_rate": 0.5, "decoupled": True})
    scales, decays = [float(i) for i in range(n)], [0.01 * (i % 3) for i in range(n)]
    o.step(params, grads, [[] for _ in range(n)], 1, lr_scales=scales, weight_decays=decays)
    for i, p in enumerate(params):
        np.testing.assert_allclose(p, 2 * (1 - 0.5 * i * decays[i]) - 0.5 * i, rtol=0, atol=1e-13)
