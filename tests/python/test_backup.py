"""Trainings that are killed go on, and end with the bits of those that were not."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models, optimizers
from lamella.utils.data import DataLoader, Dataset

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 1))).astype(np.float32)


class Killed(Exception):
    pass


class KillAt(callbacks.Callback):
    """Ends a training as a signal would: nothing that comes after is done."""

    def __init__(self, batch):
        self.left = batch

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Killed


def network(optimizer="adam", **kwargs):
    lamella.seed(3)
    np.random.seed(3)
    random.seed(3)
    model = models.Sequential([layers.Dense(5, "relu", input_shape=(6,)), layers.Dropout(0.3), layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"], **kwargs)
    return model


class Noisy(Dataset):
    """Samples that draw from NumPy's global stream."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i] + np.float32(0.1) * np.random.standard_normal(6).astype(np.float32), Y[i]


def endless():
    """Batches in an order that is drawn as they are."""
    while True:
        rows = np.random.permutation(len(X))
        for i in range(0, 48, 8):
            yield X[rows[i : i + 8]], Y[rows[i : i + 8]]


class Small(models.Model):
    """With a step of its own."""

    def __init__(self):
        super().__init__()
        self.dense, self.seen = layers.Dense(1), lamella.metrics.Mean("seen")

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        logs = super().train_step(data)
        self.seen.update_state(np.abs(data[1].numpy()))
        return {**logs, "seen": self.seen.result()}


def subclassed():
    lamella.seed(3)
    np.random.seed(3)
    model = Small()
    model(X[:1])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def two_outputs():
    network()  # for the seeds
    inputs = layers.Input((6,))
    h = layers.Dropout(0.2)(layers.Dense(4)(inputs))
    model = models.Model(inputs, [layers.Dense(1, name="a")(h), layers.Dense(1, name="b")(h)])
    model.compile("adam", "mse", metrics={"a": "mae"})
    return model


CASES = {
    "two outputs": (two_outputs, lambda: {"x": X, "y": [Y, -Y], "batch_size": 8, "validation_split": 0.2}),
    "arrays": (network, lambda: {"x": X, "y": Y, "batch_size": 8, "validation_split": 0.2}),
    "eagerly": (lambda: network(run_eagerly=True), lambda: {"x": X, "y": Y, "batch_size": 8}),
    "averages": (
        lambda: network(optimizers.SGD(0.05, momentum=0.9, use_ema=True, gradient_accumulation_steps=3)),
        lambda: {"x": X, "y": Y, "batch_size": 8, "shuffle": False},
    ),
    "schedule": (
        lambda: network(optimizers.RMSprop(optimizers.schedules.ExponentialDecay(0.1, 3, 0.5))),
        lambda: {"x": X, "y": Y, "batch_size": 8, "class_weight": {0: 1.0}, "steps_per_epoch": 5},
    ),
    "loader": (network, lambda: {"x": DataLoader(Noisy(), 8, shuffle=True)}),
    "generator": (network, lambda: {"x": endless(), "steps_per_epoch": 4}),
    "own step": (subclassed, lambda: {"x": X, "y": Y, "batch_size": 8}),
}


def run(make, data, folder, kill=None, save_freq="epoch", epochs=3):
    model = make()
    watch = [callbacks.BackupAndRestore(folder, save_freq), callbacks.ReduceLROnPlateau("loss", 0.5, 1)]
    if not isinstance(model.optimizer._learning_rate, float):
        del watch[1]
    stop = callbacks.EarlyStopping("loss", patience=50, restore_best_weights=True)
    kills = [] if kill is None else [KillAt(kill)]
    try:
        model.fit(**data(), epochs=epochs, verbose=0, callbacks=[*watch, stop, *kills])
    except Killed:
        return None
    return (
        model.get_weights(),
        model.history.history,
        model.history.epoch,
        stop.best_weights,
        model.optimizer.iterations,
    )


def same(one, two):
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        one, two = list(one.values()), list(two.values())
    if isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("save_freq", ["epoch", 3])
@pytest.mark.parametrize("case", CASES)
def test_interrupted_trainings_end_with_the_same_bits(case, save_freq, tmp_path):
    make, data = CASES[case]
    whole = run(make, data, tmp_path / "whole", save_freq=save_freq)
    assert not os.path.exists(tmp_path / "whole")
    for kill in (4, 6, 10):
        folder = tmp_path / f"killed {kill}"
        if run(make, data, folder, kill, save_freq) is None:
            run(make, data, folder, 3, save_freq)  # and once more, soon after
        same(run(make, data, folder, save_freq=save_freq), whole)


