"""A progress bar in Keras' form."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._errors import short

__all__ = ["Progbar"]


class Progbar:
    """A line that shows how far a loop of one's own has come, with running means of numbers.

    Parameters
    ----------
    target : int or None
        Number of steps; None if unknown.
    width : int
        Of the bar, in characters.
    verbose : {0, 1, 2}
        Nothing, a line that is written again and again, or one line at the end.
    interval : float
        Seconds between two updates of the line.
    stateful_metrics : iterable of str, optional
        Names whose numbers are shown as they are; the means of others are shown.
    stateless_metrics : iterable of str, optional
        The other way round: only the means of these are shown.
    unit_name : str
        What the steps are called.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("Progbar: stateful_metrics, stateless_metrics: expected at most one of them, got both")
        if verbose not in (0, 1, 2):
            raise ValueError(f"Progbar: verbose: expected 0, 1 or 2, got {short(verbose)}")
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._seen = 0
        self._values: dict[str, list[float]] = {}  # the sum and what it is divided by
        self._start, self._shown, self._length = time.perf_counter(), 0.0, 0

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Say how far it is.

        Parameters
        ----------
        current : int
            Number of the step.
        values : list of (str, float), optional
            Numbers of the last steps.
        finalize : bool, optional
            Whether this is the end; default: whether the target is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            number = float(np.mean(np.asarray(value)))
            if finalize or not self._averaged(name):
                self._values[name] = [number, 1]
            else:
                total = self._values.setdefault(name, [0.0, 0])
                total[0] += number * steps
                total[1] += steps
        self._seen = current
        now = time.perf_counter()
        if self.verbose == 0 or (self.verbose == 2 and not finalize):
            return
        if self.verbose == 1 and not finalize and now - self._shown < self.interval:
            return
        self._shown = now
        line = self._line(current, now - self._start, finalize)
        if self.verbose == 1:
            sys.stdout.write("\r" + line.ljust(self._length))
        else:
            sys.stdout.write(line)
        sys.stdout.write("\n" if finalize else "")
        sys.stdout.flush()
        self._length = len(line)

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Say that n more steps are done."""
        self.update(self._seen + n, values)

    def _averaged(self, name: str) -> bool:
        return name not in self.stateful_metrics if self.stateless_metrics is None else name in self.stateless_metrics

    def _line(self, current: int, passed: float, finalize: bool) -> str:
        each = passed / current if current else 0.0
        if self.target:
            parts = [f"{current:{len(str(self.target))}}/{self.target}"]
            if self.verbose == 1:
                done = max(0, min(int(self.width * current / self.target), self.width))
                parts.append("━" * done + "─" * (self.width - done))
        else:
            parts = [f"{current:7}/Unknown"]
        left = passed if finalize or not self.target else each * (self.target - current)
        parts += [_clock(left), f"{_duration(each)}/{self.unit_name}"]
        for name, (total, count) in self._values.items():
            mean = total / max(count, 1)
            parts.append(f"- {name}: {mean:.4f}" if abs(mean) > 1e-3 else f"- {name}: {mean:.4e}")
        return " ".join(parts)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _duration(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"
