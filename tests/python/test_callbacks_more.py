"""Callbacks that log, that change the learning rate, and that save."""

import csv
import struct

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models, optimizers
from lamella.callbacks import _events

X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(1)


def compiled(optimizer="sgd", **kwargs):
    model = models.Sequential([layers.Dense(3, name="first", input_shape=(4,)), layers.Dense(1, name="second")])
    model.compile(optimizer, "mse", metrics=["mae"], **kwargs)
    return model


def fit(*calls, epochs=3, model=None, **kwargs):
    model = model or compiled()
    return model, model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(calls), **kwargs).history


def rows(path, separator=","):
    with open(path, newline="") as f:
        return list(csv.reader(f, delimiter=separator))


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit(callbacks.CSVLogger(path))
    found = rows(path)
    assert found[0] == ["epoch", "loss", "mae"] and [r[0] for r in found[1:]] == ["0", "1", "2"]
    assert [float(r[1]) for r in found[1:]] == history["loss"]
    fit(callbacks.CSVLogger(path), epochs=1)
    assert len(rows(path)) == 2  # replaced
    fit(callbacks.CSVLogger(path, append=True), epochs=2)
    assert [r[0] for r in rows(path)] == ["epoch", "0", "0", "1"]
    logger = callbacks.CSVLogger(tmp_path / "other.csv", separator=";")
    fit(logger, validation_split=0.2, validation_freq=2)
    found = rows(tmp_path / "other.csv", ";")
    assert found[0] == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert found[1][3:] == ["NA", "NA"] and float(found[2][3]) > 0


def test_learning_rate_scheduler():
    seen = []

    def by_both(epoch, rate):
        seen.append((epoch, rate))
        return rate * 0.5

    _, history = fit(callbacks.LearningRateScheduler(by_both), model=compiled(optimizers.SGD(0.08)))
    assert seen == [(0, 0.08), (1, 0.04), (2, 0.02)]
    np.testing.assert_allclose(history["learning_rate"], [0.04, 0.02, 0.01])
    _, history = fit(callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)))
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.05, 0.1 / 3])
    with pytest.raises(TypeError, match="schedule: expected a function that gives a float, got None"):
        fit(callbacks.LearningRateScheduler(lambda epoch: None))
    with pytest.raises(TypeError, match="schedule: expected a function, got float"):
        callbacks.LearningRateScheduler(0.1)


class Tell(callbacks.Callback):
    """Puts given values into the logs."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["watched"] = self.values[epoch]


@pytest.mark.parametrize(
    ("values", "settings", "rates"),
    [
        ([3, 2, 2, 2, 2, 2], {"patience": 2}, [1, 1, 1, 0.5, 0.5, 0.25]),
        ([3, 2, 2, 2, 2, 2], {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ([3, 2, 2, 2, 2, 2], {"patience": 1, "min_lr": 0.4}, [1, 1, 0.5, 0.4, 0.4, 0.4]),
        ([1, 2, 3, 3.05, 3.05, 4], {"patience": 1, "mode": "max", "min_delta": 0.1}, [1, 1, 1, 0.5, 0.25, 0.25]),
        ([3, 2.95, 2.9, 2.85, 2.0, 1.0], {"patience": 2, "min_delta": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_reduce_on_plateau(values, settings, rates):
    reduce = callbacks.ReduceLROnPlateau("watched", factor=0.5, **settings)
    model = compiled(optimizers.SGD(1.0, clipnorm=1e-6))
    after = []
    look = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(float(model.optimizer.learning_rate)))
    fit(Tell(values), reduce, look, model=model, epochs=6)
    np.testing.assert_allclose(after, rates)


def test_reduce_on_plateau_refuses():
    with pytest.raises(ValueError, match="factor: expected a number below 1, got 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    with pytest.raises(ValueError, match="mode: expected 'auto', 'min' or 'max'"):
        callbacks.ReduceLROnPlateau(mode="least")
    with pytest.warns(UserWarning, match="ReduceLROnPlateau: monitor 'val_loss' is not among loss, mae"):
        fit(callbacks.ReduceLROnPlateau(), epochs=1)


@pytest.mark.filterwarnings("ignore:the loss became NaN")
def test_terminate_on_nan(capsys):
    x = X.copy()
    x[17] = np.nan
    seen = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model = compiled()
    model.fit(x, Y, batch_size=8, epochs=5, shuffle=False, verbose=0, callbacks=[watch, callbacks.TerminateOnNaN()])
    assert seen == [0, 1, 2] and "Batch 2: the loss is nan" in capsys.readouterr().out


def test_checkpoints_by_batches(tmp_path):
    path = str(tmp_path / "below" / "{epoch}-{batch}.safetensors")
    fit(callbacks.ModelCheckpoint(path, save_freq=3), epochs=2)  # of 5 batches
    assert sorted(p.name for p in (tmp_path / "below").iterdir()) == ["1-3.safetensors", "2-1.safetensors",
                                                                      "2-4.safetensors"]  # fmt: skip
    for bad in (0, True, "batch", 1.5):
        with pytest.raises(ValueError, match="save_freq: expected 'epoch' or an integer >= 1"):
            callbacks.ModelCheckpoint(path, save_freq=bad)


def test_checkpoints_of_the_best(tmp_path):
    path = str(tmp_path / "{epoch}.safetensors")
    best = callbacks.ModelCheckpoint(path, "watched", save_best_only=True, initial_value_threshold=2.5)
    fit(Tell([3, 2, 2.2, 1]), best, epochs=4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.safetensors", "4.safetensors"] and best.best == 1


def test_averages_are_swapped_for_validation():
    seen = {}

    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen["epoch end"] = self.model.get_weights()

        def on_test_begin(self, logs=None):
            seen["test"] = self.model.get_weights()

        def on_train_batch_end(self, batch, logs=None):
            seen["train"] = self.model.get_weights()

    for on_epoch in (False, True):
        model = compiled(optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))
        fit(callbacks.SwapEMAWeights(on_epoch), Look(), model=model, epochs=2, validation_split=0.2)
        final = model.get_weights()
        swapped = "epoch end" if on_epoch else "test"
        for a, b, c in zip(final, seen[swapped], seen["train"], strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.abs(a - c).max() > 1e-4
        if not on_epoch:
            np.testing.assert_array_equal(seen["epoch end"][0], seen["train"][0])
    with pytest.raises(ValueError, match="expected an optimizer with use_ema=True"):
        fit(callbacks.SwapEMAWeights())


# -- event files --


def records(path):
    """The records of a file, whose checksums are right."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == _events.masked_crc(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == _events.masked_crc(body)
        found.append(body)
        data = data[16 + length :]
    return found


