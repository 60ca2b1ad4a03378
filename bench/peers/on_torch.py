"""The cases on PyTorch: eager, images channels last, and torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from torch import nn

from . import arrays, networks, torch_idiom
from .measure import Form, Forms

aten = torch.ops.aten


def setup(threads: int) -> None:
    """Called once."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    inductor.freezing = True  # constants folded and prepacked in inference
    inductor.compile_threads = 1  # no helper processes that would count as foreign load


def _forms(network: networks.Network) -> list[str]:
    # torch.compile leaves recurrent layers to eager mode.
    return ["", *["channels_last"] * network.images, *["compile"] * (not network.recurrent)]


def _prepared(network: networks.Network, form: str, x: np.ndarray) -> tuple[nn.Module, torch.Tensor]:
    model, inputs = torch_idiom.model(torch, network), torch.from_numpy(x)
    if network.images:
        inputs = inputs.permute(0, 3, 1, 2)
        # Frozen graphs of images with one channel fail where they are channels last.
        if form == "channels_last" or (form and network.shape[-1] > 1):
            model = model.to(memory_format=torch.channels_last)
        else:
            inputs = inputs.contiguous()
    if form == "compile":
        torch._dynamo.reset()  # all networks are one class, whose recompilations are limited
        return torch.compile(model), inputs
    return model, inputs


def train(network: str, batch: int, rows: int | None = None, forms: Sequence[str] | None = None) -> Forms:
    """One optimizer step a call, over shuffled batches of tensors in memory."""
    net = networks.NETWORKS[network]
    x, y = networks.data(net, rows)
    return {f: torch_idiom.train(torch, net, *_prepared(net, f, x), y, batch) for f in forms or _forms(net)}


def infer(network: str, batch: int) -> Forms:
    net = networks.NETWORKS[network]
    made = {}
    for form in _forms(net):
        model, x = _prepared(net, form, networks.data(net, batch)[0])
        made[form] = _quiet(model.eval(), x)
    return made


def _quiet(function: Callable[..., torch.Tensor], *args: Any, images: bool = False) -> Form:
    """Without gradients, results allocated."""

    def run() -> torch.Tensor:
        # no_grad rather than inference_mode: freezing needs it, and eager mode is as fast.
        with torch.no_grad():
            return function(*args)

    return Form(run, (run().permute(0, 2, 3, 1) if images else run()).numpy())


def _into(function: Callable[..., torch.Tensor], *args: Any) -> Form:
    """A function that writes into a tensor made before."""
    out = function(*args)
    return Form(lambda: function(*args, out=out), out.numpy().copy())


def _tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(arrays.normal(*shape, seed=seed))


def gemm(m: int, k: int, n: int) -> Form:
    return _into(torch.mm, _tensor(m, k), _tensor(k, n, seed=1))


def batched_gemm(count: int, m: int, k: int, n: int) -> Form:
    return _into(torch.bmm, _tensor(count, m, k), _tensor(count, k, n, seed=1))


def dense(m: int, k: int, n: int, activation: str) -> Forms:
    x, w, b = map(torch.from_numpy, arrays.dense(m, k, n))
    w = w.T.contiguous()
    act = getattr(F, activation)

    def run(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return act(F.linear(x, w, b))

    return {"": _quiet(run, x, w, b), "compile": _quiet(torch.compile(run), x, w, b)}


def _conv_layouts(**args: int) -> dict[str, tuple[torch.Tensor, ...]]:
    """Input, kernel, bias and gradient in both layouts."""
    x, w, b, dy = map(torch.from_numpy, arrays.conv(**args))
    x, w, dy = x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), dy.permute(0, 3, 1, 2)
    last = torch.channels_last
    return {"": (x.contiguous(), w.contiguous(), b, dy.contiguous()),
            "channels_last": (x.contiguous(memory_format=last), w.contiguous(memory_format=last), b,
                              dy.contiguous(memory_format=last))}  # fmt: skip


