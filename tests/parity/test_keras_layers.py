"""Layers against Keras: same weights, same outputs, gradients, shapes and configurations."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

import lamella  # noqa: E402
from lamella import constraints, layers, models, regularizers  # noqa: E402

if keras.backend.backend() != "torch":
    pytest.skip("gradients are taken by PyTorch", allow_module_level=True)

IMAGE, SEQUENCE, VECTOR = (2, 7, 6, 4), (3, 9, 4), (5, 8)
FIRST = {"data_format": "channels_first"}
BIASED = {"bias_initializer": "random_normal"}

# (layer, arguments, shape of the input or of several)
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("Dense", {"units": 3, "activation": "tanh", **BIASED}, VECTOR),
    ("Dense", {"units": 5, "use_bias": False}, SEQUENCE),
    ("Conv1D", {"filters": 5, "kernel_size": 3, "padding": "causal", "dilation_rate": 2, **BIASED}, SEQUENCE),
    ("Conv1D", {"filters": 4, "kernel_size": 4, "strides": 2, "padding": "same", "groups": 2}, SEQUENCE),
    ("Conv1D", {"filters": 3, "kernel_size": 3, **FIRST}, (3, 4, 9)),
    ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "activation": "relu", **BIASED}, IMAGE),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", **FIRST}, (2, 4, 7, 6)),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same", **BIASED}, SEQUENCE),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 1}, SEQUENCE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", **BIASED}, IMAGE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 2, "strides": 2, "activation": "sigmoid"}, IMAGE),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "padding": "same", **BIASED}, SEQUENCE),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "strides": 2, **BIASED}, IMAGE),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "dilation_rate": 2}, IMAGE),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, **BIASED}, SEQUENCE),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "padding": "same", "activation": "elu", **BIASED}, IMAGE),
    ("MaxPooling1D", {"pool_size": 2, "padding": "same"}, SEQUENCE),
    ("MaxPooling2D", {"pool_size": (3, 2), "strides": 1}, IMAGE),
    ("MaxPooling2D", {"pool_size": 2, **FIRST}, (2, 4, 7, 6)),
    ("AveragePooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, SEQUENCE),
    ("AveragePooling2D", {"pool_size": 2, "padding": "same"}, IMAGE),
    ("GlobalAveragePooling1D", {}, SEQUENCE),
    ("GlobalAveragePooling1D", {"keepdims": True, **FIRST}, SEQUENCE),
    ("GlobalAveragePooling2D", {"keepdims": True}, IMAGE),
    ("GlobalAveragePooling2D", {**FIRST}, IMAGE),
    ("GlobalMaxPooling1D", {"keepdims": True}, SEQUENCE),
    ("GlobalMaxPooling2D", {"keepdims": True, **FIRST}, IMAGE),
    ("AdaptiveAveragePooling1D", {"output_size": 4}, SEQUENCE),
    ("AdaptiveAveragePooling2D", {"output_size": (3, 2)}, IMAGE),
    ("AdaptiveMaxPooling1D", {"output_size": 4}, SEQUENCE),
    ("AdaptiveMaxPooling2D", {"output_size": 3}, IMAGE),
    ("ZeroPadding1D", {"padding": (1, 2)}, SEQUENCE),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, IMAGE),
    ("ZeroPadding2D", {"padding": (1, 2), **FIRST}, IMAGE),
    ("Cropping1D", {"cropping": (1, 3)}, SEQUENCE),
    ("Cropping2D", {"cropping": ((1, 0), (2, 1))}, IMAGE),
    ("Cropping2D", {"cropping": 1, **FIRST}, IMAGE),
    ("UpSampling1D", {"size": 3}, SEQUENCE),
    ("UpSampling2D", {"size": (2, 3)}, IMAGE),
    ("UpSampling2D", {"size": 2, "interpolation": "bilinear"}, IMAGE),
    ("UpSampling2D", {"size": 2, **FIRST}, IMAGE),
    ("Flatten", {}, IMAGE),
    ("Flatten", FIRST, IMAGE),
    ("Reshape", {"target_shape": (4, -1)}, IMAGE),
    ("Permute", {"dims": (3, 1, 2)}, IMAGE),
    ("RepeatVector", {"n": 3}, VECTOR),
    ("BatchNormalization", {"momentum": 0.7, "gamma_initializer": "random_normal"}, IMAGE),
    ("BatchNormalization", {"axis": 1, "scale": False}, IMAGE),
    ("LayerNormalization", {"gamma_initializer": "random_normal"}, SEQUENCE),
    ("LayerNormalization", {"axis": [1, 2, 3], "center": False}, IMAGE),
    ("GroupNormalization", {"groups": 2, "gamma_initializer": "random_normal"}, IMAGE),
    ("GroupNormalization", {"groups": -1}, IMAGE),
    ("GroupNormalization", {"groups": 2, "axis": 1}, (2, 4, 7)),
    ("RMSNormalization", {}, SEQUENCE),
    ("RMSNormalization", {"epsilon": 1e-3}, VECTOR),
    ("UnitNormalization", {}, VECTOR),
    ("UnitNormalization", {"axis": [1, 2]}, IMAGE),
    ("Activation", {"activation": "gelu"}, VECTOR),
    ("ReLU", {"max_value": 0.8, "negative_slope": 0.2}, VECTOR),
    ("ReLU", {"threshold": 0.3, "negative_slope": 0.1, "max_value": 1.0}, VECTOR),
    ("ReLU", {"max_value": 6}, VECTOR),
    ("ReLU", {"threshold": 0.5}, VECTOR),
    ("LeakyReLU", {"negative_slope": 0.1}, VECTOR),
    ("ELU", {"alpha": 0.7}, VECTOR),
    ("PReLU", {"alpha_initializer": "random_normal"}, VECTOR),
    ("PReLU", {"alpha_initializer": "random_normal", "shared_axes": [1, 2]}, IMAGE),
    ("Softmax", {}, VECTOR),
    ("Softmax", {"axis": 1}, SEQUENCE),
    ("Softmax", {"axis": [1, 2]}, IMAGE),
    ("Add", {}, [VECTOR, VECTOR, VECTOR]),
    ("Add", {}, [SEQUENCE, (3, 4)]),
    ("Subtract", {}, [VECTOR, VECTOR]),
    ("Multiply", {}, [SEQUENCE, (3, 9, 1)]),
    ("Average", {}, [VECTOR, VECTOR, VECTOR]),
    ("Maximum", {}, [VECTOR, VECTOR]),
    ("Minimum", {}, [VECTOR, VECTOR]),
    ("Concatenate", {"axis": 1}, [SEQUENCE, SEQUENCE]),
    ("Dot", {"axes": 1}, [VECTOR, VECTOR]),
    ("Dot", {"axes": (2, 1), "normalize": True}, [SEQUENCE, (3, 4, 5)]),
    ("Dot", {"axes": (1, 2)}, [(3, 4), (3, 5, 4)]),
    ("Dot", {"axes": -1}, [(2, 3, 4, 5), (2, 6, 5)]),
    ("Dropout", {"rate": 0.3}, VECTOR),
    ("SpatialDropout2D", {"rate": 0.3}, IMAGE),
    ("AlphaDropout", {"rate": 0.3}, VECTOR),
    ("GaussianNoise", {"stddev": 0.3}, VECTOR),
    ("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, VECTOR),
]


def _id(case: tuple[str, dict[str, Any], Any]) -> str:
    return f"{case[0]}-{'-'.join(f'{k}={v}' for k, v in case[1].items())}"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_layer(case: tuple[str, dict[str, Any], Any]) -> None:
    name, arguments, shapes = case
    rng = np.random.default_rng(len(_id(case)))
    several = isinstance(shapes, list)
    xs = [rng.standard_normal(s).astype(np.float32) for s in (shapes if several else [shapes])]
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    shape: Any = [tuple(x.shape) for x in xs] if several else xs[0].shape
    ours.build(shape)
    theirs.build(shape)
    weights = [w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) ** 2 for w in ours.get_weights()]
    assert [w.shape for w in weights] == [tuple(w.shape) for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)

    a = [lamella.tensor(x, requires_grad=True) for x in xs]
    b = [torch.tensor(x, requires_grad=True) for x in xs]
    training = name in ("BatchNormalization",)
    y, z = ours(a if several else a[0], training=training), theirs(b if several else b[0], training=training)
    assert tuple(y.shape) == tuple(z.shape)
    sums = max(1.0, float(z.detach().abs().max()))  # float32 sums of at most a few hundred products
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=0, atol=5e-6 * sums)

    r = rng.standard_normal(tuple(z.shape)).astype(np.float32)
    (y * lamella.tensor(r)).sum().backward()
    (z * torch.tensor(r)).sum().backward()
    grads = [(p.grad.numpy(), q.grad.numpy()) for p, q in zip(a, b, strict=True)]
    for p, q in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        grads.append((p.grad.numpy(), q.value.grad.numpy()))
    for p, q in grads:
        np.testing.assert_allclose(p, q, rtol=0, atol=2e-5 * max(1.0, float(np.abs(q).max())))
    for p, q in zip(ours.get_weights(), theirs.get_weights(), strict=True):  # running statistics
        np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)

    free = [(None, *s[1:]) for s in shape] if several else (None, *shape[1:])
    assert tuple(ours.compute_output_shape(free)) == tuple(theirs.compute_output_shape(free))
    copy = type(ours).from_config(ours.get_config())
    assert copy.get_config() == ours.get_config()
    if ours.losses or theirs.losses:
        got = [float(v.item()) for v in ours.losses]
        assert got == pytest.approx([float(v) for v in theirs.losses], rel=1e-5)


def test_signatures() -> None:
    """Arguments have Keras' names, order and defaults."""
    import inspect

    def parameters(cls: Any) -> list[tuple[str, Any]]:
        own = inspect.signature(cls).parameters.values()
        kept = [p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        pairs = {(1, 1): 1, (2, 2): 2}
        return [(p.name, pairs.get(p.default, p.default) if p.default.__hash__ else p.default) for p in kept]

    skip = {"input_length"}  # an argument of earlier versions
    for name in sorted({c[0] for c in CASES} | {"Embedding", "Lambda", "SpatialDropout1D", "GaussianDropout"}):
        theirs = parameters(getattr(keras.layers, name))
        if theirs:  # else it takes **kwargs alone
            ours = [p for p in parameters(getattr(layers, name)) if p[0] not in skip]
            assert ours == [(n, 2 if (n, d) == ("pool_size", (2, 2)) else d) for n, d in theirs], name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("MaxNorm", {"max_value": 0.7}),
        ("MaxNorm", {"max_value": 0.7, "axis": [0, 1]}),
        ("NonNeg", {}),
        ("UnitNorm", {"axis": 1}),
        ("MinMaxNorm", {"min_value": 0.5, "max_value": 0.9, "rate": 0.4}),
    ],
)
def test_constraint(name: str, arguments: dict[str, Any]) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    ours = getattr(constraints, name)(**arguments)
    got = ours(lamella.tensor(w)).numpy()
    theirs = getattr(keras.constraints, name)(**arguments)
    np.testing.assert_allclose(got, theirs(torch.tensor(w)).numpy(), rtol=1e-6, atol=1e-7)
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_orthogonal_regularizer(mode: str) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    ours = regularizers.OrthogonalRegularizer(0.3, mode)
    theirs = keras.regularizers.OrthogonalRegularizer(0.3, mode)
    assert ours(lamella.tensor(w)).item() == pytest.approx(float(theirs(torch.tensor(w))), rel=1e-5)


