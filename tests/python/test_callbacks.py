"""Callbacks: which hooks are called, in which order, with what."""

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(1)


X = np.random.default_rng(0).standard_normal((70, 4)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def compiled(**kwargs):
    model = models.Sequential([layers.Dense(1, input_shape=(4,))])
    model.compile("sgd", "mse", metrics=["mae"], **kwargs)
    return model


class Watch(callbacks.Callback):
    """Writes down every hook."""

    def __init__(self):
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen.append("train begin")

    def on_train_end(self, logs=None):
        self.seen.append("train end")

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(f"epoch {epoch} begin")

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(f"epoch {epoch} end")
        self.epoch_logs = dict(logs)

    def on_test_begin(self, logs=None):
        self.seen.append("test begin")

    def on_test_end(self, logs=None):
        self.seen.append("test end")
        self.test_logs = dict(logs)

    def on_predict_begin(self, logs=None):
        self.seen.append("predict begin")

    def on_predict_end(self, logs=None):
        self.seen.append("predict end")


class WatchBatches(Watch):
    def __init__(self):
        super().__init__()
        self.batch_logs = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(f"batch {batch} begin")

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(f"batch {batch} end")
        self.batch_logs.append(dict(logs))

    def on_test_batch_begin(self, batch, logs=None):
        self.seen.append(f"test batch {batch} begin")

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(f"test batch {batch} end")
        self.batch_logs.append(dict(logs))

    def on_predict_batch_begin(self, batch, logs=None):
        self.seen.append(f"predict batch {batch} begin")

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append(f"predict batch {batch} end")
        self.batch_logs.append(dict(logs))


def steps(kind, count):
    return [f"{kind} {i} {end}" for i in range(count) for end in ("begin", "end")]


def test_fit_calls_the_test_hooks_around_validation():
    watch = Watch()
    compiled().fit(X, Y, batch_size=32, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[watch])
    epochs = [[f"epoch {i} begin", "test begin", "test end", f"epoch {i} end"] for i in range(2)]
    assert watch.seen == ["train begin", *epochs[0], *epochs[1], "train end"]
    assert set(watch.test_logs) == {"loss", "mae"}
    assert {k: v for k, v in watch.epoch_logs.items() if k.startswith("val_")} == {
        f"val_{k}": v for k, v in watch.test_logs.items()
    }


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_fit_calls_the_hooks_of_every_batch(run_eagerly):
    watch = WatchBatches()
    compiled(run_eagerly=run_eagerly).fit(
        X, Y, batch_size=32, verbose=0, validation_data=(X[:40], Y[:40]), callbacks=[watch]
    )
    assert watch.seen == [
        "train begin", "epoch 0 begin", *steps("batch", 3), "test begin", *steps("test batch", 2), "test end",
        "epoch 0 end", "train end",
    ]  # fmt: skip
    assert all(set(logs) == {"loss", "mae"} for logs in watch.batch_logs)


@pytest.mark.parametrize("streaming", [False, True])
def test_evaluate_calls_its_hooks(streaming):
    watch, model = WatchBatches(), compiled()
    source = ((X[i : i + 32], Y[i : i + 32]) for i in (0, 32, 64)) if streaming else X
    got = model.evaluate(source, None if streaming else Y, verbose=0, callbacks=[watch], return_dict=True)
    assert watch.seen == ["test begin", *steps("test batch", 3), "test end"]
    # A plan sums the losses of several steps in another order than Python does.
    assert got == watch.batch_logs[-1] == pytest.approx(model.evaluate(X, Y, verbose=0, return_dict=True), rel=1e-6)
    assert watch.params["steps"] == (None if streaming else 3)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("most", [None, 2])
def test_predict_calls_its_hooks(streaming, most):
    watch, model = WatchBatches(), compiled()
    source = (X[i : i + 32] for i in (0, 32, 64)) if streaming else X
    got = model.predict(source, steps=most, verbose=0, callbacks=[watch])
    assert watch.seen == ["predict begin", *steps("predict batch", most or 3), "predict end"]
    np.testing.assert_array_equal(got, model.predict(X)[: 64 if most else None])
    np.testing.assert_array_equal(np.concatenate([logs["outputs"] for logs in watch.batch_logs]), got)


def test_predict_hooks_see_every_output_of_a_model():
    inputs = layers.Input((4,))
    model = models.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(3)(inputs)])
    watch = WatchBatches()
    got = model.predict(X, batch_size=50, callbacks=[watch])
    assert [tuple(a.shape for a in logs["outputs"]) for logs in watch.batch_logs] == [
        ((50, 2), (50, 3)),
        ((20, 2), (20, 3)),
    ]
    np.testing.assert_array_equal(got[1][50:], watch.batch_logs[1]["outputs"][1])


