"""The cases on Lamella."""

from __future__ import annotations

from typing import Any

import numpy as np

import lamella
from lamella import _cpu, kernels, layers, losses, models, optimizers

from . import arrays, networks, torch_idiom
from .measure import Form, Forms


def setup(threads: int) -> None:
    """Called once."""
    lamella.set_num_threads(threads)
    lamella.seed(0)


def _model(network: networks.Network) -> Any:
    model = networks.keras_model(network, models.Sequential, layers)
    model.set_weights([w for parts in networks.weights(network.name) for w in parts])
    return model


def train(network: str, batch: int, rows: int | None = None) -> Forms:
    """In `fit`, and as a loop in PyTorch's idiom."""
    net = networks.NETWORKS[network]
    x, y = networks.data(net, rows)
    tensors = lamella.from_numpy(x)
    if net.images:
        tensors = tensors.permute(0, 3, 1, 2).contiguous()
    loop = torch_idiom.train(lamella, net, torch_idiom.model(lamella, net), tensors, y, batch)
    return {"": fit(network, batch, rows), "loop": loop}


def fit(network: str, batch: int, rows: int | None = None) -> Form:
    """Steps over shuffled batches of arrays in memory, up to 20 a call: what `fit` runs between two callbacks."""
    from lamella._data import Data
    from lamella._kernels import random

    net = networks.NETWORKS[network]
    model = _model(net)
    loss = networks.keras_loss(net, losses)
    adam = net.optimizer == "adam"
    optimizer = optimizers.Adam(net.rate, epsilon=networks.EPSILON) if adam else optimizers.SGD(net.rate)
    model.compile(optimizer=optimizer, loss=loss)
    x, y = networks.data(net, rows)
    data, engine = Data(model, x, y), model._engine
    first = np.array([engine.train(data, np.arange(batch), 0, 1, batch)[0] / batch for _ in range(3)])
    steps = len(x) // batch
    many = min(steps, 20)
    state = {"order": random.permutation(len(x)), "at": 0}

    def run() -> None:
        if state["at"] + many > steps:
            state["order"], state["at"] = random.permutation(len(x)), 0
        engine.train(data, state["order"], state["at"] * batch, many, batch)
        state["at"] += many

    return Form(run, first, calls=many)


def infer(network: str, batch: int) -> Form:
    net = networks.NETWORKS[network]
    model, x = _model(net), networks.data(net, batch)[0]
    return Form(lambda: model.predict_on_batch(x), model.predict_on_batch(x))


def _into(function: Any, *args: Any, **settings: Any) -> Form:
    """A kernel that writes into an array made before."""
    out = function(*args, **settings)
    return Form(lambda: function(*args, out=out, **settings), out.copy())


def _backward(function: Any, by: str, grad: np.ndarray, *args: Any, **settings: Any) -> Form:
    """The gradient by one argument alone, after a forward pass that is not counted."""
    call = function.__wrapped__(*args, **settings)
    inputs, wanted = call.arrays(), [name == by for name in call.inputs]
    op = _cpu.Op(call.name, {k: v for k, v in call.attrs.items() if v is not None})
    outputs, saved = op.forward(inputs, True)

    def run() -> Any:
        return op.backward(inputs, outputs, saved, [grad], wanted)[wanted.index(True)]

    return Form(run, run())


def _with_model(form: Form, layer: Any, x: np.ndarray, weights: list[np.ndarray]) -> Forms:
    """Beside a kernel: `predict_on_batch` of a model of one layer, whose weights are prepared once."""
    model = models.Sequential([layers.Input(x.shape[1:]), layer])
    model.set_weights(weights)
    return {"": form, "model": Form(lambda: model.predict_on_batch(x), model.predict_on_batch(x))}


def gemm(m: int, k: int, n: int) -> Forms:
    a, b = arrays.normal(m, k), arrays.normal(k, n, seed=1)
    return _with_model(_into(kernels.gemm, a, b), layers.Dense(n, use_bias=False), a, [b])


def batched_gemm(count: int, m: int, k: int, n: int) -> Form:
    return _into(kernels.matmul, arrays.normal(count, m, k), arrays.normal(count, k, n, seed=1))


def dense(m: int, k: int, n: int, activation: str) -> Forms:
    x, w, b = arrays.dense(m, k, n)
    layer = layers.Dense(n, activation=activation)
    return _with_model(_into(kernels.dense, x, w, b, activation=activation), layer, x, [w, b])


def conv_fwd(stride: int, pad: int, groups: int, **size: int) -> Forms:
    x, w, b, _ = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    kernel = _into(kernels.conv2d, x, w, b, stride=stride, padding=pad, groups=groups)
    if groups > 1 or stride > 1:  # Keras' padding is another one there
        return kernel
    layer = layers.Conv2D(w.shape[-1], w.shape[0], padding="same" if pad else "valid")
    return _with_model(kernel, layer, x, [w, b])


def conv_bwd_data(stride: int, pad: int, groups: int, **size: int) -> Form:
    x, w, _, dy = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    return _into(kernels.conv2d_backward_data, dy, w, x.shape, stride=stride, padding=pad, groups=groups)


