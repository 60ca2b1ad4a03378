"""Callbacks that change the optimizer or the weights, or stop a training that has failed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .._errors import short
from .base import Callback

__all__ = ["LearningRateScheduler", "SwapEMAWeights", "TerminateOnNaN"]


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        Called with (epoch, learning rate) or (epoch), gives the new learning rate.
    verbose : int
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule: expected a function, got {type(schedule).__name__}")
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_rate = True
        except TypeError:
            self._takes_rate = False
        except ValueError:
            self._takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate else self.schedule(epoch)
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)):
            raise TypeError(
                f"LearningRateScheduler: schedule: expected a function that gives a float, got {short(rate)}"
            )
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class TerminateOnNaN(Callback):
    """Stops training at the batch whose loss is NaN or infinite.

    Parameters
    ----------
    raise_error : bool
        Raise a RuntimeError rather than end `fit`.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = bool(raise_error)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"TerminateOnNaN: batch {batch}: the loss is {loss}")
            print(f"Batch {batch}: the loss is {loss}: training stops")
            self.model.stop_training = True


class SwapEMAWeights(Callback):
    """Puts the optimizer's moving averages in the weights' place while a model is evaluated or used.

    Parameters
    ----------
    swap_on_epoch : bool
        Swap at the end of each epoch rather than for the validation alone, so that callbacks that come after this one
        save the averages; they are swapped back when the next epoch begins.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if getattr(model, "optimizer", None) is not None and not getattr(model.optimizer, "use_ema", False):
            raise ValueError("SwapEMAWeights: expected an optimizer with use_ema=True, got one without")

    def _swap(self, on: bool) -> None:
        if self.model.optimizer._swapped != on:
            self.model.optimizer.swap_ema(self.model.trainable_variables)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._swap(True)

    def on_train_end(self, logs: Any = None) -> None:
        self._swap(False)  # fit itself ends with the averages

    def on_test_begin(self, logs: Any = None) -> None:
        if not self.swap_on_epoch:
            self._swap(True)

    def on_test_end(self, logs: Any = None) -> None:
        if not self.swap_on_epoch:
            self._swap(False)

    def on_predict_begin(self, logs: Any = None) -> None:
        if not self.swap_on_epoch:
            self._swap(True)

    def on_predict_end(self, logs: Any = None) -> None:
        if not self.swap_on_epoch:
            self._swap(False)
