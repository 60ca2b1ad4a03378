"""Layers that change images: in training only, in plans, saved and loaded, by seeds."""

import numpy as np
import pytest

import lamella
from lamella import layers, models, optimizers
from lamella.utils import data

rng = np.random.default_rng(0)
X = rng.uniform(0, 255, (6, 9, 12, 3)).astype(np.float32)

LAYERS = [
    layers.RandomFlip(),
    layers.RandomRotation(0.2),
    layers.RandomZoom(0.3, 0.2, fill_mode="constant", fill_value=7),
    layers.RandomZoom((-0.4, -0.2)),
    layers.RandomTranslation(0.3, (0.1, 0.4), fill_mode="wrap", interpolation="nearest"),
    layers.RandomContrast(0.5),
    layers.RandomBrightness((-0.3, 0.1)),
    layers.RandomErasing(),
    layers.RandomErasing((1, 1), fill_value=(1, 2, 3)),
    layers.RandomCrop(5, 7),
]


def ids(layer):
    return type(layer).__name__


@pytest.mark.parametrize("layer", LAYERS, ids=ids)
def test_training_alone_changes_images(layer):
    lamella.seed(2)
    changed = layer(X, training=True).numpy()
    lamella.seed(2)
    np.testing.assert_array_equal(layer(X, training=True).numpy(), changed)
    np.testing.assert_array_equal(layer(X).numpy().shape, changed.shape)  # nobody has said: as in training
    assert (layer(X, training=True).numpy() != changed).any()
    rest = layer(X, training=False).numpy()
    assert rest.shape == changed.shape
    if not isinstance(layer, layers.RandomCrop):
        np.testing.assert_array_equal(rest, X)
    assert layer(X[0], training=True).shape == changed.shape[1:]
    assert layer.compute_output_shape((None, 9, 12, 3)) == (None, *changed.shape[1:])
    again = type(layer).from_config(layer.get_config())
    lamella.seed(2)
    np.testing.assert_array_equal(again(X, training=True).numpy(), changed)
    with pytest.raises(ValueError, match=f"{layer.name}: inputs: expected images"):
        layer(X[0, 0], training=True)


@pytest.mark.parametrize("layer", LAYERS, ids=ids)
def test_a_seed_of_its_own(layer):
    def draw(seed, own):
        lamella.seed(seed)
        return type(layer).from_config({**layer.get_config(), "seed": own})(X, training=True).numpy()

    np.testing.assert_array_equal(draw(1, 7), draw(2, 7))
    assert (draw(1, 7) != draw(1, 8)).any()


def test_what_they_do():
    up, side = layers.RandomFlip("vertical"), layers.RandomFlip("horizontal")
    for fn, flipped in ((up, X[:, ::-1]), (side, X[:, :, ::-1])):
        got = fn(X, training=True).numpy()
        kept, turned = (np.all(got == a, (1, 2, 3)) for a in (X, flipped))
        assert (kept | turned).all()
    quarter = layers.RandomRotation((0.25, 0.25), fill_mode="constant")(X[:, :9, :9], training=True).numpy()
    np.testing.assert_allclose(quarter, np.rot90(X[:, :9, :9], axes=(1, 2)), atol=1e-3)  # counterclockwise
    out = layers.RandomZoom((1.0, 1.0), fill_mode="constant", interpolation="nearest")(
        X[:, :9, :9], training=True
    ).numpy()
    np.testing.assert_array_equal(out[:, 2:7, 2:7], X[:, :9:2, :9:2])
    assert (out[:, :2] == 0).all()
    moved = layers.RandomTranslation((1 / 3, 1 / 3), (-0.25, -0.25), fill_mode="constant", interpolation="nearest")(
        X, training=True
    ).numpy()
    np.testing.assert_array_equal(moved[:, 3:, :-3], X[:, :-3, 3:])
    bright = layers.RandomBrightness((0.5, 0.5), (0, 200))(X, training=True).numpy()
    np.testing.assert_allclose(bright, np.clip(X + 100, 0, 200), rtol=1e-6)
    flat = layers.RandomContrast((1, 0))
    lamella.seed(0)
    mean = X.mean((1, 2), keepdims=True)
    factor = (flat(X, training=True).numpy() - mean)[:, :1, :1, :1] / (X - mean)[:, :1, :1, :1]
    assert ((factor > 0) & (factor < 1)).all()
    crop = layers.RandomCrop(4, 5)(X, training=True).numpy()
    for image, part in zip(X, crop, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (4, 5, 3))[:, :, 0]
        assert (windows == part).all((2, 3, 4)).sum() == 1
    small = layers.RandomCrop(20, 10)
    np.testing.assert_array_equal(small(X, training=True).numpy(), small(X, training=False).numpy())


