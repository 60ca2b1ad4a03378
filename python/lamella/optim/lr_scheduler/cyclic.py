"""Learning rates that rise and fall, and momenta that fall and rise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..._errors import short
from .base import LRScheduler, per_group


class _WithMomentum(LRScheduler):
    """A schedule that sets the momentum too: "momentum", or the first of "betas"."""

    cycle_momentum: bool
    _momentum_key: str

    def _take_momentum(self, cycle: bool) -> None:
        self.cycle_momentum = bool(cycle)
        if not cycle:
            return
        keys = [k for k in ("betas", "momentum") if k in self.optimizer.defaults]
        if not keys:
            raise ValueError(
                f"{type(self).__name__}: cycle_momentum: expected an optimizer with momentum or betas, "
                f"got {type(self.optimizer).__name__}"
            )
        self._momentum_key = keys[0]

    def _set_momenta(self, momenta: list[float]) -> None:
        for group, m in zip(self.optimizer.param_groups, momenta, strict=True):
            group[self._momentum_key] = (m, *group["betas"][1:]) if self._momentum_key == "betas" else m


class CyclicLR(_WithMomentum):
    """Up from base_lr to max_lr and down again, over and over; step every batch (Smith 2017).

    Parameters
    ----------
    optimizer : Optimizer
    base_lr, max_lr : float or sequence of float
        The lowest and highest rate, for all groups or for each.
    step_size_up, step_size_down : int
        Steps of the way up and down; by default both take the same.
    mode : {"triangular", "triangular2", "exp_range"}
        Whether the height stays, is halved after each cycle, or falls by `gamma` at each step.
    gamma : float
    scale_fn : callable, optional
        Gives the height as a share, in the place of `mode`.
    scale_mode : {"cycle", "iterations"}
        Whether `scale_fn` is given the number of the cycle, from 1, or of the step.
    cycle_momentum : bool
        Whether the momentum falls from max_momentum to base_momentum as the rate rises.
    base_momentum, max_momentum : float or sequence of float
    last_epoch : int
    """

    def __init__(
        self,
        optimizer: Any,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"CyclicLR: mode: expected 'triangular', 'triangular2', 'exp_range' or a scale_fn, got {short(mode)}"
            )
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"CyclicLR: scale_mode: expected 'cycle' or 'iterations', got {short(scale_mode)}")
        self.optimizer = optimizer
        lows = per_group(optimizer, base_lr, "base_lr")
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows, strict=True):
                group["lr"] = group["initial_lr"] = float(low)
        self.max_lrs = [float(v) for v in per_group(optimizer, max_lr, "max_lr")]
        down = float(step_size_up) if step_size_down is None else float(step_size_down)
        if not (step_size_up > 0 and down > 0):
            raise ValueError(
                f"CyclicLR: step_size_up, step_size_down: expected positive numbers, got {step_size_up} and {down}"
            )
        self.total_size = float(step_size_up) + down
        self.step_ratio = float(step_size_up) / self.total_size
        self.mode, self.gamma, self.scale_mode, self._fn_scale = mode, gamma, scale_mode, scale_fn
        self._take_momentum(cycle_momentum)
        self.base_momentums = [float(v) for v in per_group(optimizer, base_momentum, "base_momentum")]
        self.max_momentums = [float(v) for v in per_group(optimizer, max_momentum, "max_momentum")]
        super().__init__(optimizer, last_epoch)
        self.base_lrs = [float(v) for v in lows]

    def _height(self, cycle: float) -> float:
        if self._fn_scale is not None:
            return self._fn_scale(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "exp_range":
            return self.gamma**self.last_epoch
        return 1.0 if self.mode == "triangular" else 1 / 2.0 ** (cycle - 1)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        share = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        share *= self._height(cycle)
        if self.cycle_momentum:
            momenta = zip(self.base_momentums, self.max_momentums, strict=True)
            self._set_momenta([high - (high - low) * share for low, high in momenta])
        return [low + (high - low) * share for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class OneCycleLR(_WithMomentum):
    """Up from max_lr / div_factor to max_lr, then down to the start divided by final_div_factor; step every batch.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or sequence of float
        The highest rate, for all groups or for each.
    total_steps : int, optional
        The length of the cycle; or `epochs` and `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
    pct_start : float
        The share of the way up.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Whether the momentum goes from max_momentum to base_momentum and back.
    base_momentum, max_momentum : float or sequence of float
    div_factor, final_div_factor : float
    three_phase : bool
        Whether the rate comes down to its start as fast as it went up, before it vanishes.
    last_epoch : int
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy: expected 'cos' or 'linear', got {short(anneal_strategy)}")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if isinstance(total_steps, bool) or int(total_steps) != total_steps or total_steps <= 0:
            raise ValueError(f"OneCycleLR: total_steps: expected a positive integer, got {short(total_steps)}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start: expected a number in [0, 1], got {short(pct_start)}")
        self.optimizer = optimizer
        self.total_steps, self.pct_start, self.anneal_strategy = total_steps, pct_start, anneal_strategy
        self.max_lrs = [float(v) for v in per_group(optimizer, max_lr, "max_lr")]
        self.div_factor, self.final_div_factor, self.three_phase = div_factor, final_div_factor, three_phase
        if last_epoch == -1:
            for group, peak in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = peak / div_factor
        self._take_momentum(cycle_momentum)
        self.base_momentums = [float(v) for v in per_group(optimizer, base_momentum, "base_momentum")]
        self.max_momentums = [float(v) for v in per_group(optimizer, max_momentum, "max_momentum")]
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[float]:
        """The steps at which the phases end."""
        up = self.pct_start * self.total_steps - 1
        return [up, 2 * up, self.total_steps - 1] if self.three_phase else [up, self.total_steps - 1]

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        if step >= self.total_steps:
            raise ValueError(f"OneCycleLR: expected at most {self.total_steps} steps, got {step + 1}")
        phases = self._phases()
        which = next((i for i, end in enumerate(phases) if step <= end), len(phases) - 1)
        begin = 0.0 if which == 0 else phases[which - 1]
        length = phases[which] - begin
        share = (step - begin) / length if length > 0 else 1.0
        rates, momenta = [], []
        for peak, low, high in zip(self.max_lrs, self.base_momentums, self.max_momentums, strict=True):
            start = peak / self.div_factor
            end = start / self.final_div_factor
            points = [start, peak, start, end] if self.three_phase else [start, peak, end]
            turns = [high, low, high, high] if self.three_phase else [high, low, high]
            rates.append(self._between(points[which], points[which + 1], share))
            momenta.append(self._between(turns[which], turns[which + 1], share))
        if self.cycle_momentum:
            self._set_momenta(momenta)
        return rates

    def _between(self, a: float, b: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return a + (b - a) * share
        return b + (a - b) / 2 * (1 + math.cos(math.pi * share))
