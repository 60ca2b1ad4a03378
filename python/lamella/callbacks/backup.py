"""Trainings that survive being killed."""

from __future__ import annotations

import os
import warnings
from typing import Any

from .. import _saving
from .._errors import short
from .._snapshot import (
    metric_states,
    optimizer_state,
    random_state,
    set_optimizer_state,
    set_random_state,
)
from ..autograd import as_array
from .base import Callback

__all__ = ["BackupAndRestore"]


class BackupAndRestore(Callback):
    """Saves where a training stands, and lets `fit` go on from there when it is run again.

    After an interruption, however sudden, the same program does the rest of the epochs and ends with the same weights,
    bit for bit, as without: weights, the optimizer's state, the random streams of Lamella, NumPy and Python, the order
    of the samples, metrics, history, and what the other callbacks remember are all kept. An iterable of batches must
    give the same batches again for the same random streams; those that are done are passed over.

    Parameters
    ----------
    backup_dir : str or path
        A folder for this training alone.
    save_freq : "epoch" or int
        After every epoch, or every so many batches too.
    double_checkpoint : bool
        Keep the last backup but one too, for the case that the last cannot be read.
    delete_checkpoint : bool
        Whether the backup goes when training has come to its end.
    """

    _comes_last = True
    _peers: tuple[Callback, ...] = ()  # the other callbacks of the run

    def __init__(
        self,
        backup_dir: Any,
        save_freq: Any = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not backup_dir:
            raise ValueError(f"BackupAndRestore: backup_dir: expected a path, got {short(backup_dir)}")
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                f"BackupAndRestore: save_freq: expected 'epoch' or an integer >= 1, got {short(save_freq)}"
            )
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._latest = os.path.join(self.backup_dir, "latest.safetensors")
        self._previous = os.path.join(self.backup_dir, "previous.safetensors")
        self._batches, self._seen = 0, -1
        if save_freq != "epoch":
            self.on_train_batch_end = self._count_batches  # type: ignore[method-assign]

    def on_train_begin(self, logs: Any = None) -> None:
        self._batches, self._seen = 0, -1
        for path in (self._latest, self._previous):
            if not os.path.exists(path):
                continue
            try:
                state = _saving.load_nested(path)
            except (OSError, ValueError) as e:
                if path == self._previous or not os.path.exists(self._previous):
                    raise
                warnings.warn(f"BackupAndRestore: {e}: going on from the backup before", stacklevel=2)
                continue
            self._restore(state, path)
            return

    def _count_batches(self, batch: int, logs: Any = None) -> None:
        self._batches += batch - self._seen
        self._seen = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._seen = self.model._fit_state.step - 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._save()

    def on_train_end(self, logs: Any = None) -> None:
        if self.delete_checkpoint:
            for path in (self._previous, self._latest):
                if os.path.exists(path):
                    os.remove(path)
            if os.path.isdir(self.backup_dir) and not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self) -> None:
        model, fit = self.model, self.model._fit_state
        state = {
            "weights": {name: p.numpy() for name, p, _ in model._named_weights()},
            "optimizer": optimizer_state(model),
            "random": random_state(model, fit.source),
            "fit": {"epoch": fit.epoch, "step": fit.step, "loss": fit.loss, "samples": fit.samples,
                    "position": fit.position, "origin": fit.origin, "layout": fit.layout,
                    "stop": bool(model.stop_training), "batches": self._batches},
            "metrics": metric_states(model.metrics) if fit.step else None,
            "callbacks": [[type(c).__name__, c.get_state()] for c in self._peers],
        }  # fmt: skip
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and os.path.exists(self._latest):
            os.replace(self._latest, self._previous)
        _saving.save_nested(state, self._latest)

    def _restore(self, state: Any, path: str) -> None:
        model, fit = self.model, self.model._fit_state
        if not isinstance(state, dict) or "fit" not in state:
            raise ValueError(f"BackupAndRestore: {path}: expected a backup, got another file")
        if not model.built:
            raise ValueError("BackupAndRestore: expected a model with weights: give its first layer an input_shape")
        saved = state["fit"]
        if saved["step"] and saved["layout"] != fit.layout:
            raise ValueError(
                f"BackupAndRestore: {path}: the training was interrupted within an epoch with [rows, batch size] "
                f"{saved['layout']}, got {fit.layout}"
            )
        model._assign({name: as_array(t) for name, t in state["weights"].items()}, path)
        set_optimizer_state(model, state["optimizer"])
        fit.epoch, fit.step, fit.loss, fit.samples = saved["epoch"], saved["step"], saved["loss"], saved["samples"]
        fit.position, fit.origin, fit.metrics = saved["position"], saved["origin"], state["metrics"]
        fit.random, model.stop_training, self._batches = state["random"], saved["stop"], saved["batches"]
        left = list(self._peers)
        for name, kept in state["callbacks"]:
            peer = next((c for c in left if type(c).__name__ == name), None)
            if peer is not None:
                left.remove(peer)
                peer.set_state(_as_given(kept))
        if not fit.position and not fit.step:
            set_random_state(state["random"], model, fit.source)
            fit.random = None


def _as_given(value: Any) -> Any:
    """A state with arrays where the file's reader gives tensors."""
    if isinstance(value, dict):
        return {k: _as_given(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_as_given(v) for v in value])
    return as_array(value).copy() if hasattr(value, "_data") else value
