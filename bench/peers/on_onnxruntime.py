"""The cases on ONNX Runtime: inference, weights as constants, output bound to an array made before."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import arrays, networks
from .measure import Form, Forms

_options = onnxruntime.SessionOptions()


def setup(threads: int) -> None:
    """Called once."""
    _options.intra_op_num_threads = threads
    _options.inter_op_num_threads = 1
    _options.log_severity_level = 3


class _Graph:
    """Nodes are added one by one; each gives its output's name. The inputs are bound as x0, x1, ..."""

    def __init__(self, *inputs: np.ndarray) -> None:
        self.inputs = {f"x{i}": np.ascontiguousarray(x) for i, x in enumerate(inputs)}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes: Any) -> str:
        """The last of its outputs."""
        given = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        names = [f"t{len(self.nodes)}_{i}" if i == outputs - 1 else "" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, given, names, **attributes))
        return names[-1]

    def form(self, out: str, axes: tuple[int, ...] | None = None) -> Form:
        """A session of all nodes; `axes` brings the result to Lamella's order."""

        def info(name: str, x: np.ndarray) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)

        # The result's type is left to shape inference: ArgMax alone gives integers.
        kind = TensorProto.INT64 if self.nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT
        result = helper.make_tensor_value_info(out, kind, None)
        graph = helper.make_graph(self.nodes, "case", [info(*i) for i in self.inputs.items()], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), _options, providers=["CPUExecutionProvider"])
        first = session.run(None, self.inputs)[0]
        binding = session.io_binding()
        for name, x in self.inputs.items():
            binding.bind_cpu_input(name, x)
        binding.bind_ortvalue_output(out, onnxruntime.OrtValue.ortvalue_from_numpy(first))
        return Form(lambda: session.run_with_iobinding(binding), first if axes is None else first.transpose(axes))


_GATES = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn": [0]}  # i, o, f, g and z, r, n
_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def _rnn(graph: _Graph, x: str, cell: str, parts: list[np.ndarray], which: int) -> str:
    """Sequences with the time first; output 0 is all of (t, 1, b, h), output 1 the last (1, b, h)."""

    def gates(w: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(w, len(_GATES[cell]), -1)[g] for g in _GATES[cell]], -1)

    w_ih, w_hh, b_ih, b_hh = map(gates, parts)
    more = {"linear_before_reset": 1} if cell == "gru" else {}
    constants = [w_ih.T[None], w_hh.T[None], np.concatenate([b_ih, b_hh])[None]]
    return graph.add(_CELLS[cell], x, *constants, outputs=which + 1, hidden_size=w_hh.shape[0], **more)


def _conv(graph: _Graph, x: str, w: np.ndarray, b: np.ndarray, stride: int = 1, pad: int = 0, groups: int = 1) -> str:
    size = {"kernel_shape": w.shape[2:], "pads": [pad] * 4, "strides": [stride] * 2, "group": groups}
    return graph.add("Conv", x, w, b, **size)


_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu", "exp": "Exp"}


def infer(network: str, batch: int) -> Form:
    net = networks.NETWORKS[network]
    data = networks.data(net, batch)[0]
    graph, x = _Graph(data.transpose(0, 3, 1, 2) if net.images else data), "x0"
    for layer, parts in zip(net.layers, networks.weights(network, channels_first=True), strict=True):
        match layer:
            case networks.Conv(_, _, pad):
                x = graph.add("Relu", _conv(graph, x, *parts, pad=pad))
            case networks.Pool():
                x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            case networks.Flatten():
                x = graph.add("Flatten", x)
            case networks.Dense(_, _, activation):
                x = graph.add("Gemm", x, *parts)
                x = x if activation == "linear" else graph.add(_ACTIVATIONS[activation], x)
            case networks.Embedding():
                x = graph.add("Transpose", graph.add("Gather", parts[0], x), perm=[1, 0, 2])
            case networks.LSTM():
                x = _rnn(graph, x, "lstm", [*parts, np.zeros_like(parts[2])], 1)
                x = graph.add("Squeeze", x, np.array([0]))
    return graph.form(x)


def gemm(m: int, k: int, n: int) -> Form:
    graph = _Graph(arrays.normal(m, k))
    return graph.form(graph.add("MatMul", "x0", arrays.normal(k, n, seed=1)))


def batched_gemm(count: int, m: int, k: int, n: int) -> Form:
    graph = _Graph(arrays.normal(count, m, k), arrays.normal(count, k, n, seed=1))
    return graph.form(graph.add("MatMul", "x0", "x1"))


def dense(m: int, k: int, n: int, activation: str) -> Form:
    x, w, b = arrays.dense(m, k, n)
    graph = _Graph(x)
    return graph.form(graph.add(_ACTIVATIONS[activation], graph.add("Gemm", "x0", w, b)))


def conv_fwd(stride: int, pad: int, groups: int, **size: int) -> Form:
    x, w, b, _ = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    graph = _Graph(x.transpose(0, 3, 1, 2))
    return graph.form(_conv(graph, "x0", w.transpose(3, 2, 0, 1), b, stride, pad, groups), (0, 2, 3, 1))


def rnn_fwd(cell: str, **size: int) -> Form:
    x, parts, _ = arrays.rnn(cell, **size)
    graph = _Graph(x.transpose(1, 0, 2))
    form = graph.form(_rnn(graph, "x0", cell, parts, 0), (2, 0, 1, 3))
    return Form(form.run, form.result[:, :, 0])  # type: ignore[index]


def pool_fwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Form:
    graph = _Graph(arrays.normal(n, h, h, c).transpose(0, 3, 1, 2))
    kind = {"max": "MaxPool", "avg": "AveragePool"}[op]
    size = {"kernel_shape": [k, k], "strides": [stride] * 2, "pads": [pad] * 4}
    return graph.form(graph.add(kind, "x0", **size), (0, 2, 3, 1))


def norm_fwd(op: str, shape: tuple[int, ...]) -> Forms:
    if op == "batch":
        return {}  # of the batch's own statistics: training
    x, gamma, beta = arrays.norm(shape)
    graph = _Graph(x)
    return graph.form(graph.add("LayerNormalization", "x0", gamma, beta, epsilon=1e-5))


def softmax_fwd(rows: int, columns: int) -> Form:
    graph = _Graph(arrays.normal(rows, columns))
    return graph.form(graph.add("Softmax", "x0"))


def pointwise_fwd(function: str, n: int) -> Form:
    graph = _Graph(arrays.normal(n))
    return graph.form(graph.add(_ACTIVATIONS[function], "x0"))


def reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Form:
    graph = _Graph(arrays.normal(*shape))
    if op == "argmax":
        return graph.form(graph.add("ArgMax", "x0", axis=axis[0], keepdims=0))
    kind = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}[op]
    return graph.form(graph.add(kind, "x0", np.array(axis), keepdims=0))


def embedding_fwd(words: int, width: int, n: int) -> Form:
    graph = _Graph(arrays.labels(n, words))
    return graph.form(graph.add("Gather", arrays.normal(words, width), "x0"))
