"""Schedules made of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..._errors import short
from .base import LRScheduler


class SequentialLR(LRScheduler):
    """One schedule after the other, changing at the milestones."""

    def __init__(
        self, optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        _check(type(self).__name__, schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: milestones: expected {len(schedulers) - 1}, got {len(milestones)}")
        self._fn_schedulers = list(schedulers)
        self.milestones = list(milestones)
        self.optimizer = optimizer
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._fn_schedulers[0].step(0)
        self._last_lr = self._fn_schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        which = bisect_right(self.milestones, self.last_epoch)
        current = self._fn_schedulers[which]
        if which > 0 and self.milestones[which - 1] == self.last_epoch:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            current.step(0)
        else:
            current.step()
        self._last_lr = current.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions, with the states of the schedules."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._fn_schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        _load(self, self._fn_schedulers, state_dict)


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each step is a step of all, one after the other.

    Parameters
    ----------
    schedulers : sequence of LRScheduler
        Of one optimizer.
    optimizer : Optimizer, optional
        Default: that of the schedules.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Any = None) -> None:
        optimizer = _check("ChainedScheduler", schedulers, optimizer)
        self._fn_schedulers = list(schedulers)
        self.optimizer = optimizer
        self._last_lr = self._now()

    def step(self, epoch: int | None = None) -> None:
        if epoch is not None:
            raise TypeError(f"ChainedScheduler: step: epoch: expected None, got {short(epoch)}")
        for scheduler in self._fn_schedulers:
            scheduler.step()
        self._last_lr = self._now()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions, with the states of the schedules."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._fn_schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        _load(self, self._fn_schedulers, state_dict)


def _check(name: str, schedulers: Sequence[LRScheduler], optimizer: Any) -> Any:
    """The one optimizer of all schedules."""
    if not schedulers:
        raise ValueError(f"{name}: schedulers: expected at least one, got none")
    for i, s in enumerate(schedulers):
        if not isinstance(s, LRScheduler):
            raise TypeError(f"{name}: schedulers: expected schedules, got {type(s).__name__} at {i}")
    own = schedulers[0].optimizer if optimizer is None else optimizer
    for i, s in enumerate(schedulers):
        if s.optimizer is not own:
            raise ValueError(f"{name}: schedulers: expected schedules of one optimizer, got another at {i}")
    return own


def _load(scheduler: LRScheduler, parts: list[LRScheduler], state: dict[str, Any]) -> None:
    states = state.get("_schedulers")
    if not isinstance(states, (list, tuple)) or len(states) != len(parts):
        raise ValueError(f"{type(scheduler).__name__}: load_state_dict: expected the states of {len(parts)} schedules")
    for part, own in zip(parts, states, strict=True):
        part.load_state_dict(own)
    scheduler.__dict__.update({k: v for k, v in state.items() if k != "_schedulers"})
