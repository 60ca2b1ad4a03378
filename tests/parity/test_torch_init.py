"""Initial values and `nn.utils` beside PyTorch's: the same numbers, or numbers of the same distribution."""

import math

import numpy as np
import pytest

import lamella
from lamella import nn

from .compare import array, close, normal
from .torch_side import torch


@pytest.mark.parametrize(("name", "args", "shape"), [
    ("constant_", (0.3,), (6, 8)), ("ones_", (), (5, 4, 3)), ("zeros_", (), (5,)), ("eye_", (), (6, 8)),
    ("dirac_", (), (5, 4, 3)), ("dirac_", (), (2, 6, 3, 3)), ("dirac_", (2,), (6, 2, 3, 3)),
], ids=str)  # fmt: skip
def test_fixed_values(name, args, shape):
    ours, theirs = lamella.empty(*shape), torch.empty(*shape)
    found = getattr(nn.init, name)(ours, *args)
    assert found is ours
    np.testing.assert_array_equal(array(ours), array(getattr(torch.nn.init, name)(theirs, *args)))


RANDOM = {
    "uniform_": [{}, {"a": -2.0, "b": 1.0}],
    "normal_": [{}, {"mean": 1.0, "std": 0.3}],
    "trunc_normal_": [{}, {"mean": 1.0, "std": 2.0, "a": 0.0, "b": 2.0}],
    "xavier_uniform_": [{}, {"gain": 2.0}],
    "xavier_normal_": [{}, {"gain": 2.0}],
    "kaiming_uniform_": [{}, {"a": 0.5, "mode": "fan_out"}, {"nonlinearity": "relu"}],
    "kaiming_normal_": [{}, {"mode": "fan_out", "nonlinearity": "tanh"}],
}


@pytest.mark.parametrize("shape", [(60, 80), (24, 16, 5, 5)])
@pytest.mark.parametrize(("name", "kwargs"), [(n, k) for n, cases in RANDOM.items() for k in cases], ids=str)
def test_moments_and_bounds(name, kwargs, shape):
    lamella.seed(3)
    torch.manual_seed(3)
    a = array(getattr(nn.init, name)(lamella.empty(*shape), **kwargs))
    b = array(getattr(torch.nn.init, name)(torch.empty(*shape), **kwargs))
    # Both are samples: means and deviations within five times what their own spread allows, extremes within a tenth.
    spread = b.std() / math.sqrt(b.size)
    assert abs(a.mean() - b.mean()) <= 5 * math.sqrt(2) * spread
    assert abs(a.std() - b.std()) <= 5 * spread
    if "uniform" in name:
        np.testing.assert_allclose([a.min(), a.max()], [b.min(), b.max()], atol=0.1 * np.abs(b).max())
    if name == "trunc_normal_" and kwargs:
        assert a.min() >= 0 and a.max() <= 2


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 2, 2)])
def test_orthogonal(shape):
    a = array(nn.init.orthogonal_(lamella.empty(*shape), 2.0)).reshape(shape[0], -1).astype(float)
    b = array(torch.nn.init.orthogonal_(torch.empty(*shape), 2.0)).reshape(shape[0], -1).astype(float)
    for m in (a, b):
        gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_sparse():
    for tensor, init in ((lamella.empty(20, 30), nn.init), (torch.empty(20, 30), torch.nn.init)):
        np.testing.assert_array_equal((array(init.sparse_(tensor, 0.33)) == 0).sum(0), 7)


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


def learned():
    """The same parameters with the same gradients, of both sides."""
    values = [(normal(i, *s), normal(i + 9, *s, scale=3.0)) for i, s in enumerate([(3, 4), (5,), (2, 1, 3)])]
    found = []
    for side in (lamella, torch):
        parameters = [side.nn.Parameter(side.tensor(v)) for v, _ in values]
        for p, (_, g) in zip(parameters, values, strict=True):
            p.grad = side.tensor(g)
        found.append(parameters)
    return found


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_norms_of_gradients(norm_type):
    ours, theirs = learned()
    mine, other = nn.utils, torch.nn.utils
    totals = [u.get_total_norm([p.grad for p in ps], norm_type) for u, ps in ((mine, ours), (other, theirs))]
    close(*totals, "get_total_norm", 1e-12)
    for u, ps, total in ((mine, ours, totals[0]), (other, theirs, totals[1])):
        u.clip_grads_with_norm_(ps, 0.7, total)
    for p, q in zip(ours, theirs, strict=True):
        close(p.grad, q.grad, "clip_grads_with_norm_", 1e-12)


def test_vectors_of_parameters():
    ours, theirs = learned()
    close(nn.utils.parameters_to_vector(ours), torch.nn.utils.parameters_to_vector(theirs), "vector", 0)
    values = normal(5, 23)
    nn.utils.vector_to_parameters(lamella.tensor(values), ours)
    torch.nn.utils.vector_to_parameters(torch.tensor(values), theirs)
    for p, q in zip(ours, theirs, strict=True):
        close(p, q, "vector_to_parameters", 0)
