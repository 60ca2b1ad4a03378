"""Adam's relatives, hooks, schedules that cycle, averaged models, accumulation and clipping in PyTorch's idiom."""

import copy
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella import _cpu, nn, optim
from lamella.nn import utils
from lamella.optim import lr_scheduler as lrs
from lamella.optim import swa_utils

sys.path.append(str(Path(__file__).parents[1]))
import reference_optimizer as ref

CASES = {
    "adadelta": (optim.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.1}),
    "adamax": (optim.Adamax, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-4}),
    "nadam": (optim.NAdam, {"lr": 0.1, "momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": (optim.RAdam, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    "lion": (optim.Lion, {"lr": 0.1, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_formulas(name, maximize):
    cls, given = CASES[name]
    rng = np.random.default_rng(0)
    p = nn.Parameter(rng.standard_normal((3, 4)), perm=(1, 0))
    opt = cls([p], **given, maximize=maximize)
    expected, states = [p.detach().numpy().astype(np.float64)], [{}]
    hyper = _cpu.Optimizer(name, opt._hyper(opt.param_groups[0])).hyper
    for t in range(1, 9):
        g = rng.standard_normal((3, 4))
        p.grad = lamella.tensor(g)
        opt.step()
        expected = ref.step(name, expected, [g], states, t, hyper)
    np.testing.assert_allclose(p.detach().numpy(), expected[0], rtol=1e-10, atol=1e-12)
    again = nn.Parameter(p.detach().numpy().copy(), perm=(1, 0))
    other = cls([again], **{**given, "lr": 0.7}, maximize=maximize)
    other.load_state_dict(opt.state_dict())
    for q, o in ((p, opt), (again, other)):
        q.grad = lamella.tensor(g)
        o.step()
    np.testing.assert_array_equal(p.detach().numpy(), again.detach().numpy())


def parameter(values=(1.0, 2.0)):
    return nn.Parameter(np.array(values))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.Adam(p, foreach=True, fused=True), NotImplementedError, "foreach"),
        (lambda p: optim.SGD(p, foreach=True, fused=True), NotImplementedError, "foreach"),
        (lambda p: optim.NAdam(p, differentiable=True), NotImplementedError, "NAdam: differentiable"),
        (lambda p: optim.RAdam(p, capturable=True), NotImplementedError, "RAdam: capturable"),
        (lambda p: optim.Adadelta(p, rho=1.0), ValueError, "Adadelta: rho"),
        (lambda p: optim.Lion(p, betas=(0.9, 1.0)), ValueError, "Lion: betas"),
        (lambda p: optim.Adamax(p, lr=-1), ValueError, "Adamax: lr"),
        (lambda p: optim.SGD([("a", p[0]), parameter()]), ValueError, "all of them with names, or none"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make([parameter()])


def test_names_of_parameters_are_kept():
    net = nn.Linear(2, 1)
    opt = optim.SGD(net.named_parameters(), lr=0.1)
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="all of them with names, or none"):
        opt.add_param_group({"params": [parameter()]})
    opt.add_param_group({"params": [("other", parameter())], "lr": 1.0})
    assert [g["lr"] for g in opt.param_groups] == [0.1, 1.0]


def test_hooks_of_steps():
    p, seen = parameter(), []
    opt = optim.SGD([p], lr=0.5)
    before = opt.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", o is opt, p.tolist())))
    opt.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", o is opt, p.tolist())))
    p.grad = lamella.tensor([1.0, 1.0], dtype=lamella.float64)
    opt.step()
    before.remove()
    opt.step()
    assert seen == [("before", True, [1, 2]), ("after", True, [0.5, 1.5]), ("after", True, [0, 1])]
    copy.deepcopy(opt).step()
    assert len(seen) == 3


def test_accumulating_gradients_is_a_larger_batch():
    lamella.seed(0)
    x, y = lamella.randn(12, 4), lamella.randn(12, 1)
    results = []
    for parts in (1, 3):
        lamella.seed(1)
        net = nn.Linear(4, 1)
        opt = optim.Adam(net.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            for i in range(parts):
                rows = slice(i * 12 // parts, (i + 1) * 12 // parts)
                ((net(x[rows]) - y[rows]) ** 2).mean().div(parts).backward()
            opt.step()
        results.append(net.weight.detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-5)


# -- schedules --


def rates(make, steps, lr=1.0, **kwargs):
    opt = optim.SGD([parameter()], lr=lr, **kwargs)
    schedule = make(opt)
    out = []
    for i in range(steps):
        out.append((opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]))
        if i + 1 < steps:
            schedule.step()
    return out


def test_cyclic():
    found = rates(lambda o: lrs.CyclicLR(o, 0.1, 0.5, 4, 2), 13, momentum=0.9)
    up, down = [0.1, 0.2, 0.3, 0.4, 0.5, 0.3], [0.9, 0.875, 0.85, 0.825, 0.8, 0.85]
    np.testing.assert_allclose(found, list(zip((up * 3)[:13], (down * 3)[:13], strict=True)))


@pytest.mark.parametrize(
    ("given", "peaks"),
    [
        ({"mode": "triangular2"}, [1.1, 0.6, 0.35]),
        ({"mode": "exp_range", "gamma": 0.5}, [0.1 + 0.5**2, 0.1 + 0.5**6, 0.1 + 0.5**10]),
        ({"scale_fn": lambda cycle: 1 / (1 + cycle)}, [0.6, 0.1 + 1 / 3, 0.35]),
        ({"scale_fn": lambda step: 0.9**step, "scale_mode": "iterations"}, [0.1 + 0.9**k for k in (2, 6, 10)]),
    ],
)
def test_heights_of_cycles(given, peaks):
    found = rates(lambda o: lrs.CyclicLR(o, 0.1, 1.1, 2, cycle_momentum=False, **given), 12)
    np.testing.assert_allclose([found[k][0] for k in (2, 6, 10)], peaks)
    np.testing.assert_allclose([found[k][0] for k in (0, 4, 8)], 0.1)
    assert found[5][1] == 0


def test_one_cycle_moves_the_momentum():
    opt = optim.Adam([parameter()], lr=1.0, betas=(0.5, 0.75))
    schedule = lrs.OneCycleLR(opt, 1.0, total_steps=11, pct_start=5 / 11, anneal_strategy="linear")
    seen = []
    for _ in range(10):
        seen.append((opt.param_groups[0]["lr"], *opt.param_groups[0]["betas"]))
        schedule.step()
    np.testing.assert_allclose(seen[0], (1 / 25, 0.95, 0.75))
    np.testing.assert_allclose(seen[4], (1.0, 0.85, 0.75))
    np.testing.assert_allclose(seen[2], ((1 + 1 / 25) / 2, 0.9, 0.75))
    np.testing.assert_allclose(opt.param_groups[0]["lr"], 1 / 25e4)
    np.testing.assert_allclose(opt.param_groups[0]["betas"], (0.95, 0.75))


def test_one_cycle_in_three_phases():
    found = rates(lambda o: lrs.OneCycleLR(o, 1.0, total_steps=20, pct_start=0.25, three_phase=True), 20)
    np.testing.assert_allclose([found[k][0] for k in (0, 4, 8, 19)], [1 / 25, 1.0, 1 / 25, 1 / 25e4])
    np.testing.assert_allclose([found[k][1] for k in (0, 4, 8, 14, 19)], [0.95, 0.85, 0.95, 0.95, 0.95])


def test_chained():
    found = rates(lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o, 0.1, 2), lrs.ExponentialLR(o, 0.5)]), 4)
    np.testing.assert_allclose([r for r, _ in found], [0.1, 0.05, 0.25, 0.125])
    found = rates(lambda o: lrs.ChainedScheduler([lrs.LinearLR(o, 0.5, 1.0, 2), lrs.PolynomialLR(o, 4)]), 5)
    np.testing.assert_allclose([r for r, _ in found], [0.5, 0.75 * 0.75, 0.5, 0.25, 0], atol=1e-15)
    found = rates(lambda o: lrs.ChainedScheduler([lrs.CosineAnnealingLR(o, 2), lrs.StepLR(o, 3, 0.1)]), 6)
    np.testing.assert_allclose([r for r, _ in found], [1, 0.5, 0, 0.05, 0.1, 0.05], atol=1e-15)
    for bad, error in (([], ValueError), ([1], TypeError)):
        with pytest.raises(error, match="ChainedScheduler: schedulers"):
            lrs.ChainedScheduler(bad)
    a, b = (optim.SGD([parameter()], lr=1.0) for _ in range(2))
    with pytest.raises(ValueError, match="expected schedules of one optimizer, got another at 1"):
        lrs.ChainedScheduler([lrs.StepLR(a, 1), lrs.StepLR(b, 1)])


def test_schedules_of_schedules_are_saved():
    def make(kind):
        opt = optim.SGD([parameter()], lr=1.0)
        parts = [lrs.ExponentialLR(opt, 0.5), lrs.StepLR(opt, 2, 0.1)]
        return opt, lrs.SequentialLR(opt, parts, [3]) if kind else lrs.ChainedScheduler(parts)

    for kind in (0, 1):
        (a, one), (b, two) = make(kind), make(kind)
        for _ in range(4):
            one.step()
        b.load_state_dict(a.state_dict())
        two.load_state_dict(one.state_dict())
        for _ in range(3):
            one.step()
            two.step()
            assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"] and one.get_last_lr() == two.get_last_lr()
        with pytest.raises(ValueError, match="expected the states of 2 schedules"):
            two.load_state_dict({})


@pytest.mark.parametrize(
    "make",
    [lambda o: lrs.StepLR(o, 2, 0.5), lambda o: lrs.MultiStepLR(o, [1, 3], 0.5), lambda o: lrs.ExponentialLR(o, 0.9)],
)
def test_going_to_an_epoch(make):
    one, two = (optim.SGD([parameter()], lr=1.0) for _ in range(2))
    by_steps, at_once = make(one), make(two)
    for _ in range(5):
        by_steps.step()
    at_once.step(5)
    assert one.param_groups[0]["lr"] == pytest.approx(two.param_groups[0]["lr"])


# -- averages --


def test_the_mean_of_models():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    mean, decaying = (
        swa_utils.AveragedModel(net),
        swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.75), use_buffers=True),
    )
    seen = []
    for k in range(3):
        with lamella.no_grad():
            net[0].weight.fill_(float(k * k))
            net[1].running_mean.fill_(float(k))
        mean.update_parameters(net)
        decaying.update_parameters(net)
        seen.append(float(k * k))
    np.testing.assert_allclose(mean.module[0].weight.detach(), np.mean(seen))
    np.testing.assert_allclose(decaying.module[0].weight.detach(), 0.75 * (0.75 * 0 + 0.25 * 1) + 0.25 * 4)
    np.testing.assert_allclose(mean.module[1].running_mean, 2)
    np.testing.assert_allclose(decaying.module[1].running_mean, 0.75 * 0.25 + 0.25 * 2)
    assert mean.n_averaged.item() == 3 and "module.0.weight" in mean.state_dict()
    x = lamella.randn(4, 2)
    np.testing.assert_array_equal(mean.eval()(x).detach(), mean.module(x).detach())
    again = swa_utils.AveragedModel(net)
    again.load_state_dict(mean.state_dict())
    assert again.n_averaged.item() == 3
    with pytest.raises(ValueError, match="expected at most one of them"):
        swa_utils.AveragedModel(net, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    with pytest.raises(ValueError, match="model: expected the parameters of the averaged model"):
        mean.update_parameters(nn.Linear(3, 1))


def test_statistics_made_anew():
    lamella.seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    net.eval()
    batches = [lamella.randn(8, 3) for _ in range(3)]
    swa_utils.update_bn([(x, None) for x in batches], net)
    means = [net[0](x).detach().numpy().mean(0) for x in batches]
    np.testing.assert_allclose(net[1].running_mean, np.mean(means, 0), rtol=1e-5, atol=1e-6)
    assert net[1].momentum == 0.1 and not net.training and not net[2].training
    swa_utils.update_bn(batches, nn.Linear(3, 2))


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swa_rates(strategy):
    found = [r for r, _ in rates(lambda o: swa_utils.SWALR(o, 0.2, 4, strategy), 7)]
    share = [min(t / 4, 1) for t in range(7)]
    share = [(1 - math.cos(math.pi * t)) / 2 for t in share] if strategy == "cos" else share
    np.testing.assert_allclose(found, [1 + (0.2 - 1) * t for t in share])
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optim.SGD([parameter()], lr=1.0), 0.1, 3, "square")


