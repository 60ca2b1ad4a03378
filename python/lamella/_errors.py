"""What error messages say of the values they were given, and arguments that are only taken to be refused."""

from __future__ import annotations

from typing import Any

_LONGEST = 200


def short(value: Any) -> str:
    """A value as an error message shows it: on one line, cut where it is long, arrays by type and shape."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and dtype is not None:
        return f"{type(value).__name__} of {dtype}, shape {shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def refuse(owner: str, expected: Any = None, **arguments: Any) -> None:
    """Refuse arguments other than the one value that is supported; what is false in any way is False."""
    for name, value in arguments.items():
        usual = value is None if expected is None else not value if expected is False else value == expected
        if not usual:
            raise NotImplementedError(f"{owner}: {name}: expected {expected}, got {short(value)}; it is not supported")
