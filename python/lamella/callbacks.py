"""Callbacks of `fit`, `evaluate` and `predict`."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "ModelCheckpoint", "ProgbarLogger"]


class Callback:
    """Hooks that `fit`, `evaluate` and `predict` call; override what is needed.

    `self.model` and `self.params` are set before the first. Hooks of batches cost time, and are only called where a
    callback defines one: without any, native code runs many steps at a go.
    """

    model: Any = None
    params: dict[str, Any]

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None: ...
    def on_train_end(self, logs: Any = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The old name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """The old name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Any = None) -> None: ...
    def on_test_end(self, logs: Any = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None: ...
    def on_predict_begin(self, logs: Any = None) -> None: ...
    def on_predict_end(self, logs: Any = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None: ...


_HOOKS = tuple(n for n in vars(Callback) if n.startswith("on_"))


class CallbackList:
    """Calls the same hook of several callbacks, in order.

    Attributes
    ----------
    needs_batches, needs_test_batches, needs_predict_batches : bool
        Whether any callback defines a hook of the batches of `fit`, `evaluate`, `predict`.
    """

    def __init__(self, callbacks: Sequence[Callback], model: Any, params: dict[str, Any]) -> None:
        for c in callbacks:
            if not isinstance(c, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {type(c).__name__}")
            c.set_model(model)
            c.set_params(params)
        self.callbacks = list(callbacks)
        self.needs_batches = self._defined("train_batch", "batch")
        self.needs_test_batches = self._defined("test_batch")
        self.needs_predict_batches = self._defined("predict_batch")

    def _defined(self, *kinds: str) -> bool:
        hooks = [f"on_{kind}_{end}" for kind in kinds for end in ("begin", "end")]
        # A hook may be a method of the class, or a function set on the object.
        return any(getattr(getattr(c, h), "__func__", None) is not getattr(Callback, h)
                   for c in self.callbacks for h in hooks)  # fmt: skip

    def __getattr__(self, hook: str) -> Any:
        if hook not in _HOOKS:
            raise AttributeError(hook)

        def call(*args: Any) -> None:
            for c in self.callbacks:
                getattr(c, hook)(*args)

        return call


class History(Callback):
    """Keeps what every epoch logged: `history["loss"]`, ...; `fit` returns one."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.epoch, self.history = [], {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch.append(epoch)
        for k, v in (logs or {}).items():
            self.history.setdefault(k, []).append(v)


class LambdaCallback(Callback):
    """A callback from functions, e.g. ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``."""

    def __init__(self, **hooks: Any) -> None:
        for name, fn in hooks.items():
            if name not in _HOOKS:
                raise TypeError(f"LambdaCallback: expected hooks among {', '.join(_HOOKS)}, got {name!r}")
            if fn is not None:
                setattr(self, name, fn)


class _Watcher(Callback):
    """Tells whether a monitored value got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode: expected 'auto', 'min' or 'max', got {mode!r}")
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
                raise ValueError(f"EarlyStopping: {name}: expected an integer >= 0, got {value!r}")
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
    """Saves the model, or its weights, after every epoch or every improvement.

    Parameters
    ----------
    filepath : str
        Where; may hold fields such as ``{epoch:02d}`` and ``{val_loss:.3f}``.
    monitor : str
    verbose : int
    save_best_only : bool
    save_weights_only : bool
    mode : {"auto", "min", "max"}
    save_freq : {"epoch"}
    initial_value_threshold : float, optional
        A value that must be beaten for the first save.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch":
            raise NotImplementedError(f"ModelCheckpoint: save_freq: expected 'epoch', got {save_freq!r}")
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = initial_value_threshold

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.save_best_only:
            value = self._value(logs)
            if value is None or not self._better(value, self.best):
                return
            self.best = value
        fields = {"epoch": epoch + 1, **(logs or {})}
        try:
            path = self.filepath.format(**fields)
        except (KeyError, IndexError, ValueError) as e:
            raise ValueError(
                f"ModelCheckpoint: filepath: expected fields among {', '.join(fields)}, got {self.filepath!r} ({e})"
            ) from e
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class ProgbarLogger(Callback):
    """A tqdm bar per epoch with the running loss and metrics; `fit(verbose=...)` adds it."""

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = verbose
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.verbose == 1:
            from tqdm import tqdm

            title = f"Epoch {epoch + 1}/{self.params['epochs']}"
            self._bar = tqdm(
                total=self.params.get("steps"), desc=title, unit="step", dynamic_ncols=True, mininterval=0.1
            )

    def progress(self, steps: int, logs: dict[str, float]) -> None:
        """Show that `steps` more steps are done."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update(steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs or {}), refresh=True)
            self._bar.close()
            self._bar = None
        elif self.verbose == 2:
            print(f"Epoch {epoch + 1}/{self.params['epochs']} - {format_logs(logs or {}, ' - ')}", flush=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def format_logs(logs: dict[str, float], separator: str = ", ") -> str:
    """`loss=0.1234, accuracy=0.9876`"""
    return separator.join(
        f"{k}={v:.4f}" if np.isfinite(v) and abs(v) < 1e4 else f"{k}={v:.4g}" for k, v in logs.items()
    )
