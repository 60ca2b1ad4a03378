"""Timing in turns: every peer gets a short sample, round after round, so that all see the same machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_now = time.perf_counter


# After a call, OpenBLAS' threads spin for some 110 ms, and others' for less: nobody is timed against them.
_SETTLE = 0.13


@dataclass
class Form:
    """A case on one framework, in one of the forms that it may be written in."""

    run: Callable[[], Any]
    result: np.ndarray | None = None  # what all must agree on: outputs, gradients or the first losses
    calls: int = 1  # so many times the case's work is done by one run


Forms = Form | dict[str, Form]


@dataclass
class Timing:
    """Seconds per call."""

    median: float
    best: float
    spread: float  # (third quartile - first quartile) / median
    foreign: float  # share of a core that others took while measuring


def _busy() -> float:
    """CPU seconds of the whole machine, steal included; 0 where the kernel does not tell."""
    try:
        with open("/proc/stat") as f:
            fields = [int(v) for v in f.readline().split()[1:9]]
    except OSError:
        return 0.0
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    t = os.times()
    return t.user + t.system


def _runs_for(fn: Callable[[], object], seconds: float) -> tuple[int, float]:
    """How many runs last about so long, and what one lasts; warms up on the way."""
    start = _now()
    n = 0
    while n < 3 or _now() - start < 0.25:
        fn()
        n += 1
        if n >= 2 and _now() - start > 3:
            break
    start = _now()
    k = max(1, n // 4)
    for _ in range(k):
        fn()
    one = max((_now() - start) / k, 1e-9)
    return max(1, min(200_000, int(seconds / one))), one


def in_turns(
    forms: dict[str, Form],
    seconds: float = 0.06,
    rounds: int = 9,
    budget: float = 20.0,
    quiet: float = 0.15,
    tries: int = 3,
) -> dict[str, Timing]:
    """Time each form, round after round.

    Past `budget` seconds five rounds are enough, and three for what is 20 times slower than the fastest. A set of
    rounds is repeated while other processes were busy; the quietest is kept.
    """
    runs = {name: _runs_for(form.run, seconds) for name, form in forms.items()}
    fastest = min(one / forms[name].calls for name, (_, one) in runs.items())
    best: tuple[float, dict[str, list[float]]] | None = None
    for _ in range(tries):
        samples: dict[str, list[float]] = {name: [] for name in forms}
        begin, busy, own = _now(), _busy(), _own()
        for done in range(rounds):
            if done >= 5 and _now() - begin > budget:
                break
            for name, form in forms.items():
                k, one = runs[name]
                if done >= 3 and one / form.calls > 20 * fastest:
                    continue
                time.sleep(_SETTLE)
                for _ in range(min(k, int(0.005 / one) + 1) if one < 0.1 else 0):
                    form.run()
                start = _now()
                for _ in range(k):
                    form.run()
                samples[name].append((_now() - start) / (k * form.calls))
        wall, busy, own = _now() - begin, _busy() - busy, _own() - own
        foreign = max(0.0, busy - own) / wall
        if best is None or foreign < best[0]:
            best = foreign, samples
        if foreign <= quiet:
            break
    assert best is not None
    foreign, samples = best
    out = {}
    for name, values in samples.items():
        values.sort()
        median = statistics.median(values)
        quartile = len(values) // 4
        out[name] = Timing(median, values[0], (values[-1 - quartile] - values[quartile]) / median, foreign)
    return out