def fields(message):
    """(number, value) of each field of a protocol buffer."""
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            value = message[at : at + size]
            at += size
            value = struct.unpack("<d" if kind == 1 else "<f", value)[0] if kind in (1, 5) else value
        found.append((key >> 3, value))
    return found


def scalars(folder):
    """{(tag, step): value} of all event files in a folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        for body in records(path):
            event = dict(fields(body))
            if 5 in event:
                value = dict(fields(dict(fields(event[5]))[1]))
                if 2 in value:
                    found[value[1].decode(), event.get(2, 0)] = value[2]
    return found


def test_checksums():
    # The check value of CRC-32C, masked as in TensorFlow's record files.
    crc = 0xE3069283
    assert _events.masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_tensorboard_files(tmp_path):
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2, write_steps_per_second=True)
    _, history = fit(board, validation_split=0.2, epochs=2)
    train, validation = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    for epoch in (0, 1):
        assert train["epoch_loss", epoch] == np.float32(history["loss"][epoch])
        assert validation["epoch_loss", epoch] == np.float32(history["val_loss"][epoch])
        assert validation["epoch_mae", epoch] == np.float32(history["val_mae"][epoch])
        assert train["epoch_learning_rate", epoch] == np.float32(0.01)
        assert train["epoch_steps_per_second", epoch] > 0
    assert sorted(step for tag, step in train if tag == "batch_loss") == [2, 4, 6, 8]
    bodies = [body for path in (tmp_path / "train").iterdir() for body in records(path)]
    assert dict(fields(bodies[0]))[3] == b"brain.Event:2"
    values = [dict(fields(dict(fields(dict(fields(b))[5]))[1])) for b in bodies if 5 in dict(fields(b))]
    histograms = {v[1].decode(): dict(fields(v[5])) for v in values if 5 in v}
    assert set(histograms) == {f"{n}/{w}/histogram" for n in ("first", "second") for w in ("kernel", "bias")}
    kernel = histograms["first/kernel/histogram"]
    assert kernel[3] == 12 and np.frombuffer(kernel[7]).sum() == 12 and len(kernel[6]) == len(kernel[7])
    nodes = [dict(fields(v)) for n, v in fields(dict(fields(bodies[1]))[4]) if n == 1]
    assert [(n[1], n[2], n.get(3)) for n in nodes] == [(b"first", b"Dense", None), (b"second", b"Dense", b"first")]


def test_tensorboard_reads_the_files(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    _, history = fit(board, validation_split=0.2)
    train, validation = (reader.EventAccumulator(str(tmp_path / p), {"histograms": 0}) for p in ("train", "validation"))
    train.Reload()
    validation.Reload()
    assert [e.step for e in train.Scalars("epoch_loss")] == [0, 1, 2]
    assert [e.value for e in train.Scalars("epoch_loss")] == [np.float32(v) for v in history["loss"]]
    assert [e.value for e in validation.Scalars("epoch_mae")] == [np.float32(v) for v in history["val_mae"]]
    assert [h.histogram_value.num for h in train.Histograms("first/kernel/histogram")] == [12, 12, 12]
    assert [n.name for n in train.Graph().node] == ["first", "second"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"write_images": True}, NotImplementedError, "write_images"),
        ({"profile_batch": 2}, NotImplementedError, "profile_batch"),
        ({"embeddings_freq": 1}, NotImplementedError, "embeddings_freq"),
        ({"update_freq": "step"}, ValueError, "update_freq: expected 'epoch', 'batch' or an integer"),
        ({"histogram_freq": -1}, ValueError, "histogram_freq: expected an integer >= 0"),
    ],
)
def test_tensorboard_refuses(given, error, text):
    with pytest.raises(error, match=f"TensorBoard: {text}"):
        callbacks.TensorBoard(**given)