# -- clipping --


@pytest.mark.parametrize("norm_type", [1, 2, 3.5, math.inf, "inf"])
def test_clipping_by_norm(norm_type):
    a, b = parameter((0.0, 0.0)), nn.Parameter(np.zeros((2, 2)), perm=(1, 0))
    grads = [np.array([3.0, -4.0]), np.array([[1.0, 2.0], [-12.0, 0.5]])]
    for p, g in zip((a, b), grads, strict=True):
        p.grad = lamella.tensor(g)
    expected = np.linalg.norm(np.concatenate([g.ravel() for g in grads]), float(norm_type))
    assert utils.clip_grad_norm_([a, b], 2.0, norm_type, foreach=True).item() == pytest.approx(expected)
    for p, g in zip((a, b), grads, strict=True):
        np.testing.assert_allclose(p.grad, g * 2 / (expected + 1e-6))


def test_clipping_refuses_what_is_not_finite():
    p = parameter()
    p.grad = lamella.tensor([np.nan, 1.0], dtype=lamella.float64)
    with pytest.raises(RuntimeError, match="expected a finite norm"):
        utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad, [np.nan, 1.0])
    assert np.isnan(utils.clip_grad_norm_(p, 1.0).item())
    p.grad = lamella.tensor([5.0, -7.0], dtype=lamella.float64)
    utils.clip_grad_value_(p, 6, foreach=False)
    assert p.grad.tolist() == [5, -6]
    assert utils.get_total_norm([p.grad]).item() == pytest.approx(math.sqrt(61))
    utils.clip_grads_with_norm_(p, 1.0, lamella.tensor(2.0))
    np.testing.assert_allclose(p.grad, [2.5, -3.0], rtol=1e-6)
