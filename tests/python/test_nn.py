"""Modules: PyTorch's names, shapes and conventions; layers against formulas written in NumPy."""

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest

import lamella
import lamella.nn.functional as F
from lamella import nn
from lamella._trace import NotTraceable, trace


def rng(seed=0):
    return np.random.default_rng(seed)


def close(a, b, scale=1.0):
    """float32 sums of up to a few hundred terms: 1e-5 of the values' scale leaves room for any order."""
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5 * scale)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(lamella.relu(self.fc1(x)))


# --- Module ------------------------------------------------------------------------------------------------------


def test_names_and_walks():
    net = nn.Sequential(OrderedDict(body=Net(), head=nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3))))
    assert [n for n, _ in net.named_parameters()] == [
        "body.fc1.weight", "body.fc1.bias", "body.fc2.weight", "body.fc2.bias", "head.1.weight", "head.1.bias",
    ]  # fmt: skip
    assert list(net.state_dict())[-3:] == [
        "head.1.running_mean", "head.1.running_var", "head.1.num_batches_tracked",
    ]  # fmt: skip
    assert [n for n, _ in net.named_children()] == ["body", "head"]
    assert net.get_submodule("head.1") is net.head[1]
    assert net.get_parameter("body.fc1.bias") is net.body.fc1.bias
    assert sum(p.numel() for p in net.parameters()) == 4 * 8 + 8 + 8 * 3 + 3 + 6


def test_shared_modules_are_counted_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2
    assert len(net.state_dict()) == 4


def test_attribute_machinery():
    net = Net()
    with pytest.raises(TypeError, match="expected a Parameter or None"):
        net.fc1.bias = 3
    net.fc1.bias = None
    assert "fc1.bias" not in net.state_dict()
    net.scale = nn.Parameter(lamella.ones(1))
    assert "scale" in dict(net.named_parameters())
    del net.scale
    assert not hasattr(net, "scale")
    net.register_buffer("mask", lamella.ones(2), persistent=False)
    assert "mask" not in net.state_dict() and "mask" in dict(net.named_buffers())

    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Early()


def test_train_eval_zero_grad_apply():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    net.eval()
    assert not net[1].training and net(lamella.ones(1, 2)).shape == (1, 2)
    net.train()
    net(lamella.ones(1, 2)).sum().backward()
    assert net[0].weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert not net[0].weight.grad.numpy().any()
    net.zero_grad()
    assert net[0].weight.grad is None
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Dropout", "Sequential"]
    net.requires_grad_(False)
    assert not net(lamella.ones(1, 2)).requires_grad


def test_load_state_dict_errors_name_everything():
    net = Net()
    state = net.state_dict()
    state["fc1.weight"] = lamella.ones(2, 2)
    del state["fc2.bias"]
    state["other"] = lamella.ones(1)
    with pytest.raises(RuntimeError) as e:
        net.load_state_dict(state)
    for part in ('Missing key(s) in state_dict: "fc2.bias"', 'Unexpected key(s) in state_dict: "other"',
                 "size mismatch for fc1.weight: copying a param with shape torch.Size([2, 2])"):  # fmt: skip
        assert part in str(e.value)
    del state["fc1.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["fc1.weight", "fc2.bias"] and result.unexpected_keys == ["other"]


def test_state_dict_round_trip_and_sharing():
    a, b = Net(), Net()
    b.load_state_dict({k: v.numpy() for k, v in a.state_dict().items()})
    x = lamella.randn(5, 4)
    np.testing.assert_array_equal(a(x).detach().numpy(), b(x).detach().numpy())
    a.state_dict()["fc1.bias"].fill_(7.0)
    assert a.fc1.bias.tolist() == [7.0] * 8


def test_hooks():
    layer = nn.Linear(2, 2)
    calls = []
    handle = layer.register_forward_hook(lambda m, args, out: calls.append(out.shape))
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    out = layer(lamella.ones(3, 2))
    np.testing.assert_array_equal(out.detach().numpy(), np.tile(layer.bias.detach().numpy(), (3, 1)))
    handle.remove()
    layer(lamella.ones(3, 2))
    assert calls == [(3, 2)]


def test_dtype_conversion_and_devices():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double()
    assert {p.dtype for p in net.parameters()} == {lamella.float64}
    assert net[1].running_mean.dtype == lamella.float64 and net[1].num_batches_tracked.dtype == lamella.int64
    assert net[0].weight.shape == (3, 2)
    assert net.to("cpu") is net
    with pytest.raises(RuntimeError, match="no CUDA module"):
        net.to("cuda")


def test_deepcopy_is_apart():
    a = Net()
    b = copy.deepcopy(a)
    with lamella.no_grad():
        b.fc1.weight.zero_()
    assert a.fc1.weight.numpy().any() and list(a.state_dict()) == list(b.state_dict())


def test_repr():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Sequential(nn.ReLU()))
    assert repr(net) == (
        "Sequential(\n  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))\n"
        "  (1): Sequential(\n    (0): ReLU()\n  )\n)"
    )


