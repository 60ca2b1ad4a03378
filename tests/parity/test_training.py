"""Optimizers, schedules and clipping against PyTorch and Keras, over random configurations; skips without them."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import lamella
from lamella import nn, optim, optimizers
from lamella.optim import lr_scheduler as lrs
from lamella.optim import swa_utils

STEPS = 10


def data(seed):
    """Start and gradients of two parameters."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (5,)]
    return [rng.standard_normal(s) for s in shapes], [[rng.standard_normal(s) for s in shapes] for _ in range(STEPS)]


TORCH = {
    "SGD": [("momentum", [0, 0.9]), ("dampening", [0, 0.3]), ("nesterov", [False, True])],
    "Adam": [("betas", [(0.9, 0.999), (0.5, 0.6)]), ("amsgrad", [False, True]), ("eps", [1e-8, 1e-3]),
             ("decoupled_weight_decay", [False, True])],
    "AdamW": [("betas", [(0.9, 0.999), (0.5, 0.6)]), ("amsgrad", [False, True])],
    "Adadelta": [("rho", [0.9, 0.5]), ("eps", [1e-6, 1e-3])],
    "Adamax": [("betas", [(0.9, 0.999), (0.5, 0.6)]), ("eps", [1e-8, 1e-3])],
    "NAdam": [("betas", [(0.9, 0.999), (0.5, 0.6)]), ("momentum_decay", [4e-3, 0.5]),
              ("decoupled_weight_decay", [False, True])],
    "RAdam": [("betas", [(0.9, 0.999), (0.5, 0.9)]), ("decoupled_weight_decay", [False, True])],
    "RMSprop": [("alpha", [0.99, 0.5]), ("momentum", [0, 0.9]), ("centered", [False, True]), ("eps", [1e-8, 1e-3])],
    "Adagrad": [("lr_decay", [0, 0.1]), ("initial_accumulator_value", [0, 0.5]), ("eps", [1e-10, 1e-3])],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", TORCH)
def test_optimizers_of_torch(name, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    given = {k: v[rng.integers(len(v))] for k, v in TORCH[name]}
    if given.get("nesterov"):
        given.update(momentum=0.9, dampening=0)
    given.update(
        lr=float(10 ** rng.uniform(-3, -0.5)), weight_decay=float(rng.choice([0, 0.1])), maximize=bool(seed % 2)
    )
    start, grads = data(seed)
    ours = [nn.Parameter(start[0].copy(), perm=(1, 0)), nn.Parameter(start[1].copy())]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    second = {"lr": given["lr"] * 0.5}
    made = [getattr(module, name)([{"params": params[:1]}, {"params": params[1:], **second}], **given)
            for module, params in ((optim, ours), (torch.optim, theirs))]  # fmt: skip
    for step in grads:
        for p, q, g in zip(ours, theirs, step, strict=True):
            p.grad, q.grad = lamella.tensor(g), torch.tensor(g)
        for o in made:
            o.step()
    # PyTorch keeps the product of NAdam's momenta in float32.
    tolerance = 1e-6 if name == "NAdam" else 1e-9
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=tolerance, atol=tolerance * 0.01)
    mine, other = (o.state_dict()["state"] for o in made)
    for k in mine:
        for slot, value in other[k].items():
            if slot in mine[k] and slot != "step":
                np.testing.assert_allclose(np.asarray(mine[k][slot]), value.numpy(), rtol=1e-9, atol=1e-12)


SCHEDULES = [
    lambda m, o: m.StepLR(o, 3, 0.5),
    lambda m, o: m.MultiStepLR(o, [2, 5, 5], 0.5),
    lambda m, o: m.ConstantLR(o, 0.3, 4),
    lambda m, o: m.LinearLR(o, 0.2, 0.8, 5),
    lambda m, o: m.ExponentialLR(o, 0.9),
    lambda m, o: m.PolynomialLR(o, 6, 1.7),
    lambda m, o: m.CosineAnnealingLR(o, 5, 0.05),
    lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    lambda m, o: m.CyclicLR(o, [0.1, 0.2], 1.0, 3, 4),
    lambda m, o: m.CyclicLR(o, 0.1, 1.0, 3, mode="triangular2", base_momentum=0.5, max_momentum=[0.7, 0.6]),
    lambda m, o: m.CyclicLR(o, 0.1, 1.0, 2, mode="exp_range", gamma=0.9, cycle_momentum=False),
    lambda m, o: m.OneCycleLR(o, [1.0, 0.5], total_steps=20),
    lambda m, o: m.OneCycleLR(o, 1.0, epochs=5, steps_per_epoch=4, pct_start=0.4, anneal_strategy="linear"),
    lambda m, o: m.OneCycleLR(o, 1.0, total_steps=20, pct_start=0.25, three_phase=True, base_momentum=0.6),
    lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1, 1.0, 3), m.CosineAnnealingLR(o, 8), m.StepLR(o, 2)], [3, 9]),
    lambda m, o: m.ChainedScheduler([m.LinearLR(o, 0.1, 1.0, 3), m.ExponentialLR(o, 0.9)]),
    lambda m, o: m.ChainedScheduler([m.CosineAnnealingLR(o, 5), m.StepLR(o, 2), m.ConstantLR(o, 0.5, 3)]),
    lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    lambda m, o: m.MultiplicativeLR(o, lambda t: 0.9 if t % 2 else 1.1),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("which", range(len(SCHEDULES)))
