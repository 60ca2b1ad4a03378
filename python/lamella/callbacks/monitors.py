"""Callbacks that act on how a logged value develops."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import numpy as np

from .._errors import short
from .base import Callback

__all__ = ["EarlyStopping", "ModelCheckpoint", "ReduceLROnPlateau"]


class _Watcher(Callback):
    """Tells whether a monitored value got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode: expected 'auto', 'min' or 'max', got {short(mode)}")
        rising = mode == "max" or (
            mode == "auto" and any(k in monitor for k in ("acc", "auc", "precision", "recall", "f1"))
        )
        self.monitor = monitor
        self._sign = 1.0 if rising else -1.0
        self._min_delta = abs(min_delta)
        self.best: float | None = None

    def _value(self, logs: dict[str, float] | None) -> float | None:
        value = (logs or {}).get(self.monitor)
        if value is None:
            have = ", ".join(logs or {})
            warnings.warn(f"{type(self).__name__}: monitor {self.monitor!r} is not among {have}", stacklevel=4)
        return value

    def _better(self, value: float, than: float | None) -> bool:
        if than is None:
            return not math.isnan(value)
        return self._sign * (value - than) > self._min_delta


class EarlyStopping(_Watcher):
    """Stops when a monitored value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
        What to watch: "val_loss", "accuracy", ...
    min_delta : float
        The least change that counts.
    patience : int
        Epochs without improvement after which training stops.
    verbose : int
    mode : {"auto", "min", "max"}
    baseline : float, optional
        Epochs that do not beat it count against `patience`, even where they improve on the epochs before.
    restore_best_weights : bool
        Go back to the weights of the best epoch at the end.
    start_from_epoch : int
        The first epoch that is watched, counted from 0.
    """

    _kept = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        for name, value in (("patience", patience), ("start_from_epoch", start_from_epoch)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"EarlyStopping: {name}: expected an integer >= 0, got {short(value)}")
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        value = self._value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            # Better than before is the best so far; only better than the baseline counts for patience.
            if self.baseline is None or self._better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of epoch {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Watcher):
    """Saves the model, or its weights, after every epoch, every so many batches, or every improvement.

    A file appears whole or not at all, also where the process is killed.

    Parameters
    ----------
    filepath : str
        Where; may hold fields such as ``{epoch:02d}`` and ``{val_loss:.3f}``, and ``{batch}`` with a number as
        `save_freq`. Folders are made.
    monitor : str
    verbose : int
    save_best_only : bool
    save_weights_only : bool
    mode : {"auto", "min", "max"}
    save_freq : "epoch" or int
        After every epoch, or every so many batches, counted through all epochs.
    initial_value_threshold : float, optional
        A value that must be beaten for the first save.
    """

    _kept = ("best", "_batches")

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"ModelCheckpoint: save_freq: expected 'epoch' or an integer >= 1, got {short(save_freq)}")
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = initial_value_threshold
        self._batches, self._seen, self._epoch = 0, -1, 0
        if save_freq != "epoch":
            self.on_train_batch_end = self._count_batches  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._seen = epoch, -1

    def _count_batches(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._batches += batch - self._seen  # several with steps_per_execution
        self._seen = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, float]) -> None:
        fields = {"epoch": epoch + 1, **logs}
        try:
            path = self.filepath.format(**fields)
        except (KeyError, IndexError, ValueError) as e:
            raise ValueError(
                f"ModelCheckpoint: filepath: expected fields among {', '.join(fields)}, "
                f"got {short(self.filepath)} ({e})"
            ) from e
        if self.save_best_only:
            value = self._value(logs)
            if value is None or not self._better(value, self.best):
                if self.verbose:
                    print(f"Epoch {epoch + 1}: {self.monitor} did not improve from {self.best}")
                return
            self.best = value
        if os.path.dirname(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class ReduceLROnPlateau(_Watcher):
    """Multiplies the learning rate by `factor` when a monitored value has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
    factor : float
        Below 1.
    patience : int
        Epochs without improvement after which the rate falls.
    verbose : int
    mode : {"auto", "min", "max"}
    min_delta : float
        The least change that counts.
    cooldown : int
        Epochs after a change in which nothing is counted.
    min_lr : float
        The lowest rate.
    """

    _kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor: expected a number below 1, got {short(factor)}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        optimizer = self.model.optimizer
        value = self._value(logs)
        if logs is not None:
            logs["learning_rate"] = float(optimizer.learning_rate)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._better(value, self.best):
            self.best, self.wait = value, 0
            return
        if self.cooldown_counter > 0:
            return
        self.wait += 1
        old = float(optimizer.learning_rate)
        if self.wait >= self.patience and old > self.min_lr:
            optimizer.learning_rate = max(old * self.factor, self.min_lr)
            if self.verbose:
                print(f"Epoch {epoch + 1}: reducing the learning rate to {float(optimizer.learning_rate):g}")
            self.cooldown_counter, self.wait = self.cooldown, 0
