"""What callbacks are, and those that every `fit` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import short

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback", "ProgbarLogger"]


class Callback:
    """Hooks that `fit`, `evaluate` and `predict` call; override what is needed.

    `self.model` and `self.params` are set before the first. Hooks of batches cost time, and are only called where a
    callback defines one: without any, native code runs many steps at a go.

    Callbacks that remember something from epoch to epoch write `get_state` and `set_state`, or list the names of the
    attributes in `_kept`: `BackupAndRestore` keeps it with everything else that an interrupted training goes on from.
    """

    model: Any = None
    params: dict[str, Any]
    _kept: tuple[str, ...] = ()
    _comes_last = False  # after all other callbacks, whatever their order

    def get_state(self) -> Any:
        """What has been remembered: numbers, strings, arrays, and lists and dicts of them."""
        return {name: getattr(self, name, None) for name in self._kept}

    def set_state(self, state: Any) -> None:
        """Take over what `get_state` gave; called after `on_train_begin`."""
        for name in self._kept:
            setattr(self, name, state[name])

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

    Parameters
    ----------
    callbacks : list of Callback, optional
    add_history, add_progbar : bool
        Whether a `History` and a `ProgbarLogger` come after them, where there are none.
    model : Model, optional
    **params
        What callbacks see as their `params`.

    Attributes
    ----------
    needs_batches, needs_test_batches, needs_predict_batches : bool
        Whether any callback defines a hook of the batches of `fit`, `evaluate`, `predict`.
    """

    def __init__(
        self,
        callbacks: Sequence[Callback] | None = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        callbacks = list(callbacks or [])
        for wanted, kind in ((add_history, History), (add_progbar, ProgbarLogger)):
            if wanted and not any(isinstance(c, kind) for c in callbacks):
                callbacks.append(kind())
        for c in callbacks:
            if not isinstance(c, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {type(c).__name__}")
            c.set_model(model)
            c.set_params(params)
        self.callbacks = sorted(callbacks, key=lambda c: c._comes_last)
        for c in self.callbacks:
            if c._comes_last:
                c._peers = tuple(o for o in self.callbacks if o is not c)  # type: ignore[attr-defined]
        self.needs_batches = self._defined("train_batch", "batch")
        self.needs_test_batches = self._defined("test_batch")
        self.needs_predict_batches = self._defined("predict_batch")

    @property
    def keeps_place(self) -> bool:
        """Whether a callback saves where the training stands."""
        return any(c._comes_last for c in self.callbacks)

    def _defined(self, *kinds: str) -> bool:
        hooks = [f"on_{kind}_{end}" for kind in kinds for end in ("begin", "end")]
        # A hook may be a method of the class, or a function set on the object.
        return any(getattr(getattr(c, h), "__func__", None) is not getattr(Callback, h)
                   for c in self.callbacks for h in hooks)  # fmt: skip

    def __getattr__(self, hook: str) -> Any:
        if hook not in _HOOKS:
            raise AttributeError(hook)

        def call(*args: Any, **kwargs: Any) -> None:
            for c in self.callbacks:
                getattr(c, hook)(*args, **kwargs)

        return call


class History(Callback):
    """Keeps what every epoch logged: `history["loss"]`, ...; `fit` returns one."""

    _kept = ("epoch", "history", "_logged_at")

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._logged_at: dict[str, list[int]] = {}  # the epochs of these values: validation may run less often

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.epoch, self.history, self._logged_at = [], {}, {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch.append(epoch)
        for k, v in (logs or {}).items():
            self.history.setdefault(k, []).append(v)
            self._logged_at.setdefault(k, []).append(epoch)

    def plot(self, metrics: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Any:
        """Draw the curves of losses and metrics, those of validation beside them; needs Matplotlib.

        Parameters
        ----------
        metrics : list of str, optional
            Which, without "val_"; default: all.
        figsize : (float, float), optional
            Width and height in inches.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from .._plot_history import plot

        return plot(self, metrics, figsize)

    def _repr_html_(self) -> str:
        from .._summary import html_table

        found = {k: dict(zip(self._logged_at[k], v, strict=True)) for k, v in self.history.items()}
        rows = [[str(e + 1), *(format_value(v[e]) if e in v else "" for v in found.values())] for e in self.epoch]
        return html_table(["Epoch", *self.history], rows, right=range(len(self.history) + 1))


class LambdaCallback(Callback):
    """A callback from functions, e.g. ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``."""

    def __init__(self, **hooks: Any) -> None:
        for name, fn in hooks.items():
            if name not in _HOOKS:
                raise TypeError(f"LambdaCallback: expected hooks among {', '.join(_HOOKS)}, got {short(name)}")
            if fn is not None:
                setattr(self, name, fn)


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
    return separator.join(f"{k}={format_value(v)}" for k, v in logs.items())


def format_value(value: Any) -> str:
    """A logged number, or several, in few digits."""
    if np.ndim(value):
        return str(np.asarray(value).tolist())
    return f"{value:.4f}" if np.isfinite(value) and abs(value) < 1e4 else f"{value:.4g}"
