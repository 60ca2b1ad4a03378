"""Checks of what layers are given: each gives the value in one form, or an error that names the argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._errors import short


def positive(value: Any, what: str) -> int:
    """A positive integer (7.0 counts as one, as in Keras)."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 1 <= value < math.inf or int(value) != value:
        raise ValueError(f"{what}: expected a positive integer, got {short(value)}")
    return int(value)


def fraction(value: Any, what: str, one: bool = True) -> float:
    """A number from 0 to 1; without 1 unless `one`."""
    if not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1 or (value == 1 and not one):
        raise ValueError(f"{what}: expected a number in [0, 1{']' if one else ')'}, got {short(value)}")
    return float(value)


def number(value: Any, what: str, above: float = -math.inf) -> float:
    """A finite number greater than `above`."""
    if not isinstance(value, (int, float, np.number)) or not above < value < math.inf:
        raise ValueError(
            f"{what}: expected a number{'' if above == -math.inf else f' > {above:g}'}, got {short(value)}"
        )
    return float(value)


def integers(values: Any, what: str) -> tuple[int, ...]:
    """Integers in a list or tuple."""
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, (int, np.integer)) for v in values):
        raise ValueError(f"{what}: expected a tuple of integers, got {short(values)}")
    return tuple(int(v) for v in values)


def sample_shape(shape: Any, what: str) -> tuple[int | None, ...]:
    """The shape of one sample; None for unknown sizes."""
    sizes = shape if isinstance(shape, (tuple, list)) else None
    if sizes is None or not all(d is None or (isinstance(d, (int, np.integer)) and d >= 0) for d in sizes):
        raise ValueError(f"{what}: expected the shape of one sample, a tuple of sizes >= 0 or None, got {short(shape)}")
    return tuple(None if d is None else int(d) for d in sizes)


def pair(value: Any, what: str) -> tuple[int, int]:
    """An int or a pair of them as a pair of positive ints."""
    items = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(items) != 2 or any(not isinstance(v, (int, np.integer)) or v < 1 for v in items):
        raise ValueError(f"{what}: expected a positive int or two of them, got {short(value)}")
    return int(items[0]), int(items[1])
