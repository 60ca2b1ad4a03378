import numpy as np
import pytest

import lamella
from lamella import _cpu


@pytest.mark.parametrize(
    "name,attrs,error,text",
    [
        ("random_uniform", {"low": 1.0, "high": 0.0}, ValueError, "low <= high"),
        ("random_uniform", {"dtype": "int32"}, TypeError, "float32 or float64, got int32"),
        ("random_uniform", {"shape": [2, -1]}, ValueError, "shape"),
        ("random_uniform", {"high": float("inf")}, ValueError, "finite"),
        ("random_uniform", {"std": 1.0}, ValueError, "std"),
        ("random_normal", {"std": -1.0}, ValueError, "std"),
        ("random_truncated_normal", {"low": 2.0, "high": 1.0}, ValueError, "low < high"),
        ("random_bernoulli", {"p": 1.5}, ValueError, "probability"),
        ("random_permutation", {"n": 2**32}, ValueError, "n"),
        ("random_permutation", {"n": -1}, ValueError, "n"),
        ("random_permutation", {"n": 3, "key": [1]}, ValueError, "key"),
        ("dropout", {"rate": 1.1}, ValueError, "rate"),
        ("dropout", {"p": 0.1}, ValueError, "rate"),
        ("gaussian_dropout", {"rate": 1.0}, ValueError, "rate"),
        ("gaussian_noise", {"stddev": -0.1}, ValueError, "stddev"),
    ],
)
def test_attribute_errors(name, attrs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op(name, attrs)


@pytest.mark.parametrize(
    "noise_shape,error,text",
    [
        ([1], ValueError, "3 entries"),
        ([2, -1, -1], ValueError, "axis 0"),
        ([1, -1, 1], NotImplementedError, "axis 1 stands between"),
    ],
)
def test_noise_shape_errors(noise_shape, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op("dropout", {"noise_shape": noise_shape}).infer([("float32", (4, 5, 6))])


def test_dtypes():
    with pytest.raises(TypeError, match="float32 or float64"):
        _cpu.Op("dropout").forward([np.zeros(3, np.int64)], True)


@pytest.mark.parametrize("name", ["dropout", "gaussian_noise", "gaussian_dropout"])
def test_gradient_is_that_of_the_drawn_noise(name):
    op = _cpu.Op(name)
    x = np.random.default_rng(0).standard_normal((5, 7))
    g = np.random.default_rng(1).standard_normal((5, 7))

    def forward(v):
        lamella.seed(3)
        return op.forward([v], True)

    (y,), saved = forward(x)
    (dx,) = op.backward([x], [y], saved, [g], [True])
    step = 1e-3  # the ops are linear in x: only rounding errs
    (up,), _ = forward(x + step)
    np.testing.assert_allclose((up - y) / step * g, dx, atol=1e-9)
    (zero,) = op.backward([x], [y], saved, [None], [True])
    assert not zero.any()


def test_empty_and_scalar_shapes():
    for name in ("random_uniform", "random_normal", "random_truncated_normal", "random_bernoulli"):
        for shape in ([], [0], [3, 0, 2], [1, 1]):
            for dtype in ("float32", "float64"):
                (y,), _ = _cpu.Op(name, {"shape": shape, "dtype": dtype}).forward([])
                assert y.shape == tuple(shape) and y.dtype == dtype


def test_attributes_round_trip():
    for name in ("random_uniform", "random_normal", "random_truncated_normal", "random_bernoulli"):
        op = _cpu.Op(name, {"shape": [2, 3], "dtype": "float64", "key": [1, -2]})
        assert _cpu.Op(name, op.attrs).attrs == op.attrs
    op = _cpu.Op("dropout", {"rate": 0.25, "noise_shape": [-1, 1]})
    assert _cpu.Op("dropout", op.attrs).attrs == op.attrs == {"rate": 0.25, "noise_shape": [-1, 1]}