def test_schedules_of_torch(which, kind):
    torch = pytest.importorskip("torch")
    seen = []
    for module, schedules, parameter in (
        (optim, lrs, lambda: nn.Parameter(np.zeros(1))),
        (torch.optim, torch.optim.lr_scheduler, lambda: torch.nn.Parameter(torch.zeros(1))),
    ):
        own = {"momentum": 0.5} if kind == "SGD" else {}
        opt = getattr(module, kind)([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}], lr=1.0, **own)
        schedule = SCHEDULES[which](schedules, opt)
        rows = []
        for i in range(20):
            groups = opt.param_groups
            rows.append([v for g in groups for v in (g["lr"], g["momentum"] if kind == "SGD" else g["betas"][0])])
            opt.step()
            if i < 19:
                schedule.step()
        seen.append(rows)
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clipping_of_torch(norm_type):
    torch = pytest.importorskip("torch")
    start, grads = data(0)
    ours, theirs = [nn.Parameter(a) for a in start], [torch.nn.Parameter(torch.tensor(a)) for a in start]
    for max_norm, step in zip((0.5, 3.0, 100.0), grads, strict=False):
        for p, q, g in zip(ours, theirs, step, strict=True):
            p.grad, q.grad = lamella.tensor(g), torch.tensor(g)
        norms = (nn.utils.clip_grad_norm_(ours, max_norm, norm_type),
                 torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type))  # fmt: skip
        assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-10)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9)


def test_averaged_models_of_torch():
    torch = pytest.importorskip("torch")
    _, steps = data(1)
    for ours, theirs in (
        ({}, {}),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.8)}, {"avg_fn": torch.optim.swa_utils.get_ema_avg_fn(0.8)}),
    ):
        a, b = nn.Linear(4, 3), torch.nn.Linear(4, 3)
        mean = swa_utils.AveragedModel(a, **ours), torch.optim.swa_utils.AveragedModel(b, **theirs)
        for step in steps:
            with torch.no_grad(), lamella.no_grad():
                a.weight.copy_(lamella.tensor(step[0].astype(np.float32)))
                b.weight.copy_(torch.tensor(step[0].astype(np.float32)))
            for m, net in zip(mean, (a, b), strict=True):
                m.update_parameters(net)
        np.testing.assert_allclose(mean[0].module.weight.detach(), mean[1].module.weight.detach(), rtol=1e-5, atol=1e-7)


# -- Keras --