def classifier(*first):
    lamella.seed(3)
    model = models.Sequential([
        *first, layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ])  # fmt: skip
    model.compile(optimizers.SGD(0.01), lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def first_layers():
    return [
        layers.Input((9, 12, 3)), layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
        layers.RandomTranslation(0.1, 0.1), layers.RandomContrast(0.2), layers.RandomBrightness(0.2),
        layers.RandomErasing(), layers.RandomCrop(8, 8), layers.Rescaling(1 / 255),
    ]  # fmt: skip


def test_plans_draw_as_the_tape_does():
    y = np.arange(6) % 2
    losses = []
    for eagerly in (False, True):
        model = classifier(*first_layers())
        model.compile(optimizers.SGD(0.01), model._loss_arg, run_eagerly=eagerly)
        lamella.seed(8)
        history = model.fit(X.astype(np.uint8), y, batch_size=3, epochs=3, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
        if not eagerly:
            assert all(s is not None for s in model._engine._steps.values())  # a native plan
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_predictions_do_not_draw(tmp_path):
    model = classifier(*first_layers())
    first = model.predict(X)
    np.testing.assert_array_equal(first, model.predict(X))
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(models.load_model(tmp_path / "m.safetensors").predict(X), first)


def test_gradients_go_through():
    lamella.seed(5)
    x = lamella.tensor(X[:2], requires_grad=True)
    layers.RandomRotation(0.2)(x, training=True).sum().backward()
    # With reflection every output pixel shares out a weight of 1.
    assert x.grad.sum().item() == pytest.approx(X[:2].size, rel=1e-4)


def test_mixing():
    labels = np.eye(6, dtype=np.float32)
    for layer in (layers.MixUp(0.4), layers.CutMix(1.0)):
        lamella.seed(1)
        got = layer({"images": X, "labels": labels}, training=True)
        images, mixed = got["images"].numpy(), got["labels"].numpy()
        np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)
        assert (mixed != labels).any()
        if isinstance(layer, layers.MixUp):
            np.testing.assert_allclose(images, np.tensordot(mixed, X, (1, 0)), rtol=1e-4, atol=1e-3)
        else:
            for i in range(6):
                own = (images[i] == X[i]).all(-1).mean()
                assert own == pytest.approx(mixed[i, i], abs=1e-6)
        lamella.seed(1)
        np.testing.assert_array_equal(layer(X, training=True).numpy(), images)
        rest = layer({"images": X, "labels": labels}, training=False)
        np.testing.assert_array_equal(rest["labels"].numpy(), labels)
        seeded = type(layer).from_config({**layer.get_config(), "seed": 3})
        assert seeded.seed == 3
        with pytest.raises(ValueError, match="expected 'images' and 'labels'"):
            layer({"pictures": X})
        with pytest.raises(ValueError, match="labels: expected 6 rows"):
            layer({"images": X, "labels": labels[:2]}, training=True)


@pytest.mark.parametrize(
    "make,text",
    [
        (lambda: layers.RandomFlip("left"), "mode: expected 'horizontal'"),
        (lambda: layers.RandomRotation(2), "RandomRotation: factor"),
        (lambda: layers.RandomRotation(0.1, "mirror"), "fill_mode"),
        (lambda: layers.RandomRotation(0.1, interpolation="cubic"), "interpolation"),
        (lambda: layers.RandomZoom((0.1, 0.2, 0.3)), "height_factor"),
        (lambda: layers.RandomTranslation("x", 0), "height_factor"),
        (lambda: layers.RandomContrast(-1), "factor"),
        (lambda: layers.RandomBrightness(0.1, (1, 0)), "low < high"),
        (lambda: layers.RandomErasing(1.5), "factor"),
        (lambda: layers.RandomCrop(0, 2), "height"),
        (lambda: layers.MixUp(0), "alpha"),
    ],
)
def test_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_refused_kinds():
    with pytest.raises(NotImplementedError, match="data_format: expected 'channels_last'"):
        layers.RandomFlip(data_format="channels_first")
    with pytest.raises(TypeError, match="seed: expected an integer"):
        layers.RandomFlip(seed="x")


# --- what brings data into range ---


def test_rescaling():
    x = X.astype(np.uint8)
    np.testing.assert_allclose(layers.Rescaling(1 / 127.5, -1)(x).numpy(), x / 127.5 - 1, atol=1e-6)
    layer = layers.Rescaling([1, 2, 3], [0.5, 0, -1])
    np.testing.assert_allclose(layer(X).numpy(), X * [1, 2, 3] + [0.5, 0, -1], rtol=1e-5, atol=1e-4)
    assert layers.Rescaling.from_config(layer.get_config()).scale == [1, 2, 3]
    with pytest.raises(ValueError, match="scale"):
        layers.Rescaling("x")


def test_resizing_and_cropping():
    def bilinear(n, m):
        at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        w = np.zeros((m, n))
        w[np.arange(m), low] += 1 - (at - low)
        w[np.arange(m), np.minimum(low + 1, n - 1)] += at - low
        return w

    def resized(x, h, w):
        return np.einsum("ah,bw,nhwc->nabc", bilinear(x.shape[1], h), bilinear(x.shape[2], w), x)

    np.testing.assert_allclose(layers.Resizing(5, 20)(X).numpy(), resized(X, 5, 20), rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(layers.Resizing(18, 24, "nearest")(X).numpy(), X.repeat(2, 1).repeat(2, 2))
    cut = layers.Resizing(4, 4, crop_to_aspect_ratio=True)(X).numpy()
    np.testing.assert_allclose(cut, resized(X[:, :, 1:10], 4, 4), rtol=1e-4, atol=1e-2)
    padded = layers.Resizing(6, 6, pad_to_aspect_ratio=True, fill_value=3)(X).numpy()
    whole = np.full((6, 12, 12, 3), 3.0)
    whole[:, 1:10] = X
    np.testing.assert_allclose(padded, resized(whole, 6, 6), rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(layers.CenterCrop(4, 5)(X).numpy(), X[:, 2:6, 3:8])
    assert layers.CenterCrop(20, 5)(X).shape == (6, 20, 5, 3) and layers.CenterCrop(4, 5)(X[0]).shape == (4, 5, 3)
    for layer in (layers.Resizing(6, 6, pad_to_aspect_ratio=True), layers.CenterCrop(4, 5)):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="at most one"):
        layers.Resizing(2, 2, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True)
    for kwargs in ({"interpolation": "bicubic"}, {"antialias": True}):
        with pytest.raises(NotImplementedError, match=next(iter(kwargs))):
            layers.Resizing(2, 2, **kwargs)


@pytest.mark.parametrize("axis", [-1, (1, 2), None, (-1, 1)])
def test_normalization(axis, tmp_path):
    layer = layers.Normalization(axis)
    layer.adapt(X)
    keep = () if axis is None else tuple(a % 4 for a in np.atleast_1d(axis))
    over = tuple(a for a in range(4) if a not in keep)
    mean, std = X.mean(over, keepdims=True, dtype=np.float64), X.std(over, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(layer(X).numpy(), (X - mean) / std, rtol=1e-4, atol=1e-4)
    in_batches = layers.Normalization(axis)
    in_batches.adapt([X[:1], X[1:5], X[5:]])
    np.testing.assert_allclose(in_batches(X).numpy(), layer(X).numpy(), rtol=1e-4, atol=1e-4)
    from_loader = layers.Normalization(axis)
    from_loader.adapt(data.DataLoader(data.TensorDataset(X, np.arange(6)), batch_size=4))
    np.testing.assert_allclose(from_loader(X).numpy(), layer(X).numpy(), rtol=1e-4, atol=1e-4)
    given = layers.Normalization(axis, mean.reshape(np.squeeze(mean).shape), std.reshape(np.squeeze(std).shape) ** 2)
    np.testing.assert_allclose(given(X).numpy(), layer(X).numpy(), rtol=1e-4, atol=1e-4)
    back = layers.Normalization.from_config({**given.get_config(), "invert": True, "name": "back"})
    np.testing.assert_allclose(back(given(X)).numpy(), X, rtol=1e-4, atol=1e-2)
    model = models.Sequential([layers.Input((9, 12, 3)), layer, layers.Flatten(), layers.Dense(1)])
    model.save(tmp_path / "n.safetensors")
    np.testing.assert_array_equal(models.load_model(tmp_path / "n.safetensors").predict(X), model.predict(X))
    assert len(layer.weights) == 2 and not layer.trainable_weights


def test_normalization_refuses():
    with pytest.raises(ValueError, match="both or neither"):
        layers.Normalization(mean=1)
    with pytest.raises(ValueError, match="at most 1 dimensions"):
        layers.Normalization(mean=np.ones((2, 2)), variance=np.ones((2, 2)))
    with pytest.raises(ValueError, match="axis: expected axes"):
        layers.Normalization(5)(X)
    with pytest.raises(ValueError, match="given when the layer was made"):
        layers.Normalization(mean=1, variance=1).adapt(X)
    with pytest.raises(ValueError, match="at least one sample"):
        layers.Normalization().adapt(X[:0])
    layer = layers.Normalization()
    layer.adapt(X)
    with pytest.raises(ValueError, match="adapt: data: expected 4 dimensions"):
        layer.adapt(X[..., :2])
