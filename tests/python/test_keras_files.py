"""Keras' HDF5 files: both layouts, by order and by name, what does not fit, hostile and damaged files."""

import os
import zipfile

import numpy as np
import pytest

from lamella import callbacks, layers, models

h5py = pytest.importorskip("h5py")


def sequential(units=5, name=None):
    return models.Sequential(
        [
            layers.Dense(units, activation="relu", input_shape=(4,), name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5),
            layers.Dense(2, name=name or "last"),
        ]
    )


def functional():
    inp = layers.Input((6, 4))
    x = layers.GRU(3, return_sequences=True)(inp)
    x = models.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.Dense(3)])(x)
    x = layers.LSTM(3)(x)
    return models.Model(inp, layers.Dense(2)(x))


def fill(model, seed):
    rng = np.random.default_rng(seed)
    for p in model.weights:
        p._data[...] = rng.uniform(0.5, 1.5, p.shape)
    return model


def equal(a, b):
    return all(np.array_equal(p._data, q._data) for p, q in zip(a.weights, b.weights, strict=True))


@pytest.mark.parametrize("make", [sequential, functional])
def test_weights_h5_round_trip(tmp_path, make):
    a, b = fill(make(), 0), fill(make(), 1)
    a.save_weights(tmp_path / "m.weights.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["m.weights.h5"]
    b.load_weights(tmp_path / "m.weights.h5")
    assert equal(a, b)
    with pytest.raises(FileExistsError):
        a.save_weights(tmp_path / "m.weights.h5", overwrite=False)
    with pytest.raises(ValueError, match="safetensors"):
        a.save_weights(tmp_path / "m.h5")


def test_the_layout_is_keras_3s(tmp_path):
    functional().save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5") as f:
        found = {}
        f.visititems(lambda n, o: found.update({n: o.shape}) if isinstance(o, h5py.Dataset) else None)
    assert found == {
        "layers/gru/cell/vars/0": (4, 9), "layers/gru/cell/vars/1": (3, 9), "layers/gru/cell/vars/2": (2, 9),
        "layers/sequential/layers/dense/vars/0": (3, 4), "layers/sequential/layers/dense/vars/1": (4,),
        **{f"layers/sequential/layers/batch_normalization/vars/{i}": (4,) for i in range(4)},
        "layers/sequential/layers/dense_1/vars/0": (4, 3), "layers/sequential/layers/dense_1/vars/1": (3,),
        "layers/lstm/cell/vars/0": (3, 12), "layers/lstm/cell/vars/1": (3, 12), "layers/lstm/cell/vars/2": (12,),
        "layers/dense/vars/0": (3, 2), "layers/dense/vars/1": (2,),
    }  # fmt: skip


def test_inside_a_keras_archive(tmp_path):
    a, b = fill(sequential(), 0), fill(sequential(), 1)
    a.save_weights(tmp_path / "m.weights.h5")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "m.weights.h5", "model.weights.h5")
    b.load_weights(tmp_path / "m.keras")
    assert equal(a, b)


def write_legacy(path, saved, root=""):
    """A file as Keras wrote it before 3: saved is a list of (layer, [(weight, array)])."""
    with h5py.File(path, "w") as f:
        g = f.create_group(root) if root else f
        g.attrs["layer_names"] = [name.encode() for name, _ in saved]
        for name, arrays in saved:
            layer = g.create_group(name)
            layer.attrs["weight_names"] = [n.encode() for n, _ in arrays]
            for n, a in arrays:
                layer[n] = a


def legacy_of(model, names=None):
    """Layers as the old format has them: of nested models, first all trainable weights."""
    saved = []
    for i, layer in enumerate(model.layers):
        trained, fixed = layer.trainable_weights, layer.non_trainable_weights
        arrays = layer.get_weights() if not (trained and fixed) else [p._data for p in [*trained, *fixed]]
        saved.append((names[i] if names else layer.name, [(f"{layer.name}/w{k}:0", a) for k, a in enumerate(arrays)]))
    return saved


@pytest.mark.parametrize("root", ["", "model_weights"])
@pytest.mark.parametrize("make", [sequential, functional])
def test_legacy_files_by_order(tmp_path, make, root):
    a, b = fill(make(), 0), fill(make(), 1)
    names = [f"other_{i}" for i in range(len(a.layers))]
    write_legacy(tmp_path / "m.h5", legacy_of(a, names), root)
    b.load_weights(tmp_path / "m.h5")
    assert equal(a, b)


def test_long_lists_of_names_are_cut_into_pieces(tmp_path):
    a, b = fill(sequential(), 0), fill(sequential(), 1)
    write_legacy(tmp_path / "m.h5", legacy_of(a))
    with h5py.File(tmp_path / "m.h5", "a") as f:
        names = list(f.attrs["layer_names"])
        del f.attrs["layer_names"]
        f.attrs["layer_names0"], f.attrs["layer_names1"] = names[:2], names[2:]
    b.load_weights(tmp_path / "m.h5")
    assert equal(a, b)