def test_containers():
    items = nn.ModuleList([nn.Linear(1, 1)])
    items.append(nn.ReLU()).extend([nn.Tanh()])
    items.insert(0, nn.Identity())
    assert [type(m).__name__ for m in items] == ["Identity", "Linear", "ReLU", "Tanh"] and len(items[1:]) == 3
    named = nn.ModuleDict({"a": nn.ReLU()})
    named["b"] = nn.Linear(2, 2)
    assert list(named) == ["a", "b"] and len(list(named.parameters())) == 2
    seq = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    assert len(seq[:2]) == 2 and seq[-1] is seq[2]
    params = nn.ParameterList([lamella.ones(1), lamella.ones(2)])
    assert [n for n, _ in params.named_parameters()] == ["0", "1"]


# --- parameters --------------------------------------------------------------------------------------------------


def test_parameter_is_a_view_of_the_kernels_layout():
    layer = nn.Conv2d(2, 5, 3)
    w = layer.weight
    assert w.shape == (5, 2, 3, 3) and w.physical.shape == (3, 3, 2, 5) and w.physical.is_contiguous()
    assert np.shares_memory(w.numpy(), w.physical.numpy()) and w.is_leaf and w.grad_fn is None
    layer(lamella.randn(1, 2, 4, 4)).sum().backward()
    assert w.grad.shape == (5, 2, 3, 3) and np.shares_memory(w.grad.numpy(), w.physical._grad)
    before = w.grad.numpy().copy()
    (w * w).sum().backward()
    close(w.grad, before + 2 * w.detach().numpy())
    w.grad *= 0.5
    close(w.grad, before / 2 + w.detach().numpy())
    w.grad = lamella.ones(5, 2, 3, 3)
    assert w.physical._grad.shape == (3, 3, 2, 5)
    with pytest.raises(RuntimeError, match="expected float32"):
        w.grad = lamella.ones(3, 3, 2, 5)


def test_parameter_data():
    layer = nn.Linear(3, 2)
    layer.weight.data = lamella.arange(6).float().view(2, 3)
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    layer.weight.data.mul_(2)
    assert layer.weight.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert layer.weight.physical.tolist() == [[0, 6], [2, 8], [4, 10]]
    with lamella.no_grad():
        layer.weight -= 1
        layer.weight[0, 0] = 9
    assert layer.weight.physical.tolist() == [[9, 5], [1, 7], [3, 9]]


def test_weights_changed_between_forward_and_backward():
    layer = nn.Linear(2, 2)
    y = layer(lamella.ones(1, 2, requires_grad=True)).sum()
    with lamella.no_grad():
        layer.weight.zero_()
    with pytest.raises(RuntimeError, match="modified in place"):
        y.backward()


# --- layers ------------------------------------------------------------------------------------------------------


def test_linear():
    layer = nn.Linear(3, 2)
    x = lamella.randn(4, 5, 3)
    want = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    close(layer(x).detach(), want)
    close(layer(x[0, 0]).detach(), want[0, 0])
    with pytest.raises(ValueError):
        layer(lamella.ones(2, 4))


