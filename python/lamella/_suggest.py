"""Errors for unknown names: the known ones, and the closest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ._errors import short


def unknown_name(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for `name` where one of `known` was expected."""
    names = sorted(known)
    given = str(name).lower()
    close = difflib.get_close_matches(given, names, n=1)
    if len(given) > 3 and given not in close:
        # What is a part of several names, or misspells one, stands for all of them.
        parts = difflib.get_close_matches(given, {p for n in names for p in n.lower().split("_")}, n=1)
        whole = [n for n in names if given in n.lower()]
        close = whole or close or [n for n in names if parts and parts[0] in n.lower().split("_")]
    hint = f" (did you mean {' or '.join(map(repr, close[:3]))}?)" if close else ""
    return ValueError(f"{what}: expected one of {', '.join(names)}{hint}, got {short(name)}")