def conv_fwd(**args: int) -> Forms:
    more = (args["stride"], args["pad"], 1, args["groups"])
    return {form: _quiet(F.conv2d, x, w, b, *more, images=True) for form, (x, w, b, _) in _conv_layouts(**args).items()}


def _conv_backward(which: int, axes: tuple[int, ...], **args: int) -> Forms:
    made = {}
    for form, (x, w, _, dy) in _conv_layouts(**args).items():
        mask = [which == 0, which == 1, False]
        pairs = [[args["stride"]] * 2, [args["pad"]] * 2, [1, 1], False, [0, 0], args["groups"], mask]

        def run(given: tuple[Any, ...] = (dy, x, w, None, *pairs)) -> torch.Tensor:
            return aten.convolution_backward(*given)[which]

        made[form] = Form(run, run().permute(axes).numpy())
    return made


def conv_bwd_data(**args: int) -> Forms:
    return _conv_backward(0, (0, 2, 3, 1), **args)


def conv_bwd_weight(**args: int) -> Forms:
    return _conv_backward(1, (2, 3, 1, 0), **args)


def _rnn(cell: str, **size: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    x, parts, dy = arrays.rnn(cell, **size)
    net = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](size["i"], size["h"], batch_first=True)
    with torch.no_grad():
        for p, w in zip(net.parameters(), parts, strict=True):
            p.copy_(torch.from_numpy(w.T))
    return net, torch.from_numpy(x), torch.from_numpy(dy)


def rnn_fwd(cell: str, **size: int) -> Form:
    net, x, _ = _rnn(cell, **size)
    return _quiet(lambda: net(x)[0])


def rnn_fwdbwd(cell: str, **size: int) -> Form:
    net, x, dy = _rnn(cell, **size)
    x.requires_grad_()

    def run() -> None:
        x.grad = None
        net.zero_grad()
        net(x)[0].backward(dy)

    run()
    return Form(run, net.weight_ih_l0.grad.T.numpy().copy())


def _pool_layouts(n: int, h: int, c: int) -> dict[str, torch.Tensor]:
    x = _tensor(n, h, h, c).permute(0, 3, 1, 2)
    return {"": x.contiguous(), "channels_last": x}


_POOLS: dict[str, Callable[..., torch.Tensor]] = {"max": F.max_pool2d, "avg": F.avg_pool2d}


def pool_fwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Forms:
    layouts = _pool_layouts(n, h, c).items()
    return {form: _quiet(_POOLS[op], x, k, stride, pad, images=True) for form, x in layouts}


def pool_bwd(op: str, n: int, h: int, c: int, k: int, stride: int, pad: int) -> Forms:
    made = {}
    for form, x in _pool_layouts(n, h, c).items():
        dy = torch.from_numpy(arrays.pool_gradient(n, h, c, k, stride, pad)).permute(0, 3, 1, 2)
        dy = dy if form else dy.contiguous()
        settings: tuple[Any, ...] = ([k, k], [stride, stride], [pad, pad])
        if op == "max":
            indices = aten.max_pool2d_with_indices(x, *settings)[1]
            made[form] = _quiet(
                aten.max_pool2d_with_indices_backward, dy, x, *settings, [1, 1], False, indices, images=True
            )
        else:
            made[form] = _quiet(aten.avg_pool2d_backward, dy, x, *settings, False, True, None, images=True)
    return made


def _norm_arrays(op: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]:
    x, gamma, beta = map(torch.from_numpy, arrays.norm(shape))
    images = op == "batch"
    return (x.permute(0, 3, 1, 2) if images else x), gamma, beta, images


def norm_fwd(op: str, shape: tuple[int, ...]) -> Form:
    x, gamma, beta, images = _norm_arrays(op, shape)
    if images:
        return _quiet(F.batch_norm, x, None, None, gamma, beta, True, images=True)
    return _quiet(F.layer_norm, x, shape[-1:], gamma, beta)


