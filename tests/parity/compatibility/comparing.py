"""Every argument of the names on both sides: the same, different (and why), or refused."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import numpy as np

from .cases import METHODS, MODULES, NOTES, REQUIRED, STANDS_FOR
from .names import imported, public
from .signatures import EMPTY, POSITIONAL, Parameters, parameters
from .trying import is_used, try_argument

os.environ["KERAS_BACKEND"] = "torch"


@dataclass
class Row:
    """One name: what became of its arguments."""

    name: str
    same: list[str] = field(default_factory=list)
    differs: list[tuple[str, str, int]] = field(default_factory=list)  # name, how, number of the note
    refused: list[str] = field(default_factory=list)


@dataclass
class Section:
    """One module."""

    ours: str
    theirs: str
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All modules, and what is wrong."""

    sections: list[Section] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    noted: set[int] = field(default_factory=set)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return float(value)
    if inspect.isfunction(value) or inspect.isbuiltin(value) or inspect.isclass(value):
        return value.__name__
    return value if value is EMPTY or value is None or isinstance(value, (str, bool)) else str(value)


def _shown(value: Any) -> str:
    """An object's text without its address."""
    return re.sub(r"<(\S+) object at 0x[0-9a-f]+>", r"\1()", repr(value))


def _how(name: str, ours: Parameters, theirs: Parameters) -> str:
    """What is different about an argument; empty if nothing is."""
    a, b = ours[name], theirs[name]
    how = []
    if _plain(a.default) != _plain(b.default):
        here, there = ("required" if p.default is EMPTY else f"`{_shown(p.default)}`" for p in (a, b))
        how.append(f"{here} instead of {there}")
    if b.kind in POSITIONAL:
        place = [k for k, p in theirs.items() if p.kind in POSITIONAL].index(name)
        places = [k for k, p in ours.items() if p.kind in POSITIONAL]
        if name not in places:
            how.append("by keyword")
        elif places.index(name) != place:
            how.append(f"place {places.index(name) + 1} instead of {place + 1}")
    return ", ".join(how)


def _note(report: Report, module: str, name: str, argument: str, how: str) -> int | None:
    for i, (pattern, kinds, _) in enumerate(NOTES):
        if any(fnmatch(f"{module}.{name}({argument})", p) for p in pattern.split()) and re.search(kinds, how):
            report.noted.add(i)
            return i
    return None


def _compare(report: Report, section: Section, name: str, value: Any, other: Any, module: Any, theirs: Any) -> None:
    row = Row(name)
    here, there = parameters(name, value, module), parameters(name, _real(section.theirs, name, other), theirs)
    for argument, p in there.items():
        label = f"{section.ours}.{name}: {argument}"
        if argument in here:
            outcome = "taken"
            if p.default is not EMPTY and (inspect.isclass(value) or f"{name}.*" in REQUIRED):
                outcome = try_argument(name, value, here, argument, here[argument].default)
            how = _how(argument, here, there)
            if outcome == "taken" and not is_used(value, argument):
                how = f"{how}, no effect" if how else "no effect"
        else:
            outcome = try_argument(name, value, here, argument, p.default)
            how = "not taken"
        if outcome == "refused":
            row.refused.append(argument)
        elif outcome != "taken":
            report.problems.append(f"{label}: trying it gave {outcome}")
        elif argument not in here and _note(report, section.ours, name, argument, "not taken") is None:
            report.problems.append(f"{label}: silently ignored")
        elif not how and _note(report, section.ours, name, argument, "values") is None:
            row.same.append(argument)
        else:
            number = _note(report, section.ours, name, argument, how or "values")
            if number is None:
                report.problems.append(f"{label}: {how}: without a note")
            else:
                row.differs.append((argument, how, number))
    section.rows.append(row)


def _real(module: str, name: str, value: Any) -> Any:
    """What a name stands for, where it only chooses among others."""
    place, _, found = STANDS_FOR.get(f"{module}.{name}", "").rpartition(".")
    return getattr(imported(place), found) if found else value


def _methods(cls: Any, names: list[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if hasattr(cls, name):
            yield name, getattr(cls, name)


def build() -> Report:
    """Compare everything."""
    report = Report()
    for ours, theirs in MODULES:
        section = Section(ours, theirs)
        flat = theirs in ("keras.datasets", "keras.applications")
        here, there = public(ours, flat), public(theirs, flat)
        module, other = imported(ours), imported(theirs)
        for name in sorted(there, key=str.lower):
            if name not in here:
                part = name.rpartition(".")[0]
                if (
                    not part
                    or part in there
                    or theirs == "keras.datasets"
                    or any(n.startswith(f"{part}.") for n in here)
                ):
                    section.missing.append(name)
                continue
            _compare(report, section, name, here[name], there[name], module, other)
            for method, function in _methods(there[name], METHODS.get(f"{theirs}.{name}", [])):
                if hasattr(here[name], method):
                    called = getattr(here[name], method)
                    _compare(report, section, f"{name}.{method}", called, function, here[name], there[name])
                else:
                    section.missing.append(f"{name}.{method}")
        report.sections.append(section)
    return report