@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_is_pytorchs(groups):
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=groups)
    x = rng().standard_normal((2, 4, 7, 6)).astype(np.float32)
    w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    want = np.zeros((2, 6, 4, 5))
    per = 4 // groups
    for o in range(6):
        g = o // (6 // groups)
        for i in range(4):
            for j in range(5):
                patch = padded[:, g * per : (g + 1) * per, 2 * i : 2 * i + 3, j : j + 2]
                want[:, o, i, j] = (patch * w[o]).sum((1, 2, 3)) + b[o]
    y = layer(lamella.tensor(x))
    close(y.detach(), want)
    close(layer(lamella.tensor(x[0])).detach(), want[0])


def test_conv_chain_stays_channels_last():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3))
    y = net(lamella.randn(2, 3, 8, 8))
    assert y.shape == (2, 5, 2, 2) and y.permute(0, 2, 3, 1).is_contiguous()


def test_pooling():
    x = rng().standard_normal((2, 3, 6, 6)).astype(np.float32)
    t = lamella.tensor(x)
    blocks = x.reshape(2, 3, 3, 2, 3, 2)
    close(F.max_pool2d(t, 2), blocks.max((3, 5)))
    close(nn.AvgPool2d(2)(t), blocks.mean((3, 5)))
    close(nn.AdaptiveAvgPool2d(1)(t), x.mean((2, 3), keepdims=True))
    close(nn.AdaptiveMaxPool2d((3, None))(t), x.reshape(2, 3, 3, 2, 6).max(3))
    close(nn.MaxPool1d(3)(t[:, :, 0]), x[:, :, 0].reshape(2, 3, 2, 3).max(3))
    close(F.avg_pool2d(t, 3, 1, 1)[..., 0, 0], x[..., :2, :2].sum((2, 3)) / 9)
    y, places = nn.MaxPool2d(2, return_indices=True)(t)
    close(np.take_along_axis(x.reshape(2, 3, -1), places.numpy().reshape(2, 3, -1), 2).reshape(y.shape), y.numpy())
    with pytest.raises(NotImplementedError, match="return_indices"):
        nn.AdaptiveMaxPool2d(2, return_indices=True)


def test_losses_against_formulas():
    x = rng().standard_normal((4, 3))
    y = np.array([0, 2, 1, 2])
    w = np.array([1.0, 2.0, 0.5])
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    nll = -np.log(p[np.arange(4), y])
    t, labels, weight = lamella.tensor(x), lamella.tensor(y), lamella.tensor(w)
    close(nn.CrossEntropyLoss()(t, labels), nll.mean())
    close(nn.CrossEntropyLoss(weight)(t, labels), (nll * w[y]).sum() / w[y].sum())
    close(nn.CrossEntropyLoss(reduction="none")(t, labels), nll)
    close(nn.CrossEntropyLoss(ignore_index=2)(t, labels), nll[y != 2].mean())
    smooth = 0.9 * np.eye(3)[y] + 0.1 / 3
    close(nn.CrossEntropyLoss(label_smoothing=0.1)(t, labels), -(smooth * np.log(p)).sum(1).mean())
    close(nn.CrossEntropyLoss()(t, lamella.tensor(smooth)), -(smooth * np.log(p)).sum(1).mean())
    close(nn.NLLLoss()(F.log_softmax(t, 1), labels), nll.mean())
    other = rng(1).standard_normal((4, 3))
    d = np.abs(x - other)
    o = lamella.tensor(other)
    close(nn.MSELoss()(t, o), (d**2).mean())
    close(nn.L1Loss(reduction="sum")(t, o), d.sum())
    close(nn.HuberLoss(delta=0.5)(t, o), np.where(d < 0.5, d**2 / 2, 0.5 * (d - 0.25)).mean())
    close(nn.SmoothL1Loss(beta=0.5)(t, o), np.where(d < 0.5, d**2, d - 0.25).mean())
    q, target = 1 / (1 + np.exp(-x)), (other > 0).astype(float)
    bce = -(target * np.log(q) + (1 - target) * np.log(1 - q))
    close(nn.BCELoss()(lamella.tensor(q), lamella.tensor(target)), bce.mean())
    pos = -(3 * target * np.log(q) + (1 - target) * np.log(1 - q)).mean()
    close(nn.BCEWithLogitsLoss(pos_weight=lamella.tensor(3.0, dtype=lamella.float64))(t, lamella.tensor(target)), pos)
    kl = (p * (np.log(p) - x)).sum() / 4
    close(nn.KLDivLoss(reduction="batchmean")(t, lamella.tensor(p)), kl)
    with pytest.raises(ValueError, match="reduction"):
        nn.MSELoss(reduction="avg")
    with pytest.warns(UserWarning, match="broadcast"):
        F.mse_loss(lamella.ones(3, 1), lamella.ones(3))


