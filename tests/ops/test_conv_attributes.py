"""Convolution ops: sizes, attributes, and what is said about bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_conv import operands

from lamella import _cpu
from lamella._kernels._call import op


@pytest.mark.parametrize(
    ("name", "attrs", "size", "kernel", "expected"),
    [
        # As PyTorch's ConvTranspose counts them, (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 +
        # output_padding; as Keras', size * stride for "same", + max(kernel - stride, 0) for "valid".
        ("conv1d", {"padding": "causal", "dilation": 3}, 9, 4, 9),
        ("conv1d", {"padding": "causal", "stride": 2}, 9, 4, 5),
        ("conv1d", {"padding": "same", "stride": 3}, 10, 2, 4),
        ("conv1d", {"padding": "valid", "stride": 3}, 10, 2, 3),
        ("conv1d", {"padding": [2, 3], "stride": 2, "dilation": 2}, 7, 3, 4),
        ("conv1d_transpose", {"padding": 1, "stride": 2, "output_padding": 1}, 5, 3, 10),
        ("conv1d_transpose", {"padding": [2, 0], "dilation": 2}, 5, 3, 7),
        ("conv1d_transpose", {"padding": "same", "stride": 3}, 5, 2, 15),
        ("conv1d_transpose", {"padding": "valid", "stride": 3}, 5, 2, 15),
        ("conv1d_transpose", {"padding": "valid", "stride": 2}, 5, 4, 12),
        ("conv1d_transpose", {"padding": "same", "stride": 2, "output_padding": 1}, 5, 3, 10),
        ("conv1d_transpose", {"padding": "valid", "stride": 2, "output_padding": 0}, 5, 3, 11),
    ],
)
def test_sizes(name: str, attrs: dict[str, Any], size: int, kernel: int, expected: int) -> None:
    f = "float32"
    assert op(name, attrs).infer([(f, (2, size, 1)), (f, (kernel, 1, 1))])[0] == [(f, (2, expected, 1))]
    if attrs["padding"] != "causal":
        attrs = {k: v * 2 if isinstance(v, list) else v for k, v in attrs.items()}
        got = op(name.replace("1d", "2d"), attrs).infer([(f, (2, size, size, 1)), (f, (kernel, kernel, 1, 1))])[0]
        assert got == [(f, (2, expected, expected, 1))]


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("conv2d", {}),
        ("conv2d", {"stride": [2, 3], "dilation": 2, "padding": [1, 0, 2, 3], "groups": 4, "algorithm": "igemm"}),
        ("conv2d", {"padding": [1, 2], "activation": "leaky_relu", "alpha": 0.2}),
        ("conv1d", {"padding": "causal", "activation": "gelu"}),
        ("conv1d", {"padding": [1, 2], "stride": 3}),
        ("conv1d_transpose", {"padding": "same", "output_padding": 1, "stride": 2}),
        ("conv2d_transpose", {"padding": 1, "output_padding": [0, 1], "stride": 2}),
        ("conv2d_transpose", {"padding": "valid"}),
    ],
)
def test_attrs_rebuild_the_op(name: str, attrs: dict[str, Any]) -> None:
    first = op(name, attrs).attrs
    assert op(name, first).attrs == first
    axes = 2 if "2d" in name else 1
    inputs = operands(name, (6, 5)[:axes], (3, 3)[:axes], 4, 8, attrs.get("groups", 1))
    np.testing.assert_array_equal(op(name, first).forward(inputs)[0][0], op(name, attrs).forward(inputs)[0][0])


@pytest.mark.parametrize(
    ("name", "attrs", "message"),
    [
        ("conv2d", {"stride": 0}, "conv2d: stride: expected at least 1, got 0"),
        ("conv2d", {"stride": [1, 2, 3]}, "conv2d: stride: expected an integer or one for each .* got 3 values"),
        ("conv1d", {"stride": [1, 2]}, "conv1d: stride: expected an integer, got 2 values"),
        ("conv2d", {"dilation": -1}, "conv2d: dilation: expected at least 1, got -1"),
        ("conv2d", {"groups": 0}, "conv2d: groups: expected at least 1, got 0"),
        ("conv2d", {"padding": -1}, "conv2d: padding: expected no negative value, got -1"),
        ("conv2d", {"padding": [1, 2, 3]}, "conv2d: padding: expected 'valid', 'same', .* got 3 values"),
        ("conv2d", {"padding": "causal"}, "conv2d: padding: expected 'valid', 'same', an integer.* got 'causal'"),
        ("conv1d", {"padding": "full"}, "conv1d: padding: expected 'valid', 'same', 'causal', .* got 'full'"),
        ("conv1d_transpose", {"padding": "causal"}, "conv1d_transpose: padding: expected .* got 'causal'"),
        ("conv2d", {"activation": "rely"}, "conv2d: activation: expected one of .*'rely'.*did you mean 'relu'"),
        ("conv2d", {"algorithm": "fft"}, "conv2d: algorithm: expected one of auto, .*igemm.* got 'fft'"),
        ("conv2d", {"strides": 2}, "conv2d: attributes: .*'strides'.*did you mean 'stride'"),
        ("conv2d", {"output_padding": 1}, "conv2d: attributes: .*'output_padding'"),
        ("conv2d_transpose", {"output_padding": 1}, "output_padding: expected less than the larger of stride"),
        ("conv2d_transpose", {"output_padding": -1}, "output_padding: expected at least 0, got -1"),
    ],
)
def test_bad_attributes(name: str, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op(name, attrs)


@pytest.mark.parametrize(
    ("name", "attrs", "x", "w", "b", "message"),
    [
        ("conv2d", {}, (4, 4, 2), (3, 3, 2, 5), (5,), "conv2d: x: expected 4 dimensions, got 3 in shape"),
        ("conv1d", {}, (1, 4, 4, 2), (3, 2, 5), (5,), "conv1d: x: expected 3 dimensions, got 4 in shape"),
        ("conv2d", {}, (1, 4, 4, 2), (3, 2, 5), (5,), "conv2d: weight: expected 4 dimensions, got 3 in shape"),
        ("conv2d", {}, (1, 4, 4, 2), (3, 3, 3, 5), (5,), r"weight: expected 2 input channels.*got \(3, 3, 3, 5\)"),
        ("conv2d", {}, (1, 4, 4, 2), (3, 3, 2, 5), (4,), r"conv2d: bias: expected \(5,\), got \(4,\)"),
        ("conv2d", {}, (1, 4, 4, 2), (3, 3, 2, 5), (5, 1), "conv2d: bias: expected 1 dimension, got 2"),
        ("conv2d", {"groups": 3}, (1, 4, 4, 2), (3, 3, 2, 6), (6,), "groups: expected a divisor of the 2 input .* 3"),
        ("conv2d", {"groups": 2}, (1, 4, 4, 4), (3, 3, 2, 5), (5,), "groups: expected a divisor of the 5 output .* 2"),
        ("conv2d", {"groups": 2}, (1, 4, 4, 4), (3, 3, 4, 6), (6,), "weight: expected 2 input channels.* in 2 groups"),
        (
            "conv2d",
            {},
            (1, 4, 2, 2),
            (3, 3, 2, 5),
            (5,),
            "x: expected a padded width of at least the kernel's 3, got 2",
        ),
        ("conv2d", {"dilation": 2}, (1, 4, 9, 2), (3, 3, 2, 5), None, "x: expected a padded height .* 5, got 4"),
        ("conv1d", {"padding": 1}, (1, 1, 2), (4, 2, 5), None, "x: expected a padded length .* 4, got 3"),
        ("conv2d", {}, (1, 0, 4, 2), (3, 3, 2, 5), None, r"x: expected at least 1 in every .* got \(1, 0, 4, 2\)"),
        ("conv2d", {}, (1, 4, 4, 2), (3, 0, 2, 5), None, r"weight: expected at least 1 in every .* \(3, 0, 2, 5\)"),
        (
            "conv2d",
            {"padding": 2**31 - 1},
            (1, 4, 4, 2),
            (3, 3, 2, 5),
            None,
            "expected results of a representable size",
        ),
        ("conv2d", {"dilation": 2**31 - 1}, (1, 4, 4, 2), (3, 3, 2, 5), None, "x: expected a padded height"),
        ("conv2d_transpose", {}, (1, 4, 4, 2), (3, 3, 5, 3), None, "weight: expected 2 input channels in the last"),
        ("conv2d_transpose", {}, (1, 4, 4, 2), (3, 3, 5, 2), (2,), r"bias: expected \(5,\), got \(2,\)"),
        ("conv2d_transpose", {"groups": 3}, (1, 4, 4, 2), (3, 3, 5, 2), None, "groups: expected a divisor of the 2 in"),
        (
            "conv2d_transpose",
            {"padding": 3},
            (1, 2, 9, 2),
            (3, 3, 5, 2),
            None,
            "an output height of at least 1, got -2",
        ),
        ("conv2d_transpose", {"stride": 2**31 - 1}, (1, 9, 9, 2), (3, 3, 5, 2), None, "of a representable size"),
    ],
)
def test_bad_inputs(name: str, attrs: dict[str, Any], x: Any, w: Any, b: Any, message: str) -> None:
    inputs = [None if s is None else np.zeros(s) for s in (x, w, b)]
    with pytest.raises(ValueError, match=message):
        op(name, attrs).forward(inputs)


def test_sizes_that_wrap_around() -> None:
    """2**31 * (2**29 + 1) * 4 floats are 2**64 + 2**35 bytes: a plan must not believe the 2**35, nor the next op."""
    graph = _cpu.Graph()
    x, w = graph.add_input("x", "float32", (1, 1, 1, 1)), graph.add_param("w", np.ones((1, 1, 1, 4), np.float32))
    with pytest.raises(ValueError, match=r"conv2d.*representable"):
        graph.apply(op("conv2d", {"padding": [2**30, 2**30 - 1, 2**28, 2**28]}), [x, w])
    f, long = "float32", (1, 2**32, 1)
    with pytest.raises(ValueError, match="conv1d_transpose: stride: expected an output length of a representable size"):
        op("conv1d_transpose", {"stride": 2**31 - 1}).infer([(f, long), (f, (1, 1, 1))])
    with pytest.raises(ValueError, match="conv1d: dilation: expected a kernel of a representable length"):
        op("conv1d", {"dilation": 2**31 - 1}).infer([(f, long), (f, (2**32, 1, 1))])


def test_bad_types() -> None:
    x, w, b = operands("conv2d", (4, 4), (3, 3), 2, 5)
    with pytest.raises(TypeError, match="conv2d: x: expected float32 or float64, got int32"):
        op("conv2d", {}).forward([x.astype(np.int32), w, b])
    with pytest.raises(TypeError, match="conv2d: weight: expected float64, got float32"):
        op("conv2d", {}).forward([x, w.astype(np.float32), b])
    with pytest.raises(TypeError, match="conv2d: bias: expected float64, got float32"):
        op("conv2d", {}).forward([x, w, b.astype(np.float32)])
    with pytest.raises(ValueError, match="conv2d: inputs: expected 2 to 3 arrays, got 1"):
        op("conv2d", {}).forward([x])
    with pytest.raises(ValueError, match=r"conv2d: out: expected float64 .*2, 2, 2, 5.*got"):
        op("conv2d", {}).forward([x, w, b], out=[np.zeros((2, 2, 2, 4))])
    with pytest.raises(ValueError, match=r"conv2d: output gradient 0: expected float64 .*2, 2, 2, 5"):
        op("conv2d", {}).backward([x, w, b], [None], [], [np.zeros((2, 2, 2, 4))], [True] * 3)
