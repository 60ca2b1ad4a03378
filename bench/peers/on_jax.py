"""The cases on JAX, every function jitted."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import arrays, networks
from .measure import Form, Forms


def setup(threads: int) -> None:
    """Called once, before JAX makes its thread pool, whose size it takes from these variables."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["NPROC"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"


def _dense(x: jax.Array, w: jax.Array, b: jax.Array, activation: str) -> jax.Array:
    y = x @ w + b
    if activation == "gelu":
        return jax.nn.gelu(y, approximate=False)
    return y if activation == "linear" else getattr(jax.nn, activation)(y)


def _conv(x: jax.Array, w: jax.Array, stride: int = 1, pad: int = 0, groups: int = 1) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=layout, feature_group_count=groups
    )


def _pool(x: jax.Array, op: str = "max", k: int = 2, stride: int = 2, pad: int = 0) -> jax.Array:
    sizes: tuple[Any, ...] = ((1, k, k, 1), (1, stride, stride, 1), [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    if op == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, *sizes)
    return lax.reduce_window(x, 0.0, lax.add, *sizes) / (k * k)


def _lstm_cell(state: Any, gx: jax.Array, w: jax.Array, b: jax.Array) -> Any:
    h, c = state
    i, f, g, o = jnp.split(gx + h @ w, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _gru_cell(state: Any, gx: jax.Array, w: jax.Array, b: jax.Array) -> Any:
    (h,) = state
    xr, xz, xn = jnp.split(gx, 3, -1)
    hr, hz, hn = jnp.split(h @ w + b, 3, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
    return (h,), h


def _rnn_cell(state: Any, gx: jax.Array, w: jax.Array, b: jax.Array) -> Any:
    h = jnp.tanh(gx + state[0] @ w)
    return (h,), h


_CELLS: dict[str, Callable[..., Any]] = {"lstm": _lstm_cell, "gru": _gru_cell, "rnn": _rnn_cell}


def _sequence(
    cell: str, x: jax.Array, w_ih: jax.Array, w_hh: jax.Array, b_ih: jax.Array, b_hh: Any = None
) -> jax.Array:
    """All outputs, time first, of sequences that have the time first."""
    zero = jnp.zeros((x.shape[1], w_hh.shape[0]), jnp.float32)
    start = (zero, zero) if cell == "lstm" else (zero,)
    return lax.scan(lambda state, gx: _CELLS[cell](state, gx, w_hh, b_hh), start, x @ w_ih + b_ih)[1]


def _apply(network: networks.Network, params: list[list[jax.Array]], x: jax.Array) -> jax.Array:
    for layer, p in zip(network.layers, params, strict=True):
        match layer:
            case networks.Conv(_, _, pad):
                x = jax.nn.relu(_conv(x, p[0], pad=pad) + p[1])
            case networks.Pool():
                x = _pool(x)
            case networks.Flatten():
                x = x.reshape(x.shape[0], -1)
            case networks.Dense(_, _, activation):
                x = _dense(x, *p, activation)
            case networks.Embedding():
                x = p[0][x]
            case networks.LSTM():
                x = _sequence("lstm", x.transpose(1, 0, 2), *p)[-1]
    return x


def _loss(network: networks.Network, out: jax.Array, y: jax.Array) -> jax.Array:
    if network.loss == "classes":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1))
    if network.loss == "yes_no":
        out = jnp.clip(out, 1e-7, 1 - 1e-7)
        return -jnp.mean(y * jnp.log(out) + (1 - y) * jnp.log(1 - out))
    return jnp.mean((out - y) ** 2)


def _adam(t: jax.Array, rate: float, epsilon: float, p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
    return p - rate / (1 - 0.9**t) * m / (jnp.sqrt(v / (1 - 0.999**t)) + epsilon)


def _update(network: networks.Network, params: Any, grads: Any, moments: Any, t: jax.Array) -> tuple[Any, Any]:
    """Adam or plain SGD."""
    if network.optimizer == "sgd":
        return jax.tree.map(lambda p, g: p - network.rate * g, params, grads), moments
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
    return jax.tree.map(partial(_adam, t, network.rate, networks.EPSILON), params, m, v), (m, v)


def train(network: str, batch: int, rows: int | None = None) -> Form:
    """Ten jitted steps a call with donated state, over shuffled batches of NumPy arrays."""
    net = networks.NETWORKS[network]
    params = jax.tree.map(jnp.array, networks.weights(network))
    base, head = params[: net.frozen], params[net.frozen :]

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, base: Any, x: jax.Array, y: jax.Array) -> Any:
        head, moments, t = state
        loss, grads = jax.value_and_grad(lambda head: _loss(net, _apply(net, base + head, x), y))(head)
        head, moments = _update(net, head, grads, moments, t + 1)
        return (head, moments, t + 1), loss

    x, y = networks.data(net, rows)
    moments = tuple(jax.tree.map(jnp.zeros_like, head) for _ in range(2))
    now: dict[str, Any] = {"state": (head, moments, jnp.zeros((), jnp.float32)), "order": np.arange(len(x)), "at": 0}
    many = min(10, max(1, len(x) // batch))

    def one(rows: np.ndarray) -> Any:
        now["state"], loss = step(now["state"], base, x[rows], y[rows])
        return loss

    def run() -> None:
        for _ in range(many):
            if now["at"] + batch > len(x):
                now["order"], now["at"] = np.random.permutation(len(x)), 0
            loss = one(now["order"][now["at"] : now["at"] + batch])
            now["at"] += batch
        loss.block_until_ready()

    first = np.array([float(one(np.arange(batch))) for _ in range(3)])
    return Form(run, first, calls=many)


def infer(network: str, batch: int) -> Form:
    """NumPy in, finished array out."""
    net = networks.NETWORKS[network]
    params = jax.tree.map(jnp.array, networks.weights(network))
    run = jax.jit(lambda params, x: _apply(net, params, x))
    x = networks.data(net, batch)[0]
    return Form(lambda: run(params, x).block_until_ready(), np.asarray(run(params, x)))


def _jitted(function: Callable[..., Any], *args: Any) -> Form:
    args = jax.tree.map(jnp.asarray, args)
    run = jax.jit(function)
    return Form(lambda: jax.block_until_ready(run(*args)), np.asarray(run(*args)))


def _backward(function: Callable[..., jax.Array], dy: np.ndarray, x: np.ndarray) -> Form:
    """The gradient by x, after a forward pass that is not counted."""
    gradient = jax.jit(lambda x: jax.vjp(function, x)[1])(jnp.asarray(x))
    return _jitted(lambda gradient, dy: gradient(dy)[0], gradient, dy)


def gemm(m: int, k: int, n: int) -> Form:
    return _jitted(jnp.matmul, arrays.normal(m, k), arrays.normal(k, n, seed=1))


def batched_gemm(count: int, m: int, k: int, n: int) -> Form:
    return _jitted(jnp.matmul, arrays.normal(count, m, k), arrays.normal(count, k, n, seed=1))


def dense(m: int, k: int, n: int, activation: str) -> Form:
    return _jitted(partial(_dense, activation=activation), *arrays.dense(m, k, n))


def conv_fwd(stride: int, pad: int, groups: int, **size: int) -> Form:
    x, w, b, _ = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    return _jitted(lambda x, w, b: _conv(x, w, stride, pad, groups) + b, x, w, b)


def _conv_backward(by: str, stride: int, pad: int, groups: int, **size: int) -> Forms:
    """Convolution is linear in each argument: its gradient needs no forward pass, and XLA drops it."""
    x, w, _, dy = arrays.conv(stride=stride, pad=pad, groups=groups, **size)
    if by == "w" and 1 < groups < size["c"]:
        return {}  # 20 s a call
    if by == "x":
        return _jitted(lambda x, w, dy: jax.vjp(lambda x: _conv(x, w, stride, pad, groups), x)[1](dy)[0], x, w, dy)
    return _jitted(lambda x, w, dy: jax.vjp(lambda w: _conv(x, w, stride, pad, groups), w)[1](dy)[0], x, w, dy)


conv_bwd_data = partial(_conv_backward, "x")
conv_bwd_weight = partial(_conv_backward, "w")


def rnn_fwd(cell: str, **size: int) -> Form:
    x, parts, _ = arrays.rnn(cell, **size)
    made = _jitted(partial(_sequence, cell), np.ascontiguousarray(x.transpose(1, 0, 2)), *parts)
    return Form(made.run, made.result.transpose(1, 0, 2))  # type: ignore[union-attr]


def rnn_fwdbwd(cell: str, **size: int) -> Form:
    x, parts, dy = arrays.rnn(cell, **size)
    used = parts if cell == "gru" else parts[:3]
    x, dy = np.ascontiguousarray(x.transpose(1, 0, 2)), np.ascontiguousarray(dy.transpose(1, 0, 2))
    run = jax.jit(lambda dy, *args: jax.vjp(partial(_sequence, cell), *args)[1](dy))
    args = [jnp.asarray(a) for a in (dy, x, *used)]
    return Form(lambda: jax.block_until_ready(run(*args)), np.asarray(run(*args)[1]))


def pool_fwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Form:
    return _jitted(lambda x: _pool(x, op, k, stride, pad), arrays.normal(n, h, h, c))


def pool_bwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Form:
    dy = arrays.pool_gradient(n, h, c, k, stride, pad)
    return _backward(lambda x: _pool(x, op, k, stride, pad), dy, arrays.normal(n, h, h, c))


def _norm(op: str, x: jax.Array, gamma: jax.Array, beta: jax.Array) -> jax.Array:
    axes = tuple(range(x.ndim - 1)) if op == "batch" else (-1,)
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(x.var(axes, keepdims=True) + 1e-5) * gamma + beta


def norm_fwd(op: str, shape: tuple[int, ...]) -> Form:
    return _jitted(partial(_norm, op), *arrays.norm(shape))


def norm_bwd(op: str, shape: tuple[int, ...]) -> Form:
    x, gamma, beta = arrays.norm(shape)
    return _backward(lambda x: _norm(op, x, gamma, beta), arrays.normal(*shape, seed=3), x)


def softmax_fwd(rows: int, columns: int) -> Form:
    return _jitted(jax.nn.softmax, arrays.normal(rows, columns))


def softmax_bwd(rows: int, columns: int) -> Form:
    return _backward(jax.nn.softmax, arrays.normal(rows, columns, seed=1), arrays.normal(rows, columns))


def _cross_entropy(x: jax.Array, y: np.ndarray) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))


def cross_entropy_fwd(rows: int, columns: int) -> Form:
    return _jitted(_cross_entropy, arrays.normal(rows, columns), arrays.labels(rows, columns))


def cross_entropy_bwd(rows: int, columns: int) -> Form:
    y = arrays.labels(rows, columns)
    return _backward(lambda x: _cross_entropy(x, y), np.ones((), np.float32), arrays.normal(rows, columns))


_FUNCTIONS: dict[str, Callable[..., jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "exp": jnp.exp,
}


def pointwise_fwd(function: str, n: int) -> Form:
    return _jitted(_FUNCTIONS[function], arrays.normal(n))


def pointwise_bwd(function: str, n: int) -> Form:
    return _backward(_FUNCTIONS[function], arrays.normal(n, seed=1), arrays.normal(n))


def reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Form:
    return _jitted(partial(getattr(jnp, op), axis=axis if op != "argmax" else axis[0]), arrays.normal(*shape))


def embedding_fwd(words: int, width: int, n: int) -> Form:
    return _jitted(lambda table, i: table[i], arrays.normal(words, width), arrays.labels(n, words))


def embedding_bwd(words: int, width: int, n: int) -> Form:
    i = arrays.labels(n, words)
    return _backward(lambda table: table[i], arrays.normal(n, width, seed=1), arrays.normal(words, width))


def optimizer(op: str, n: int) -> Form:
    """Jitted with donated state."""

    @partial(jax.jit, donate_argnums=(0, 2))
    def step(w: jax.Array, g: jax.Array, state: Any) -> Any:
        if op == "sgd":
            v = 0.9 * state[0] + g
            return w - 1e-3 * v, (v,)
        m, v, t = 0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g * g, state[2] + 1
        return _adam(t, 1e-3, 1e-8, w, m, v), (m, v, t)

    g, zero = jnp.asarray(arrays.normal(n, seed=1)), np.zeros(n, np.float32)
    state = (zero,) if op == "sgd" else (zero, zero, np.float32(0))
    now = {"all": step(arrays.normal(n), g, state)}
    first = np.array(now["all"][0])

    def run() -> None:
        now["all"] = jax.block_until_ready(step(now["all"][0], g, now["all"][1]))

    return Form(run, first)
