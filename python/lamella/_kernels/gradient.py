"""The way back through any kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu
from ._call import run_backward

__all__ = ["backward", "op_names"]


def op_names() -> list[str]:
    """The names of all ops that `backward` knows, in order of their families."""
    return _cpu.op_names()


def backward(
    name: str,
    inputs: Sequence[np.ndarray | None],
    grad_outputs: Sequence[np.ndarray | None],
    wanted: Sequence[bool] | None = None,
    **attrs: Any,
) -> list[np.ndarray | None]:
    """Gradients of an op by its inputs, after running its forward for what backward needs of it.

    Parameters
    ----------
    name : str
        One of `op_names`.
    inputs : sequence of ndarray or None
        As the op takes them, None for optional ones that are not given.
    grad_outputs : sequence of ndarray or None
        The gradients of its outputs; None is a zero gradient.
    wanted : sequence of bool, optional
        Which inputs' gradients are to be computed; all that there are if not given.
    **attrs
        The attributes of the op.

    Returns
    -------
    list of ndarray or None
        One per input; None for what is not wanted, not given or not differentiable (labels, masks, indices).
    """
    return run_backward(name, attrs, inputs, grad_outputs, wanted)
