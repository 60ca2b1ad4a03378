"""`lamella.profile`: what runs, for how long, and over how much memory."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _cpu
from ._errors import short

__all__ = ["Profile", "profile"]

_SORTS = ("time", "calls", "mean", "flops", "bytes", "memory", "order")


class Profile:
    """What ran between `start` and `stop`; made by `lamella.profile`.

    Attributes
    ----------
    seconds : float
        Between start and stop.
    ops : list of dict
        One entry for calls that are alike (the same step of a plan; in eager code, the same op on the same shapes):
        op, phase ("forward", "backward"; of training steps also "data", "update" and "prepare"), label (the layer,
        where it is known), shapes, plan (its number, -1 for eager calls), calls, seconds (of all calls), least, most
        (of one), flops and bytes (of one call; flops are 0 where they are not counted), memory (bytes that one call
        makes: outputs, what is kept for backward, gradients).
    plans : list of dict
        Plans that ran: training, arena_bytes, prepared_bytes, gradient_bytes.
    result : object
        What the function returned that `lamella.profile` was given.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ops: list[dict[str, Any]] = []
        self.plans: list[dict[str, Any]] = []
        self.result: Any = None
        self._events = np.zeros((0, 4), np.int64)
        self._begin: float | None = None

    def start(self) -> Profile:
        """Begin to note every op that runs, in all threads."""
        if _cpu.profile_on():
            raise RuntimeError("profile: another profile is being taken")
        _cpu.profile_start()
        self._begin = time.perf_counter()
        return self

    def stop(self) -> Profile:
        """Stop, and gather what was noted."""
        if self._begin is None:
            raise RuntimeError("profile: stop without start")
        self.seconds, self._begin = time.perf_counter() - self._begin, None
        sites, self._events, plans = _cpu.profile_stop()
        self.ops = [
            {
                **{k: s[k] for k in ("op", "phase", "label", "shapes", "plan", "calls", "flops", "bytes")},
                "memory": s["made"],
                "seconds": s["total_ns"] * 1e-9,
                "least": s["least_ns"] * 1e-9,
                "most": s["most_ns"] * 1e-9,
            }
            for s in sites
        ]
        names = ("training", "arena_bytes", "prepared_bytes", "gradient_bytes")
        self.plans = [dict(zip(names, p, strict=True)) for p in plans]
        return self

    def __enter__(self) -> Profile:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- looking at it --

    def totals(self) -> dict[str, float]:
        """Of all calls: calls, seconds in ops, flops, bytes."""
        ran = [o for o in self.ops if o["calls"]]
        return {
            "calls": sum(o["calls"] for o in ran),
            "seconds": sum(o["seconds"] for o in ran),
            "flops": sum(o["flops"] * o["calls"] for o in ran),
            "bytes": sum(o["bytes"] * o["calls"] for o in ran),
        }

    def _sorted(self, sort_by: str, row_limit: int | None) -> list[dict[str, Any]]:
        if sort_by not in _SORTS:
            raise ValueError(f"profile: sort_by: expected one of {', '.join(_SORTS)}, got {short(sort_by)}")
        ran = [o for o in self.ops if o["calls"]]
        keys: dict[str, Callable[[dict[str, Any]], float]] = {
            "time": lambda o: o["seconds"],
            "calls": lambda o: o["calls"],
            "mean": lambda o: o["seconds"] / o["calls"],
            "flops": lambda o: o["flops"] * o["calls"],
            "bytes": lambda o: o["bytes"] * o["calls"],
            "memory": lambda o: o["memory"],
        }
        if sort_by != "order":
            ran.sort(key=keys[sort_by], reverse=True)
        return ran[:row_limit]

    def _cells(self, sort_by: str, row_limit: int | None) -> list[list[str]]:
        total = max(self.totals()["seconds"], 1e-12)
        cells = []
        for o in self._sorted(sort_by, row_limit):
            mean = o["seconds"] / o["calls"]
            cells.append([
                o["op"], o["phase"], o["label"], "eager" if o["plan"] < 0 else f"plan {o['plan']}", f"{o['calls']:,}",
                _seconds(o["seconds"]), f"{100 * o['seconds'] / total:.1f}", _seconds(mean),
                f"{o['flops'] / mean * 1e-9:,.1f}" if o["flops"] and mean else "-",
                f"{o['bytes'] / mean * 1e-9:,.1f}" if o["bytes"] and mean else "-", _bytes(o["memory"]), o["shapes"],
            ])  # fmt: skip
        return cells

    def table(self, sort_by: str = "time", row_limit: int | None = 40) -> str:
        """The ops as text.

        Parameters
        ----------
        sort_by : {"time", "calls", "mean", "flops", "bytes", "memory", "order"}
            "order": as they first ran.
        row_limit : int, optional
            At most so many rows; None for all.
        """
        cells = [_HEADS, *self._cells(sort_by, row_limit)]
        widths = [max(len(c[i]) for c in cells) for i in range(len(_HEADS))]
        lines = []
        for row in cells:
            parts = [
                c.rjust(w) if i in _NUMBERS else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(parts).rstrip())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._footer()])

    def _footer(self) -> list[str]:
        t = self.totals()
        rate = f", {t['flops'] / t['seconds'] * 1e-9:,.1f} GFLOP/s" if t["flops"] and t["seconds"] else ""
        lines = [f"{t['calls']:,} calls, {_seconds(t['seconds'])} of {_seconds(self.seconds)} in ops{rate}"]
        for i, p in enumerate(self.plans):
            kind = "training" if p["training"] else "inference"
            lines.append(
                f"plan {i} ({kind}): arena {_bytes(p['arena_bytes'])}, prepared weights {_bytes(p['prepared_bytes'])}, "
                f"gradients {_bytes(p['gradient_bytes'])}"
            )
        return lines

    def export_chrome_trace(self, path: Any) -> None:
        """Write the calls as a trace that chrome://tracing and Perfetto show.

        Parameters
        ----------
        path : str or path
        """
        events: list[dict[str, Any]] = []
        start = int(self._events[:, 2].min()) if len(self._events) else 0
        process = os.getpid()
        for site, thread, begin, end in self._events.tolist():
            o = self.ops[site]
            events.append(
                {
                    "name": f"{o['op']} {o['label']}".rstrip() if o["phase"] != "backward" else f"{o['op']} backward",
                    "cat": o["phase"],
                    "ph": "X",
                    "ts": (begin - start) / 1000,
                    "dur": (end - begin) / 1000,
                    "pid": process,
                    "tid": thread,
                    "args": {k: o[k] for k in ("label", "shapes", "plan", "flops", "bytes", "memory")},
                }
            )
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        from ._summary import html_table

        feet = "".join(f"<p>{html.escape(line)}</p>" for line in self._footer())
        return html_table(_HEADS, self._cells("time", 40), right=tuple(_NUMBERS)) + feet


_HEADS = ["Op", "Phase", "Layer", "Where", "Calls", "Total", "%", "Mean", "GFLOP/s", "GB/s", "Memory", "Input shapes"]
_NUMBERS = range(4, 11)


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.2f} {unit}"
    return f"{value * 1e6:.1f} us"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def profile(fn: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Profile:
    """Note what runs, for how long, and over how much memory: eager ops as well as the steps of plans.

    ``with lamella.profile() as p: model.fit(...)``, then ``print(p)``; or ``lamella.profile(model.predict, x)``. While
    no profile is taken this costs nothing.

    Parameters
    ----------
    fn : callable, optional
        Called with the other arguments; without it, the profile is a context manager.

    Returns
    -------
    Profile
        With `table`, `ops`, `totals`, `export_chrome_trace` and, of a call, its `result`.
    """
    found = Profile()
    if fn is None:
        if args or kwargs:
            raise TypeError("profile: expected a function before its arguments")
        return found
    with found:
        found.result = fn(*args, **kwargs)
    return found