def test_losses_of_images():
    x, y = lamella.randn(2, 5, 3, 4), lamella.randint(0, 5, (2, 3, 4))
    flat = F.cross_entropy(x.permute(0, 2, 3, 1).reshape(-1, 5), y.view(-1))
    close(F.cross_entropy(x, y), flat)
    assert F.cross_entropy(x, y, reduction="none").shape == (2, 3, 4)


# --- initial values ----------------------------------------------------------------------------------------------


def test_default_initial_values():
    lamella.manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for p in (layer.weight, layer.bias):
        values = p.detach().numpy()
        assert np.abs(values).max() <= bound and np.abs(values).max() > 0.98 * bound
        assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
    conv = nn.Conv2d(8, 4, 5, groups=2)
    assert np.abs(conv.weight.numpy()).max() <= 1 / math.sqrt(4 * 25)


def test_init_functions():
    lamella.manual_seed(1)
    w = lamella.empty(64, 32, 3, 3)
    fan_in, fan_out = 32 * 9, 64 * 9
    spread = {
        nn.init.xavier_uniform_: math.sqrt(2 / (fan_in + fan_out)),
        nn.init.xavier_normal_: math.sqrt(2 / (fan_in + fan_out)),
        nn.init.kaiming_uniform_: math.sqrt(2 / fan_in),
        nn.init.kaiming_normal_: math.sqrt(2 / fan_in),
    }
    for fn, std in spread.items():
        # 18432 draws: the sample's standard deviation is within 5 standard errors of 0.6 %.
        assert fn(w).numpy().std() == pytest.approx(std, rel=0.03)
    q = nn.init.orthogonal_(lamella.empty(4, 6), gain=2).numpy()
    close(q @ q.T, 4 * np.eye(4))
    t = nn.init.trunc_normal_(lamella.empty(1000), std=2.0, a=-1, b=3).numpy()
    assert t.min() >= -1 and t.max() <= 3
    close(nn.init.eye_(lamella.empty(2, 3)), np.eye(2, 3))
    x = lamella.randn(1, 2, 5, 5)
    close(F.conv2d(x, nn.init.dirac_(lamella.empty(2, 2, 3, 3)), padding=1), x)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        nn.init.xavier_normal_(lamella.empty(3))


def test_seed_fixes_everything():
    def draw():
        lamella.seed(5)
        return np.concatenate([nn.Linear(3, 3).weight.numpy().ravel(), lamella.randperm(9).numpy()])

    np.testing.assert_array_equal(draw(), draw())


# --- gradient clipping -------------------------------------------------------------------------------------------


def test_clip_grad():
    net = Net()
    net(lamella.randn(6, 4)).square().sum().backward()
    grads = [p.grad.numpy().copy() for p in net.parameters()]
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads))
    total = nn.utils.clip_grad_norm_(net.parameters(), norm / 2)
    assert total.item() == pytest.approx(norm, rel=1e-5)
    for p, g in zip(net.parameters(), grads, strict=True):
        close(p.grad, g / 2, np.abs(g).max())
    nn.utils.clip_grad_norm_(net.parameters(), 1e6)
    for p, g in zip(net.parameters(), grads, strict=True):
        close(p.grad, g / 2, np.abs(g).max())
    limit = float(np.abs(grads[0]).max() / 4)
    nn.utils.clip_grad_value_(net.parameters(), limit)
    close(net.fc1.weight.grad, np.clip(grads[0] / 2, -limit, limit), limit)


# --- tracing -----------------------------------------------------------------------------------------------------