def test_the_place_of_the_callback_does_not_matter(tmp_path):
    def histories(first):
        model = network()
        backup = callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
        logs = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=float(epoch)))
        calls = [backup, logs] if first else [logs, backup]
        return model.fit(X, Y, epochs=2 if first else 3, verbose=0, callbacks=calls).history

    histories(True)
    assert histories(False)["mine"] == [0, 1, 2]


def test_a_finished_training_that_was_kept_is_not_done_again(tmp_path):
    one = network()
    backup = callbacks.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    one.fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    two = network()
    lamella.seed(9)
    history = two.fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    same(one.get_weights(), two.get_weights())
    assert history.epoch == [0, 1]


def test_a_broken_backup_gives_way_to_the_one_before(tmp_path):
    whole = network()
    whole.fit(X, Y, epochs=3, verbose=0)
    backup = callbacks.BackupAndRestore(tmp_path / "b", double_checkpoint=True, delete_checkpoint=False)
    network().fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    latest = tmp_path / "b" / "latest.safetensors"
    latest.write_bytes(latest.read_bytes()[:100])
    model = network()
    with pytest.warns(UserWarning, match="going on from the backup before"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[backup])
    same(model.get_weights(), whole.get_weights())


def test_what_does_not_fit_is_refused(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path / "b", 2)
    with pytest.raises(Killed):
        network().fit(X, Y, batch_size=8, verbose=0, callbacks=[backup, KillAt(3)])
    with pytest.raises(
        ValueError, match=r"interrupted within an epoch with \[rows, batch size\] \[50, 8\], got \[50, 16\]"
    ):
        network().fit(X, Y, batch_size=16, verbose=0, callbacks=[backup])
    other = models.Sequential([layers.Dense(1, input_shape=(6,))])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="the file's weights are not this model's"):
        other.fit(X, Y, batch_size=8, verbose=0, callbacks=[backup])
    for given in ({"backup_dir": ""}, {"backup_dir": "b", "save_freq": 0}, {"backup_dir": "b", "save_freq": "batch"}):
        with pytest.raises(ValueError, match=r"BackupAndRestore: (backup_dir|save_freq): expected"):
            callbacks.BackupAndRestore(**given)


PROGRAM = """
import sys, numpy as np, lamella
from lamella import callbacks, layers, models, optimizers
folder, save_freq = sys.argv[1], sys.argv[2]
lamella.seed(5)
rng = np.random.default_rng(0)
x = rng.standard_normal((4096, 20)).astype(np.float32)
y = (x[:, 0] > x[:, 1]).astype(np.int64)
hidden = layers.Dense(32, "relu", input_shape=(20,))
model = models.Sequential([hidden, layers.Dropout(0.2), layers.Dense(2, "softmax")])
model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
backup = callbacks.BackupAndRestore(f"{folder}/backup", "epoch" if save_freq == "epoch" else int(save_freq))
table = callbacks.CSVLogger(f"{folder}/log.csv")
tell = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, flush=True))
print("ready", flush=True)
history = model.fit(x, y, batch_size=32, epochs=16, verbose=0, validation_split=0.1, callbacks=[backup, table, tell])
np.savez(f"{folder}/end.npz", *model.get_weights(), **{k: np.array(v) for k, v in history.history.items()})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("save_freq", ["epoch", "37"])
def test_a_process_that_is_killed(save_freq, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    where = os.path.dirname(os.path.dirname(lamella.__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([where, os.environ.get("PYTHONPATH", "")])}

    def start(folder):
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(program), str(folder), save_freq]
        return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)

    with start(tmp_path / "whole") as process:
        process.communicate(timeout=60)
        assert process.returncode == 0
    folder, kills, rng = tmp_path / "killed", 0, random.Random(save_freq)
    for _ in range(4):
        with start(folder) as process:
            for _ in range(1 + rng.randrange(5)):  # some epochs, and a part of the next
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.005))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
    with start(folder) as process:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert kills and (folder / "end.npz").exists()
    whole, killed = (np.load(tmp_path / name / "end.npz") for name in ("whole", "killed"))
    assert whole.files == killed.files
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], killed[name], err_msg=name)
    assert (tmp_path / "whole" / "log.csv").read_text() == (folder / "log.csv").read_text()
