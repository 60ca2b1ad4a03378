"""Normalisation ops: gradients by finite differences, saved tensors, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import check_gradients

from lamella._kernels._call import op


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def parameters(c: int) -> list[np.ndarray]:
    return [normal((c,), 1), normal((c,), 2), normal((c,), 3), np.abs(normal((c,), 4)) + 0.5]


@pytest.mark.parametrize("attrs", [{}, {"use_running_stats": True}, {"activation": "relu"}, {"eps": 0.1}])
@pytest.mark.parametrize("c", [1, 3])
def test_batch_norm_gradients(attrs: dict[str, Any], c: int) -> None:
    x = normal((2, 3, 4, c))
    check_gradients("batch_norm", attrs, [x, *parameters(c)])
    if not attrs.get("use_running_stats"):
        check_gradients("batch_norm", attrs, [x])
        check_gradients("batch_norm", attrs, [x, None, normal((c,), 2)])


def test_batch_norm_gradients_of_many_rows() -> None:
    # Enough rows for several of them to be read as one, and some left over.
    check_gradients("batch_norm", {}, [normal((533, 1)), normal((1,), 1), normal((1,), 2)])
    check_gradients("group_norm", {"groups": 1}, [normal((2, 261, 1)), normal((1,), 1), normal((1,), 2)])


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_gradients(groups: int) -> None:
    x = normal((3, 2, 4, 6))
    check_gradients("group_norm", {"groups": groups}, [x, normal((6,), 1), normal((6,), 2)])
    check_gradients("group_norm", {"groups": groups}, [x])


def test_instance_norm_gradients() -> None:
    check_gradients("instance_norm", {}, [normal((2, 7, 3)), normal((3,), 1), normal((3,), 2)])


@pytest.mark.parametrize("axes", [1, 2])
def test_row_norm_gradients(axes: int) -> None:
    x = normal((2, 3, 5))
    shape = x.shape[3 - axes :]
    check_gradients("layer_norm", {"axes": axes}, [x, normal(shape, 1), normal(shape, 2)])
    check_gradients("layer_norm", {"axes": axes}, [x, None, normal(shape, 2)])
    check_gradients("layer_norm", {"axes": axes}, [x])
    check_gradients("rms_norm", {"axes": axes}, [x, normal(shape, 1)])
    check_gradients("rms_norm", {"axes": axes}, [x])


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "rms_norm", "instance_norm"])
def test_missing_output_gradient_is_zero(name: str) -> None:
    inputs = [normal((2, 4, 3)), normal((3,), 1)]
    o = op(name, {})
    outputs, saved = o.forward(inputs, True)
    for grad in o.backward(inputs, outputs, saved, [None], [True, True]):
        assert not grad.any()


def test_only_wanted_gradients_come() -> None:
    inputs = [normal((2, 4, 3)), normal((3,), 1), normal((3,), 2)]
    for name, attrs in [("batch_norm", {}), ("layer_norm", {}), ("group_norm", {"groups": 3})]:
        o = op(name, attrs)
        outputs, saved = o.forward(inputs, True)
        grad = normal(outputs[0].shape, 5)
        every = o.backward(inputs, outputs, saved, [grad], [True] * 3)
        for i in range(3):
            some = o.backward(inputs, outputs, saved, [grad], [i == j for j in range(3)])
            assert [g is not None for g in some] == [i == j for j in range(3)]
            np.testing.assert_array_equal(some[i], every[i])


def test_saved_statistics() -> None:
    x = normal((5, 4, 6)) + 3
    _, (mean, inv_std) = op("batch_norm", {"eps": 0.0}).forward([x], True)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 1)), rtol=1e-14)
    np.testing.assert_allclose(inv_std, 1 / x.std(axis=(0, 1)), rtol=1e-14)
    _, (mean, inv_std) = op("group_norm", {"eps": 0.0, "groups": 2}).forward([x], True)
    groups = x.reshape(5, 4, 2, 3)
    np.testing.assert_allclose(mean, groups.mean(axis=(1, 3)), rtol=1e-14)
    np.testing.assert_allclose(inv_std, 1 / groups.std(axis=(1, 3)), rtol=1e-14)
    _, (inv_std, mean) = op("layer_norm", {"eps": 0.0}).forward([x], True)
    np.testing.assert_allclose(mean, x.mean(axis=2), rtol=1e-13)
    np.testing.assert_allclose(inv_std, 1 / x.std(axis=2), rtol=1e-13)
    assert op("batch_norm", {}).infer([("float64", (5, 6))])[1] == []


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("batch_norm", {"eps": 0.01, "momentum": 0.5, "unbiased_running_var": True, "activation": "relu"}),
        ("batch_norm", {"use_running_stats": True}),
        ("group_norm", {"groups": 4}),
        ("instance_norm", {"eps": 0.5}),
        ("layer_norm", {"axes": 3}),
        ("rms_norm", {"eps": 1e-6}),
    ],
)
def test_attrs_rebuild_the_op(name: str, attrs: dict[str, Any]) -> None:
    first = op(name, attrs).attrs
    assert all(first[k] == v for k, v in attrs.items())
    assert op(name, first).attrs == first


X = ("float32", (4, 5, 6))
C = ("float32", (6,))


@pytest.mark.parametrize(
    ("name", "attrs", "specs", "message"),
    [
        ("batch_norm", {"eps": -1.0}, [X], "eps: expected"),
        ("batch_norm", {"momentum": 1.5}, [X], "momentum: expected"),
        ("batch_norm", {"activation": "gelu"}, [X], "activation: expected 'identity' or 'relu', got 'gelu'"),
        ("batch_norm", {}, [("float32", (4,))], "x: expected a rank"),
        ("batch_norm", {}, [X, ("float32", (5,))], r"gamma: expected shape \(6,\), got \(5,\)"),
        ("batch_norm", {}, [X, C, C, C], "both or neither"),
        ("batch_norm", {"use_running_stats": True}, [X], "use_running_stats: expected"),
        ("batch_norm", {"unbiased_running_var": True}, [("float32", (1, 6)), C, C, C, C], "more than one value"),
        ("batch_norm", {"groups": 2}, [X], "groups"),
        ("group_norm", {}, [X], "groups: expected"),
        ("group_norm", {"groups": 4}, [X], "groups: expected a divisor"),
        ("instance_norm", {}, [("float32", (4, 6))], "x: expected a rank"),
        ("layer_norm", {"axes": 4}, [X], "x: expected a rank"),
        ("layer_norm", {"axes": 2}, [X, C], "gamma: expected shape"),
        ("rms_norm", {}, [X, C, C], "expected"),
    ],
)
def test_errors(name: str, attrs: dict[str, Any], specs: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op(name, attrs).infer(specs, training=True)


def test_dtypes_are_checked() -> None:
    with pytest.raises(TypeError, match="gamma"):
        op("layer_norm", {}).infer([X, ("float64", (6,))])
    with pytest.raises(TypeError, match="x: expected float"):
        op("layer_norm", {}).infer([("int32", (4, 6))])
