"""Tracing: run a module on symbols, and get the graph of the ops it called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from . import _cpu
from . import autograd as ag
from ._device import to_host
from ._dtypes import as_dtype
from ._functional.shape import transpose_op
from ._grad_mode import state as _mode

__all__ = ["NotTraceable", "Symbol", "Traced", "Tracer", "beside", "trace"]


class NotTraceable(TypeError):
    """The module needs values, or does something that is no op, while it is traced."""


class Symbol(ag.Tensor):
    """A tensor without data, standing for a value of a graph."""

    __slots__ = ("_id", "_shape", "_spec_dtype", "_tracer")

    _tracer: Tracer

    def __init__(self, tracer: Tracer, id: int | None, shape: tuple[int, ...], dtype: Any) -> None:
        self._data = None  # type: ignore[assignment]
        self._edge = None
        self._grad = None
        self._phys = None
        self._rg = False
        self._version = [0]
        self._tracer = tracer
        self._id = id
        self._shape = tuple(shape)
        self._spec_dtype = as_dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._spec_dtype

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def id(self) -> int:
        """The value's id in the graph; a permuted view enters the graph only when somebody asks."""
        if self._id is None:
            source, perm = self._phys
            self._id = self._tracer.graph.apply(transpose_op(perm), [source.id], "")[0]
        return self._id

    def _permuted(self, perm: tuple[int, ...]) -> Symbol:
        out = Symbol(self._tracer, None, tuple(self._shape[p] for p in perm), self._spec_dtype)
        out._phys = (self, perm)
        return out

    def _apply_symbolic(self, op: _cpu.Op, inputs: Sequence[ag.Tensor | None], training: bool) -> Any:
        return self._tracer.apply(op, inputs)

    def _refuse(self, what: str) -> NoReturn:
        raise NotTraceable(f"trace: {what} needs values, and a traced tensor has none")

    def numpy(self) -> np.ndarray:
        self._refuse("numpy()")

    def assign(self, array: Any) -> None:
        self._refuse("assign()")

    def item(self) -> Any:
        self._refuse("item()")

    def tolist(self) -> Any:
        self._refuse("tolist()")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._refuse("a NumPy array")

    def __dlpack__(self, **kwargs: Any) -> Any:
        self._refuse("DLPack")

    def __bool__(self) -> bool:
        self._refuse("a truth value")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        self._refuse("a copy")

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        self._refuse("backward()")

    def detach(self) -> Any:
        self._refuse("detach()")

    @property
    def data(self) -> Any:
        self._refuse("data")

    @data.setter
    def data(self, value: Any) -> None:
        self._refuse("data")

    @property
    def requires_grad(self) -> bool:
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._refuse("requires_grad")

    def is_contiguous(self) -> bool:
        return self._phys is None

    def __repr__(self) -> str:
        return f"Symbol(shape={self._shape}, dtype={self._spec_dtype})"


def beside(t: Any, like: ag.Tensor) -> Any:
    """The tensor as a symbol of the graph that `like` is traced into, so that what is computed from it alone is part of
    the graph too; the tensor itself where nothing is traced.
    """
    if t is None or like._data is not None or t._data is None:
        return t
    tracer: Tracer = like._tracer  # type: ignore[attr-defined]
    leaf = t._phys[0] if t._phys is not None else t
    s = Symbol(tracer, tracer.id_of(leaf), leaf.shape, leaf.dtype)
    return s if leaf is t else s._permuted(t._phys[1])


