"""What is measured: names, work and data. How each framework does it stands in on_<framework>.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


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


def _gemm(m: int, k: int, n: int) -> Case:
    return Case(f"gemm_M{m}_K{k}_N{n}", "gemm", 2e-9 * m * k * n, "GFLOP/s", {"m": m, "k": k, "n": n})


def _conv(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int, which: str) -> Case:
    o = (h + 2 * pad - k) // stride + 1
    work = 2e-9 * n * o * o * oc * c * k * k
    args = {"n": n, "h": h, "c": c, "oc": oc, "k": k, "stride": stride, "pad": pad}
    return Case(f"conv{k}x{k}s{stride}_N{n}_{h}x{h}_{c}to{oc}.{which}", f"conv_{which}", work, "GFLOP/s", args)


def _lstm(t: int, b: int, i: int, h: int, which: str) -> Case:
    work = 2e-9 * t * b * (i + h) * 4 * h * (3 if which == "fwdbwd" else 1)
    return Case(f"lstm_{which}_T{t}_B{b}_I{i}_H{h}", f"lstm_{which}", work, "GFLOP/s", {"t": t, "b": b, "i": i, "h": h})


CONVS = [
    (32, 32, 64, 64, 3, 1, 1),
    (8, 56, 128, 128, 3, 1, 1),
    (1, 56, 64, 64, 3, 1, 1),
    (1, 14, 512, 512, 3, 1, 1),
    (32, 28, 1, 32, 3, 1, 1),
    (8, 56, 256, 64, 1, 1, 0),
    (8, 224, 3, 64, 7, 2, 3),
]

CASES = [
    Case("train_iris", "train_iris", 0, "us/step", {"batch": 32}),
    Case("train_mnist_mlp", "train_mnist_mlp", 64, "img/s", {"batch": 64}),
    Case("train_mnist_cnn", "train_mnist_cnn", 128, "img/s", {"batch": 128}),
    Case("train_cifar_cnn", "train_cifar_cnn", 128, "img/s", {"batch": 128}),
    Case("infer_mnist_cnn_b1", "infer_mnist_cnn", 0, "us", {"batch": 1}),
    Case("infer_mnist_cnn_b256", "infer_mnist_cnn", 256, "img/s", {"batch": 256}),
    *[_gemm(n, n, n) for n in (64, 128, 256, 512, 1024)],
    _gemm(1, 1024, 1024),
    _gemm(32, 1024, 1024),
    _gemm(128, 784, 128),
    *[_conv(*c, "fwd") for c in CONVS],
    *[_conv(*c, "bwd_data") for c in CONVS[:2]],
    *[_conv(*c, "bwd_weight") for c in CONVS[:2]],
    *[_lstm(200, 32, 128, 128, w) for w in ("fwd", "fwdbwd")],
    *[_lstm(50, 1, 256, 256, w) for w in ("fwd", "fwdbwd")],
    Case("maxpool2x2_N32_112x112_64", "maxpool", 4e-9 * 32 * 112 * 112 * 64 * 1.25, "GB/s",
         {"n": 32, "h": 112, "c": 64}),
    Case("softmax_1024x1000", "softmax", 1.024e-3, "Gelem/s", {"rows": 1024, "cols": 1000}),
    Case("adam_10M", "adam", 0, "us", {"n": 10_000_000}),
]  # fmt: skip


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Random normal float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def iris() -> tuple[np.ndarray, np.ndarray]:
    """105 standardised rows of four numbers in three classes."""
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    pick = np.random.default_rng(0).permutation(150)[:105]
    x = (x[pick] - x.mean(0)) / x.std(0)
    return x.astype(np.float32), y[pick].astype(np.int64)


def fashion(n: int = 12_800) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST images in [0, 1] and labels; random ones of the same shape where the data are not at hand."""
    from lamella.datasets import fashion_mnist

    try:
        (x, y), _ = fashion_mnist.load_data()
    except (FileNotFoundError, ValueError):
        rng = np.random.default_rng(0)
        return rng.random((n, 28, 28), np.float32), rng.integers(0, 10, n)
    return (x[:n] / np.float32(255)).astype(np.float32), y[:n].astype(np.int64)


def cifar_like(n: int = 2_560) -> tuple[np.ndarray, np.ndarray]:
    """Random images of CIFAR-10's shape."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 32, 32, 3), dtype=np.float32), rng.integers(0, 10, n)