def test_trace_gives_the_same_numbers():
    from lamella import _cpu

    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))
    x = lamella.randn(4, 2, 8, 8)
    traced = trace(net, [(x.dtype, x.shape)], training=False)
    assert set(traced.params) == {"0.weight", "0.bias"} and net.training
    plan = _cpu.Plan(traced.graph, [("float32", x.shape)], traced.outputs)
    close(plan.run([x.numpy()])[0], net(x).detach())


def test_trace_refuses_values():
    for fn in (lambda x: x * x.sum().item(), lambda x: x if x.sum() > 0 else -x, lambda x: np.asarray(x)):
        with pytest.raises(NotTraceable, match="needs values"):
            trace(fn, [("float32", (2, 3))])


@pytest.mark.parametrize(("beta", "threshold"), [(1.0, 20.0), (2.0, 3.0), (0.5, 1.0)])
def test_softplus_is_linear_beyond_its_threshold(beta, threshold):
    x = np.linspace(-8, 8, 33).astype(np.float32)
    expected = np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x.astype(np.float64))) / beta)
    np.testing.assert_allclose(nn.Softplus(beta, threshold)(lamella.tensor(x)).numpy(), expected, rtol=1e-6)


def test_hooks_with_keywords_and_errors():
    class Net(nn.Module):
        def forward(self, x, scale=1.0):
            if scale == 0:
                raise ZeroDivisionError
            return x * scale

    net, seen = Net(), []
    net.register_forward_pre_hook(lambda m, args, kwargs: (args, {**kwargs, "scale": 3.0}), with_kwargs=True)
    first = net.register_forward_pre_hook(lambda m, args: (args[0] + 1,), prepend=True)
    net.register_forward_hook(lambda m, args, kwargs, out: seen.append((kwargs, out.item())), with_kwargs=True)
    net.register_forward_hook(lambda m, args, out: out + 1, prepend=True)
    assert net(lamella.tensor(2.0)).item() == 10 and seen == [({"scale": 3.0}, 10)]
    first.remove()
    assert net(lamella.tensor(2.0)).item() == 7

    net, seen = Net(), []
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    net.register_forward_hook(lambda m, args, out: seen.append("skipped"))
    with pytest.raises(ZeroDivisionError):
        net(lamella.tensor(2.0), scale=0)
    assert seen == [None]
    with pytest.raises(RuntimeError, match="expected None or"):
        net.register_forward_pre_hook(lambda m, args, kwargs: 1, with_kwargs=True)
        net(lamella.tensor(2.0))


def test_duplicates_and_state_dicts_in_place():
    shared = nn.Linear(2, 2, bias=False)
    net = nn.Sequential(shared, shared)
    assert [n for n, _ in net.named_parameters()] == ["0.weight"]
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)] == ["0.weight", "1.weight"]
    assert len(list(net.modules())) == 2 and len(list(net.modules(remove_duplicate=False))) == 3
    state = {"own": 1}
    assert net.state_dict(destination=state, prefix="net.", keep_vars=True) is state
    assert list(state) == ["own", "net.0.weight", "net.1.weight"] and state["net.0.weight"] is shared.weight


def test_gumbel_softmax():
    lamella.seed(0)
    logits = lamella.tensor(np.log(np.array([[0.2, 0.5, 0.3]] * 4000, np.float32)), requires_grad=True)
    hard = nn.functional.gumbel_softmax(logits, tau=0.7, hard=True)
    # The share of each class is its probability, within four deviations of such a count.
    np.testing.assert_allclose(hard.detach().numpy().mean(0), [0.2, 0.5, 0.3], atol=4 * (0.25 / 4000) ** 0.5)
    np.testing.assert_allclose(hard.detach().numpy().max(-1), 1, atol=1e-6)
    (hard * lamella.tensor(np.array([1.0, 2.0, 4.0], np.float32))).sum().backward()
    assert np.abs(logits.grad.numpy()).max() > 0.01
    soft = nn.functional.gumbel_softmax(logits.detach(), tau=5.0, dim=0)
    np.testing.assert_allclose(soft.numpy().sum(0), 1, rtol=1e-4)


def test_old_names_of_initializers():
    with pytest.warns(FutureWarning, match="use nn.init.constant_"):
        assert nn.init.constant(lamella.empty(2), 3.0).tolist() == [3, 3]
