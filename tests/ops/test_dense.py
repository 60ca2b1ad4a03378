"""dense and matmul: forward, gradients by finite differences, what backward keeps, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients
from reference_gemm import gemm as expected_gemm

import lamella
from lamella._kernels._call import op

ACTIVATIONS = [
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "sigmoid",
    "tanh",
    "softplus",
    "silu",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_swish",
    "relu6",
    "softsign",
    "exp",
    "mish",
]


def arrays(seed: int, *shapes: tuple[int, ...], dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_dense_gradients(act: str) -> None:
    x, w, b = arrays(1, (4, 3), (3, 5), (5,))
    check_gradients("dense", {"activation": act}, [x, w, b])


@pytest.mark.parametrize("act", ["leaky_relu", "elu"])
def test_dense_gradients_with_a_negative_alpha(act: str) -> None:
    x, w, b = arrays(2, (4, 3), (3, 5), (5,))
    check_gradients("dense", {"activation": act, "alpha": -0.7}, [x, w, b])


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 3), (0, 3), (2, 0, 3)], ids=str)
def test_dense_shapes(shape: tuple[int, ...]) -> None:
    x, w, b = arrays(3, shape, (3, 4), (4,))
    for inputs in ([x, w], [x, w, None], [x, w, b]):
        outputs, saved = op("dense", {"activation": "tanh"}).forward(inputs)
        assert not saved and outputs[0].shape == (*shape[:-1], 4)
        np.testing.assert_allclose(outputs[0], np.tanh(x @ w + (b if inputs[-1] is b else 0.0)), rtol=1e-12, atol=1e-12)
        check_gradients("dense", {"activation": "tanh"}, inputs)


@pytest.mark.parametrize(
    "sizes", [(64, 32, 10), (128, 784, 128), (256, 100, 1), (2500, 33, 20), (1, 300, 260)], ids=str
)
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_dense_float32(sizes: tuple[int, int, int], act: str) -> None:
    """Against float64, with tolerances as in tests/kernels/test_gemm.py."""
    m, k, n = sizes
    x, w, b, g = arrays(4, (m, k), (k, n), (n,), (m, n), dtype=np.float32)
    w /= np.sqrt(k).astype(np.float32)
    o = op("dense", {"activation": act})
    outputs, saved = o.forward([x, w, b], training=True)
    np.testing.assert_allclose(
        outputs[0], expected_gemm(x, w, bias=b, activation_name=act), rtol=0, atol=1e-7 * (k + 30)
    )
    grads = o.backward([x, w, b], outputs, saved, [g], [True, True, True])
    wide = op("dense", {"activation": act})
    inputs = [v.astype(np.float64) for v in (x, w, b)]
    want = wide.backward(inputs, *wide.forward(inputs, training=True), [g.astype(np.float64)], [True, True, True])
    for got, expected, depth in zip(grads, want, (n, m, m), strict=True):
        # dz itself may flip near relu's kink, where the sum that enters is within rounding of 0.
        scale = np.abs(expected).max()
        assert np.quantile(np.abs(got - expected), 0.999) <= 1e-7 * (depth + 100) * scale


def test_dense_wants_only_what_is_asked() -> None:
    x, w, b, g = arrays(5, (6, 3), (3, 4), (4,), (6, 4))
    o = op("dense", {"activation": "silu"})
    outputs, saved = o.forward([x, w, b], training=True)
    every = o.backward([x, w, b], outputs, saved, [g], [True, True, True])
    for i in range(3):
        wanted = [j == i for j in range(3)]
        grads = o.backward([x, w, b], outputs, saved, [g], wanted)
        assert [v is not None for v in grads] == wanted
        np.testing.assert_array_equal(grads[i], every[i])


def test_missing_output_gradient_is_zero() -> None:
    x, w, b = arrays(6, (6, 3), (3, 4), (4,))
    o = op("dense", {"activation": "relu"})
    for grad in o.backward([x, w, b], *o.forward([x, w, b], True), [None], [True] * 3):
        assert not grad.any()
    for sa, sb in [((2, 3), (3, 4)), ((5, 2, 3), (3, 4))]:
        a, b = arrays(7, sa, sb)
        o = op("matmul", {})
        for grad in o.backward([a, b], *o.forward([a, b], True), [None], [True] * 2):
            assert not grad.any()


def test_what_is_saved() -> None:
    x, w = arrays(8, (2, 3), (3, 4))
    for act, alpha, count in [("relu", None, 0), ("gelu", None, 1), ("leaky_relu", 0.1, 0), ("leaky_relu", -0.1, 1)]:
        _, saved = op("dense", {"activation": act, "alpha": alpha}).forward([x, w], training=True)
        assert len(saved) == count
    np.testing.assert_allclose(
        op("dense", {"activation": "gelu"}).forward([x, w], training=True)[1][0], x @ w, rtol=1e-12
    )


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize(
    ("ba", "bb"), [((), ()), ((2,), (2,)), ((2,), ()), ((), (2,)), ((2, 1), (3,)), ((0,), ())], ids=str
)
def test_matmul_gradients(ba: tuple[int, ...], bb: tuple[int, ...], ta: bool, tb: bool) -> None:
    a, b = arrays(9, (*ba, *((3, 2) if ta else (2, 3))), (*bb, *((4, 3) if tb else (3, 4))))
    check_gradients("matmul", {"transpose_a": ta, "transpose_b": tb, "alpha": 0.5}, [a, b])


def test_gradients_do_not_depend_on_threads() -> None:
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        x, w, b, g = arrays(10, (3000, 90), (90, 70), (70,), (3000, 70), dtype=np.float32)
        o = op("dense", {"activation": "tanh"})
        outputs, saved = o.forward([x, w, b], training=True)
        results.append([*outputs, *o.backward([x, w, b], outputs, saved, [g], [True] * 3)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_errors() -> None:
    x, w, b = arrays(11, (2, 3), (3, 4), (4,))
    dense = op("dense", {})
    with pytest.raises(ValueError, match=r"dense: x: expected a last dimension of 3"):
        dense.forward([w, w])
    with pytest.raises(ValueError, match=r"dense: bias"):
        dense.forward([x, w, b[:3]])
    with pytest.raises(ValueError, match=r"dense: weight"):
        dense.forward([x, b])
    with pytest.raises(TypeError, match=r"dense: weight"):
        dense.forward([x, w.astype(np.float32)])
    with pytest.raises(TypeError, match=r"dense: x"):
        dense.forward([x.astype(np.int32), w])
    with pytest.raises(ValueError, match="units"):
        op("dense", {"units": 4})
    with pytest.raises(ValueError, match="gelu"):
        op("dense", {"activation": "glu"})
