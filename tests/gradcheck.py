"""Comparing an op's backward with finite differences of its forward, in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamella._kernels._call import op as make_op

ON_DEVICE = bool(os.environ.get("LAMELLA_TEST_BACKEND") or os.environ.get("LAMELLA_TEST_CUDA"))


def central_differences(loss: Callable[[], float], x: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """The gradient of loss() by x, which is changed in place and set back."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        x[at] = kept + eps
        up = loss()
        x[at] = kept - eps
        down = loss()
        x[at] = kept
        gradient[at] = (up - down) / (2 * eps)
    return gradient


def difference_along(loss: Callable[[], float], x: np.ndarray, direction: np.ndarray, eps: float) -> float:
    """The derivative of loss() along a direction in x, which is changed in place and set back."""
    kept = x.copy()
    x[...] = kept + eps * direction
    up = loss()
    x[...] = kept - eps * direction
    down = loss()
    x[...] = kept
    return (up - down) / (2 * eps)


def compare_gradient(
    got: np.ndarray, loss: Callable[[], float], x: np.ndarray, what: str, eps: float = 1e-6, rtol: float = 1e-6
) -> None:
    """Compare the gradient of loss() by x with central differences.

    Central differences of a float64 function err by about eps^2 (curvature) + 1e-16 / eps (rounding), each relative to
    the values' scale; rtol leaves a factor of some thousand for sums over the outputs.

    Where launches are slow (an emulated device, a GPU), along three random directions of length 1 instead of along
    every axis: each element of the gradient counts in all of them.
    """
    if not ON_DEVICE:
        want = central_differences(loss, x, eps)
        scale = max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale, err_msg=what)
        return
    scale = max(1.0, float(np.abs(got).max(initial=0.0)))
    for seed in range(3):
        direction = np.random.default_rng(seed).choice([-1.0, 1.0], x.shape) / max(1.0, x.size**0.5)
        along, want = (got * direction).sum(), difference_along(loss, x, direction, eps)
        np.testing.assert_allclose(along, want, rtol=rtol, atol=rtol * scale, err_msg=what)


def check_gradients(
    name: str,
    attrs: dict[str, Any],
    inputs: Sequence[np.ndarray | None],
    wanted: Sequence[int] | None = None,
    seed: int = 0,
    eps: float = 1e-6,
    rtol: float = 1e-6,
) -> None:
    """Compare backward's gradients of sum(output * w), w random, with central differences.

    `wanted` are the inputs to check (default: float ones that the op calls differentiable).
    """
    rng = np.random.default_rng(seed)
    op = make_op(name, attrs)
    arrays = [None if a is None else np.ascontiguousarray(a) for a in inputs]

    def forward() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray | None]]:
        copies = [None if a is None else a.copy() for a in arrays]  # running statistics are updated in place
        outputs, saved = op.forward(copies, training=True)
        return outputs, saved, copies

    outputs, saved, used = forward()
    weights = [rng.standard_normal(o.shape) for o in outputs]
    if wanted is None:
        wanted = [i for i, a in enumerate(arrays) if a is not None and a.dtype.kind == "f" and op.differentiable(i)]
    flags = [i in wanted for i in range(len(arrays))]
    grads = op.backward(used, outputs, saved, weights, flags)

    def loss() -> float:
        return float(sum((o * w).sum() for o, w in zip(forward()[0], weights, strict=True)))

    for i, grad in enumerate(grads):
        if i not in wanted:
            assert grad is None
            continue
        x = arrays[i]
        assert x is not None and grad is not None and grad.shape == x.shape and grad.dtype == x.dtype
        compare_gradient(grad, loss, x, f"{name} {attrs}: input {i}", eps, rtol)