class Tracer:
    """Writes ops into a graph; parameters and constants enter it when they are first met.

    Inside ``with tracer:`` modules show symbols in place of their parameters, so that what is computed from parameters
    alone enters the graph too.
    """

    def __init__(self) -> None:
        self.graph = _cpu.Graph()
        self.params: dict[str, ag.Tensor] = {}  # by their names in the graph
        self._names: dict[int, str] = {}  # names that known tensors are to have
        self._ids: dict[int, int] = {}  # values that tensors have, by the identity of their memory's owner
        self._keep: list[Any] = []
        self._used: dict[str, int] = {}
        self._outer: list[Any] = []

    def __enter__(self) -> Tracer:
        self._outer.append(_mode.tracer)
        _mode.tracer = self
        return self

    def __exit__(self, *error: Any) -> None:
        _mode.tracer = self._outer.pop()

    def symbol(self, t: ag.Tensor) -> Symbol:
        """What stands for a parameter."""
        leaf = getattr(t, "physical", t)
        s = Symbol(self, self.id_of(leaf), leaf.shape, leaf.dtype)
        return s if leaf is t else s._permuted(t._phys[1])

    def name_parameters(self, named: Any) -> None:
        """Give names to tensors that the traced code may meet."""
        for name, t in named:
            leaf = getattr(t, "physical", t)
            self._names.setdefault(id(leaf), name)
            self._keep.append(leaf)

    def input(self, name: str, shape: Sequence[int], dtype: Any) -> Symbol:
        """A new input of the graph."""
        dtype = as_dtype(dtype)
        return Symbol(self, self.graph.add_input(name, dtype.name, tuple(shape)), tuple(shape), dtype)

    def apply(self, op: _cpu.Op, inputs: Sequence[ag.Tensor | None]) -> Any:
        """Record an op."""
        ids = [None if t is None else self.id_of(t) for t in inputs]
        name = self._unique(op.name)
        out = []
        for i in self.graph.apply(op, ids, name):
            dtype, shape = self.graph.spec(i)
            out.append(Symbol(self, i, shape, dtype))
        return out[0] if len(out) == 1 else tuple(out)

    def id_of(self, t: ag.Tensor) -> int:
        """The value of a tensor in the graph."""
        if isinstance(t, Symbol):
            if t._tracer is not self:
                raise NotTraceable("trace: a symbol of another trace")
            return t.id
        if t._phys is not None and hasattr(t, "physical"):  # a parameter seen as PyTorch shows it
            source, perm = t._phys
            return self.graph.apply(transpose_op(perm), [self.id_of(source)], "")[0]
        known = self._ids.get(id(t))
        if known is not None:
            return known
        if t._edge is not None:
            raise NotTraceable("trace: a tensor that depends on parameters was computed before the trace")
        name = self._names.get(id(t))
        if name is None and not t._rg:
            i = self.graph.add_const(self._unique("const"), to_host(t._data))
        else:
            name = name or self._unique("param")
            self.params[name] = t
            i = self.graph.add_param(name, t._data, t._rg)
        self._ids[id(t)] = i
        self._keep.append(t)
        return i

    def _unique(self, name: str) -> str:
        n = self._used.get(name, 0)
        self._used[name] = n + 1
        return name if n == 0 else f"{name}_{n}"


@dataclass
class Traced:
    """A graph with the tensors behind it.

    Attributes
    ----------
    graph : lamella._cpu.Graph
    inputs, outputs : list of int
        Value ids.
    params : dict of str to Tensor
        Parameters and buffers that the graph reads, by name; their memory is shared with it.
    structure : object
        The outputs as the function returned them, with symbols for tensors.
    """

    graph: _cpu.Graph
    inputs: list[int]
    outputs: list[int]
    params: dict[str, ag.Tensor] = field(default_factory=dict)
    structure: Any = None


def _symbols(structure: Any) -> list[Symbol]:
    if isinstance(structure, ag.Tensor):
        if not isinstance(structure, Symbol):
            raise NotTraceable("trace: an output that does not depend on the inputs")
        return [structure]
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [s for part in structure for s in _symbols(part)]
    raise NotTraceable(f"trace: an output of type {type(structure).__name__}, expected tensors")


def trace(
    module: Callable[..., Any], specs: Sequence[tuple[Any, Sequence[int]]], training: bool | None = None
) -> Traced:
    """Run a module or function on symbols and record what it does.

    Parameters
    ----------
    module : Module or callable
        Takes one tensor per spec.
    specs : sequence of (dtype, shape)
        One per input; the first dimension is the batch.
    training : bool, optional
        Puts a Module in this mode while it is traced; by default every part of it stays in its own.

    Returns
    -------
    Traced

    Raises
    ------
    NotTraceable
        If the module needs values of its tensors, or calls functions written in Python.
    """
    from .nn.module import Module

    tracer = Tracer()
    inputs = [tracer.input(f"input_{i}", shape, dtype) for i, (dtype, shape) in enumerate(specs)]
    if not isinstance(module, Module):
        with tracer:
            return _finish(tracer, inputs, module(*inputs))
    tracer.name_parameters(module.named_parameters())
    tracer.name_parameters(module.named_buffers())
    modes = [(m, m.training) for m in module.modules()]
    try:
        if training is not None:
            module.train(training)
        with tracer:
            return _finish(tracer, inputs, module(*inputs))
    finally:
        for m, mode in modes:
            object.__setattr__(m, "training", mode)


def _finish(tracer: Tracer, inputs: list[Symbol], structure: Any) -> Traced:
    outputs = [s.id for s in _symbols(structure)]
    tracer.graph.set_outputs(outputs)
    return Traced(tracer.graph, [s.id for s in inputs], outputs, tracer.params, structure)
