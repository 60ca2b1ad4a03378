"""Saved models: round trips, hostile files, failed writes."""

import copy
import json
import os
import pickle
import struct
import warnings

import numpy as np
import pytest

import lamella
from lamella import _cpu, layers, models, nn, optim, optimizers


def small():
    lamella.seed(0)
    return models.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax", kernel_regularizer="l2"),
        ],
        name="small",
    )


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 8, 8, 1)).astype(np.float32), rng.integers(0, 3, 40)


def test_round_trip_goes_on_training_with_the_same_bits(tmp_path):
    x, y = data()
    model = small()
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = models.load_model(path)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    for m in (model, again):
        lamella.seed(9)
        m.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_safetensors_reader_sees_the_weights(tmp_path):
    path = tmp_path / "m.safetensors"
    model = small()
    model.save(path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    description = json.loads(header.pop("__metadata__")["lamella"])
    assert description["class_name"] == "Sequential" and description["graph"]["nodes"]
    first = header["conv2d.kernel"]
    begin, end = first["data_offsets"]
    got = np.frombuffer(raw[8 + length + begin : 8 + length + end], "<f4").reshape(first["shape"])
    np.testing.assert_array_equal(got, model.get_weights()[0])


def test_functional_round_trip(tmp_path):
    a = layers.Input((6,), name="a")
    h = layers.Dense(4, activation="relu")(a)
    model = models.Model(a, layers.Concatenate()([h, a]))
    model.save(tmp_path / "f.safetensors")
    again = models.load_model(tmp_path / "f.safetensors")
    x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_weights_alone(tmp_path):
    a, b = small(), small()
    a.layers[0].kernel._data[...] = 3
    a.save_weights(tmp_path / "w.safetensors")
    b.load_weights(tmp_path / "w.safetensors")
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)
    other = models.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError, match="missing"):
        other.load_weights(tmp_path / "w.safetensors")


def test_own_layers_need_custom_objects(tmp_path):
    class Twice(layers.Layer):
        def call(self, inputs):
            return inputs + inputs

    model = models.Sequential([layers.Dense(2, input_shape=(3,)), Twice()])
    model.save(tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="custom_objects"):
        models.load_model(tmp_path / "t.safetensors")
    again = models.load_model(tmp_path / "t.safetensors", custom_objects={"Twice": Twice})
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("cut", [0, 4, 8, 40, 500, -1])
def test_truncated_files(tmp_path, cut):
    path = tmp_path / "m.safetensors"
    small().save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:cut])
    with pytest.raises(ValueError, match=r"safetensors|file"):
        models.load_model(path)


def with_description(path, change):
    """The file with its description changed."""
    tensors, metadata = _cpu.safetensors_read(str(path))
    description = json.loads(metadata["lamella"])
    change(description)
    _cpu.safetensors_write(str(path), tensors, {"lamella": json.dumps(description)})


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(class_name="os.system"),
        lambda d: d.update(config=None),
        lambda d: d["config"].update(layers=None),
        lambda d: d["config"]["layers"][0].update(class_name="eval"),
        lambda d: d["config"]["layers"][0]["config"].update(filters=-5),
        lambda d: d["config"]["layers"][0]["config"].update(filters=7),
        lambda d: d["config"]["layers"][0]["config"].update(surprise=1),
        lambda d: d.update(format=99),
        lambda d: d.update(format="x"),
    ],
)
def test_hostile_descriptions(tmp_path, change):
    path = tmp_path / "m.safetensors"
    small().save(path)
    with_description(path, change)
    with pytest.raises((ValueError, TypeError)):
        models.load_model(path)


def test_a_file_of_another_program_is_weights_only(tmp_path):
    path = tmp_path / "x.safetensors"
    _cpu.safetensors_write(str(path), {"a": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="no model"):
        models.load_model(path)


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "m.safetensors"
    model = small()
    model.save(path)
    before = path.read_bytes()
    with pytest.raises(OSError):
        model.save(tmp_path / "missing" / "m.safetensors")
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError):
            model.save("/dev/full/m.safetensors")
    with pytest.raises(FileExistsError):
        model.save(path, overwrite=False)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.pt"])
def test_other_formats_are_named_in_the_error(tmp_path, name):
    with pytest.raises(ValueError, match="safetensors"):
        small().save(tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        models.load_model(tmp_path / "nothing.safetensors")


def test_a_training_checkpoint_resumes_with_the_same_bits(tmp_path):
    def new():
        lamella.seed(3)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        return net, optim.Adam([{"params": net[0].parameters(), "lr": 0.01}, {"params": net[2].parameters()}], lr=0.1)

    def train(net, opt, steps):
        for _ in range(steps):
            opt.zero_grad()
            (net(x) ** 2).mean().backward()
            opt.step()

    x = lamella.tensor(np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32))
    net, opt = new()
    train(net, opt, 3)
    path = tmp_path / "checkpoint.safetensors"
    extra = {"epoch": 3, "best": 0.25, "name": "a", "shape": (1, [2, None]), "a.b": x, "a": {"b": x + 1}}
    lamella.save({"model": net.state_dict(), "optimizer": opt.state_dict(), **extra}, path)
    train(net, opt, 3)

    again, opt2 = new()
    found = lamella.load(path)
    assert {k: found[k] for k in ("epoch", "best", "name", "shape")} == {k: extra[k] for k in list(extra)[:4]}
    np.testing.assert_array_equal(found["a.b"].numpy() + 1, found["a"]["b"].numpy())
    again.load_state_dict(found["model"])
    opt2.load_state_dict(found["optimizer"])
    train(again, opt2, 3)
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    with pytest.raises(TypeError, match="optimizer: expected tensors"):
        lamella.save({"model": net.state_dict(), "optimizer": opt}, path)
    assert lamella.load(path)["epoch"] == 3  # a refused save leaves the file


