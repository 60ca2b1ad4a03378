"""VGG16 and VGG19: structure, arguments, and weights from the files in which they are published."""

import hashlib
import json

import numpy as np
import pytest

import lamella
from lamella import applications, layers
from lamella.applications import VGG16, VGG19, imagenet_utils, vgg16


def small(**kwargs):
    return VGG16(weights=None, include_top=False, input_shape=(32, 32, 3), **kwargs)


def test_layers_are_keras():
    names = ["block1_conv1", "block1_conv2", "block1_pool", "block2_conv1", "block2_conv2", "block2_pool",
             "block3_conv1", "block3_conv2", "block3_conv3", "block3_pool", "block4_conv1", "block4_conv2",
             "block4_conv3", "block4_pool", "block5_conv1", "block5_conv2", "block5_conv3", "block5_pool"]  # fmt: skip
    model = small()
    assert model.name == "vgg16" and [m.name for m in model.layers][1:] == names
    assert model.count_params() == 14_714_688 and model.output.shape == (None, 1, 1, 512)
    model = VGG19(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert model.name == "vgg19" and model.count_params() == 20_024_384
    assert applications.vgg19.VGG19 is VGG19 and lamella.keras.applications.vgg16.VGG16 is VGG16


def test_the_top(monkeypatch):
    # Zeros rather than 138 million random numbers.
    monkeypatch.setattr(layers.Dense, "build", zeros(layers.Dense.build))
    model = VGG16(weights=None)
    assert model.count_params() == 138_357_544
    assert [m.name for m in model.layers][-4:] == ["flatten", "fc1", "fc2", "predictions"]
    assert name_of(model.layers[-1].activation) == "softmax" and model.output.shape == (None, 1000)
    model = VGG16(weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None, name="mine")
    assert (
        model.output.shape == (None, 7)
        and name_of(model.layers[-1].activation) in (None, "linear")
        and model.name == "mine"
    )


def name_of(activation):
    return getattr(activation, "__name__", activation)


def zeros(build):
    def quick(self, input_shape):
        self.kernel_initializer = np.zeros
        build(self, input_shape)

    return quick


def test_pooling_and_unknown_sizes():
    assert small(pooling="avg").output.shape == (None, 512)
    model = VGG16(weights=None, include_top=False, pooling="max")
    assert model.inputs[0].shape == (None, None, None, 3)
    assert model.predict(np.ones((1, 32, 48, 3), np.float32)).shape == (1, 512)


def test_on_another_models_output():
    inp = layers.Input((16, 16, 3))
    x = layers.UpSampling2D(2)(inp) if hasattr(layers, "UpSampling2D") else layers.Conv2DTranspose(3, 2, strides=2)(inp)
    model = VGG16(weights=None, include_top=False, input_tensor=x)
    assert model.inputs == [inp] and model.predict(np.ones((1, 16, 16, 3), np.float32)).shape == (1, 1, 1, 512)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"weights": "nothing.h5"}, "weights: expected None, 'imagenet' or a file"),
        ({"weights": "imagenet", "classes": 10}, "classes: expected 1000"),
        ({"weights": "imagenet", "input_shape": (64, 64, 3)}, r"input_shape: expected \(224, 224, 3\)"),
        ({"weights": "imagenet", "classifier_activation": "relu"}, "classifier_activation: expected None or 'softmax'"),
        ({"weights": "imagenet", "include_top": False, "input_shape": (64, 64, 1)}, "input_shape: expected 3 channels"),
        ({"weights": None, "include_top": False, "input_shape": (31, 64, 3)}, "sides of 32 or more"),
        ({"weights": None, "include_top": False, "input_shape": (64, 3)}, r"expected \(height, width, channels\)"),
        ({"weights": None, "input_shape": (None, None, 3)}, "expected known sizes"),
        ({"weights": None, "pooling": "sum"}, "pooling: expected None, 'avg' or 'max'"),
        ({"weights": None, "classes": 0}, "classes: expected a positive integer"),
    ],
)
def test_bad_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match):
        VGG16(**kwargs)


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("LAMELLA_MODELS", "KERAS_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "LAMELLA_MODELS").mkdir()
    return tmp_path / "LAMELLA_MODELS"


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def features(seed=0):
    """The convolutions of torchvision's network, with weights that are quickly made."""
    rng = np.random.default_rng(seed)
    state, place, channels = {}, 0, 3
    for count, filters in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            scale = np.float32(np.sqrt(2 / (9 * channels)))
            kernel = scale * rng.standard_normal((filters, channels, 3, 3), dtype=np.float32)
            state[f"features.{place}.weight"] = lamella.from_numpy(kernel)
            state[f"features.{place}.bias"] = lamella.from_numpy(rng.standard_normal(filters, dtype=np.float32))
            place, channels = place + 2, filters
        place += 1
    return state


@pytest.mark.parametrize("name", ["vgg16-397923af.pth", "vgg16.safetensors"])
def test_torchvisions_weights_take_keras_pixels(folder, offline, name):
    state = features()
    lamella.save(state, folder / name)
    model = VGG16(include_top=False, input_shape=(40, 40, 3))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3)).astype(np.float32)
    # torchvision's network, in its own layout and with its own normalisation.
    x = imagenet_utils.preprocess_input(pixels, mode="torch")
    nn = lamella.nn
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU())
    net.load_state_dict({"0.weight": state["features.0.weight"], "0.bias": state["features.0.bias"]})
    want = net(lamella.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).detach().numpy().transpose(0, 2, 3, 1)
    first = layers_up_to(model, "block1_conv1")
    got = first.predict(vgg16.preprocess_input(pixels))
    # Inside: the same up to rounding. At the border padding stands for a colour that differs by 0.01 deviations.
    np.testing.assert_allclose(got[:, 1:-1, 1:-1], want[:, 1:-1, 1:-1], atol=2e-4)
    np.testing.assert_allclose(got, want, atol=0.1)
    kernel = state["features.28.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("block5_conv3").get_weights()[0], kernel)


def layers_up_to(model, name):
    from lamella.models import Model

    return Model(model.input, model.get_layer(name).output)


def test_a_path(folder, tmp_path):
    lamella.save(features(), tmp_path / "w.pth")
    a = VGG16(weights=tmp_path / "w.pth", include_top=False, input_shape=(32, 32, 3))
    a.save_weights(tmp_path / "w.safetensors")
    b = VGG16(weights=str(tmp_path / "w.safetensors"), include_top=False, input_shape=(32, 32, 3))
    for p, q in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(p._data, q._data)


def test_keras_files(folder, offline):
    h5py = pytest.importorskip("h5py")
    a = small()
    with h5py.File(folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "w") as f:
        f.attrs["layer_names"] = [m.name.encode() for m in a.layers]
        for m in a.layers:
            g = f.create_group(m.name)
            arrays = m.get_weights()
            names = [f"{m.name}_{kind}_1:0" for kind in "Wb"][: len(arrays)]
            g.attrs["weight_names"] = [n.encode() for n in names]
            for n, array in zip(names, arrays, strict=True):
                g[n] = array
    b = VGG16(include_top=False, input_shape=(32, 32, 3))
    for p, q in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(p._data, q._data)


def test_without_a_file_the_error_says_where_to_put_one(folder, offline):
    with pytest.raises(FileNotFoundError) as e:
        VGG16(include_top=False, input_shape=(32, 32, 3))
    text = str(e.value)
    assert "no network" in text and str(folder) in text and "LAMELLA_MODELS" in text
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in text and "vgg16-397923af.pth" in text
    assert list(folder.iterdir()) == []


def test_files_with_other_weights(folder, tmp_path):
    state = features()
    state["features.2.weight"] = lamella.zeros(64, 64, 1, 1)
    lamella.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="block1_conv2: expected shapes"):
        VGG16(weights=tmp_path / "w.pth", include_top=False, input_shape=(32, 32, 3))
    del state["features.2.weight"]
    lamella.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"expected an array features\.2\.weight"):
        VGG16(weights=tmp_path / "w.pth", include_top=False, input_shape=(32, 32, 3))


