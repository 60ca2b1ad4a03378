"""What is measured: names, work and data. How a framework does it stands in on_<framework>.py, by the kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays import GATES, conv_size


@dataclass(frozen=True)
class Case:
    """One row of the table.

    `work` per call over seconds is shown as `unit`; work 0 shows the time itself in microseconds.
    """

    name: str
    kind: str
    work: float
    unit: str
    args: dict[str, Any] = field(default_factory=dict)


def _train(network: str, batch: int, unit: str = "img/s") -> Case:
    name = network if network.endswith("finetune") else f"train_{network}"
    work = 0 if network == "iris" else batch
    return Case(f"{name}_b{batch}", "train", work, unit, {"network": network, "batch": batch})


def _infer(network: str, batch: int, unit: str = "img/s") -> Case:
    one = batch == 1
    args = {"network": network, "batch": batch}
    return Case(f"infer_{network}_b{batch}", "infer", 0 if one else batch, "us" if one else unit, args)


def _gemm(m: int, k: int, n: int) -> Case:
    return Case(f"gemm_M{m}_K{k}_N{n}", "gemm", 2e-9 * m * k * n, "GFLOP/s", {"m": m, "k": k, "n": n})


def _batched(count: int, m: int, k: int, n: int) -> Case:
    args = {"count": count, "m": m, "k": k, "n": n}
    return Case(f"gemm_{count}x_M{m}_K{k}_N{n}", "batched_gemm", 2e-9 * count * m * k * n, "GFLOP/s", args)


def _dense(m: int, k: int, n: int, activation: str) -> Case:
    args = {"m": m, "k": k, "n": n, "activation": activation}
    return Case(f"dense_{activation}_M{m}_K{k}_N{n}", "dense", 2e-9 * m * k * n, "GFLOP/s", args)


def _conv(which: str, n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int, groups: int = 1) -> Case:
    args = {"n": n, "h": h, "c": c, "oc": oc, "k": k, "stride": stride, "pad": pad, "groups": groups}
    work = 2e-9 * n * conv_size(h, k, stride, pad) ** 2 * oc * (c // groups) * k * k
    name = f"conv{k}x{k}s{stride}{f'g{groups}' * (groups > 1)}_N{n}_{h}x{h}_{c}to{oc}"
    return Case(f"{name}.{which}", f"conv_{which}", work, "GFLOP/s", args)


def _rnn(which: str, cell: str, t: int, b: int, i: int, h: int) -> Case:
    work = 2e-9 * t * b * (i + h) * GATES[cell] * h * (3 if which == "fwdbwd" else 1)
    args = {"cell": cell, "t": t, "b": b, "i": i, "h": h}
    return Case(f"{cell}_{which}_T{t}_B{b}_I{i}_H{h}", f"rnn_{which}", work, "GFLOP/s", args)


def _both(name: str, kind: str, elements: int, moved: tuple[float, float], args: dict[str, Any]) -> list[Case]:
    """Forward and backward; GB/s of what each has to read and write at least, in arrays of `elements`."""
    return [
        Case(f"{name}.{which}", f"{kind}_{which}", 4e-9 * elements * times, "GB/s", args)
        for which, times in zip(("fwd", "bwd"), moved, strict=True)
    ]


def _pool(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> list[Case]:
    args = {"op": op, "n": n, "h": h, "c": c, "k": k, "stride": stride, "pad": pad}
    part = (conv_size(h, k, stride, pad) / h) ** 2
    return _both(f"{op}pool{k}x{k}s{stride}_N{n}_{h}x{h}_{c}", "pool", n * h * h * c, (1 + part, 1 + part), args)


def _norm(op: str, *shape: int) -> list[Case]:
    name = f"{op}_norm_{'x'.join(map(str, shape))}"
    return _both(name, "norm", int(np.prod(shape)), (2, 3), {"op": op, "shape": shape})


def _reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Case:
    name = f"{op}_{'x'.join(map(str, shape))}_over_{'_'.join(map(str, axis))}"
    return Case(name, "reduce", 4e-9 * float(np.prod(shape)), "GB/s", {"op": op, "shape": shape, "axis": axis})


CONVS = [
    (32, 32, 64, 64, 3, 1, 1),
    (8, 56, 128, 128, 3, 1, 1),
    (1, 56, 64, 64, 3, 1, 1),
    (1, 14, 512, 512, 3, 1, 1),
    (32, 28, 1, 32, 3, 1, 1),
    (8, 224, 3, 64, 3, 1, 1),
    (8, 56, 256, 64, 1, 1, 0),
    (8, 224, 3, 64, 7, 2, 3),
    (8, 56, 128, 128, 3, 2, 1),
    (8, 56, 128, 128, 3, 1, 1, 32),
    (8, 56, 128, 128, 3, 1, 1, 128),
]
RNNS = [(200, 32, 128, 128), (50, 1, 256, 256)]

CASES = [
    _train("iris", 32, "us/step"),
    _train("mnist_mlp", 64),
    _train("mnist_cnn", 128),
    _train("cifar_cnn", 128),
    _train("lstm", 32, "seq/s"),
    _train("autoencoder", 256),
    _train("vgg16_finetune", 8),
    *[_infer(network, batch) for network in ("mnist_cnn", "cifar_cnn") for batch in (1, 256)],
    *[_infer("lstm", batch, "seq/s") for batch in (1, 32)],
    *[_infer("vgg16", batch) for batch in (1, 8)],
    *[_gemm(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)],
    _gemm(1, 1024, 1024),
    _gemm(32, 1024, 1024),
    _gemm(128, 784, 128),
    _gemm(4096, 32, 64),
    _batched(96, 128, 64, 128),
    _batched(256, 32, 32, 32),
    _dense(128, 784, 128, "relu"),
    _dense(512, 512, 512, "gelu"),
    *[_conv(which, *c) for which in ("fwd", "bwd_data", "bwd_weight") for c in CONVS],
    *[_rnn(which, cell, *r) for cell in GATES for r in RNNS for which in ("fwd", "fwdbwd")],
    *_pool("max", 32, 112, 64, 2, 2, 0),
    *_pool("max", 8, 112, 64, 3, 2, 1),
    *_pool("avg", 32, 112, 64, 2, 2, 0),
    *_norm("batch", 32, 56, 56, 64),
    *_norm("layer", 4096, 768),
    *_both("softmax_1024x1000", "softmax", 1_024_000, (2, 3), {"rows": 1024, "columns": 1000}),
    *_both("cross_entropy_1024x1000", "cross_entropy", 1_024_000, (1, 2), {"rows": 1024, "columns": 1000}),
    *[c for f in ("relu", "tanh", "sigmoid", "gelu") for c in _both(f"{f}_16M", "pointwise", 1 << 24, (2, 3),
                                                                    {"function": f, "n": 1 << 24})],
    Case("exp_16M.fwd", "pointwise_fwd", 8e-9 * (1 << 24), "GB/s", {"function": "exp", "n": 1 << 24}),
    _reduce("sum", (1 << 24,), (0,)),
    _reduce("sum", (4096, 4096), (0,)),
    _reduce("sum", (4096, 4096), (1,)),
    _reduce("mean", (32, 56, 56, 64), (1, 2)),
    _reduce("max", (4096, 4096), (1,)),
    _reduce("argmax", (4096, 1000), (1,)),
    *_both("embedding_10000x128_of_6400", "embedding", 6400 * 128, (2, 1 + 10_000 / 6400),
           {"words": 10_000, "width": 128, "n": 6400}),
    Case("sgd_momentum_10M", "optimizer", 0, "us", {"op": "sgd", "n": 10_000_000}),
    Case("adam_10M", "optimizer", 0, "us", {"op": "adam", "n": 10_000_000}),
]  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """Cost of one thing against one size."""

    name: str
    axis: str
    sizes: tuple[int, ...]
    case: Callable[[int], Case]


SWEEPS = [
    Sweep("MNIST CNN training", "batch", (1, 4, 16, 64, 256), lambda n: _train("mnist_cnn", n)),
    Sweep("MNIST CNN inference", "batch", (1, 4, 16, 64, 256), lambda n: _infer("mnist_cnn", n)),
    Sweep("3x3 conv, 64 to 64", "image size", (7, 14, 28, 56, 112), lambda n: _conv("fwd", 8, n, 64, 64, 3, 1, 1)),
    Sweep("3x3 conv, 28x28", "channels", (8, 16, 32, 64, 128, 256), lambda n: _conv("fwd", 8, 28, n, n, 3, 1, 1)),
    Sweep("LSTM fwd+bwd", "hidden size", (16, 32, 64, 128, 256), lambda n: _rnn("fwdbwd", "lstm", 50, 32, 64, n)),
    Sweep(
        "LSTM fwd+bwd", "sequence length", (5, 10, 25, 50, 100, 200), lambda n: _rnn("fwdbwd", "lstm", n, 32, 64, 64)
    ),
    Sweep("GEMM", "size", (16, 32, 64, 128, 256, 512, 1024), lambda n: _gemm(n, n, n)),
]
