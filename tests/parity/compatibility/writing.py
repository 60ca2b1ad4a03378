"""The text of docs/compatibility.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .cases import NOTES
from .comparing import Report, Row

PATH = Path(__file__).parents[3] / "docs" / "compatibility.md"


def versions() -> str:
    """What is compared with."""
    import keras
    import torch

    return f"PyTorch {torch.__version__.split('+')[0]} and Keras {keras.__version__}"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _differences(row: Row, numbers: dict[int, int]) -> str:
    parts = []
    for name, how, note in row.differs:
        detail = "" if how in ("", "by keyword", "no effect") else f": {how}"
        parts.append(f"`{name}`{detail} ({numbers[note]})")
    return "; ".join(parts)


def render(report: Report) -> str:
    """The text of the file."""
    used = {note for s in report.sections for r in s.rows for _, _, note in r.differs}
    numbers = {note: i + 1 for i, note in enumerate(sorted(used))}
    lines = [
        "# Compatibility",
        "",
        f"What becomes of the arguments of {versions()}. Written by `tests/parity/compatibility` from the",
        "signatures of both sides; `tests/parity/test_compatibility.py` fails where it is no longer true.",
        "That equal arguments give equal numbers is what the other tests there check.",
        "",
        "An argument is the *same* (name, default, position), it *differs* (the number leads to the note at the end),",
        "or it is *refused*: another value than the default raises an error that names it. None is ignored in silence.",
        "",
        "| Here | There | Names | Missing | Arguments the same | different | refused |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    totals = np.zeros(5, int)
    for s in report.sections:
        counts = [len(s.rows), len(s.missing), *(sum(len(getattr(r, k)) for r in s.rows)
                                                 for k in ("same", "differs", "refused"))]  # fmt: skip
        totals += counts
        lines.append(f"| `{s.ours}` | `{s.theirs}` | " + " | ".join(map(str, counts)) + " |")
    lines += [f"| all | | {' | '.join(map(str, totals))} |", ""]
    for s in report.sections:
        lines += [f"## `{s.ours}`", ""]
        rows = [r for r in s.rows if r.differs or r.refused]
        same = [r.name for r in s.rows if not r.differs and not r.refused]
        if same:
            lines += [f"All arguments the same: {_code(same)}.", ""]
        if rows:
            lines += ["| Name | Same | Different | Refused |", "|---|---|---|---|"]
            lines += [
                f"| `{r.name}` | {_code(r.same)} | {_differences(r, numbers)} | {_code(r.refused)} |" for r in rows
            ]
            lines.append("")
        if s.missing:
            lines += [f"Missing of `{s.theirs}`: {_code(s.missing)}.", ""]
    lines += ["## Notes", ""]
    lines += [f"{numbers[i]}. {NOTES[i][2]}" for i in sorted(used)]
    return "\n".join(lines) + "\n"