def test_the_old_names_of_the_batch_hooks_work():
    seen = []

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            seen.append(("end", batch))

    compiled().fit(X, Y, batch_size=64, verbose=0, callbacks=[Old()])
    assert seen == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]


@pytest.mark.parametrize("hook", ["on_batch_end", "on_train_batch_begin", "on_train_batch_end"])
def test_functions_as_hooks_of_batches(hook):
    seen = []
    call = callbacks.LambdaCallback(**{hook: lambda batch, logs: seen.append(batch)})
    compiled().fit(X, Y, batch_size=16, verbose=0, callbacks=[call])
    assert seen == [0, 1, 2, 3, 4]


def test_steps_run_natively_where_no_hook_of_batches_is_defined():
    def needs(*given):
        hooks = callbacks.CallbackList(given)
        return hooks.needs_batches, hooks.needs_test_batches, hooks.needs_predict_batches

    stop, history = callbacks.EarlyStopping(), callbacks.History()
    assert needs(Watch(), stop, history, callbacks.ModelCheckpoint("m.safetensors")) == (False, False, False)
    assert needs(Watch(), callbacks.LambdaCallback(on_test_batch_end=print)) == (False, True, False)
    assert needs(callbacks.LambdaCallback(on_predict_batch_begin=print)) == (False, False, True)
    assert needs(callbacks.LambdaCallback(on_batch_begin=print)) == (True, False, False)
    assert needs(stop, WatchBatches()) == (True, True, True)


def test_unknown_hooks_and_callbacks_are_refused():
    with pytest.raises(TypeError, match=r"on_predict_batch_end.*'on_epoch'"):
        callbacks.LambdaCallback(on_epoch=print)
    for call in (compiled().evaluate, compiled().predict):
        with pytest.raises(TypeError, match="callbacks: expected Callback objects, got str"):
            call(X, callbacks=["x"])


class FakeModel:
    """As much of a model as a callback of epochs looks at."""

    stop_training = False

    def __init__(self):
        self.weights = None

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def stopped(losses, **settings):
    """(last epoch, epoch whose weights are left) for a run in which the monitored value takes these values."""
    stop, model = callbacks.EarlyStopping(monitor="loss", **settings), FakeModel()
    stop.set_model(model)
    for _ in range(2):  # the same object can be used again
        model.stop_training = False
        stop.on_train_begin()
        for epoch, loss in enumerate(losses):
            model.weights = epoch
            stop.on_epoch_end(epoch, {"loss": loss})
            if model.stop_training:
                break
        stop.on_train_end()
    return epoch, model.weights


NAN = float("nan")


