"""What is kept from model to model."""

from __future__ import annotations

import gc
from typing import Any

from ..layers._names import reset_names
from ..layers._symbolic import KerasTensor

__all__ = ["clear_session", "is_keras_tensor"]


def clear_session(free_memory: bool = True) -> None:
    """Start counting the names of layers and models again: ``dense``, ``dense_1`` and so on.

    Parameters
    ----------
    free_memory : bool
        Whether to collect garbage now: models that nothing refers to any more hold cycles.
    """
    reset_names()
    if free_memory:
        gc.collect()


def is_keras_tensor(x: Any) -> bool:
    """Whether `x` is a symbolic tensor, of which functional models are made."""
    return isinstance(x, KerasTensor)
