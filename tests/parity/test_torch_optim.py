"""Optimizers of `lamella.optim` beside PyTorch's: every hyper-parameter, ten steps on the same gradients."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lamella

from .compare import close, normal, parity, seeds
from .torch_side import torch

flags = st.booleans()
rates = st.sampled_from([1e-3, 0.02, 0.3])
betas = st.tuples(st.sampled_from([0.9, 0.5, 0.0]), st.sampled_from([0.999, 0.8]))
decays = st.sampled_from([0.0, 0.01, 0.3])

CASES = {
    "SGD": {
        "lr": rates,
        "momentum": st.sampled_from([0.0, 0.9]),
        "dampening": st.sampled_from([0.0, 0.4]),
        "weight_decay": decays,
        "nesterov": flags,
        "maximize": flags,
    },
    "Adam": {
        "lr": rates,
        "betas": betas,
        "eps": st.sampled_from([1e-8, 0.1]),
        "weight_decay": decays,
        "amsgrad": flags,
        "maximize": flags,
        "decoupled_weight_decay": flags,
    },
    "AdamW": {
        "lr": rates,
        "betas": betas,
        "eps": st.sampled_from([1e-8, 0.1]),
        "weight_decay": decays,
        "amsgrad": flags,
        "maximize": flags,
    },
    "RMSprop": {
        "lr": rates,
        "alpha": st.sampled_from([0.99, 0.5]),
        "eps": st.sampled_from([1e-8, 0.1]),
        "weight_decay": decays,
        "momentum": st.sampled_from([0.0, 0.9]),
        "centered": flags,
        "maximize": flags,
    },
    "Adagrad": {
        "lr": rates,
        "lr_decay": st.sampled_from([0.0, 0.5]),
        "weight_decay": decays,
        "initial_accumulator_value": st.sampled_from([0.0, 0.5]),
        "eps": st.sampled_from([1e-10, 0.1]),
        "maximize": flags,
    },
}
SHAPES = [(3, 5), (7,), (2, 3, 4), (), (1, 1)]


def walk(ours, theirs, make, their_make, seed, dtype, steps=10):
    """Ten steps on random gradients; a parameter now and then has none."""
    rng = np.random.default_rng(seed)
    optimizer, their_optimizer = make(ours), their_make(theirs)
    for step in range(steps):
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            if (i + step) % 4 == 3:
                p.grad = q.grad = None
                continue
            g = rng.normal(size=tuple(q.shape)).astype(np.float32)
            p.grad, q.grad = lamella.tensor(g.astype(dtype)), torch.tensor(g.astype(np.float64))
        optimizer.step()
        their_optimizer.step()
    # Divisions by roots of averages carry their rounding into every step.
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        close(p.detach(), q, f"{type(optimizer).__name__}: parameter {i}", 2e-5 if dtype == "float32" else 1e-12)
    return optimizer, their_optimizer


def parameters(seed, dtype):
    values = [normal(seed + i, *s) for i, s in enumerate(SHAPES)]
    ours = [lamella.nn.Parameter(lamella.tensor(v.astype(dtype))) for v in values]
    return ours, [torch.nn.Parameter(torch.tensor(v)) for v in values]


def valid(name, kwargs):
    return name != "SGD" or not kwargs["nesterov"] or (kwargs["momentum"] > 0 and kwargs["dampening"] == 0)


@pytest.mark.parametrize("name", CASES)
@parity
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), seed=seeds)
def test_steps(name, data, dtype, seed):
    kwargs = data.draw(st.fixed_dictionaries(CASES[name]))
    assume(valid(name, kwargs))
    if kwargs.get("centered") and kwargs["eps"] < 1e-3:
        kwargs["eps"] = 1e-3  # a variance near zero: any rounding decides the step
    ours, theirs = parameters(seed, dtype)
    make, their_make = getattr(lamella.optim, name), getattr(torch.optim, name)
    walk(ours, theirs, lambda p: make(p, **kwargs), lambda p: their_make(p, **kwargs), seed, dtype)


@pytest.mark.parametrize("name", CASES)
def test_defaults(name):
    ours, theirs = parameters(0, "float64")
    walk(ours, theirs, getattr(lamella.optim, name), getattr(torch.optim, name), 0, "float64")


@pytest.mark.parametrize("name", CASES)
def test_groups_with_options_of_their_own(name):
    ours, theirs = parameters(1, "float64")

    def groups(p):
        return [{"params": p[:2], "lr": 0.1}, {"params": p[2:], "weight_decay": 0.1}]

    walk(ours, theirs, lambda p: getattr(lamella.optim, name)(groups(p), lr=0.01),
         lambda p: getattr(torch.optim, name)(groups(p), lr=0.01), 1, "float64")  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_state_goes_both_ways(name):
    """PyTorch's `state_dict` is ours: what one has begun the other goes on with."""
    kwargs = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    make, their_make = getattr(lamella.optim, name), getattr(torch.optim, name)
    ours, theirs = parameters(2, "float64")
    optimizer, their_optimizer = walk(
        ours, theirs, lambda p: make(p, **kwargs), lambda p: their_make(p, **kwargs), 2, "float64", steps=3
    )
    state = their_optimizer.state_dict()
    plain = {
        "param_groups": state["param_groups"],
        "state": {
            i: {k: v.numpy() if hasattr(v, "numpy") else v for k, v in entry.items()}
            for i, entry in state["state"].items()
        },
    }

    def resumed(params):
        fresh = make(params, **kwargs)
        fresh.load_state_dict(plain)
        return fresh

    def same(params):
        return their_optimizer

    walk(ours, theirs, resumed, same, 3, "float64", steps=3)
    own, other = optimizer.state_dict(), state
    assert [g["params"] for g in own["param_groups"]] == [g["params"] for g in other["param_groups"]]
    assert set(own["state"]) == set(other["state"])


@parity
@given(st.floats(0.1, 10), st.sampled_from([1.0, 2.0, 3.0, float("inf")]), seeds)
def test_clipping(limit, order, seed):
    ours, theirs = parameters(seed, "float64")
    for p, q in zip(ours, theirs, strict=True):
        g = np.random.default_rng(seed).normal(size=tuple(q.shape))
        p.grad, q.grad = lamella.tensor(g), torch.tensor(g)
    norm = lamella.nn.utils.clip_grad_norm_(ours, limit, order)
    their_norm = torch.nn.utils.clip_grad_norm_(theirs, limit, order)
    close(norm, their_norm, "norm", 1e-12)
    for p, q in zip(ours, theirs, strict=True):
        close(p.grad, q.grad, "gradient", 1e-12)
    lamella.nn.utils.clip_grad_value_(ours, limit / 10)
    torch.nn.utils.clip_grad_value_(theirs, limit / 10)
    for p, q in zip(ours, theirs, strict=True):
        close(p.grad, q.grad, "gradient", 1e-12)
