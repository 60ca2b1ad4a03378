"""Lamella on a GPU beside PyTorch with cuDNN and cuBLAS: the same work, in one run, interleaved, medians.

    python -m bench.gpu [--cases PREFIX,...] [--rounds N] [--json FILE]

Kernels are timed by CUDA events around a recorded graph of calls, so that no launch from Python counts; training steps
by the clock, from the call to the end of the work. Results are compared before they are timed. Ceilings (the bandwidth
of a copy, large products by cuBLAS) are measured first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cupy
import numpy as np
import torch
import torch.nn.functional as F

import lamella
from lamella import _cpu, losses, models, optimizers
from lamella import layers as keras_layers

from .peers import networks, torch_idiom

CALLS = 20  # in a recorded graph


@dataclass
class Case:
    """One row: what Lamella and the peers run, and what it costs at least."""

    name: str
    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]]
    flops: float = 0.0
    bytes: float = 0.0
    tolerance: float = 1e-4  # of the scale of the result
    wall: bool = False  # training steps: by the clock
    steps: int = 1  # of ours in one call


# --- timing ------------------------------------------------------------------------------------------------------


def _recorded(function: Callable[[], Any], by_torch: bool) -> Callable[[], None]:
    """CALLS calls as one graph."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), cupy.cuda.ExternalStream(stream.cuda_stream):
        function()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            for _ in range(CALLS):
                function()
    torch.cuda.synchronize()
    return graph.replay


def _event_time(run: Callable[[], None], repeats: int) -> float:
    """Seconds a call, the median of some repeats."""
    found = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / 1e3 / CALLS)
    return statistics.median(found)


