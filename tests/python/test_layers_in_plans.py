"""Every layer runs in plans, in training and in inference, as it does on the tape, and comes back from files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella import _cpu, layers, models, nn
from lamella._trace import trace

IMAGE, SEQUENCE, VECTOR = (7, 6, 4), (9, 4), (8,)
FIRST = {"data_format": "channels_first"}

KERAS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv1d_transpose": (lambda: layers.Conv1DTranspose(3, 3, strides=2), SEQUENCE),
    "conv2d_first": (lambda: layers.Conv2D(3, 3, activation="relu", **FIRST), (4, 7, 6)),
    "conv2d_transpose_first": (lambda: layers.Conv2DTranspose(3, 3, strides=2, **FIRST), (4, 3, 3)),
    "depthwise_conv1d": (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), SEQUENCE),
    "depthwise_conv2d": (lambda: layers.DepthwiseConv2D(3, padding="same", activation="relu"), IMAGE),
    "separable_conv1d": (lambda: layers.SeparableConv1D(5, 3, padding="causal"), SEQUENCE),
    "separable_conv2d": (lambda: layers.SeparableConv2D(5, 3, depthwise_constraint="unit_norm"), IMAGE),
    "max_pooling_first": (lambda: layers.MaxPooling2D(2, **FIRST), IMAGE),
    "adaptive_average": (lambda: layers.AdaptiveAveragePooling2D((3, 2)), IMAGE),
    "adaptive_max": (lambda: layers.AdaptiveMaxPooling1D(4), SEQUENCE),
    "global_max_first": (lambda: layers.GlobalMaxPooling2D(keepdims=True, **FIRST), IMAGE),
    "zero_padding1d": (lambda: layers.ZeroPadding1D((2, 1)), SEQUENCE),
    "cropping2d": (lambda: layers.Cropping2D(((1, 2), (0, 1))), IMAGE),
    "upsampling1d": (lambda: layers.UpSampling1D(3), SEQUENCE),
    "bicubic": (lambda: layers.UpSampling2D(2, interpolation="bicubic"), IMAGE),
    "lanczos": (lambda: layers.UpSampling2D((2, 3), interpolation="lanczos3"), IMAGE),
    "flatten_first": (lambda: layers.Flatten(**FIRST), IMAGE),
    "batch_norm_first": (lambda: layers.BatchNormalization(axis=1), IMAGE),
    "layer_norm_axes": (lambda: layers.LayerNormalization(axis=[1, 3]), IMAGE),
    "group_norm": (lambda: layers.GroupNormalization(2), IMAGE),
    "rms_norm": (lambda: layers.RMSNormalization(axis=1), SEQUENCE),
    "unit_norm": (lambda: layers.UnitNormalization(), VECTOR),
    "prelu": (lambda: layers.PReLU("random_normal", shared_axes=[1, 2]), IMAGE),
    "relu": (lambda: layers.ReLU(1.0, 0.1, 0.2), VECTOR),
    "softmax_axes": (lambda: layers.Softmax(axis=[1, 2]), IMAGE),
    "dropout": (lambda: layers.Dropout(0.4, noise_shape=(None, 1, None), seed=3), SEQUENCE),
    "spatial_dropout1d": (lambda: layers.SpatialDropout1D(0.4), SEQUENCE),
    "spatial_dropout2d": (lambda: layers.SpatialDropout2D(0.4, **FIRST), IMAGE),
    "gaussian_noise": (lambda: layers.GaussianNoise(0.4, seed=1), VECTOR),
    "gaussian_dropout": (lambda: layers.GaussianDropout(0.4), VECTOR),
    "alpha_dropout": (lambda: layers.AlphaDropout(0.4), VECTOR),
    "activity": (lambda: layers.ActivityRegularization(0.1, 0.2), VECTOR),
}


@pytest.mark.parametrize("case", KERAS)
def test_keras_layer(case: str, tmp_path: Any) -> None:
    make, shape = KERAS[case]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, *shape)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)
    found = []
    for eagerly in (False, True):
        lamella.seed(5)
        model = models.Sequential([layers.Input(shape), make(), layers.Flatten(), layers.Dense(2)])
        model.compile("sgd", "mse", run_eagerly=eagerly)
        losses = [model.train_on_batch(x[:4], y[:4]) for _ in range(3)]
        if not eagerly:
            assert all(step is not None for step in model._engine._steps.values())
        found.append((losses, model.get_weights(), model.predict(x), model))
    (a, weights, predicted, model), (b, others, by_tape, _) = found
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for p, q in zip(weights, others, strict=True):
        np.testing.assert_allclose(p, q, rtol=0, atol=2e-5)
    np.testing.assert_allclose(predicted, by_tape, rtol=0, atol=1e-4)
    assert tuple(model.layers[1].compute_output_shape((None, *shape)))[1:] == tuple(model.layers[1](x).shape[1:])
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(x), predicted)
    assert again.layers[1].get_config() == model.layers[1].get_config()


def test_functional_forms_and_operators(tmp_path: Any) -> None:
    a, b = layers.Input((4,)), layers.Input((4,))
    c = layers.Input((3, 4))
    total = layers.add([a, layers.multiply([a, b])]) - layers.maximum([a, b])
    mixed = 1.0 - 2 * total / (abs(b) + 1) ** 2 - -a
    dots = layers.dot([a, b], axes=1)
    out = layers.concatenate([mixed, dots, layers.average([a, b]), layers.minimum([a, b]), layers.subtract([a, b])])
    rows = c[:, -1] + c[:, 0, :]
    model = models.Model([a, b, c], layers.concatenate([out, rows, (c @ layers.Permute((2, 1))(c))[:, 0]]))
    rng = np.random.default_rng(0)
    p, q, r = (rng.standard_normal((5, *s)).astype(np.float32) for s in ((4,), (4,), (3, 4)))
    sums = p + p * q - np.maximum(p, q)
    expected = np.concatenate(
        [
            1 - 2 * sums / (np.abs(q) + 1) ** 2 + p,
            (p * q).sum(1, keepdims=True),
            (p + q) / 2,
            np.minimum(p, q),
            p - q,
            r[:, -1] + r[:, 0],
            (r @ r.transpose(0, 2, 1))[:, 0],
        ],
        axis=1,
    )
    np.testing.assert_allclose(model.predict([p, q, r]), expected, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict([p, q, r]), model.predict([p, q, r]))
    assert again._engine.step_for is not None
    with pytest.raises(TypeError, match="unsupported operand"):
        a + "x"
    with pytest.raises(TypeError, match="iterated"):
        list(a)


def test_seeds_of_noise() -> None:
    """Layers with other seeds draw other numbers; the count of draws goes on from call to call."""
    x = np.ones((1, 64), np.float32)

    def drawn(seed: Any, calls: int = 1) -> list[np.ndarray]:
        lamella.seed(9)
        layer = layers.Dropout(0.5, seed=seed)
        return [layer(x, training=True).numpy() for _ in range(calls)]

    first, second = drawn(1, 2)
    assert (first != second).any()
    np.testing.assert_array_equal(first, drawn(1)[0])
    assert (first != drawn(2)[0]).any() and (first != drawn(None)[0]).any()


def test_seeds_of_initializers() -> None:
    from lamella import initializers

    for make in (
        initializers.HeNormal,
        initializers.RandomUniform,
        initializers.Orthogonal,
        initializers.GlorotUniform,
    ):
        a, b = make(seed=4), make(seed=5)
        np.testing.assert_array_equal(a((6, 5)), a((6, 5)))
        assert (a((6, 5)) != b((6, 5))).any()
        again = initializers.deserialize(initializers.serialize(a))
        np.testing.assert_array_equal(again((6, 5)), a((6, 5)))
    w = initializers.VarianceScaling(1.0, "fan_in", "uniform", 0, input_axes=[0], output_axes=[1, 2])((300, 4, 5))
    assert w.std() == pytest.approx(1 / 300**0.5, rel=0.05)


def test_masked_batch_norm_counts_real_steps() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool)
    layer = layers.BatchNormalization(momentum=0.0)
    y = layer(x, training=True, mask=mask).numpy()
    real = x[mask]
    np.testing.assert_allclose(y[mask].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(layer.get_weights()[2], real.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.get_weights()[3], real.var(0), rtol=1e-5)


def test_norms_over_axes_that_are_not_last() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 2)).astype(np.float32)
    for axis in (1, [1, 2], [3, 1]):
        axes = (axis,) if isinstance(axis, int) else tuple(sorted(axis))
        expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
        layer = layers.LayerNormalization(axis)
        np.testing.assert_allclose(layer(x).numpy(), expected, rtol=0, atol=1e-5)
        assert layer.gamma.shape == tuple(x.shape[a] for a in axes)
    expected = x / np.sqrt((x**2).mean(2, keepdims=True) + 1e-6)
    np.testing.assert_allclose(layers.RMSNormalization(2)(x).numpy(), expected, rtol=0, atol=1e-5)


def test_masked_softmax() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    mask = np.array([[True, False, True, True], [False, True, True, False]])
    y = layers.Softmax()(x, mask=mask).numpy()
    e = np.exp(x) * mask
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-6)


TORCH: dict[str, tuple[Any, tuple[int, ...]]] = {
    "prelu": (lambda: nn.PReLU(4), (2, 4, 7, 6)),
    "glu": (lambda: nn.GLU(1), (2, 4, 7, 6)),
    "softshrink": (lambda: nn.Softshrink(), (2, 4)),
    "threshold": (lambda: nn.Threshold(0.1, 2.0), (2, 4, 7, 6)),
    "reflection": (lambda: nn.ReflectionPad2d(2), (2, 4, 7, 6)),
    "circular": (lambda: nn.CircularPad1d((2, 3)), (2, 4, 7)),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), (2, 4, 7, 6)),
    "pixel_unshuffle": (lambda: nn.PixelUnshuffle(2), (2, 3, 4, 6)),
    "channel_shuffle": (lambda: nn.ChannelShuffle(2), (2, 4, 7, 6)),
    "unfold": (lambda: nn.Unfold(3, padding=1, stride=2), (2, 4, 7, 6)),
    "fold": (lambda: nn.Fold((5, 5), 2, stride=1), (2, 12, 16)),
    "instance_norm": (lambda: nn.InstanceNorm2d(4, affine=True), (2, 4, 7, 6)),
    "rms_norm": (lambda: nn.RMSNorm(6), (2, 4, 6)),
    "local_response": (lambda: nn.LocalResponseNorm(3), (2, 4, 7, 6)),
    "lp_pool": (lambda: nn.LPPool2d(2, 2), (2, 4, 7, 6)),
    "bilinear": (lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"), (2, 4, 7, 6)),
    "bicubic": (lambda: nn.Upsample(size=(5, 9), mode="bicubic"), (2, 4, 7, 6)),
    "linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), (2, 4, 7)),
    "padded_conv": (lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 6)),
}


@pytest.mark.parametrize("case", TORCH)
def test_torch_module(case: str) -> None:
    make, shape = TORCH[case]
    net = nn.Sequential(nn.Identity(), make()).eval()
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = net(lamella.tensor(x)).detach().numpy()
    traced = trace(net, [(x.dtype, x.shape)], training=False)
    plan = _cpu.Plan(traced.graph, [(x.dtype.name, x.shape)], traced.outputs, False)
    np.testing.assert_allclose(plan.run([x])[0], expected, rtol=0, atol=2e-6 * max(1.0, np.abs(expected).max()))


def test_lazy_modules_keep_their_parameters() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    optimizer = lamella.optim.SGD(net.parameters(), lr=0.1)
    before = list(net.parameters())
    with pytest.raises(RuntimeError, match="not known"):
        _ = before[0].shape
    x = lamella.tensor(np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32))
    net(x).sum().backward()
    assert [type(m).__name__ for m in net] == ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"]
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    weight = net[0].weight.detach().numpy().copy()
    optimizer.step()
    assert (net[0].weight.detach().numpy() != weight).any()


def test_sparse_init() -> None:
    w = nn.init.sparse_(lamella.tensor(np.zeros((20, 7), np.float32)), 0.25, std=2.0).numpy()
    assert ((w == 0).sum(0) == 5).all() and 1 < w[w != 0].std() < 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(3, 3, data_format="first"), "Conv2D: data_format"),
        (lambda: layers.Cropping2D(-1), "Cropping2D: cropping"),
        (lambda: layers.Cropping1D((5, 5))(np.zeros((1, 9, 2))), "cropping"),
        (lambda: layers.ZeroPadding1D((1, 2, 3)), "ZeroPadding1D: padding"),
        (lambda: layers.UpSampling2D(interpolation="cubic"), "interpolation"),
        (lambda: layers.GroupNormalization(3)(np.zeros((2, 4))), "groups"),
        (lambda: layers.PReLU(shared_axes=[4])(np.zeros((2, 4))), "shared_axes"),
        (lambda: layers.Dot(axes=0)([np.zeros((2, 4)), np.zeros((2, 4))]), "axes"),
        (lambda: layers.Dot(axes=1)([np.zeros((2, 4)), np.zeros((2, 3))]), "sizes"),
        (lambda: layers.AlphaDropout(1.0), "rate"),
        (lambda: layers.Dropout(0.5, noise_shape=3), "noise_shape"),
        (lambda: nn.ReflectionPad1d(9)(lamella.tensor(np.zeros((1, 2, 4)))), "reflect"),
        (lambda: nn.PixelShuffle(2)(lamella.tensor(np.zeros((1, 3, 4, 4)))), "channels"),
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), "padding_mode"),
        (lambda: nn.functional.interpolate(lamella.tensor(np.zeros((1, 2, 4, 4))), 2, mode="linear"), "mode"),
        (lambda: nn.EmbeddingBag(3, 2, mode="avg"), "mode"),
        (lambda: nn.Unfold(5)(lamella.tensor(np.zeros((1, 2, 4, 4)))), "kernel_size"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
