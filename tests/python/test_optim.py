"""Optimizers against their formulas in float64, parameter groups, saving, schedules."""

import itertools
import math

import numpy as np
import pytest

import lamella
from lamella import nn, optim
from lamella.optim import lr_scheduler as lrs


def run(make, steps=5, dtype=np.float64):
    """A parameter of PyTorch's shape over transposed memory, and one as it lies, with given gradients."""
    rng = np.random.default_rng(0)
    params = [nn.Parameter(rng.standard_normal((3, 4)).astype(dtype), perm=(1, 0))]
    params.append(nn.Parameter(rng.standard_normal(5).astype(dtype)))
    start = [p.detach().numpy().copy() for p in params]
    grads = [[rng.standard_normal(p.shape).astype(dtype) for p in params] for _ in range(steps)]
    opt = make(params)
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = lamella.tensor(g)
        opt.step()
    return start, grads, [p.detach().numpy() for p in params]


def expect(update, start, grads):
    out = []
    for i, w in enumerate(start):
        w, state = w.astype(np.float64), {}
        for t, step in enumerate(grads, 1):
            w = update(w, step[i].astype(np.float64), state, t)
        out.append(w)
    return out


def sgd(lr=0.1, momentum=0.0, dampening=0.0, wd=0.0, nesterov=False):
    def update(w, g, s, t):
        g = g + wd * w
        if momentum:
            s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
            g = g + momentum * s["b"] if nesterov else s["b"]
        return w - lr * g

    return update