class Scaled(layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def distance(y_true, y_pred):
    return (y_true - y_pred).abs().mean(-1)


def halving(step):
    return 0.1 * 0.5**step


def test_the_users_layers_losses_metrics_and_schedules_are_found_by_name(tmp_path):
    x, y = np.random.default_rng(0).random((2, 30, 4)).astype(np.float32)
    inner = models.Sequential([layers.Dense(4), Scaled(3.0)])
    model = models.Sequential([layers.Input((4,)), inner])
    model.compile(optimizers.Adam(halving), distance, metrics=["mae", distance])
    model.fit(x, y, epochs=2, verbose=0)
    path = tmp_path / "m.safetensors"
    model.save(path)
    with pytest.raises(ValueError, match=f"{path}.*custom_objects.*got 'Scaled'"):
        models.load_model(path)
    with pytest.warns(UserWarning, match="distance.*custom_objects"):
        models.load_model(path, {"Scaled": Scaled})
    again = models.load_model(path, {"Scaled": Scaled, "distance": distance, "halving": halving})
    for m in (model, again):
        lamella.seed(5)
        m.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.evaluate(x, y, verbose=0, return_dict=True).keys() == {"loss", "mae", "distance"}


def test_what_has_no_name_is_not_saved_and_that_is_said(tmp_path):
    model = small()
    model.compile("adam", lambda y_true, y_pred: (y_true - y_pred).abs().mean(-1))
    with pytest.warns(UserWarning, match="what compile was given is not saved: .*lambda"):
        model.save(tmp_path / "m.safetensors")
    assert models.load_model(tmp_path / "m.safetensors").predict(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["config"]["layers"][-1]["config"].update(units=2 * 10**7),
        lambda d: d["config"]["layers"][0]["config"].update(filters=10**12),
        lambda d: d["config"]["layers"][0]["config"].update(filters="many"),
        lambda d: d["config"]["layers"][0]["config"].update(filters=None),
        lambda d: d["config"].update(layers=3),
        lambda d: d["compile"].update(qetrics=[]),
        lambda d: d["compile"].update(loss={"class_name": [1], "config": {}}),
        lambda d: d["compile"]["optimizer"].update(config=[1]),
        lambda d: d.update(iterations=[]),
    ],
)
def test_hostile_descriptions_are_value_errors(tmp_path, change):
    model = small()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    path = tmp_path / "m.safetensors"
    model.save(path)
    with_description(path, change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, UserWarning), match=r"m\.safetensors"):
            models.load_model(path)


def test_missing_files_are_not_found_errors(tmp_path):
    for read in (models.load_model, small().load_weights, lamella.load):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.safetensors")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)


def test_models_built_apart_can_be_joined(tmp_path):
    def branch():
        x = layers.Input((4,))
        return models.Model(x, layers.Dense(3, "relu")(layers.Dense(5)(x)))

    a, b = branch(), branch()
    out = layers.Dense(2)(layers.Concatenate()([a.output, b.output]))
    joined = models.Model([a.input, b.input], out)
    x, y = np.random.default_rng(0).random((2, 6, 4)).astype(np.float32)
    expected = joined.predict([x, y], verbose=0)
    assert len({id(w) for w in joined.weights}) == 10
    assert joined.get_layer("dense_4") is joined.layers[-1]
    assert len(joined.input_names) == 2 and joined.input_names[0] != joined.input_names[1]
    for model, data in ((joined, [x, y]), (a, x), (b, y)):
        path = tmp_path / "m.safetensors"
        before = model.predict(data, verbose=0)
        model.save(path)
        np.testing.assert_array_equal(models.load_model(path).predict(data, verbose=0), before)
    named = dict(zip(joined.input_names, (x, y), strict=True))
    np.testing.assert_array_equal(joined.predict(named, verbose=0), expected)
    twice = layers.Dense(3, name="same")
    with pytest.raises(ValueError, match="again"):
        models.Sequential([twice, twice])
    with pytest.raises(ValueError, match="unique names"):
        models.Sequential([twice, layers.Dense(3, name="same")])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda obj: pickle.loads(pickle.dumps(obj))])
def test_copies_of_models_and_optimizers_train_on_alike(copied):
    x, y = np.random.default_rng(0).random((20, 4)).astype(np.float32), np.arange(20) % 3
    model = models.Sequential([layers.Dense(8, "relu", input_shape=(4,)), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    twin = copied(model)
    for m in (model, twin):
        m.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    net = nn.Linear(4, 2)
    pair = net, optim.Adam([{"params": [net.weight], "lr": 0.1}, {"params": [net.bias]}])

    def step(net, optimizer):
        optimizer.zero_grad()
        net(lamella.tensor(x)).sum().backward()
        optimizer.step()

    step(*pair)
    twins = copied(pair)
    for p in (pair, twins):
        step(*p)
    np.testing.assert_array_equal(net.weight.numpy(), twins[0].weight.numpy())
    assert twins[1].param_groups[0]["lr"] == 0.1
