"""What an outermost call decides for the layers inside it: training or not, masks, penalties."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._structures import flatten


class _Phase:
    """What an outermost call decides for the layers inside it."""

    def __init__(self) -> None:
        self.depth = 0
        self.training = False
        self.decided = False  # whether somebody has said if this is training
        # Penalties that layers add while they compute, where training collects them.
        self.losses: list[Any] | None = None
        self.call: object | None = None  # stands for the outermost call
        self.masks: dict[int, tuple[Any, Any]] | None = None  # by id of a tensor: (the tensor, its mask)
        self.output_masks: list[Any] = []  # those of the last outermost call's outputs; none where nothing is masked
        self.budget: int | None = None  # while a file is loaded: elements that its layers may still ask for
        self.shapes_only = False  # whether layers run on made-up sizes, for the shapes of their outputs


class _Phases(threading.local):
    def __init__(self) -> None:
        self.now = _Phase()  # this thread's


phases = _Phases()


@contextmanager
def loading(elements: int) -> Iterator[None]:
    """Weights made inside are zeros, for a file's are about to be put there, and not more than the file holds."""
    before, phases.now.budget = phases.now.budget, elements
    try:
        yield
    finally:
        phases.now.budget = before


def keep_masks(tensors: Any, masks: Any) -> None:
    """Let the layers that take these tensors find their masks."""
    known = None if masks is None else phases.now.masks
    if known is not None:
        for t, m in zip(flatten(tensors), flatten(masks), strict=True):
            if m is not None:
                known[id(t)] = (t, m)