def conv_bwd_weight(stride: int, pad: int, groups: int, **size: int) -> Form:
    x, w, _, dy = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    return _into(kernels.conv2d_backward_weight, x, dy, w.shape[0], stride=stride, padding=pad, groups=groups)


_CELLS = {"rnn": kernels.simple_rnn, "gru": kernels.gru, "lstm": kernels.lstm}
_CELL_GRADIENTS = {"rnn": kernels.simple_rnn_backward, "gru": kernels.gru_backward, "lstm": kernels.lstm_backward}


def _rnn_arrays(cell: str, **size: int) -> tuple[Any, list[Any], np.ndarray]:
    x, (w_ih, w_hh, b_ih, b_hh), dy = arrays.rnn(cell, **size)
    return x, [w_ih, w_hh, b_ih, *([b_hh] if cell == "gru" else [])], dy


_LAYERS = {"rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}


def rnn_fwd(cell: str, **size: int) -> Forms:
    x, parts, _ = _rnn_arrays(cell, **size)
    h = size["h"]
    given = tuple(parts)
    kernel = Form(lambda: _CELLS[cell](x, *given), _CELLS[cell](x, *given)[0])
    if cell == "gru":  # Keras has z before r, and both biases in one array
        parts = [np.concatenate([p[..., h : 2 * h], p[..., :h], p[..., 2 * h :]], -1) for p in parts]
        parts[2:] = [np.stack(parts[2:])]
    return _with_model(kernel, _LAYERS[cell](h, return_sequences=True), x, parts)


def rnn_fwdbwd(cell: str, **size: int) -> Form:
    x, parts, dy = _rnn_arrays(cell, **size)
    grads = [dy, None, None] if cell == "lstm" else [dy, None]

    def run() -> Any:
        return _CELL_GRADIENTS[cell](grads, x, *parts)

    return Form(run, run()[1])


_POOLS = {"max": kernels.max_pool2d, "avg": kernels.avg_pool2d}


def pool_fwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Form:
    return _into(_POOLS[op], arrays.normal(n, h, h, c), k, stride, pad)


def pool_bwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Form:
    dy = arrays.pool_gradient(n, h, c, k, stride, pad)
    return _backward(_POOLS[op], "x", dy, arrays.normal(n, h, h, c), k, stride, pad)


def _norm(op: str, shape: tuple[int, ...]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    x, gamma, beta = arrays.norm(shape)
    return (kernels.batch_norm, (x, gamma, beta), {"training": True}) if op == "batch" else (
        kernels.layer_norm, (x, gamma, beta), {})  # fmt: skip


def norm_fwd(op: str, shape: tuple[int, ...]) -> Form:
    function, args, settings = _norm(op, shape)
    return _into(function, *args, **settings)


def norm_bwd(op: str, shape: tuple[int, ...]) -> Form:
    function, args, settings = _norm(op, shape)
    return _backward(function, "x", arrays.normal(*shape, seed=3), *args, **settings)


def softmax_fwd(rows: int, columns: int) -> Form:
    return _into(kernels.softmax, arrays.normal(rows, columns))


def softmax_bwd(rows: int, columns: int) -> Form:
    return _backward(kernels.softmax, "x", arrays.normal(rows, columns, seed=1), arrays.normal(rows, columns))


def cross_entropy_fwd(rows: int, columns: int) -> Form:
    return _into(kernels.softmax_cross_entropy, arrays.normal(rows, columns), arrays.labels(rows, columns))


def cross_entropy_bwd(rows: int, columns: int) -> Form:
    one, logits = np.ones((), np.float32), arrays.normal(rows, columns)
    return _backward(kernels.softmax_cross_entropy, "logits", one, logits, arrays.labels(rows, columns))


def pointwise_fwd(function: str, n: int) -> Form:
    return _into(getattr(kernels, function), arrays.normal(n))


def pointwise_bwd(function: str, n: int) -> Form:
    return _backward(getattr(kernels, function), "x", arrays.normal(n, seed=1), arrays.normal(n))


def reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Form:
    x = arrays.normal(*shape)
    function = getattr(kernels, op)
    over = axis if len(axis) > 1 else axis[0]
    return Form(lambda: function(x, axis=over), function(x, axis=over))


def embedding_fwd(words: int, width: int, n: int) -> Form:
    return _into(kernels.embedding, arrays.labels(n, words), arrays.normal(words, width))


def embedding_bwd(words: int, width: int, n: int) -> Form:
    dy, table = arrays.normal(n, width, seed=1), arrays.normal(words, width)
    return _backward(kernels.embedding, "table", dy, arrays.labels(n, words), table)


def optimizer(op: str, n: int) -> Form:
    w, g = arrays.normal(n), arrays.normal(n, seed=1)
    states = [np.zeros_like(w) for _ in range(2 if op == "adam" else 1)]
    step = {"adam": _cpu.Optimizer("adam", {"learning_rate": 1e-3}),
            "sgd": _cpu.Optimizer("sgd", {"learning_rate": 1e-3, "momentum": 0.9})}[op].step  # fmt: skip
    step([w], [g], [states], 1)
    first = w.copy()
    return Form(lambda: step([w], [g], [states], 2), first)
