"""`lamella.compile`: a module as a native inference plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _cpu
from . import autograd as ag
from ._device import on_device
from ._trace import trace
from .nn.module import Module

__all__ = ["Compiled", "compile"]


class Compiled:
    """A module that runs as a plan: fused, its weights packed, nothing allocated between its ops.

    There is one plan per combination of input shapes, made at the first call with them. Changes of the weights are
    seen. Results carry no gradients, and the module runs as in evaluation mode.
    """

    def __init__(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"compile: module: expected a Module, got {type(module).__name__}")
        self.module = module
        self._plans: dict[Any, tuple[_cpu.Plan, Any]] = {}

    def __call__(self, *inputs: Any) -> Any:
        arrays = [ag.as_result(t._data if isinstance(t, ag.Tensor) else t) for t in inputs]
        key = tuple([(a.dtype.char, a.shape, on_device(a)) for a in arrays])
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = self._plan(arrays)
        plan, structure = found
        return _fill(structure, iter(plan.run(arrays)))

    def _plan(self, arrays: list[np.ndarray]) -> tuple[_cpu.Plan, Any]:
        specs = [(a.dtype, a.shape) for a in arrays]
        traced = trace(self.module, specs, training=False)
        plan = _cpu.Plan(
            traced.graph, [(d.name, s) for d, s in specs], traced.outputs, False, any(map(on_device, arrays))
        )
        return plan, traced.structure

    def __repr__(self) -> str:
        return f"Compiled({self.module!r})"


def _fill(structure: Any, arrays: Any) -> Any:
    """The structure with its tensors replaced by the next arrays."""
    if isinstance(structure, ag.Tensor):
        return ag.wrap(next(arrays))
    if isinstance(structure, dict):
        return {k: _fill(v, arrays) for k, v in structure.items()}
    return type(structure)([_fill(v, arrays) for v in structure])


def compile(module: Module, *example: Any) -> Compiled:
    """A module as a native inference plan.

    Parameters
    ----------
    module : Module
        What to run; it must not need the values of its tensors.
    *example : Tensor or array, optional
        Inputs for whose shapes the first plan is made at once.

    Returns
    -------
    Compiled
        To be called like the module.

    Raises
    ------
    NotTraceable
        If the module cannot be traced, at the first call or with the example.
    """
    compiled = Compiled(module)
    if example:
        compiled(*example)
    return compiled
