"""Tracing and compiled modules: the same numbers as eager mode, for every kind of layer."""

import numpy as np
import pytest

import lamella
from lamella import _cpu, nn
from lamella._trace import NotTraceable, Symbol, trace


class Block(nn.Module):
    """Views, arithmetic and several outputs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(lamella.randn(4))

    def forward(self, x):
        y = x.unsqueeze(1) * self.scale + 1
        z = lamella.cat([y[:, 0], x * 2], dim=1)[:, 1:7]
        return z.view(-1, 2, 3).transpose(1, 2).flatten(1).softmax(1), {"mean": x.mean(1), "parts": list(x.chunk(2, 1))}


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.rnn = nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(10)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens):
        out, (h, _) = self.rnn(self.table(tokens))
        return self.head(self.norm(out)), h


IMAGE = (3, 4, 12, 12)
CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3)), (5, 4)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, groups=2),
            nn.GroupNorm(2, 8),
            nn.LeakyReLU(0.1),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 3),
            nn.LogSoftmax(1),
        ),
        IMAGE,
    ),
    "autoencoder": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, stride=2), nn.Sigmoid()
        ),
        IMAGE,
    ),
    "resize": (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.AdaptiveAvgPool2d(2)), IMAGE),
    "sequence": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.Tanh(), nn.MaxPool1d(2)), (3, 4, 11)),
    "block": (Block, (5, 4)),
    "tagger": (Tagger, (2, 7)),
}


def leaves(structure):
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in leaves(part)]
    return [structure]


@pytest.mark.parametrize("name", CASES)
def test_plan_gives_eager_numbers(name):
    lamella.seed(0)
    make, shape = CASES[name]
    module = make()
    x = lamella.randint(0, 11, shape) if name == "tagger" else lamella.randn(*shape)
    if name == "cnn":
        for _ in range(3):  # running statistics that differ from their start
            module(x)
    compiled = lamella.compile(module, x)
    module.eval()
    want, got = module(x), compiled(x)
    for a, b in zip(leaves(want), leaves(got), strict=True):
        # Fused epilogues and folded statistics round otherwise: a few float32 roundings of values of order 1.
        np.testing.assert_allclose(b.numpy(), a.detach().numpy(), rtol=2e-5, atol=2e-5)
    assert not any(t.requires_grad for t in leaves(got))
    half = compiled(x[:1])
    np.testing.assert_allclose(leaves(half)[0].numpy(), leaves(module(x[:1]))[0].detach().numpy(), rtol=2e-5, atol=2e-5)


def test_compiled_sees_new_weights():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    x = lamella.randn(1, 3, 16, 16)
    compiled = lamella.compile(net, x)
    opt = lamella.optim.SGD(net.parameters(), lr=0.1)
    net(x).square().mean().backward()
    opt.step()
    np.testing.assert_allclose(compiled(x).numpy(), net(x).detach().numpy(), rtol=2e-5, atol=2e-5)
    net.load_state_dict({k: lamella.zeros_like(v) for k, v in net.state_dict().items()})
    assert not compiled(x).any()


def test_parameters_enter_once_and_share_memory():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    traced = trace(nn.Sequential(net, net), [("float32", (2, 4))])
    assert set(traced.params) == {"0.0.weight", "0.0.bias"}
    assert traced.params["0.0.weight"] is net[0].weight.physical


def test_training_plan_gives_eager_gradients():
    lamella.seed(1)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x, y = lamella.randn(6, 2, 8, 8), lamella.randint(0, 3, (6,))

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.loss = net, nn.CrossEntropyLoss()

        def forward(self, x, y):
            return self.loss(self.net(x), y)

    traced = trace(Loss(), [(x.dtype, x.shape), (y.dtype, y.shape)], training=True)
    plan = _cpu.Plan(traced.graph, [("float32", x.shape), ("int64", y.shape)], traced.outputs, True)
    loss = plan.run([x.numpy(), y.numpy()])[0]
    eager = nn.CrossEntropyLoss()(net(x), y)
    eager.backward()
    assert loss == pytest.approx(eager.item(), rel=1e-5)
    names = [traced.graph.name(i) for i in plan.parameters]
    for name, g in zip(names, plan.gradients(), strict=True):
        np.testing.assert_allclose(g, traced.params[name]._grad, rtol=1e-4, atol=1e-5)
    assert set(names) == {f"net.{n}" for n, _ in net.named_parameters()}


def test_refusals():
    spec = [("float32", (2, 3))]
    for fn in (
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: lamella.from_numpy(np.asarray(x)),
        lambda x: x[np.array([0, 1])],
        lambda x: x.detach(),
        lambda x: x.add_(1),
        lambda x: x.fill_(1),
        lambda x: x.backward(),
    ):
        with pytest.raises(NotTraceable, match="needs values"):
            trace(fn, spec)

    class Python(lamella.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    with pytest.raises(NotTraceable, match="the Python function Python"):
        trace(Python.apply, spec)
    with pytest.raises(NotTraceable, match="does not depend on the inputs"):
        trace(lambda x: lamella.ones(1), spec)
    with pytest.raises(NotTraceable, match="computed before the trace"):
        early = nn.Parameter(lamella.ones(3)) * 2
        trace(lambda x: x * early, spec)


def test_modes_are_restored():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.ReLU()).eval())
    trace(net, [("float32", (2, 3))], training=False)
    assert [m.training for m in net.modules()] == [True, True, False, False]


def test_symbol_repr():
    seen = []
    trace(lambda x: seen.append(repr(x)) or x * 1, [("float32", (2, 3))])
    assert seen == ["Symbol(shape=(2, 3), dtype=float32)"] and isinstance(Symbol, type)