def adam(lr=0.01, b1=0.9, b2=0.999, eps=1e-8, wd=0.0, decoupled=False, amsgrad=False):
    def update(w, g, s, t):
        if decoupled:
            w = w - lr * wd * w
        else:
            g = g + wd * w
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
        v = s["v"]
        if amsgrad:
            v = s["x"] = np.maximum(s.get("x", 0), s["v"])
        return w - lr * (s["m"] / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return update


def rmsprop(lr=0.01, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    def update(w, g, s, t):
        s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
        v = s["v"]
        if centered:
            s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
            v = v - s["m"] ** 2
        d = g / (np.sqrt(v) + eps)
        if momentum:
            d = s["b"] = momentum * s.get("b", 0) + d
        return w - lr * d

    return update


def adagrad(lr=0.01, lr_decay=0.0, initial=0.0, eps=1e-10):
    def update(w, g, s, t):
        s["v"] = s.get("v", initial) + g * g
        return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)

    return update


CASES = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1), sgd()),
    "sgd momentum": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
        sgd(momentum=0.9, dampening=0.1, wd=0.01),
    ),
    "sgd nesterov": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        sgd(momentum=0.9, nesterov=True),
    ),
    "adam": (lambda p: optim.Adam(p, lr=0.01), adam()),
    "adam decay": (lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1), adam(b1=0.8, b2=0.9, wd=0.1)),
    "amsgrad": (lambda p: optim.Adam(p, lr=0.01, amsgrad=True), adam(amsgrad=True)),
    "adamw": (lambda p: optim.AdamW(p, lr=0.01), adam(wd=0.01, decoupled=True)),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.01), rmsprop()),
    "rmsprop centered": (
        lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
        rmsprop(momentum=0.5, centered=True),
    ),
    "adagrad": (
        lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.1, initial_accumulator_value=0.2),
        adagrad(lr_decay=0.1, initial=0.2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_formulas(name):
    make, update = CASES[name]
    start, grads, got = run(make)
    for a, b in zip(got, expect(update, start, grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_float32():
    make, update = CASES["adam"]
    start, grads, got = run(make, dtype=np.float32)
    for a, b in zip(got, expect(update, start, grads), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # five steps, each with a few roundings


def test_maximize_climbs():
    start, grads, got = run(lambda p: optim.SGD(p, lr=0.1, maximize=True), steps=1)
    np.testing.assert_allclose(got[0], start[0] + 0.1 * grads[0][0])


def test_groups_and_changes_of_options():
    a, b = nn.Parameter(lamella.ones(2)), nn.Parameter(lamella.ones(2))
    opt = optim.SGD([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=0.1)
    for p in (a, b):
        p.grad = lamella.ones(2)
    opt.step()
    np.testing.assert_allclose(a.detach(), [0.9, 0.9])
    np.testing.assert_allclose(b.detach(), [0, 0])
    opt.param_groups[0]["lr"] = 0.5
    opt.step()
    np.testing.assert_allclose(a.detach(), [0.4, 0.4])
    opt.zero_grad()
    assert a.grad is None
    opt.step()
    np.testing.assert_allclose(a.detach(), [0.4, 0.4])


def test_a_parameter_without_gradient_does_not_age():
    a, b = nn.Parameter(lamella.zeros(1)), nn.Parameter(lamella.zeros(1))
    opt = optim.Adam([a, b], lr=0.1)
    a.grad = lamella.ones(1)
    opt.step()
    b.grad = lamella.ones(1)
    a.grad = None
    opt.step()
    assert a.tolist() == b.tolist(), "both have made their first step"


def test_argument_errors():
    p = nn.Parameter(lamella.ones(1))
    with pytest.raises(ValueError, match="at least one parameter"):
        optim.SGD([])
    with pytest.raises(ValueError, match="twice"):
        optim.SGD([p, p])
    with pytest.raises(TypeError, match="single tensor"):
        optim.SGD(p)
    with pytest.raises(ValueError, match="leaf"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match="lr: expected a number >= 0"):
        optim.Adam([p], lr=-1)
    with pytest.raises(ValueError, match="betas"):
        optim.Adam([p], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="nesterov"):
        optim.SGD([p], nesterov=True)
    with pytest.raises(NotImplementedError, match="capturable"):
        optim.Adam([p], capturable=True)
    with pytest.raises(ValueError, match="unknown options 'momentun'"):
        optim.SGD([{"params": [p], "momentun": 1}])


def test_state_dict_round_trip():
    def setup():
        lamella.seed(3)
        net = nn.Linear(3, 2)
        return net, optim.Adam(net.parameters(), lr=0.05)

    def step(net, opt, k):
        opt.zero_grad()
        (net(lamella.full((4, 3), float(k))).square()).sum().backward()
        opt.step()

    net, opt = setup()
    for k in range(3):
        step(net, opt, k + 1)
    state = opt.state_dict()
    assert state["state"][0]["exp_avg"].shape == (2, 3) and state["state"][0]["step"] == 3
    assert state["param_groups"][0]["params"] == [0, 1]
    other, fresh = setup()
    other.load_state_dict(net.state_dict())
    fresh.load_state_dict(state)
    step(net, opt, 4)
    step(other, fresh, 4)
    assert net.weight.tolist() == other.weight.tolist()
    with pytest.raises(ValueError, match="expected 1 groups"):
        fresh.load_state_dict({"state": {}, "param_groups": []})


def test_closure():
    p = nn.Parameter(lamella.ones(1))
    opt = optim.SGD([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with lamella.no_grad():
        assert opt.step(closure).item() == 1
    assert p.item() == pytest.approx(0.8)


def test_learns():
    """A small net learns the sign of a product, which no linear one can."""
    lamella.seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    opt = optim.Adam(net.parameters(), lr=0.05)
    x = lamella.randn(256, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    for _ in range(60):
        opt.zero_grad()
        nn.CrossEntropyLoss()(net(x), y).backward()
        opt.step()
    assert (net(x).argmax(1) == y).float().mean().item() > 0.95


# --- schedules ---------------------------------------------------------------------------------------------------


def rates(make, epochs=8, lr=1.0):
    opt = optim.SGD([nn.Parameter(lamella.ones(1))], lr=lr)
    schedule = make(opt)
    out = []
    for _ in range(epochs):
        out.append(opt.param_groups[0]["lr"])
        schedule.step()
    return out


SCHEDULES = {
    "step": (lambda o: lrs.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    "multistep": (lambda o: lrs.MultiStepLR(o, [2, 5], 0.1), lambda t: 0.1 ** ((t >= 2) + (t >= 5))),
    "exponential": (lambda o: lrs.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "lambda": (lambda o: lrs.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    "multiplicative": (lambda o: lrs.MultiplicativeLR(o, lambda t: 0.5), lambda t: 0.5**t),
    "cosine": (lambda o: lrs.CosineAnnealingLR(o, 8, 0.1), lambda t: 0.1 + 0.45 * (1 + math.cos(math.pi * t / 8))),
    "restarts": (
        lambda o: lrs.CosineAnnealingWarmRestarts(o, 2, 2),
        lambda t: 0.5 * (1 + math.cos(math.pi * ([0, 1, 0, 1, 2, 3, 0, 1][t]) / ([2, 2, 4, 4, 4, 4, 8, 8][t]))),
    ),
    "linear": (lambda o: lrs.LinearLR(o, 0.5, 1.0, 4), lambda t: 0.5 + 0.5 * min(t, 4) / 4),
    "constant": (lambda o: lrs.ConstantLR(o, 0.25, 3), lambda t: 0.25 if t < 3 else 1.0),
    "polynomial": (lambda o: lrs.PolynomialLR(o, 4, 2.0), lambda t: (1 - min(t, 4) / 4) ** 2),
    "sequential": (
        lambda o: lrs.SequentialLR(o, [lrs.ConstantLR(o, 0.1, 99), lrs.ExponentialLR(o, 0.5)], [3]),
        lambda t: 0.1 if t < 3 else 0.5 ** (t - 3),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    make, want = SCHEDULES[name]
    assert rates(make) == pytest.approx([want(t) for t in range(8)])


def test_one_cycle():
    got = rates(lambda o: lrs.OneCycleLR(o, 1.0, total_steps=10, pct_start=0.3), epochs=9)
    assert got[0] == pytest.approx(1 / 25) and max(got) == pytest.approx(1.0) and got.index(max(got)) == 2
    assert all(a > b for a, b in itertools.pairwise(got[2:]))


def test_reduce_on_plateau():
    opt = optim.SGD([nn.Parameter(lamella.ones(1))], lr=1.0)
    schedule = lrs.ReduceLROnPlateau(opt, patience=1, factor=0.1, cooldown=1, min_lr=0.005)
    seen = []
    for loss in [3, 2, 2, 2, 2, 2, 2, 2, 2, 2]:
        schedule.step(lamella.tensor(float(loss)))
        seen.append(opt.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.005])


def test_schedule_state():
    opt = optim.SGD([nn.Parameter(lamella.ones(1))], lr=1.0)
    a = lrs.StepLR(opt, 2)
    a.step()
    b = lrs.StepLR(optim.SGD([nn.Parameter(lamella.ones(1))], lr=1.0), 2)
    b.load_state_dict(a.state_dict())
    assert b.last_epoch == 1 and b.get_last_lr() == [1.0]
