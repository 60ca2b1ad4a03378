"""Losses of `lamella.nn` beside PyTorch's: every reduction, weights, ignored labels, smoothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella import nn

from .compare import dtypes, normal, parity, seeds
from .torch_side import check_functions, torch

reductions = st.sampled_from(["mean", "sum", "none"])
flags = st.booleans()
shapes = st.lists(st.integers(1, 5), max_size=3)


def check(name, *inputs, dtype, weights=None, **kwargs):
    """`nn.<name>` on both sides; `weights` are arguments that are tensors."""
    weights = {k: v for k, v in (weights or {}).items() if v is not None}
    ours = getattr(nn, name)(**kwargs, **{k: lamella.tensor(v.astype(dtype)) for k, v in weights.items()})
    theirs = getattr(torch.nn, name)(**kwargs, **{k: torch.tensor(v) for k, v in weights.items()})
    check_functions(ours, theirs, *inputs, dtype=dtype)


ELEMENTWISE = {
    "MSELoss": {},
    "L1Loss": {},
    "HuberLoss": {"delta": st.sampled_from([1.0, 0.3, 4.0])},
    "SmoothL1Loss": {"beta": st.sampled_from([1.0, 0.3, 4.0, 0.0])},
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@parity
@given(data=st.data(), shape=shapes, reduction=reductions, dtype=dtypes, seed=seeds)
def test_elementwise(name, data, shape, reduction, dtype, seed):
    kwargs = data.draw(st.fixed_dictionaries(ELEMENTWISE[name]))
    x, target = normal(seed, *shape, scale=2.0), normal(seed + 1, *shape)
    check(name, x, target, dtype=dtype, reduction=reduction, **kwargs)


@parity
@given(st.sampled_from(["mean", "sum", "none", "batchmean"]), flags, dtypes, seeds)
def test_kl_div(reduction, log_target, dtype, seed):
    x, target = (np.exp(normal(s, 4, 6)) for s in (seed, seed + 1))
    x, target = (np.float32(a / a.sum(-1, keepdims=True)).astype(float) for a in (x, target))
    logs = np.log(x).astype(np.float32).astype(float)
    target = np.log(target).astype(np.float32).astype(float) if log_target else target
    ours = nn.KLDivLoss(reduction=reduction, log_target=log_target)
    theirs = torch.nn.KLDivLoss(reduction=reduction, log_target=log_target)
    our_target, their_target = lamella.tensor(target.astype(dtype)), torch.tensor(target)
    check_functions(lambda x: ours(x, our_target), lambda x: theirs(x, their_target), logs, dtype=dtype)


@st.composite
def classified(draw):
    """The shape of scores (classes at dimension 1), and labels."""
    classes = draw(st.integers(2, 7))
    n, rest = draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 3), max_size=2))
    if draw(st.integers(0, 5)) == 0:
        return (classes,), np.array(draw(st.integers(0, classes - 1)))
    labels = np.random.default_rng(draw(seeds)).integers(0, classes, (n, *rest))
    return (n, classes, *rest), labels


@parity
@given(
    classified(), reductions, flags, st.sampled_from([-100, 1]), st.sampled_from([0.0, 0.1, 0.6]), flags, dtypes, seeds
)
def test_cross_entropy(case, reduction, weighted, ignore, smoothing, log_probabilities, dtype, seed):
    shape, labels = case
    classes = shape[0] if len(shape) == 1 else shape[1]
    if ignore == 1 and (labels == 1).all():
        labels = np.zeros_like(labels)  # PyTorch's mean of nothing is NaN
    weight = np.abs(normal(seed + 1, classes)) + 0.1 if weighted else None
    weight = None if weight is None else np.float32(weight).astype(float)
    kwargs = {"reduction": reduction, "ignore_index": ignore}
    name = "NLLLoss" if log_probabilities else "CrossEntropyLoss"
    if not log_probabilities:
        kwargs["label_smoothing"] = smoothing
    check(name, normal(seed, *shape, scale=2.0), labels, dtype=dtype, weights={"weight": weight}, **kwargs)


@parity
@given(classified(), reductions, flags, st.sampled_from([0.0, 0.2]), dtypes, seeds)
def test_cross_entropy_of_probabilities(case, reduction, weighted, smoothing, dtype, seed):
    shape, _ = case
    axis = 0 if len(shape) == 1 else 1
    target = np.exp(normal(seed + 2, *shape))
    target = np.float32(target / target.sum(axis, keepdims=True)).astype(float)
    weight = np.float32(np.abs(normal(seed + 1, shape[axis])) + 0.1).astype(float) if weighted else None
    ours = nn.CrossEntropyLoss(
        weight=None if weight is None else lamella.tensor(weight.astype(dtype)),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(weight), reduction=reduction, label_smoothing=smoothing
    )
    their_target, our_target = torch.tensor(target), lamella.tensor(target.astype(dtype))
    check_functions(
        lambda x: ours(x, our_target), lambda x: theirs(x, their_target), normal(seed, *shape, scale=2.0), dtype=dtype
    )


@parity
@given(shapes.filter(len), reductions, flags, dtypes, seeds)
def test_bce(shape, reduction, weighted, dtype, seed):
    x = np.float32(1 / (1 + np.exp(-normal(seed, *shape)))).astype(float)
    target = np.random.default_rng(seed).integers(0, 2, shape).astype(float)
    weight = np.float32(np.abs(normal(seed + 1, *shape))).astype(float) if weighted else None
    ours = nn.BCELoss(None if weight is None else lamella.tensor(weight.astype(dtype)), reduction=reduction)
    theirs = torch.nn.BCELoss(None if weight is None else torch.tensor(weight), reduction=reduction)
    our_target, their_target = lamella.tensor(target.astype(dtype)), torch.tensor(target)
    check_functions(lambda x: ours(x, our_target), lambda x: theirs(x, their_target), x, dtype=dtype)


def test_bce_at_the_edges():
    """Logarithms are cut at -100 on both sides."""
    x, target = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    ours = nn.BCELoss(reduction="none")(lamella.tensor(x), lamella.tensor(target))
    theirs = torch.nn.BCELoss(reduction="none")(torch.tensor(x), torch.tensor(target))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


@parity
@given(st.integers(1, 5), st.integers(1, 5), reductions, flags, flags, st.sampled_from([1.0, 50.0]), dtypes, seeds)
def test_bce_with_logits(n, c, reduction, weighted, positives, scale, dtype, seed):
    target = np.random.default_rng(seed).integers(0, 2, (n, c)).astype(float)
    weights = {
        "weight": np.float32(np.abs(normal(seed + 1, n, c))).astype(float) if weighted else None,
        "pos_weight": np.float32(np.abs(normal(seed + 2, c)) + 0.1).astype(float) if positives else None,
    }
    weights = {k: v for k, v in weights.items() if v is not None}
    ours = nn.BCEWithLogitsLoss(reduction=reduction, **{k: lamella.tensor(v.astype(dtype)) for k, v in weights.items()})
    theirs = torch.nn.BCEWithLogitsLoss(reduction=reduction, **{k: torch.tensor(v) for k, v in weights.items()})
    our_target, their_target = lamella.tensor(target.astype(dtype)), torch.tensor(target)
    x = normal(seed, n, c, scale=scale)
    check_functions(lambda x: ours(x, our_target), lambda x: theirs(x, their_target), x, dtype=dtype)
