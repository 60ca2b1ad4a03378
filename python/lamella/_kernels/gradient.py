"""Gradients of any op, and results together with their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _cpu
from ._call import op, run_backward
from ._function import Rule

__all__ = ["backward", "op_names", "vjp"]


def op_names() -> list[str]:
    """The names of all ops that `backward` knows, in order of their families."""
    return _cpu.op_names()


def backward(
    name: str,
    inputs: Sequence[np.ndarray | None],
    grad_outputs: Sequence[np.ndarray | None],
    wanted: Sequence[bool] | None = None,
    *,
    out: Sequence[np.ndarray | None] | None = None,
    **attrs: Any,
) -> list[np.ndarray | None]:
    """Gradients of an op by its inputs, after running its forward where backward needs something of it.

    The functions that end in `_backward` do the same with the arguments of their functions.

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
    out : sequence of ndarray or None, optional
        Where to put them, one per input; a new array where None.
    **attrs
        The attributes of the op.

    Returns
    -------
    list of ndarray or None
        One per input; None for what is not wanted, not given or not differentiable (labels, masks, indices).
    """
    return run_backward(name, attrs, inputs, grad_outputs, wanted, out)


def vjp(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Callable[..., Any]]:
    """Run a function and keep what its gradient needs, which `<function>_backward` has to compute again.

    Parameters
    ----------
    function : callable
        Of this module, with a gradient: `lamella.kernels.softmax`.
    *args, **kwargs
        Its arguments, but for `out`.

    Returns
    -------
    result : ndarray or list of ndarray
        What the function gives; `dropout` and `batch_norm` behave as their arguments say.
    backward : callable
        ``backward(grad, *, wanted=None, out=None)`` gives what `<function>_backward` gives for the same arguments, and
        has its `wanted` where that has it. It can be called more than once. The arrays that it reads are not copied.
    """
    rule: Rule | None = getattr(function, "rule", None)
    if rule is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(f"vjp: function: expected a function of lamella.kernels that has a gradient, got {name}")
    call = function.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]
    arrays = call.arrays()
    outputs, record = op(call.name, call.attrs).record(arrays)

    def backward(grad: Any, *, wanted: Any = None, out: Any = None) -> Any:
        flags, places = rule.asked(call, arrays, wanted, out)
        return rule.result(record.backward(rule.grads(grad, arrays), flags, places), call)

    return (outputs if rule.several else outputs[0]), backward