@pytest.mark.parametrize("name", [
    "celu", "hard_shrink", "hard_silu", "hard_tanh", "log_sigmoid", "soft_shrink", "sparse_plus", "sparse_sigmoid",
    "squareplus", "tanh_shrink", "glu",
])  # fmt: skip
def test_activation(name: str) -> None:
    from lamella import activations

    x = (np.random.default_rng(0).standard_normal((50, 4)) * 2).astype(np.float32)
    a, b = lamella.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(activations, name)(a), getattr(keras.activations, name)(b)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-6, atol=2e-6)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=2e-6)


def _network(module: Any) -> Any:
    """Penalties, constraints, normalisation and several kinds of convolution in one."""
    L, R, C = module.layers, module.regularizers, module.constraints
    model = module.Sequential(
        [
            module.Input((8, 8, 3)),
            L.ZeroPadding2D(1),
            L.SeparableConv2D(6, 3, depthwise_regularizer=R.L2(1e-3), pointwise_constraint=C.NonNeg()),
            L.GroupNormalization(3),
            L.PReLU(shared_axes=[1, 2]),
            L.Conv2D(
                8, 3, strides=2, kernel_constraint=C.MaxNorm(0.5, axis=[0, 1, 2]), activity_regularizer=R.L1(1e-4)
            ),
            L.BatchNormalization(gamma_constraint="non_neg"),
            L.UpSampling2D(2),
            L.DepthwiseConv2D(3),
            L.GlobalAveragePooling2D(),
            L.Dense(4, kernel_constraint=C.UnitNorm(), bias_regularizer=R.L1L2(1e-3, 1e-3)),
        ]
    )
    return model


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_steps_of_training(optimizer: str) -> None:
    from lamella import keras as own

    rng = np.random.default_rng(3)
    x = rng.standard_normal((40, 8, 8, 3)).astype(np.float32)
    y = rng.standard_normal((40, 4)).astype(np.float32)
    ours, theirs = _network(own), _network(keras)
    theirs.set_weights(ours.get_weights())
    for model in (ours, theirs):
        model.compile(optimizer, "mse")
    ours.optimizer.learning_rate = 0.05 if optimizer == "sgd" else 0.01
    theirs.optimizer.learning_rate = 0.05 if optimizer == "sgd" else 0.01
    got = ours.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
    want = theirs.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
    # Batch statistics and the roots in Adam's step make small differences grow from step to step.
    np.testing.assert_allclose(got, want, rtol=2e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-3 if optimizer == "adam" else 5e-5)
    assert isinstance(ours, models.Sequential)
