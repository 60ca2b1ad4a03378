"""Learning rates that change with the steps, in Keras' idiom."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from .._errors import short
from .._suggest import unknown_name

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule:
    """The base of schedules: subclasses write `__call__(step)`, and `get_config` if they are to be saved."""

    def __call__(self, step: Any) -> float:
        """The learning rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__}: __call__ is not defined")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        if type(self).__init__ is object.__init__:
            return {}
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        try:
            return {name: getattr(self, name) for name in names}
        except AttributeError as e:
            raise NotImplementedError(f"{type(self).__name__}: get_config is not defined") from e

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """A schedule from what `get_config` gave."""
        return cls(**config)


def _steps(cls: str, name: str, value: Any) -> Any:
    if not float(value) > 0:
        raise ValueError(f"{cls}: {name}: expected a number > 0, got {short(value)}")
    return value


class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool
        Take ``step // decay_steps``.
    name : str
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, bool(staircase)
        self.decay_steps, self.name = _steps("ExponentialDecay", "decay_steps", decay_steps), name

    def __call__(self, step: Any) -> float:
        passed = float(step) / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(passed) if self.staircase else passed)


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and including the step ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : list of int
    values : list of float
        One more than boundaries.
    name : str
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"PiecewiseConstantDecay: values: expected {len(boundaries) + 1}, one more than boundaries, "
                f"got {len(values)}"
            )
        if any(b <= a for a, b in zip(boundaries, list(boundaries)[1:], strict=False)):
            raise ValueError(f"PiecewiseConstantDecay: boundaries: expected rising steps, got {list(boundaries)}")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> float:
        return float(self.values[sum(float(step) > b for b in self.boundaries)])


class PolynomialDecay(LearningRateSchedule):
    """From initial_learning_rate to end_learning_rate along ``(1 - step / decay_steps) ** power``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    end_learning_rate, power : float
    cycle : bool
        Begin again beyond decay_steps, over the next multiple of it.
    name : str
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate, self.end_learning_rate = initial_learning_rate, end_learning_rate
        self.decay_steps, self.power = _steps("PolynomialDecay", "decay_steps", decay_steps), power
        self.cycle, self.name = bool(cycle), name

    def __call__(self, step: Any) -> float:
        step, length = float(step), float(self.decay_steps)
        if self.cycle:
            length *= max(1, math.ceil(step / length))
        left = 1 - min(step, length) / length
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


class InverseTimeDecay(LearningRateSchedule):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool
        Take ``step // decay_steps``.
    name : str
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_rate, self.staircase = initial_learning_rate, decay_rate, bool(staircase)
        self.decay_steps, self.name = _steps("InverseTimeDecay", "decay_steps", decay_steps), name

    def __call__(self, step: Any) -> float:
        passed = float(step) / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(passed) if self.staircase else passed))


class CosineDecay(LearningRateSchedule):
    """Half a cosine down to ``alpha`` times the rate, after a linear warm-up if there is a `warmup_target`.

    Parameters
    ----------
    initial_learning_rate : float
        Where the decay starts; with a `warmup_target`, where the warm-up does.
    decay_steps : int
        Steps of the decay, those of the warm-up not counted.
    alpha : float
        The share that is left.
    name : str
    warmup_target : float, optional
        Where the warm-up ends and the decay starts.
    warmup_steps : int
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.alpha, self.name = initial_learning_rate, alpha, name
        self.decay_steps = _steps("CosineDecay", "decay_steps", decay_steps)
        if warmup_steps < 0:
            raise ValueError(f"CosineDecay: warmup_steps: expected an integer >= 0, got {short(warmup_steps)}")
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: Any) -> float:
        step, top = float(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            step, top = step - self.warmup_steps, self.warmup_target
        wave = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return top * ((1 - self.alpha) * wave + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine down to ``alpha`` times the rate, again and again.

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
    t_mul : float
        How much longer each period is than the one before.
    m_mul : float
        How much higher each starts.
    alpha : float
        The share that is left.
    name : str
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate, self.t_mul, self.m_mul = initial_learning_rate, t_mul, m_mul
        self.first_decay_steps = _steps("CosineDecayRestarts", "first_decay_steps", first_decay_steps)
        if t_mul < 1:
            raise ValueError(f"CosineDecayRestarts: t_mul: expected a number >= 1, got {short(t_mul)}")
        self.alpha, self.name = alpha, name

    def __call__(self, step: Any) -> float:
        left, length, restarts = float(step), float(self.first_decay_steps), 0
        if self.t_mul == 1:
            restarts = int(left // length)
            left -= restarts * length
        while left >= length:
            left -= length
            length *= self.t_mul
            restarts += 1
        wave = 0.5 * self.m_mul**restarts * (1 + math.cos(math.pi * left / length))
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)


_CLASSES: dict[str, type[LearningRateSchedule]] = {
    c.__name__: c
    for c in (
        ExponentialDecay, PiecewiseConstantDecay, PolynomialDecay, InverseTimeDecay, CosineDecay, CosineDecayRestarts
    )
}  # fmt: skip


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The class name and configuration of a schedule."""
    return {"class_name": type(learning_rate_schedule).__name__, "config": learning_rate_schedule.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> LearningRateSchedule:
    """A schedule from what `serialize` gave; other classes are looked up in `custom_objects`."""
    known = {**_CLASSES, **(custom_objects or {})}
    name = config.get("class_name")
    if name not in known:
        raise unknown_name("learning-rate schedule", name, known)
    return known[name].from_config(config.get("config", {}))  # type: ignore[no-any-return]
