"""Errors for unknown names: the known ones, and the closest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for `name` where one of `known` was expected."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ValueError(f"{what}: expected one of {', '.join(names)}{hint}, got {name!r}")