@pytest.mark.parametrize("kind", ["m.h5", "m.weights.h5", "m.safetensors"])
def test_by_name_takes_what_is_there(tmp_path, kind):
    a, b = fill(sequential(), 0), fill(sequential(name="new_head"), 1)
    before = b.get_layer("new_head").get_weights()
    write_legacy(tmp_path / kind, legacy_of(a)) if kind == "m.h5" else a.save_weights(tmp_path / kind)
    b.load_weights(tmp_path / kind, by_name=True)
    for name in ("first", "norm"):
        for p, q in zip(a.get_layer(name).get_weights(), b.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(p, q)
    for p, q in zip(before, b.get_layer("new_head").get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("kind", ["m.h5", "m.weights.h5", "m.safetensors"])
def test_what_does_not_fit_changes_nothing_unless_it_is_skipped(tmp_path, kind):
    a, b = fill(sequential(), 0), fill(sequential(units=6), 1)
    write_legacy(tmp_path / kind, legacy_of(a)) if kind == "m.h5" else a.save_weights(tmp_path / kind)
    before = b.get_weights()
    with pytest.raises(ValueError, match=r"expected shape \(4, 6\), got \(4, 5\)"):
        b.load_weights(tmp_path / kind)
    assert all(np.array_equal(p, q) for p, q in zip(before, b.get_weights(), strict=True))
    with pytest.warns(UserWarning, match="skipped"):
        b.load_weights(tmp_path / kind, skip_mismatch=True)
    # Only the bias of the last layer has its old shape in all layouts; whole layers go together in Keras' files.
    np.testing.assert_array_equal(b.get_layer("first").get_weights()[0], before[0])


def test_another_number_of_layers(tmp_path):
    a = fill(sequential(), 0)
    other = models.Sequential([layers.Dense(5, input_shape=(4,), name="first")])
    write_legacy(tmp_path / "m.h5", legacy_of(a))
    with pytest.raises(
        ValueError, match=r"the file has the weights of 3 layers \(first, norm, last\), the model has 1"
    ):
        other.load_weights(tmp_path / "m.h5")
    a.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="the model has no layers for layers/batch_normalization, layers/dense_1"):
        other.load_weights(tmp_path / "m.weights.h5")
    other.save_weights(tmp_path / "o.weights.h5")
    with pytest.raises(ValueError, match="the file has no layers/batch_normalization"):
        a.load_weights(tmp_path / "o.weights.h5")


def test_checkpoints_in_this_format(tmp_path):
    model = sequential()
    model.compile("sgd", "mse")
    x, y = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
    path = os.fspath(tmp_path / "{epoch}.weights.h5")
    model.fit(x, y, epochs=2, verbose=0,
              callbacks=[callbacks.ModelCheckpoint(path, monitor="loss", save_weights_only=True)])  # fmt: skip
    again = sequential()
    again.load_weights(tmp_path / "2.weights.h5")
    assert equal(model, again)


# --- hostile files ---------------------------------------------------------------------------------------------------


def test_truncated_files(tmp_path):
    path = tmp_path / "m.weights.h5"
    fill(sequential(), 0).save_weights(path)
    raw = path.read_bytes()
    model = fill(sequential(), 1)
    before = model.get_weights()
    for cut in [8, 100, len(raw) // 2, len(raw) - 1]:
        path.write_bytes(raw[:cut])
        with pytest.raises(ValueError, match=r"m\.weights\.h5"):
            model.load_weights(path)
    assert all(np.array_equal(p, q) for p, q in zip(before, model.get_weights(), strict=True))
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "nothing.weights.h5")


def test_links_to_elsewhere_are_refused(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as f:
        f["0"] = np.ones((4, 5), np.float32)
    model = sequential()
    kernel = "layers/dense/vars/0"
    for make in (
        lambda f: f.__setitem__(kernel, h5py.ExternalLink(str(secret), "0")),
        lambda f: f.__setitem__(kernel, h5py.SoftLink("/layers/dense_1/vars/0")),
        lambda f: f.create_dataset(kernel, (4, 5), "f4", external=[(str(secret), 0, 80)]),
        lambda f: f.create_virtual_dataset(kernel, virtual(str(secret))),
        lambda f: f.create_group(kernel),
        lambda f: f.__setitem__(kernel, np.array([b"text"])),
    ):
        model.save_weights(tmp_path / "m.weights.h5")
        with h5py.File(tmp_path / "m.weights.h5", "a") as f:
            del f[kernel]
            make(f)
        with pytest.raises(ValueError, match=r"refused|expected an array of numbers"):
            fill(sequential(), 1).load_weights(tmp_path / "m.weights.h5")


def virtual(path):
    layout = h5py.VirtualLayout((4, 5), "f4")
    layout[...] = h5py.VirtualSource(path, "0", shape=(4, 5))
    return layout


def test_a_file_cannot_ask_for_more_memory_than_the_model_has(tmp_path):
    model = sequential()
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "a") as f:
        del f["layers/dense/vars/0"]
        f.create_dataset("layers/dense/vars/0", (2**20, 2**20), "f4", chunks=(1024, 1024))
    with pytest.raises(ValueError, match=r"expected shape \(4, 5\)"):
        model.load_weights(tmp_path / "m.weights.h5")


def test_archives_that_unpack_to_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * 10**7)
    with pytest.raises(ValueError, match="not a readable file of weights"):
        sequential().load_weights(tmp_path / "m.keras")
    (tmp_path / "n.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="not a readable file of weights"):
        sequential().load_weights(tmp_path / "n.keras")