def _wall_time(run: Callable[[], Any], steps: int, seconds: float = 0.25) -> float:
    torch.cuda.synchronize()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        run()
        count += 1
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count / steps


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Medians over interleaved rounds; an error text where one side fails."""
    row: dict[str, Any] = {"case": case.name}
    sides = {"lamella": (case.ours, case.steps), **{k: (f, 1) for k, f in case.peers.items()}}
    runs: dict[str, Callable[[], float]] = {}
    results = {}
    for name, (function, steps) in sides.items():
        try:
            value = function()
            if value is not None:
                results[name] = _numpy(value)
            if case.wall:
                for _ in range(3):
                    function()
                runs[name] = lambda f=function, s=steps: _wall_time(f, s)
            else:
                graph = _recorded(function, name != "lamella")
                graph()
                runs[name] = lambda g=graph: _event_time(g, 5)
        except Exception as e:
            row.setdefault("failed", {})[name] = f"{type(e).__name__}: {e}"[:300]
            torch.cuda.synchronize()
    for name, value in results.items():
        if name != "lamella" and "lamella" in results and not case.wall:
            scale = float(np.abs(value).max()) or 1.0
            row[f"difference to {name}"] = float(np.abs(results["lamella"] - value).max()) / scale
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    for name, t in times.items():
        row[name] = statistics.median(t)
        row[f"{name} spread"] = (max(t) - min(t)) / row[name]
    best = min((row[k] for k in case.peers if k in row), default=None)
    if best is not None and "lamella" in row:
        row["ratio"] = best / row["lamella"]
    if "lamella" in row:
        if case.flops:
            row["tflops"] = case.flops / row["lamella"] / 1e12
        if case.bytes:
            row["gbs"] = case.bytes / row["lamella"] / 1e9
    worst = max((v for k, v in row.items() if k.startswith("difference")), default=0.0)
    if worst > case.tolerance:
        row["wrong"] = worst
    return row


def _numpy(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().float().cpu().numpy()
    return cupy.asnumpy(value)


# --- kernels -----------------------------------------------------------------------------------------------------


def _normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(shape, device="cuda", generator=generator) * scale


def _ours(t: torch.Tensor) -> Any:
    return cupy.from_dlpack(t.detach())


def _into(name: str, attrs: dict[str, Any], *inputs: Any) -> Callable[[], Any]:
    """An op that writes into an array made before."""
    op = _cpu.Op(name, attrs)
    arrays = [None if a is None else _ours(a) if isinstance(a, torch.Tensor) else a for a in inputs]
    out = op.forward(arrays)[0]
    return lambda: op.forward(arrays, False, out)[0][0]


def _gradient(name: str, attrs: dict[str, Any], inputs: list[Any], grad: torch.Tensor, by: int) -> Callable[[], Any]:
    """The gradient by one input alone, after a forward pass that is not counted."""
    op = _cpu.Op(name, attrs)
    arrays = [_ours(a) if isinstance(a, torch.Tensor) else a for a in inputs]
    outputs, saved = op.forward(arrays, True)
    wanted = [i == by for i in range(len(arrays))]
    g = [_ours(grad)]
    out = op.backward(arrays, outputs, saved, g, wanted)
    return lambda: op.backward(arrays, outputs, saved, g, wanted, out)[by]


def precision(name: str) -> None:
    """Set both sides to fp32, tf32 or bf16 products."""
    lamella.set_float32_matmul_precision({"fp32": "highest", "tf32": "high", "bf16": "medium"}[name])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"


def products(kind: str) -> Iterator[Case]:
    """Square, skinny, small and batched products; cuBLAS gets bfloat16 arrays where bf16 is asked for."""
    sizes = [(n, n, n) for n in (1024, 2048, 4096, 8192)]
    if kind == "fp32":
        sizes = [*sizes[:3], (64, 64, 64), (256, 256, 256), (128, 784, 128), (1, 4096, 4096), (32, 4096, 4096),
                 (4096, 4096, 8), (64, 100_000, 64)]  # fmt: skip
    for m, k, n in sizes:
        a, b = _normal(m, k), _normal(k, n, seed=1)
        peer_a, peer_b = (t.bfloat16() if kind == "bf16" else t for t in (a, b))
        out = torch.empty(m, n, device="cuda", dtype=peer_a.dtype)
        width = 2 if kind == "bf16" else 4
        yield Case(
            f"gemm {kind} {m}x{k}x{n}", _into("matmul", {}, a, b),
            {"cublas": lambda x=peer_a, y=peer_b, o=out: torch.matmul(x, y, out=o)}, 2.0 * m * k * n,
            width * (m * k + k * n + m * n), {"fp32": 1e-5, "tf32": 2e-3, "bf16": 2e-2}[kind],
        )  # fmt: skip
    if kind == "fp32":
        a, b = _normal(512, 64, 64), _normal(512, 64, 64, seed=1)
        yield Case("gemm fp32 512 of 64x64x64", _into("matmul", {}, a, b), {"cublas": lambda: torch.bmm(a, b)},
                   2.0 * 512 * 64**3, 12.0 * 512 * 64 * 64)  # fmt: skip


NHWC = (0, 2, 3, 1)


def _then(function: Callable[[], Any], order: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: function().permute(*order)


CONVS = [  # n, h, w, c, oc, kernel, stride, pad
    (32, 56, 56, 64, 64, 3, 1, 1), (32, 28, 28, 128, 128, 3, 1, 1), (32, 14, 14, 256, 256, 3, 1, 1),
    (32, 56, 56, 64, 256, 1, 1, 0), (32, 14, 14, 1024, 256, 1, 1, 0), (32, 224, 224, 3, 64, 7, 2, 3),
    (128, 32, 32, 3, 32, 3, 1, 1), (32, 28, 28, 128, 128, 3, 2, 1),
]  # fmt: skip


def convolutions(kind: str) -> Iterator[Case]:
    """All three passes, NHWC; cuDNN picks by benchmark."""
    torch.backends.cudnn.benchmark = True
    tolerance = {"fp32": 1e-4, "tf32": 3e-3, "bf16": 3e-2}[kind]
    for n, h, w, c, oc, k, stride, pad in CONVS:
        x = _normal(n, c, h, w).to(memory_format=torch.channels_last)
        weight = _normal(oc, c, k, k, seed=1, scale=(c * k * k) ** -0.5).to(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, None, stride, pad)
        dy = torch.randn_like(y)
        px, pw, pdy = (t.bfloat16() if kind == "bf16" else t for t in (x, weight, dy))
        ours_x, ours_dy = x.permute(0, 2, 3, 1), dy.permute(0, 2, 3, 1)
        ours_w = weight.permute(2, 3, 1, 0).contiguous()
        attrs = {"strides": stride, "padding": pad}
        flops = 2.0 * y.numel() * c * k * k
        name = f"{kind} {n}x{h}x{w}x{c} {k}x{k}x{oc} s{stride}"
        width = 2 if kind == "bf16" else 4
        size = width * (x.numel() + weight.numel() + y.numel())

        def gradients(which: tuple[bool, bool, bool], px=px, pw=pw, pdy=pdy, s=stride, p=pad) -> Callable[[], Any]:
            at = which.index(True)
            return lambda: torch.ops.aten.convolution_backward(
                pdy, px, pw, None, [s, s], [p, p], [1, 1], False, [0, 0], 1, which
            )[at]

        yield Case(f"conv forward {name}", _into("conv2d", attrs, ours_x, ours_w),
                   {"cudnn": _then(lambda x=px, w=pw, s=stride, p=pad: F.conv2d(x, w, None, s, p), NHWC)},
                   flops, size, tolerance)  # fmt: skip
        if c > 4:
            yield Case(f"conv data {name}", _gradient("conv2d", attrs, [ours_x, ours_w], ours_dy, 0),
                       {"cudnn": _then(gradients((True, False, False)), NHWC)}, flops, size, tolerance)  # fmt: skip
        yield Case(f"conv weight {name}", _gradient("conv2d", attrs, [ours_x, ours_w], ours_dy, 1),
                   {"cudnn": _then(gradients((False, True, False)), (2, 3, 1, 0))},
                   flops, size, tolerance * 3)  # fmt: skip


def memory_bound() -> Iterator[Case]:
    """What should run at the bandwidth of a copy."""
    x, z = _normal(64, 56, 56, 256), _normal(64, 56, 56, 256, seed=1)
    n = 4.0 * x.numel()
    rows, dy_rows = _normal(16_384, 1024), _normal(16_384, 1024, seed=1)
    r = 4.0 * rows.numel()
    smooth = rows.softmax(-1)
    gamma, beta = torch.ones(1024, device="cuda"), torch.zeros(1024, device="cuda")
    labels = torch.randint(0, 1000, (32_768,), device="cuda")
    logits = _normal(32_768, 1000)
    yield Case("relu", _into("activation", {"activation": "relu"}, x), {"torch": lambda: torch.relu(x)}, 0, 2 * n)
    yield Case("gelu", _into("activation", {"activation": "gelu"}, x), {"torch": lambda: F.gelu(x)}, 0, 2 * n)
    yield Case("add", _into("add", {}, x, z), {"torch": lambda: torch.add(x, z)}, 0, 3 * n)
    bias = _normal(256)
    yield Case("add bias", _into("add", {}, x, bias), {"torch": lambda: torch.add(x, bias)}, 0, 2 * n)
    yield Case("sum of all", _into("sum", {}, x), {"torch": lambda: x.sum()}, 0, n)
    yield Case("sum over rows", _into("sum", {"axes": [0]}, rows), {"torch": lambda: rows.sum(0)}, 0, r)
    yield Case("sum over columns", _into("sum", {"axes": [1]}, rows), {"torch": lambda: rows.sum(1)}, 0, r)
    yield Case("softmax", _into("softmax", {"axis": -1}, rows), {"torch": lambda: rows.softmax(-1)}, 0, 2 * r)
    yield Case("layer_norm", _into("layer_norm", {"epsilon": 1e-5}, rows, gamma, beta),
               {"torch": lambda: F.layer_norm(rows, (1024,), gamma, beta, 1e-5)}, 0, 2 * r)  # fmt: skip
    yield Case("softmax backward", _gradient("softmax", {"axis": -1}, [rows], dy_rows, 0),
               {"torch": lambda: torch._softmax_backward_data(dy_rows, smooth, -1, torch.float32)},
               0, 3 * r)  # fmt: skip
    yield Case("cross-entropy", _into("softmax_cross_entropy", {}, logits, labels),
               {"torch": lambda: F.cross_entropy(logits, labels)}, 0, 4.0 * logits.numel())  # fmt: skip
    channels_last = x.permute(0, 3, 1, 2)
    yield Case("max pool 2x2", _into("max_pool2d", {"pool": 2}, x),
               {"torch": lambda: F.max_pool2d(channels_last, 2).permute(0, 2, 3, 1)}, 0, 1.25 * n)  # fmt: skip
    yield Case("transpose", _into("transpose", {"axes": [1, 0]}, rows),
               {"torch": lambda: rows.T.contiguous()}, 0, 2 * r)  # fmt: skip


# --- whole training steps -----------------------------------------------------------------------------------------


def _network_step(name: str, batch: int, from_host: bool = False) -> Case:
    net = networks.NETWORKS[name]
    x, y = networks.data(net)
    model = networks.keras_model(net, models.Sequential, keras_layers)
    model.set_weights([w for parts in networks.weights(net.name) for w in parts])
    model.to("cuda")
    optimizer = (optimizers.Adam(net.rate, epsilon=networks.EPSILON) if net.optimizer == "adam"
                 else optimizers.SGD(net.rate))  # fmt: skip
    model.compile(optimizer=optimizer, loss=networks.keras_loss(net, losses))
    from lamella._data import Data

    data, engine = Data(model, x, y), model._engine
    steps = min(len(x) // batch, 20)
    order = np.random.default_rng(0).permutation(len(x))

    def ours() -> None:
        engine.train(data, order, 0, steps, batch)

    peers: dict[str, Callable[[], Any]] = {}
    if from_host:
        data._placed = data  # as if there were no room for the arrays
        return Case(f"train {name} batch {batch} from the host", ours, peers, wall=True, steps=steps)
    for form in ("eager", "compile"):
        module = torch_idiom.model(torch, net).cuda()
        tensors = torch.from_numpy(x)
        if net.images:
            tensors = tensors.permute(0, 3, 1, 2)
            module = module.to(memory_format=torch.channels_last)
        if form == "compile":
            torch._dynamo.reset()
            module = torch.compile(module, mode="reduce-overhead")
        peers[form] = _torch_step(net, module, tensors.cuda(), torch.from_numpy(y).cuda(), batch)
    return Case(f"train {name} batch {batch}", ours, peers, wall=True, steps=steps)


def _torch_step(net: networks.Network, module: Any, xs: Any, ys: Any, batch: int) -> Callable[[], None]:
    loss_fn = {"classes": F.cross_entropy, "yes_no": F.binary_cross_entropy, "mse": F.mse_loss}[net.loss]
    trained = [p for p in module.parameters() if p.requires_grad]
    if net.optimizer == "adam":
        opt = torch.optim.Adam(trained, net.rate, eps=networks.EPSILON, fused=True)
    else:
        opt = torch.optim.SGD(trained, net.rate, fused=True)
    order = torch.randperm(len(xs), device="cuda")
    state = {"at": 0}

    def step() -> None:
        if state["at"] + batch > len(xs):
            state["at"] = 0
        rows = order[state["at"] : state["at"] + batch]
        state["at"] += batch
        opt.zero_grad()
        loss_fn(module(xs[rows]), ys[rows]).backward()
        opt.step()

    return step


def training() -> Iterator[Case]:
    """The seeds' networks at their batch sizes."""
    for name, batch in (("iris", 5), ("mnist_mlp", 64), ("mnist_cnn", 128), ("cifar_cnn", 128), ("lstm", 32),
                        ("autoencoder", 256)):  # fmt: skip
        yield _network_step(name, batch)
    for name, batch in (("mnist_mlp", 64), ("cifar_cnn", 128)):
        yield _network_step(name, batch, from_host=True)


