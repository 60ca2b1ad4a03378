"""The cases on PyTorch: eager, images in channels_last (its faster layout here)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import cases

_Made = tuple[Callable[[], Any], Any]


def setup(threads: int) -> None:
    """Called once."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def _trainer(net: nn.Module, x: np.ndarray, y: np.ndarray, batch: int, optimizer: Any, last: bool = False) -> _Made:
    net = net.to(memory_format=torch.channels_last) if last else net
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)
    if last:
        xs = xs.permute(0, 3, 1, 2)
    loss_fn = nn.CrossEntropyLoss()
    opt = optimizer(net.parameters())
    state = {"order": torch.randperm(len(xs)), "at": 0}

    def run() -> None:
        if state["at"] + batch > len(xs):
            state["order"], state["at"] = torch.randperm(len(xs)), 0
        rows = state["order"][state["at"] : state["at"] + batch]
        state["at"] += batch
        opt.zero_grad()
        loss_fn(net(xs[rows]), ys[rows]).backward()
        opt.step()

    return run, None


def _mnist_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5408, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def train_iris(batch: int) -> _Made:
    x, y = cases.iris()
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    return _trainer(net, x, y, batch, lambda p: torch.optim.Adam(p, 1e-3))


def train_mnist_mlp(batch: int) -> _Made:
    x, y = cases.fashion()
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return _trainer(net, x.reshape(-1, 784), y, batch, lambda p: torch.optim.SGD(p, 0.01))


def train_mnist_cnn(batch: int) -> _Made:
    x, y = cases.fashion()
    return _trainer(_mnist_cnn(), x[..., None], y, batch, lambda p: torch.optim.Adam(p, 1e-3), last=True)


def train_cifar_cnn(batch: int) -> _Made:
    x, y = cases.cifar_like()
    blocks: list[nn.Module] = []
    for c, oc in ((3, 32), (32, 64), (64, 128)):
        blocks += [nn.Conv2d(c, oc, 3), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10))
    return _trainer(net, x, y, batch, lambda p: torch.optim.Adam(p, 1e-3), last=True)


def infer_mnist_cnn(batch: int) -> _Made:
    net = _mnist_cnn().to(memory_format=torch.channels_last).eval()
    x = torch.from_numpy(cases.fashion()[0][:batch, None]).to(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return net(x)

    return run, None


def gemm(m: int, k: int, n: int) -> _Made:
    a, b = torch.from_numpy(cases.normal(m, k)), torch.from_numpy(cases.normal(k, n, seed=1))
    c = torch.empty(m, n)
    torch.mm(a, b, out=c)
    return (lambda: torch.mm(a, b, out=c)), c.numpy().copy()


def _conv_data(n: int, h: int, c: int, oc: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(cases.normal(n, h, h, c)).permute(0, 3, 1, 2)
    w = torch.from_numpy(cases.normal(k, k, c, oc, seed=1) / np.float32(k)).permute(3, 2, 0, 1)
    return x, w.contiguous(memory_format=torch.channels_last), torch.from_numpy(cases.normal(oc, seed=2))


def conv_fwd(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int) -> _Made:
    x, w, b = _conv_data(n, h, c, oc, k)

    def run() -> Any:
        with torch.inference_mode():
            return F.conv2d(x, w, b, stride, pad)

    return run, run().permute(0, 2, 3, 1).numpy()


def _conv_backward(which: int, n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int) -> tuple[Any, Any]:
    x, w, _ = _conv_data(n, h, c, oc, k)
    o = (h + 2 * pad - k) // stride + 1
    dy = torch.from_numpy(cases.normal(n, o, o, oc, seed=3)).permute(0, 3, 1, 2)
    mask = [which == 0, which == 1, False]

    def run() -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask
        )[which]

    return run, run()


def conv_bwd_data(**args: int) -> _Made:
    run, result = _conv_backward(0, **args)
    return run, result.permute(0, 2, 3, 1).numpy()


def conv_bwd_weight(**args: int) -> _Made:
    run, result = _conv_backward(1, **args)
    return run, result.permute(2, 3, 1, 0).numpy()


def _lstm(t: int, b: int, i: int, h: int) -> tuple[nn.LSTM, torch.Tensor]:
    scale = np.float32(h**-0.5)
    net = nn.LSTM(i, h, batch_first=True)
    with torch.no_grad():
        net.weight_ih_l0.copy_(torch.from_numpy(cases.normal(i, 4 * h, seed=1) * scale).T)
        net.weight_hh_l0.copy_(torch.from_numpy(cases.normal(h, 4 * h, seed=2) * scale).T)
        net.bias_ih_l0.copy_(torch.from_numpy(cases.normal(4 * h, seed=3) * scale))
        net.bias_hh_l0.zero_()
    return net, torch.from_numpy(cases.normal(b, t, i))


def lstm_fwd(t: int, b: int, i: int, h: int) -> _Made:
    net, x = _lstm(t, b, i, h)

    def run() -> Any:
        with torch.inference_mode():
            return net(x)[0]

    return run, run().numpy()


def lstm_fwdbwd(t: int, b: int, i: int, h: int) -> _Made:
    net, x = _lstm(t, b, i, h)
    x.requires_grad_()
    dy = torch.from_numpy(cases.normal(b, t, h, seed=4))

    def run() -> None:
        x.grad = None
        net.zero_grad()
        net(x)[0].backward(dy)

    return run, None


def maxpool(n: int, h: int, c: int) -> _Made:
    x = torch.from_numpy(cases.normal(n, h, h, c)).permute(0, 3, 1, 2)

    def run() -> Any:
        with torch.inference_mode():
            return F.max_pool2d(x, 2)

    return run, run().permute(0, 2, 3, 1).numpy()


def softmax(rows: int, cols: int) -> _Made:
    x = torch.from_numpy(cases.normal(rows, cols))
    out = torch.softmax(x, -1)
    return (lambda: torch.softmax(x, -1, out=out)), out.numpy().copy()


def adam(n: int) -> _Made:
    w = nn.Parameter(torch.from_numpy(cases.normal(n)))
    w.grad = torch.from_numpy(cases.normal(n, seed=1))
    opt = torch.optim.Adam([w], 1e-3, fused=True)
    return opt.step, None