def norm_bwd(op: str, shape: tuple[int, ...]) -> Form:
    x, gamma, beta, images = _norm_arrays(op, shape)
    dy = _tensor(*shape, seed=3)
    dy = dy.permute(0, 3, 1, 2) if images else dy
    mask = [True, False, False]
    if images:
        _, mean, rstd = aten.native_batch_norm(x, gamma, beta, None, None, True, 0.1, 1e-5)
        args: tuple[Any, ...] = (dy, x, gamma, None, None, mean, rstd, True, 1e-5, mask)
        return _quiet(lambda: aten.native_batch_norm_backward(*args)[0], images=True)
    _, mean, rstd = aten.native_layer_norm(x, shape[-1:], gamma, beta, 1e-5)
    return _quiet(lambda: aten.native_layer_norm_backward(dy, x, shape[-1:], mean, rstd, gamma, beta, mask)[0])


def softmax_fwd(rows: int, columns: int) -> Form:
    x = _tensor(rows, columns)
    out = torch.softmax(x, -1)
    return Form(lambda: torch.softmax(x, -1, out=out), out.numpy().copy())


def softmax_bwd(rows: int, columns: int) -> Form:
    y = torch.softmax(_tensor(rows, columns), -1)
    return _quiet(aten._softmax_backward_data, _tensor(rows, columns, seed=1), y, -1, torch.float32)


def cross_entropy_fwd(rows: int, columns: int) -> Form:
    return _quiet(F.cross_entropy, _tensor(rows, columns), torch.from_numpy(arrays.labels(rows, columns)))


def cross_entropy_bwd(rows: int, columns: int) -> Form:
    x = _tensor(rows, columns).requires_grad_()
    loss = F.cross_entropy(x, torch.from_numpy(arrays.labels(rows, columns)))

    def run() -> torch.Tensor:
        return torch.autograd.grad(loss, x, retain_graph=True)[0]

    return Form(run, run().numpy())


def pointwise_fwd(function: str, n: int) -> Form:
    x = _tensor(n)
    if function == "relu":
        return _into(torch.clamp_min, x, 0)
    if function == "gelu":
        return _into(torch._C._nn.gelu, x)
    return _into(getattr(torch, function), x)


def pointwise_bwd(function: str, n: int) -> Form:
    x, dy = _tensor(n), _tensor(n, seed=1)
    if function == "gelu":
        return _quiet(aten.gelu_backward, dy, x)
    y = getattr(torch, function)(x)
    if function == "relu":
        return _quiet(aten.threshold_backward, dy, y, 0)
    return _quiet({"tanh": aten.tanh_backward, "sigmoid": aten.sigmoid_backward}[function], dy, y)


def reduce(op: str, shape: tuple[int, ...], axis: tuple[int, ...]) -> Form:
    x = _tensor(*shape)
    if op in ("sum", "mean"):
        return _quiet(getattr(torch, op), x, axis)
    return _quiet({"max": torch.amax, "argmax": torch.argmax}[op], x, axis[0])


def embedding_fwd(words: int, width: int, n: int) -> Form:
    return _quiet(F.embedding, torch.from_numpy(arrays.labels(n, words)), _tensor(words, width))


def embedding_bwd(words: int, width: int, n: int) -> Form:
    indices = torch.from_numpy(arrays.labels(n, words))
    return _quiet(aten.embedding_dense_backward, _tensor(n, width, seed=1), indices, words, -1, False)


def optimizer(op: str, n: int) -> Form:
    w = nn.Parameter(_tensor(n))
    w.grad = _tensor(n, seed=1)
    made = {"adam": lambda: torch.optim.Adam([w], 1e-3, fused=True),
            "sgd": lambda: torch.optim.SGD([w], 1e-3, momentum=0.9, fused=True)}[op]()  # fmt: skip
    made.step()
    return Form(made.step, w.detach().numpy().copy())