def recurrent() -> Iterator[Case]:
    """One LSTM layer, forward and backward, 200 steps of 32 sequences."""
    for hidden in (128, 256, 512, 1024):
        x = _normal(32, 200, hidden, scale=0.5)
        lstm = torch.nn.LSTM(hidden, hidden, batch_first=True, device="cuda")
        dy = _normal(32, 200, hidden, seed=2)
        w_ih, w_hh = (w.detach().T.contiguous() for w in (lstm.weight_ih_l0, lstm.weight_hh_l0))
        bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
        op = _cpu.Op("lstm", {"return_sequences": True})
        arrays = [_ours(t) for t in (x, w_ih, w_hh, bias)]
        g = _ours(dy)

        def ours(op: Any = op, arrays: list[Any] = arrays, g: Any = g) -> None:
            outputs, record = op.record(arrays)
            record.backward([g, *[None] * (len(outputs) - 1)], [True] * len(arrays))

        xg = x.clone().requires_grad_()

        def peer(lstm: Any = lstm, x: Any = xg, dy: Any = dy) -> None:
            lstm(x)[0].backward(dy)

        yield Case(f"lstm forward+backward hidden {hidden}", ours, {"cudnn": peer},
                   3 * 2.0 * 200 * 32 * 8 * hidden * hidden, wall=True)  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------------------------