KERAS = {
    "SGD": [("momentum", [0.0, 0.9]), ("nesterov", [False, True])],
    "Adam": [("beta_1", [0.9, 0.5]), ("beta_2", [0.999, 0.6]), ("amsgrad", [False, True]), ("epsilon", [1e-7, 1e-3])],
    "AdamW": [("beta_1", [0.9, 0.5]), ("weight_decay", [0.004, 0.2])],
    "RMSprop": [("rho", [0.9, 0.5]), ("momentum", [0.0, 0.9]), ("centered", [False, True]), ("epsilon", [1e-7, 1e-3])],
    "Adagrad": [("initial_accumulator_value", [0.1, 0.5]), ("epsilon", [1e-7, 1e-3])],
    "Adadelta": [("rho", [0.95, 0.5]), ("epsilon", [1e-7, 1e-3])],
    "Adamax": [("beta_1", [0.9, 0.5]), ("beta_2", [0.999, 0.6]), ("epsilon", [1e-7, 1e-3])],
    "Nadam": [("beta_1", [0.9, 0.5]), ("beta_2", [0.999, 0.6]), ("epsilon", [1e-7, 1e-3])],
    "Lion": [("beta_1", [0.9, 0.5]), ("beta_2", [0.99, 0.6])],
    "Ftrl": [("learning_rate_power", [-0.5, -0.3, 0.0]), ("initial_accumulator_value", [0.1, 0.5]),
             ("l1_regularization_strength", [0.0, 0.3]), ("l2_regularization_strength", [0.0, 0.3]),
             ("l2_shrinkage_regularization_strength", [0.0, 0.1]), ("beta", [0.0, 0.2])],
}  # fmt: skip
CLIPS = [{}, {"clipnorm": 1.0}, {"clipvalue": 0.5}, {"global_clipnorm": 1.5}]
SHARED = [
    {}, {"weight_decay": 0.1}, {"use_ema": True, "ema_momentum": 0.7},
    {"use_ema": True, "ema_overwrite_frequency": 3}, {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3, "use_ema": True, "ema_overwrite_frequency": 2}, {"loss_scale_factor": 8.0},
]  # fmt: skip


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("name", KERAS)
def test_optimizers_of_keras(name, seed):
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(100 + seed)
    given = {k: v[rng.integers(len(v))] for k, v in KERAS[name]}
    given.update(SHARED[seed], **CLIPS[rng.integers(4)], learning_rate=float(10 ** rng.uniform(-2, -0.5)))
    start, grads = data(seed)
    start, grads = [a.astype(np.float32) for a in start], [[g.astype(np.float32) for g in s] for s in grads]
    ours, theirs = [nn.Parameter(a.copy()) for a in start], [keras.Variable(a) for a in start]
    one, two = getattr(optimizers, name)(**given), getattr(keras.optimizers, name)(**given)
    for o, variables in ((one, ours), (two, theirs)):
        if "weight_decay" in given:
            o.exclude_from_weight_decay(var_list=variables[1:])
        o.build(variables)
        for step in grads:
            tensors = step if o is one else [keras.ops.convert_to_tensor(g) for g in step]
            o.apply(tensors, variables)
    # Ten steps in float32, each of a few roundings; ratios of small numbers lose some digits of the first steps.
    check = {"rtol": 2e-4, "atol": 2e-5}
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), keras.ops.convert_to_numpy(q), **check)
    assert one.iterations == int(two.iterations)
    one.finalize_variable_values(ours)
    two.finalize_variable_values(theirs)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), keras.ops.convert_to_numpy(q), **check)


def test_configurations_of_keras():
    keras = pytest.importorskip("keras")
    for name in KERAS:
        ours, theirs = getattr(optimizers, name)().get_config(), getattr(keras.optimizers, name)().get_config()
        theirs = {k: v for k, v in theirs.items() if k != "name"}
        assert {k: v for k, v in ours.items() if k != "name"}.keys() == theirs.keys(), name
        for key, value in theirs.items():
            expected = pytest.approx(value, rel=1e-6) if type(value) is float else value
            assert ours[key] == expected, (name, key)
    ours, theirs = (m.SGD(0.5, 0.25, True, 0.125, 1.0).get_config() for m in (optimizers, keras.optimizers))
    assert ours == {**theirs, "name": "sgd"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ExponentialDecay", (0.1, 7, 0.5)),
        ("ExponentialDecay", (0.1, 7, 0.5, True)),
        ("PiecewiseConstantDecay", ([3, 8], [1.0, 0.5, 0.1])),
        ("PolynomialDecay", (1.0, 9, 0.1, 2.0)),
        ("PolynomialDecay", (1.0, 9, 0.1, 0.5, True)),
        ("InverseTimeDecay", (1.0, 4, 0.5)),
        ("InverseTimeDecay", (1.0, 4, 0.5, True)),
        ("CosineDecay", (1.0, 15, 0.1)),
        ("CosineDecay", (0.1, 15, 0.1, "c", 2.0, 5)),
        ("CosineDecayRestarts", (1.0, 5, 1.5, 0.7, 0.1)),
        ("CosineDecayRestarts", (1.0, 5, 1.0, 0.9)),
    ],
)
def test_schedules_of_keras(name, given):
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(optimizers.schedules, name)(*given), getattr(keras.optimizers.schedules, name)(*given)
    found = [float(ours(step)) for step in range(30)]
    expected = [float(keras.ops.convert_to_numpy(theirs(step))) for step in range(30)]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    assert ours.get_config().keys() == theirs.get_config().keys()