# What Keras 3 does with the same values.
@pytest.mark.parametrize(
    ("losses", "settings", "expected"),
    [
        ([3, 2, 1, 1, 1, 1], {}, (3, 3)),
        ([3, 2, 1, 1, 1, 1], {"patience": 2}, (4, 4)),
        ([3, 2, 1, 1.5, 1.2, 0], {"patience": 2, "restore_best_weights": True}, (4, 2)),
        # a run that ends by itself goes back too
        ([3, 1, 2], {"patience": 9, "restore_best_weights": True}, (2, 1)),
        # the best epoch is kept even where no epoch beats the baseline
        ([3, 2, 2.5, 2.5], {"baseline": 0.1, "patience": 2, "restore_best_weights": True}, (2, 1)),
        # getting better without beating the baseline goes on, but uses up the patience
        ([5, 4, 3, 2, 1, 1.5, 1.4], {"baseline": 0.1, "patience": 2}, (5, 5)),
        ([5, 4, 3, 2, 1, 1.5, 1.4], {"baseline": 1.2, "patience": 2}, (6, 6)),
        # epochs before the first that is watched neither count nor are gone back to
        ([0, 5, 4, 4, 4], {"start_from_epoch": 1, "restore_best_weights": True}, (3, 2)),
        # improvements smaller than min_delta do not count
        ([3, 2.9, 2.8, 1], {"min_delta": 0.5, "restore_best_weights": True}, (1, 0)),
        ([3, 2.9, 2.8, 1], {"min_delta": 0.5, "patience": 3, "restore_best_weights": True}, (3, 3)),
        # the first epoch alone never stops
        ([NAN, 2, 1], {}, (2, 2)),
        ([2, NAN, 1], {"restore_best_weights": True}, (1, 0)),
        ([NAN, NAN, 1], {"restore_best_weights": True}, (1, 0)),
        ([1, 2, 3, 3], {"mode": "max", "restore_best_weights": True}, (3, 2)),
    ],
)
def test_early_stopping(losses, settings, expected):
    assert stopped(losses, **settings) == expected


@pytest.mark.parametrize("name", ["patience", "start_from_epoch"])
@pytest.mark.parametrize("value", [-1, 1.5, None, True])
def test_early_stopping_refuses_bad_numbers(name, value):
    with pytest.raises(ValueError, match=f"EarlyStopping: {name}: expected an integer >= 0, got"):
        callbacks.EarlyStopping(**{name: value})


def test_early_stopping_goes_back_to_the_best_epoch_of_a_model():
    model = compiled()
    model.optimizer.learning_rate = 0.05
    kept = []

    class Spoil(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(self.model.get_weights())
            if epoch == 1:
                logs["loss"] = 100.0

    stop = callbacks.EarlyStopping("loss", patience=2, baseline=1e-9, restore_best_weights=True)
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[Spoil(), stop])
    assert history.epoch == [0, 1]
    for a, b in zip(model.get_weights(), kept[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_fields(tmp_path):
    model = compiled()
    check = callbacks.ModelCheckpoint(tmp_path / "m-{epoch:02d}-{loss:.2f}.safetensors", save_weights_only=True)
    losses = model.fit(X, Y, epochs=2, verbose=0, callbacks=[check]).history["loss"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"m-{i + 1:02d}-{v:.2f}.safetensors" for i, v in enumerate(losses)
    ]


@pytest.mark.parametrize("field", ["{val_loss:.2f}", "{}", "{epoch", "{loss:q}"])
def test_checkpoint_with_an_unknown_field_says_which_there_are(tmp_path, field):
    path = str(tmp_path / f"b{field}.safetensors")
    with pytest.raises(ValueError, match="ModelCheckpoint: filepath: expected fields among epoch, loss, mae, got '"):
        compiled().fit(X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint(path)])


class StopAt(callbacks.Callback):
    """Stops evaluate and predict after a number of batches."""

    def __init__(self, last):
        super().__init__()
        self.last, self.seen = last, []

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(batch)
        self.model.stop_evaluating = batch >= self.last

    def on_predict_batch_end(self, batch, logs=None):
        self.seen.append(batch)
        self.model.stop_predicting = batch >= self.last


def test_evaluate_and_predict_can_be_stopped():
    model, stop = compiled(), StopAt(1)
    whole = model.predict(X, batch_size=8)
    first = model.evaluate(X[:16], Y[:16], batch_size=8, verbose=0)
    for x in (X, iter([(X[i : i + 8], Y[i : i + 8]) for i in range(0, 32, 8)])):
        stop.seen = []
        y = {"y": Y} if x is X else {}
        np.testing.assert_allclose(model.evaluate(x, batch_size=8, verbose=0, callbacks=[stop], **y), first, rtol=1e-6)
        assert stop.seen == [0, 1]
    stop.seen = []
    np.testing.assert_array_equal(model.predict(X, batch_size=8, callbacks=[stop]), whole[:16])
    assert stop.seen == [0, 1] and model.predict(X).shape == whole.shape