def ceilings() -> dict[str, float]:
    """Bytes a second of a large copy, and operations a second of large products by cuBLAS."""
    a = torch.empty(1 << 28, device="cuda")
    b = torch.empty_like(a)
    found = {"copy_gbs": 2 * a.numel() * 4 / _event_time(_recorded(lambda to=b, data=a: to.copy_(data), True), 5) / 1e9}
    del a, b
    for kind, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        precision(kind)
        x, y = _normal(8192, 8192).to(dtype), _normal(8192, 8192, seed=1).to(dtype)
        out = torch.empty_like(x)
        seconds = _event_time(_recorded(lambda x=x, y=y, o=out: torch.matmul(x, y, out=o), True), 3)
        found[f"cublas_{kind}_tflops"] = 2 * 8192**3 / seconds / 1e12
    return found


def cases() -> Iterator[Case]:
    """All rows, each made just before it is measured."""
    for kind in ("fp32", "tf32", "bf16"):
        precision(kind)
        yield from products(kind)
        yield from convolutions(kind)
    precision("fp32")
    yield from memory_bound()
    yield from recurrent()
    yield from training()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="prefixes of their names, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    lamella.zeros(1, device="cuda")  # says at once what is missing
    wanted = tuple(p for p in args.cases.split(",") if p)
    device = torch.cuda.get_device_properties(0)
    report: dict[str, Any] = {
        "gpu": device.name, "torch": torch.__version__, "cuda": torch.version.cuda, "cupy": cupy.__version__,
        "ceilings": ceilings(), "rows": [],
    }  # fmt: skip
    print(json.dumps(report["ceilings"]))
    for case in cases():
        if wanted and not case.name.startswith(wanted):
            continue
        row = measure(case, args.rounds)
        report["rows"].append(row)
        us = {k: f"{1e6 * row[k]:.1f}" for k in ("lamella", *case.peers) if k in row}
        extra = {k: round(row[k], 2) for k in ("ratio", "tflops", "gbs") if k in row}
        wrong = f"WRONG {row['wrong']:.1e}" if "wrong" in row else ""
        print(f"{case.name:48} {us} {extra} {row.get('failed', '')} {wrong}")
        if args.json:
            args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