# --- images in, names out -------------------------------------------------------------------------------------------


def test_preprocess_input():
    x = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    before = x.copy()
    want = x[..., ::-1].astype(np.float32) - np.float32([103.939, 116.779, 123.68])
    got = vgg16.preprocess_input(x)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(x, before)
    assert got.dtype == np.float32 and vgg16.preprocess_input(x.astype(np.float64)).dtype == np.float64
    np.testing.assert_array_equal(vgg16.preprocess_input(lamella.from_numpy(x)).numpy(), want)
    first = vgg16.preprocess_input(x.transpose(0, 3, 1, 2), data_format="channels_first")
    np.testing.assert_array_equal(first, want.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(imagenet_utils.preprocess_input(x, mode="tf"), x / 127.5 - 1, atol=1e-6)
    for bad in ({"mode": "x"}, {"data_format": "x"}):
        with pytest.raises(ValueError, match="expected"):
            imagenet_utils.preprocess_input(x, **bad)
    with pytest.raises(ValueError, match="3 channels"):
        vgg16.preprocess_input(np.zeros((2, 2)))


def test_decode_predictions(folder, monkeypatch):
    imagenet_utils._class_index.cache_clear()
    index = {str(i): [f"n{i:08}", f"class {i}"] for i in range(1000)}
    raw = json.dumps(index).encode()
    (folder / "imagenet_class_index.json").write_bytes(raw)
    preds = np.zeros((2, 1000), np.float32)
    preds[0, [5, 7, 9]] = 0.2, 0.5, 0.3
    preds[1, 999] = 1
    got = vgg16.decode_predictions(preds, top=3)
    assert [c[1] for c in got[0]] == ["class 7", "class 9", "class 5"] and got[1][0][:2] == ("n00000999", "class 999")
    assert got[0][0][2] == 0.5
    for bad in (preds[:, :10], preds[0]):
        with pytest.raises(ValueError, match="expected shape"):
            vgg16.decode_predictions(bad)
    with pytest.raises(ValueError, match="top"):
        vgg16.decode_predictions(preds, top=0)
    imagenet_utils._class_index.cache_clear()


def test_downloads_are_checked(folder, monkeypatch):
    import io

    from lamella.applications import _pretrained

    raw = b"some weights"
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: io.BytesIO(raw))
    for algorithm in ("md5", "sha256"):
        right = hashlib.new(algorithm, raw).hexdigest()
        file = _pretrained.File(f"w.{algorithm}", "https://example.invalid/w", algorithm, right[:8])
        assert _pretrained.fetch("weights", [file]).read_bytes() == raw
        wrong = file._replace(name="x", checksum="00000000")
        with pytest.raises(ValueError, match="the download has the wrong"):
            _pretrained.fetch("weights", [wrong])
        assert not (folder / "x").exists()
