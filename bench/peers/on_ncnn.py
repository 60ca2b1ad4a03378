"""The cases on ncnn: networks without recurrence and convolutions, image by image, by Winograd where ncnn does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from . import arrays, networks
from .measure import Form, Forms

_threads = 1


def setup(threads: int) -> None:
    """Called once."""
    global _threads
    _threads = threads


_Layer = tuple[str, dict[int, int], list[np.ndarray]]


def _net(layers: Sequence[_Layer]) -> ncnn.Net:
    """A chain of layers in ncnn's text and weight files; its blobs are b0, b1, ..."""
    text, weights = f"7767517\n{len(layers) + 1} {len(layers) + 1}\nInput data 0 1 b0\n", b""
    for i, (kind, settings, parts) in enumerate(layers):
        text += f"{kind} l{i} 1 1 b{i} b{i + 1} " + " ".join(f"{k}={v}" for k, v in settings.items()) + "\n"
        if parts:  # four zero bytes: float32 follows
            weights += bytes(4) + b"".join(np.ascontiguousarray(p, np.float32).tobytes() for p in parts)
    net = ncnn.Net()
    net.opt.num_threads = _threads
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
            setattr(net.opt, option, False)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "param").write_text(text)
        (Path(folder) / "bin").write_bytes(weights)
        net.load_param(str(Path(folder) / "param"))
        net.load_model(str(Path(folder) / "bin"))
    return net


def _form(layers: Sequence[_Layer], x: np.ndarray) -> tuple[Any, np.ndarray]:
    """What runs all of x (n, ...), channels first, and what it gives."""
    net, out = _net(layers), f"b{len(layers)}"
    samples = [(sample, ncnn.Mat(sample)) for sample in np.ascontiguousarray(x)]  # which share memory

    def run() -> list[Any]:
        results = []
        for _, mat in samples:
            extractor = net.create_extractor()
            extractor.input("b0", mat)
            results.append(extractor.extract(out)[1])
        return results

    return run, np.stack([np.array(r) for r in run()])


def infer(network: str, batch: int) -> Forms:
    net = networks.NETWORKS[network]
    if net.recurrent:
        return {}
    layers: list[_Layer] = []
    for layer, parts in zip(net.layers, networks.weights(network, channels_first=True), strict=True):
        match layer:
            case networks.Conv(c, oc, pad):
                settings = {0: oc, 1: 3, 4: pad, 5: 1, 6: 9 * c * oc, 9: 1}
                layers.append(("Convolution", settings, parts))
            case networks.Pool():
                layers.append(("Pooling", {0: 0, 1: 2, 2: 2, 5: 1}, []))
            case networks.Flatten():
                layers.append(("Flatten", {}, []))
            case networks.Dense(inputs, units, activation):
                settings = {0: units, 1: 1, 2: inputs * units, 9: {"linear": 0, "relu": 1, "sigmoid": 4}[activation]}
                layers.append(("InnerProduct", settings, [parts[0].T, parts[1]]))
    x = networks.data(net, batch)[0]
    run, result = _form(layers, x.transpose(0, 3, 1, 2) if net.images else x)
    return Form(run, result)


def conv_fwd(n: int, h: int, c: int, oc: int, k: int, stride: int, pad: int, groups: int) -> Form:
    x, w, b, _ = arrays.conv(n, h, c, oc, k, stride, pad, groups)
    settings = {0: oc, 1: k, 3: stride, 4: pad, 5: 1, 6: w.size}
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    settings |= {7: groups} if groups > 1 else {}
    run, result = _form([(kind, settings, [w.transpose(3, 2, 0, 1), b])], x.transpose(0, 3, 1, 2))
    return Form(run, result.transpose(0, 2, 3, 1))
