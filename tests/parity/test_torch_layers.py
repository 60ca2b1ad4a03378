"""Layers and functions against PyTorch: same parameters, same outputs and gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lamella  # noqa: E402
from lamella import nn  # noqa: E402

F, TF = nn.functional, torch.nn.functional
IMAGE, SEQUENCE, VECTOR = (2, 4, 7, 6), (3, 4, 9), (5, 8)


def arrays(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], xs: list[np.ndarray], seed: int = 0) -> Any:
    """Outputs and gradients by the inputs; gives both outputs after their backward pass."""
    a = [lamella.tensor(x, requires_grad=True) for x in xs]
    b = [torch.tensor(x, requires_grad=True) for x in xs]
    y, z = ours(*a), theirs(*b)
    assert tuple(y.shape) == tuple(z.shape)
    scale = max(1.0, float(z.detach().abs().max())) if z.numel() else 1.0
    # float32 sums of at most a few hundred products
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=0, atol=5e-6 * scale)
    (r,) = arrays(seed + 1, tuple(z.shape))
    (y * lamella.tensor(r)).sum().backward()
    (z * torch.tensor(r)).sum().backward()
    for p, q in zip(a, b, strict=True):
        close(p.grad.numpy(), q.grad.numpy())


def close(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * max(1.0, float(np.abs(want).max(initial=0))))


MODULES: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = [
    ("PReLU", (), {}, VECTOR),
    ("PReLU", (4,), {"init": 0.1}, IMAGE),
    ("CELU", (0.7,), {}, VECTOR),
    ("GLU", (), {}, VECTOR),
    ("GLU", (1,), {}, IMAGE),
    ("Hardtanh", (-0.5, 0.7), {}, VECTOR),
    ("Threshold", (0.2, -3.0), {}, VECTOR),
    ("Softmin", (1,), {}, VECTOR),
    ("Softmax2d", (), {}, IMAGE),
    ("Tanhshrink", (), {}, VECTOR),
    ("Softshrink", (0.3,), {}, VECTOR),
    ("Hardshrink", (0.3,), {}, VECTOR),
    ("ConstantPad1d", ((1, 2), 0.5), {}, SEQUENCE),
    ("ConstantPad2d", ((1, 2, 0, 3), -1.0), {}, IMAGE),
    ("ZeroPad1d", (2,), {}, SEQUENCE),
    ("ZeroPad2d", ((1, -1, 2, 0),), {}, IMAGE),
    ("ReflectionPad1d", ((2, 1),), {}, SEQUENCE),
    ("ReflectionPad2d", ((2, 1, 3, 0),), {}, IMAGE),
    ("ReplicationPad1d", ((4, 1),), {}, SEQUENCE),
    ("ReplicationPad2d", (3,), {}, IMAGE),
    ("CircularPad1d", ((4, 1),), {}, SEQUENCE),
    ("CircularPad2d", ((1, 2, 3, 4),), {}, IMAGE),
    ("PixelShuffle", (2,), {}, IMAGE),
    ("PixelShuffle", (2,), {}, (2, 3, 8, 2, 3)),
    ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("ChannelShuffle", (2,), {}, IMAGE),
    ("Unfold", ((3, 2),), {"dilation": (1, 2), "padding": 1, "stride": 2}, IMAGE),
    ("Fold", ((7, 6), (3, 2)), {"padding": (1, 0), "stride": (2, 1)}, (2, 24, 20)),
    ("Fold", (5, 2), {"dilation": 2, "stride": 2}, (2, 12, 4)),
    ("InstanceNorm1d", (4,), {"affine": True}, SEQUENCE),
    ("InstanceNorm2d", (4,), {}, IMAGE),
    ("InstanceNorm2d", (4,), {"track_running_stats": True, "momentum": 0.3}, IMAGE),
    ("RMSNorm", (8,), {}, VECTOR),
    ("RMSNorm", ((7, 6),), {"eps": 1e-3}, IMAGE),
    ("LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, IMAGE),
    ("LocalResponseNorm", (2,), {}, SEQUENCE),
    ("AdaptiveAvgPool1d", (4,), {}, SEQUENCE),
    ("AdaptiveMaxPool1d", (4,), {}, SEQUENCE),
    ("AdaptiveMaxPool2d", ((3, None),), {}, IMAGE),
    ("LPPool1d", (2, 3), {"stride": 2}, SEQUENCE),
    ("LPPool2d", (2.0, (3, 2)), {"ceil_mode": True}, IMAGE),
    ("Upsample", (), {"size": (5, 9)}, IMAGE),
    ("Upsample", (), {"scale_factor": 1.7}, IMAGE),
    ("Upsample", (), {"scale_factor": (2, 3), "mode": "bilinear"}, IMAGE),
    ("Upsample", (), {"scale_factor": 1.3, "mode": "bilinear"}, IMAGE),
    ("Upsample", (), {"scale_factor": 1.3, "mode": "bilinear", "recompute_scale_factor": True}, IMAGE),
    ("Upsample", (), {"size": (11, 3), "mode": "bicubic"}, IMAGE),
    ("Upsample", (), {"size": (11, 3), "mode": "bicubic", "align_corners": True}, IMAGE),
    ("Upsample", (), {"scale_factor": 2.5, "mode": "linear"}, SEQUENCE),
    ("Upsample", (), {"size": 4, "mode": "linear", "align_corners": True}, SEQUENCE),
    ("Upsample", (), {"size": 4, "mode": "nearest-exact"}, SEQUENCE),
    ("Upsample", (), {"size": (3, 4), "mode": "area"}, IMAGE),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, IMAGE),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, IMAGE),
    ("Bilinear", (8, 3, 5), {}, [VECTOR, (5, 3)]),
    ("Bilinear", (8, 3, 5), {"bias": False}, [(2, 4, 8), (2, 4, 3)]),
    ("Conv2d", (4, 5, 3), {"padding": (1, 2), "padding_mode": "reflect"}, IMAGE),
    ("Conv2d", (4, 5, 3), {"padding": "same", "padding_mode": "circular"}, IMAGE),
    ("Conv1d", (4, 5, 4), {"padding": "same", "padding_mode": "replicate"}, SEQUENCE),
    ("LazyLinear", (5,), {}, VECTOR),
    ("LazyConv1d", (5, 3), {}, SEQUENCE),
    ("LazyConv2d", (5, 3), {"bias": False}, IMAGE),
    ("LazyConvTranspose2d", (5, 3), {"stride": 2}, IMAGE),
    ("LazyBatchNorm2d", (), {}, IMAGE),
]


def _id(case: tuple[Any, ...]) -> str:
    return f"{case[0]}-{case[1]}-{case[2]}"


@pytest.mark.parametrize("case", MODULES, ids=_id)
def test_module(case: tuple[str, tuple[Any, ...], dict[str, Any], Any]) -> None:
    name, args, kwargs, shapes = case
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    xs = arrays(len(_id(case)), *(shapes if isinstance(shapes, list) else [shapes]))
    if name.startswith("Lazy"):
        ours(*map(lamella.tensor, xs))
        theirs(*map(torch.tensor, xs))
    state = ours.state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict({k: torch.tensor(np.array(v.numpy())) for k, v in state.items()})
    compare(ours, theirs, xs)
    for (k, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(p.grad.numpy(), q.grad.numpy())
        assert p.requires_grad, k
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-6)
    if name.startswith("InstanceNorm"):
        ours.eval()
        theirs.eval()
        compare(ours, theirs, xs)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 4), (13, 5), (1, 1)])
def test_interpolate(size: tuple[int, int], mode: str, antialias: bool) -> None:
    kwargs = {"size": size, "mode": mode, "antialias": antialias}
    compare(lambda x: F.interpolate(x, **kwargs), lambda x: TF.interpolate(x, **kwargs), arrays(0, IMAGE))


@pytest.mark.parametrize("name", [
    "hardshrink", "softshrink", "tanhshrink", "hardtanh", "celu", "leaky_relu", "elu", "relu6", "silu", "hardswish",
])  # fmt: skip
def test_activation_of_special_values(name: str) -> None:
    lowest = -1e30 if name in ("silu", "hardswish") else -np.inf  # where PyTorch's are NaN and ours their limits
    x = np.array([lowest, -7.0, -1.0, -0.5, -0.0, 0.0, 0.3, 0.5, 1.0, 6.0, 9.0, np.inf, np.nan], np.float32)
    y, z = getattr(F, name)(lamella.tensor(x)).numpy(), getattr(TF, name)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(y, z, rtol=2e-6, atol=1e-6)


def test_changing_functions() -> None:
    (x,) = arrays(0, VECTOR)
    for name in ("relu_", "leaky_relu_", "elu_", "selu_", "celu_", "hardtanh_"):
        a, b = lamella.tensor(x.copy()), torch.tensor(x.copy())
        assert getattr(F, name)(a) is a
        np.testing.assert_allclose(a.numpy(), getattr(TF, name)(b).numpy(), rtol=2e-6, atol=1e-6)


INDICES = np.array([[1, 4, 2], [0, 2, 2], [3, 3, 1]])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_embedding_bag(mode: str, padding_idx: int | None, ragged: bool) -> None:
    (table,) = arrays(0, (5, 6))
    kwargs: dict[str, Any] = {"mode": mode, "padding_idx": padding_idx}
    offsets = np.array([0, 2, 2, 7])
    where = INDICES.reshape(-1) if ragged else INDICES

    def bag(module: Any, tensor: Any) -> Any:
        starts = {"offsets": tensor(offsets)} if ragged else {}
        return lambda w: module.embedding_bag(tensor(where), w, **starts, **kwargs)

    compare(bag(F, lamella.tensor), bag(TF, torch.tensor), [table])
    if mode == "sum":
        (factors,) = arrays(1, where.shape)

        def weighted(module: Any, tensor: Any) -> Any:
            starts = {"offsets": tensor(offsets)} if ragged else {}
            return lambda w, f: module.embedding_bag(tensor(where), w, per_sample_weights=f, **starts, **kwargs)

        compare(weighted(F, lamella.tensor), weighted(TF, torch.tensor), [table, factors])


def test_max_norm() -> None:
    (table,) = arrays(0, (5, 6))
    ours, theirs = nn.Embedding(5, 6, max_norm=1.5), torch.nn.Embedding(5, 6, max_norm=1.5)
    ours.weight.data = lamella.tensor(table)
    theirs.weight.data = torch.tensor(table)
    y, z = ours(lamella.tensor(INDICES[:2])), theirs(torch.tensor(INDICES[:2]))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-6)
    assert (np.linalg.norm(ours.weight.detach().numpy(), axis=1)[3] > 1.5) == (np.linalg.norm(table[3]) > 1.5)


def test_signatures() -> None:
    """Arguments have PyTorch's names, order and defaults."""

    def parameters(cls: Any) -> list[tuple[str, Any]]:
        own = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]

    names = {c[0] for c in MODULES} | {"Embedding", "EmbeddingBag", "AlphaDropout", "FeatureAlphaDropout"}
    # Hardtanh's last two are deprecated.
    for name in sorted(names - {"Hardtanh"}):
        assert parameters(getattr(nn, name)) == parameters(getattr(torch.nn, name)), name
    functions = [
        "celu", "elu", "glu", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "mish", "relu", "relu6", "selu",
        "silu", "threshold", "alpha_dropout", "feature_alpha_dropout", "instance_norm", "local_response_norm",
        "lp_pool1d", "lp_pool2d", "embedding", "embedding_bag", "fold", "unfold", "interpolate", "upsample",
    ]  # fmt: skip
    for name in functions:
        assert parameters(getattr(F, name)) == parameters(getattr(TF, name)), name


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = np.random.default_rng(0).standard_normal((64, 32, 16)).astype(np.float32)
    lamella.seed(0)
    for fn in (F.alpha_dropout, F.feature_alpha_dropout):
        y = fn(lamella.tensor(x), 0.3, training=True).numpy()
        z = getattr(TF, fn.__name__)(torch.tensor(x), 0.3, training=True).numpy()
        # what is dropped has one value, which is PyTorch's
        value, count = max(zip(*np.unique(y, return_counts=True), strict=True), key=lambda pair: pair[1])
        other, _ = max(zip(*np.unique(z, return_counts=True), strict=True), key=lambda pair: pair[1])
        assert value == pytest.approx(other, rel=1e-5)
        assert abs(count / y.size - 0.3) < 0.03
        assert abs(y.mean()) < 0.06 and abs(y.var() - 1) < 0.1


@pytest.mark.parametrize("kwargs", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}], ids=str)
@pytest.mark.parametrize("dims", [1, 2])
def test_indices_and_unpooling(dims: int, kwargs: dict[str, Any]) -> None:
    (x,) = arrays(4, IMAGE if dims == 2 else SEQUENCE)
    pools = [getattr(m, f"MaxPool{dims}d")(**kwargs, return_indices=True) for m in (nn, torch.nn)]
    unpools = [getattr(m, f"MaxUnpool{dims}d")(**kwargs) for m in (nn, torch.nn)]
    (y, i), (z, j) = pools[0](lamella.tensor(x)), pools[1](torch.tensor(x))
    np.testing.assert_array_equal(y.numpy(), z.numpy())
    np.testing.assert_array_equal(i.numpy(), j.numpy())
    size = x.shape
    compare(lambda v: unpools[0](v, i, size), lambda v: unpools[1](v, j, size), [y.numpy()])
    single = pools[0](lamella.tensor(x[0]))
    np.testing.assert_array_equal(single[1].numpy(), i.numpy()[0])
