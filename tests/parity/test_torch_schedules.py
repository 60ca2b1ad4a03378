"""Learning-rate schedules beside PyTorch's: the rates of two groups over fifty steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella.optim import lr_scheduler as ours_module

from .compare import parity
from .torch_side import torch

theirs_module = torch.optim.lr_scheduler
pytestmark = pytest.mark.filterwarnings("ignore")  # what PyTorch says of steps without an optimizer's step

few = st.integers(1, 12)
gammas = st.sampled_from([0.1, 0.5, 0.97, 1.05])

CASES = {
    "StepLR": {"step_size": few, "gamma": gammas},
    "MultiStepLR": {"milestones": st.lists(st.integers(1, 40), max_size=4).map(sorted), "gamma": gammas},
    "ConstantLR": {"factor": st.sampled_from([1 / 3, 0.5, 1.0]), "total_iters": st.integers(1, 20)},
    "LinearLR": {
        "start_factor": st.sampled_from([1 / 3, 0.1, 1.0]),
        "end_factor": st.sampled_from([1.0, 0.2]),
        "total_iters": few,
    },
    "ExponentialLR": {"gamma": gammas},
    "PolynomialLR": {"total_iters": few, "power": st.sampled_from([1.0, 2.0, 0.5])},
    "CosineAnnealingLR": {"T_max": st.integers(1, 30), "eta_min": st.sampled_from([0.0, 0.001])},
    "CosineAnnealingWarmRestarts": {
        "T_0": few,
        "T_mult": st.integers(1, 3),
        "eta_min": st.sampled_from([0.0, 0.001]),
    },
}


def optimizers():
    def groups(parameter):
        return [{"params": [parameter()], "lr": 0.1}, {"params": [parameter()], "lr": 0.02}]

    return (
        lamella.optim.SGD(groups(lambda: lamella.nn.Parameter(lamella.ones(1))), lr=0.1, momentum=0.9),
        torch.optim.SGD(groups(lambda: torch.nn.Parameter(torch.ones(1))), lr=0.1, momentum=0.9),
    )


def rates(optimizer, scheduler, steps, arguments=None):
    """The rates before each step and after the last, and what `get_last_lr` says of them."""
    found = [[g["lr"] for g in optimizer.param_groups]]
    for i in range(steps):
        scheduler.step(*([] if arguments is None else [arguments[i]]))
        found.append([g["lr"] for g in optimizer.param_groups])
        assert [float(v) for v in scheduler.get_last_lr()] == [float(v) for v in found[-1]]
    return np.array(found, float)


def compare(make, steps=50, arguments=None):
    """`make(optimizer, module)` gives the schedule of either side."""
    optimizer, their_optimizer = optimizers()
    ours, theirs = make(optimizer, ours_module), make(their_optimizer, theirs_module)
    got = rates(optimizer, ours, steps, arguments)
    wanted = rates(their_optimizer, theirs, steps, arguments)
    # PyTorch multiplies step by step where a formula would do; rounding is all that may differ.
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    return ours, theirs


@pytest.mark.parametrize("name", CASES)
@parity
@given(data=st.data())
def test_rates(name, data):
    kwargs = data.draw(st.fixed_dictionaries(CASES[name]))
    compare(lambda optimizer, module: getattr(module, name)(optimizer, **kwargs))


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_functions(name):
    one = lambda epoch: 0.95**epoch if name == "LambdaLR" else 0.95  # noqa: E731
    other = lambda epoch: 1 / (1 + epoch)  # noqa: E731
    compare(lambda optimizer, module: getattr(module, name)(optimizer, one))
    compare(lambda optimizer, module: getattr(module, name)(optimizer, [one, other]))


@parity
@given(
    st.fixed_dictionaries({
        "max_lr": st.sampled_from([0.1, [0.1, 0.4]]),
        "total_steps": st.integers(51, 80),
        "pct_start": st.sampled_from([0.3, 0.1, 0.8]),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "div_factor": st.sampled_from([25.0, 4.0]),
        "final_div_factor": st.sampled_from([1e4, 10.0]),
    })
)  # fmt: skip
def test_one_cycle(kwargs):
    compare(lambda optimizer, module: module.OneCycleLR(optimizer, cycle_momentum=False, **kwargs))


def test_one_cycle_by_epochs():
    def make(optimizer, module):
        return module.OneCycleLR(optimizer, 0.3, epochs=5, steps_per_epoch=11, cycle_momentum=False)

    compare(make)


@parity
@given(
    st.fixed_dictionaries({
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.1, 0.7]),
        "patience": st.integers(0, 5),
        "threshold": st.sampled_from([1e-4, 0.2]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 4),
        "min_lr": st.sampled_from([0, 0.005, [0.01, 0.001]]),
        "eps": st.sampled_from([1e-8, 0.01]),
    }),
    st.lists(st.sampled_from([0.1, 0.5, 0.9, 1.0, 1.05, 3.0, -2.0]), min_size=50, max_size=50),
)  # fmt: skip
def test_plateau(kwargs, values):
    compare(lambda optimizer, module: module.ReduceLROnPlateau(optimizer, **kwargs), arguments=values)


@parity
@given(st.lists(st.integers(1, 45), min_size=2, max_size=2, unique=True).map(sorted))
def test_sequential(milestones):
    def make(optimizer, module):
        parts = [
            module.LinearLR(optimizer, 0.1, total_iters=10),
            module.CosineAnnealingLR(optimizer, 20),
            module.ExponentialLR(optimizer, 0.9),
        ]
        return module.SequentialLR(optimizer, parts, milestones)

    compare(make)


def test_chained():
    """Schedules that are stepped one after the other act on each other's rates."""

    def both(optimizer, module):
        return [module.ConstantLR(optimizer, 0.5, 7), module.ExponentialLR(optimizer, 0.9)]

    optimizer, their_optimizer = optimizers()
    ours, theirs = both(optimizer, ours_module), both(their_optimizer, theirs_module)
    for _ in range(50):
        for scheduler in (*ours, *theirs):
            scheduler.step()
        got = [g["lr"] for g in optimizer.param_groups]
        np.testing.assert_allclose(got, [g["lr"] for g in their_optimizer.param_groups], rtol=1e-9)


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "ExponentialLR"])
def test_resumed(name):
    """A schedule that goes on from `state_dict` gives the rates it would have given."""
    argument = 7 if name != "ExponentialLR" else 0.9
    whole, _ = compare(lambda optimizer, module: getattr(module, name)(optimizer, argument), steps=50)
    optimizer, _ = optimizers()
    first = getattr(ours_module, name)(optimizer, argument)
    for _ in range(20):
        first.step()
    second = getattr(ours_module, name)(optimizer, argument, last_epoch=first.last_epoch - 1)
    second.load_state_dict(first.state_dict())
    for group, lr in zip(optimizer.param_groups, first.get_last_lr(), strict=True):
        group["lr"] = lr
    for _ in range(30):
        second.step()
    np.testing.assert_allclose(second.get_last_lr(), whole.get_last_lr(), rtol=1e-12)
