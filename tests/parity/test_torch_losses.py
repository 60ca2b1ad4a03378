"""Losses of `lamella.nn` beside PyTorch's: every reduction, weights, ignored labels, smoothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella import nn

from .compare import TOLERANCE, close, dtypes, normal, parity, seeds
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


SOFT_TARGETS = {
    "binary_cross_entropy": [{}, {"weight": True}],
    "binary_cross_entropy_with_logits": [{}, {"weight": True}, {"pos_weight": True}],
    "kl_div": [{}, {"log_target": True}, {"reduction": "batchmean"}],
    "cross_entropy": [{}, {"label_smoothing": 0.2}, {"weight": True}],
}


@pytest.mark.parametrize(("name", "kwargs"), [(n, k) for n, cases in SOFT_TARGETS.items() for k in cases], ids=str)
@parity
@given(n=st.integers(1, 4), classes=st.integers(2, 5), reduction=reductions, dtype=dtypes, seed=seeds)
def test_gradients_by_targets(name, kwargs, n, classes, reduction, dtype, seed):
    """As for a teacher that learns too."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 0.9, (n, classes)).astype(np.float32).astype(float)
    target = rng.uniform(0.1, 0.9, (n, classes)).astype(np.float32).astype(float)
    kwargs = {"reduction": reduction, **kwargs}
    tensors = {k: normal(seed, classes) ** 2 for k in ("weight", "pos_weight") if kwargs.pop(k, False)}
    found = []
    for side, d in ((lamella, dtype), (torch, "float64")):
        a = [side.tensor(v.astype(d), requires_grad=True) for v in (x, target)]
        more = {k: side.tensor(v.astype(d)) for k, v in tensors.items()}
        if name == "kl_div":
            a[1:] = [a[1], a[1].log()] if "log_target" in kwargs else [a[1]]
        y = getattr(side.nn.functional, name)(a[0], a[-1], **kwargs, **more)
        (y * y).sum().backward()
        found.append([y, a[0].grad, a[1].grad])
    for ours, theirs, what in zip(*found, ("loss", "gradient by the input", "gradient by the target"), strict=True):
        close(ours, theirs, f"{name}: {what}", TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_of_scalars(name, dim):
    x, z = lamella.tensor(2.5, requires_grad=True), torch.tensor(2.5, requires_grad=True)
    y, w = getattr(nn.functional, name)(x, dim), getattr(torch.nn.functional, name)(z, dim)
    close(y, w, name, 0)
    y.backward(), w.backward()
    close(x.grad, z.grad, name, 0)
