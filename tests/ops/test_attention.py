import numpy as np
import pytest
from gradcheck import check_gradients

from lamella import _cpu

rng = np.random.default_rng(0)


def r(*shape):
    return rng.standard_normal(shape)


SIDE = [r(2, 5, 6), r(2, 4, 6), r(2, 4, 4)]
APART = [r(2, 2, 5, 3), r(2, 2, 4, 3), r(2, 2, 4, 2)]
KEYS = np.array([[1, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
HIDDEN = (rng.random((5, 4)) < 0.6).astype(np.uint8)
HIDDEN[1] = 0


@pytest.mark.parametrize("weights", ["none", "plain", "dropped"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    "mask",
    [None, HIDDEN, r(2, 2, 5, 4), r(2, 1, 5, 4), r(1, 2, 1, 4), r(5, 1), r(4), r()],
    ids=lambda m: str(np.shape(m)),
)
def test_gradients(mask, dropout, causal, weights):
    attrs = {"causal": causal, "weights": weights}
    if dropout:
        attrs.update(dropout=dropout, key=[3, 4])
    check_gradients("attention", {**attrs, "heads": 2}, [*SIDE, mask, KEYS])
    check_gradients("attention", {**attrs, "scale": 0.7}, [*APART, mask])


def test_gradients_over_several_blocks():
    # Blocks hold 16 queries at least: these have 1200 keys, that many that they hold no more.
    q, k, v = r(1, 40, 2) * 0.1, r(1, 2100, 2), r(1, 2100, 1)
    check_gradients("attention", {"causal": True}, [q, k[:, :40], v[:, :40]])
    check_gradients("attention", {}, [q, k, v], wanted=[0])


def test_gradients_that_are_not_wanted_or_do_not_come():
    op = _cpu.Op("attention", {"heads": 2, "weights": "plain"})
    mask = r(5, 4)
    inputs = [*SIDE, mask]
    outputs, saved = op.forward(inputs, True)
    g, gw = r(*outputs[0].shape), r(*outputs[1].shape)
    whole = op.backward(inputs, outputs, saved, [g, gw], [True] * 4)
    for i in range(4):
        wanted = [j == i for j in range(4)]
        part = op.backward(inputs, outputs, saved, [g, gw], wanted)
        np.testing.assert_array_equal(part[i], whole[i])
        assert all(p is None for j, p in enumerate(part) if j != i)
    by_out = op.backward(inputs, outputs, saved, [g, None], [True] * 4)
    by_weights = op.backward(inputs, outputs, saved, [None, gw], [True] * 4)
    for a, b, c in zip(whole, by_out, by_weights, strict=True):
        np.testing.assert_allclose(a, b + c, atol=1e-12)
    for grad in op.backward(inputs, outputs, saved, [None, None], [True] * 4):
        assert not grad.any()


def test_empty():
    for t, s in [(0, 3), (3, 0), (0, 0)]:
        op = _cpu.Op("attention", {"weights": "plain"})
        inputs = [r(2, t, 4), r(2, s, 4), r(2, s, 3)]
        outputs, saved = op.forward(inputs, True)
        assert outputs[0].shape == (2, t, 3) and not outputs[0].any()
        for grad, x in zip(op.backward(inputs, outputs, saved, [r(2, t, 3), None], [True] * 3), inputs, strict=True):
            assert grad.shape == x.shape and not grad.any()


@pytest.mark.parametrize(
    "attrs,inputs,text",
    [
        ({"heads": 0}, SIDE, "heads: expected at least 1"),
        ({"heads": 4}, SIDE, "q: expected a multiple of 4 heads"),
        ({"heads": 3}, SIDE, "v: expected a multiple of 3 heads"),
        ({"heads": 2}, APART, "heads: expected 1 where q has 4 dimensions"),
        ({"dropout": 1.5}, SIDE, "dropout"),
        ({"weights": "all"}, SIDE, "weights"),
        ({}, [SIDE[0][0], SIDE[1], SIDE[2]], "q: expected 3 or 4 dimensions"),
        ({}, [SIDE[0], SIDE[1][..., :5], SIDE[2]], r"k: expected \(2, 4, 6\), got \(2, 4, 5\)"),
        ({}, [SIDE[0], SIDE[1], SIDE[2][:, :3]], r"v: expected \(2, 4, 4\), got \(2, 3, 4\)"),
        ({}, [*SIDE, r(5, 3)], r"mask: expected a shape that broadcasts to \(2, 1, 5, 4\), got \(5, 3\)"),
        ({}, [*SIDE, None, np.ones((2, 5), np.uint8)], r"key_mask: expected uint8 \(2, 4\)"),
        ({"head": 2}, SIDE, "did you mean 'heads'"),
    ],
)
def test_errors(attrs, inputs, text):
    with pytest.raises(ValueError, match=text):
        _cpu.Op("attention", attrs).forward(inputs)


def test_dtypes_are_checked():
    with pytest.raises(TypeError, match="k: expected float64"):
        _cpu.Op("attention", {}).forward([SIDE[0], SIDE[1].astype(np.float32), SIDE[2]])
    with pytest.raises(TypeError, match="mask: expected float64"):
        _cpu.Op("attention", {}).forward([*SIDE, np.zeros((5, 4), np.float32)])
