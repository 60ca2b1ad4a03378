import numpy as np
import pytest
import reference_elementwise as ref
from gradcheck import check_gradients

from lamella import _cpu


def data(shape, seed=0):
    """Away from 0 and from the activations' kinks."""
    x = np.random.default_rng(seed).uniform(0.1, 2.9, shape)
    return x * np.random.default_rng(seed + 1).choice([-1, 1], shape)


@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation_gradients(name):
    check_gradients("activation", {"activation": name}, [data((4, 5))])


@pytest.mark.parametrize("alpha", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
def test_alpha_gradients(name, alpha):
    check_gradients("activation", {"activation": name, "alpha": alpha}, [data((4, 5))])


@pytest.mark.parametrize("name", ref.UNARY)
def test_unary_gradients(name):
    x = data((4, 5))
    positive = name in ("sqrt", "rsqrt", "log", "log1p")
    check_gradients(name, {}, [np.abs(x) if positive else x])


@pytest.mark.parametrize("attrs", [{"min": -1.0, "max": 1.5}, {"min": 0.0}, {"max": 0.0}])
def test_clip_gradients(attrs):
    check_gradients("clip", attrs, [data((4, 5))])


@pytest.mark.parametrize("name", ref.BINARY)
@pytest.mark.parametrize("sa,sb", [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (2, 1, 4)), ((), (3,)), ((2, 3), (1, 1))])
def test_binary_gradients(name, sa, sb):
    a, b = data(sa, 1), data(sb, 5)
    check_gradients(name, {}, [np.abs(a) if name == "pow" else a, b])


@pytest.mark.parametrize("sc,sa,sb", [((3, 4), (3, 4), (4,)), ((4,), (3, 1), ()), ((2, 1, 1), (3, 4), (3, 4))])
def test_where_gradients(sc, sa, sb):
    condition = np.random.default_rng(0).integers(0, 2, sc).astype(np.uint8)
    check_gradients("where", {}, [condition, data(sa), data(sb, 1)])


X = np.zeros((2, 3))


@pytest.mark.parametrize(
    "name,attrs,inputs,error,text",
    [
        ("activation", {"activation": "rleu"}, [X], ValueError, "did you mean 'relu'"),
        ("activation", {"activation": "relu", "alpha": 0.5}, [X], ValueError, "alpha"),
        ("activation", {"activation": "relu", "slope": 0.5}, [X], ValueError, "slope"),
        ("activation", {"activation": "relu"}, [X.astype(np.int32)], TypeError, "int32"),
        ("activation", {"activation": "relu"}, [X, X], ValueError, "1 array"),
        ("exp", {"base": 2}, [X], ValueError, "base"),
        ("exp", {}, [X.astype(np.int64)], TypeError, "int64"),
        ("clip", {"min": 2.0, "max": 1.0}, [X], ValueError, "at most max"),
        ("clip", {"low": 2.0}, [X], ValueError, "low"),
        ("add", {}, [X], ValueError, "2 arrays"),
        ("add", {}, [X, np.zeros((2, 4))], ValueError, "broadcast"),
        ("add", {}, [X, X.astype(np.float32)], TypeError, "float32"),
        ("less", {}, [X, np.zeros(2)], ValueError, "broadcast"),
        ("where", {}, [X, X, X], TypeError, "uint8"),
        ("where", {}, [np.zeros((3, 3), np.uint8), X, X], ValueError, "broadcast"),
    ],
)
def test_errors(name, attrs, inputs, error, text):
    with pytest.raises(error, match=text):
        _cpu.Op(name, attrs).forward(inputs)


@pytest.mark.parametrize(
    "name,attrs,inputs",
    [
        ("activation", {"activation": "gelu"}, [X]),
        ("exp", {}, [X]),
        ("clip", {"min": 0.0}, [X]),
        ("mul", {}, [X, np.ones(3)]),
        ("where", {}, [np.ones(3, np.uint8), X, X]),
    ],
)
def test_zero_gradient_without_output_gradient(name, attrs, inputs):
    op = _cpu.Op(name, attrs)
    outputs, saved = op.forward(inputs, True)
    for x, g in zip(inputs, op.backward(inputs, outputs, saved, [None], [True] * len(inputs)), strict=True):
        if x.dtype == np.uint8:
            assert g is None
        else:
            np.testing.assert_array_equal(g, np.zeros_like(x))


def test_backward_reads_only_what_it_says():
    x = data((3, 4))
    for name, attrs, uses in [
        ("activation", {"activation": "relu"}, (0, 1)),
        ("activation", {"activation": "gelu"}, (1, 0)),
        ("activation", {"activation": "leaky_relu", "alpha": -0.5}, (1, 0)),
        ("exp", {}, (0, 1)),
        ("log", {}, (1, 0)),
        ("neg", {}, (0, 0)),
        ("add", {}, (0, 0)),
        ("mul", {}, (3, 0)),
        ("pow", {}, (3, 1)),
    ]:
        assert _cpu.Op(name, attrs).uses == uses
        inputs = [np.abs(x)] * (2 if name in ("add", "mul", "pow") else 1)
        outputs, record = _cpu.Op(name, attrs).record(inputs)
        full = _cpu.Op(name, attrs).backward(inputs, outputs, [], [x], [True] * len(inputs))
        for a, b in zip(record.backward([x], [True] * len(inputs)), full, strict=True):
            np.testing.assert_array_equal(a, b)


def test_attributes_round_trip():
    for name, attrs in [
        ("activation", {"activation": "elu", "alpha": 0.25}),
        ("activation", {"activation": "relu"}),
        ("clip", {"min": -1.0}),
        ("clip", {}),
        ("add", {}),
    ]:
        assert _cpu.Op(name, attrs).attrs == attrs
