"""The eager engine: `Tensor`, the tape, and `apply`, through which every op runs."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from . import _cpu, _device, _methods
from ._dtypes import is_float
from ._grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from ._grad_mode import state as _mode

__all__ = [
    "Function",
    "Tensor",
    "apply",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]

# --- the tape ----------------------------------------------------------------------------------------------------

_next_seq = itertools.count().__next__
# Counts in-place writes of the process. A node keeps the time of its recording, so that backward can tell at once that
# nothing was written since.
_clock = [0]


class Node:
    """One recorded call: what runs backward, and where the gradients of its inputs go.

    An edge is None (no gradient wanted), a leaf Tensor, or the pair (node, output index) that made the input. `frees`
    says that `fn` is done with after one pass, and that the gradients it gives are new dense arrays.
    """

    __slots__ = ("clock", "edges", "fn", "frees", "op", "outputs", "retained", "seq", "versions")

    def __init__(
        self, fn: Any, edges: list[Any], op: Any, outputs: int, frees: bool, versions: list[Any] | None = None
    ) -> None:
        self.fn = fn
        self.edges = edges
        self.op = op
        self.outputs = outputs
        self.frees = frees
        self.retained: list[tuple[int, Any]] | None = None
        self.versions = versions  # of what went in and came out, where the op may read it again
        self.clock = _clock[0]
        self.seq = _next_seq()

    @property
    def name(self) -> str:
        """What made the node, for messages."""
        op = self.op if self.op is not None else type(self.fn)
        return getattr(op, "name", None) or op.__name__


def _edge_of(tensor: Tensor) -> Any:
    return (tensor._edge or tensor) if tensor._rg else None


class Tensor(_methods.TensorMethods):
    """An array with a gradient.

    Parameters
    ----------
    data : array_like
        Numbers; Python floats become float32, integers int64.
    dtype : dtype, optional
        The wanted dtype.
    requires_grad : bool
        Whether `backward` shall give this tensor a `grad`.
    """

    __slots__ = ("__weakref__", "_data", "_edge", "_grad", "_logits", "_phys", "_rg", "_version")
    __array_priority__ = 1000.0

    _data: np.ndarray
    _edge: Any  # None for a leaf, else (node, output index)
    _grad: np.ndarray | None
    _logits: tuple[str, Tensor, int, int]  # on outputs of "softmax" and "sigmoid": which, what went in, both versions
    _phys: Any  # (source tensor, permutation) where this is a permuted view of a dense array, else None
    _rg: bool
    _version: list[int]  # time of the last in-place write, shared by all views of one array

    def __init__(self, data: Any = (), dtype: Any = None, requires_grad: bool = False) -> None:
        self._data = as_array(data, dtype if dtype is not None else _float32_unless_array(data))
        self._edge = None
        self._grad = None
        self._phys = None
        self._rg = False
        self._version = [0]
        if requires_grad:
            self.requires_grad = True

    # -- what it is --

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def is_leaf(self) -> bool:
        return self._edge is None

    @property
    def grad_fn(self) -> Node | None:
        return self._edge[0] if self._edge is not None else None

    @property
    def requires_grad(self) -> bool:
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not is_float(self.dtype):
            raise RuntimeError(f"requires_grad: only float tensors can have gradients, got {self.dtype}")
        if not value and self._edge is not None:
            raise RuntimeError("requires_grad: only leaf tensors can be changed; use detach() to leave the graph")
        self._rg = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has accumulated, or None."""
        return None if self._grad is None else wrap(self._grad)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and value.shape != self.shape:
            raise RuntimeError(f"grad: expected shape {self.shape}, got {value.shape}")
        self._grad = None if value is None else value._data

    @property
    def data(self) -> Tensor:
        """The same memory, outside the graph."""
        return wrap(self._data)

    @data.setter
    def data(self, value: Tensor) -> None:
        new = as_array(value, self.dtype)
        if new.shape == self.shape:
            self._data[...] = new
            written(self)
        else:
            self._data, self._phys, self._version = new, None, [0]

    def detach(self) -> Tensor:
        """The same memory, outside the graph; in-place writes are seen by both."""
        t = wrap(self._data)
        t._version = self._version
        return t

    def retain_grad(self) -> None:
        """Let `backward` fill `grad` of this intermediate result too."""
        if not self._rg:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self._edge is not None:
            node, index = self._edge
            node.retained = [*(node.retained or ()), (index, weakref.ref(self))]

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradients of this tensor to `grad` of every leaf it was computed from.

        Parameters
        ----------
        gradient : Tensor or array_like, optional
            The gradient by this tensor; needed unless it has one element.
        retain_graph : bool
            Keep what was recorded, for another backward pass.
        create_graph : bool
            Gradients of gradients are not supported: must be False.
        """
        if create_graph:
            raise NotImplementedError("backward: create_graph: gradients of gradients are not supported")
        _run([self], [gradient], retain_graph, None)


def _float32_unless_array(data: Any) -> Any:
    return None if isinstance(data, (np.ndarray, np.generic, Tensor)) or _device.on_device(data) else np.float32


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """The array behind `data`, converted only if a dtype is given that it does not have."""
    if isinstance(data, Tensor):
        data = data._data
    if _device.on_device(data):
        array = _device.foreign(data)
        return array if dtype is None else array.astype(dtype, copy=False)
    if not isinstance(data, np.ndarray) and hasattr(data, "__dlpack__") and not isinstance(data, np.generic):
        data = np.from_dlpack(data)
    array = np.asarray(data)
    if dtype is not None:
        return array.astype(dtype, copy=False)
    if not isinstance(data, (np.ndarray, np.generic)) and array.dtype == np.float64:
        return array.astype(np.float32)
    return array


def is_writable(array: np.ndarray) -> bool:
    """Whether an array may be written to; those on a GPU always may."""
    return getattr(array.flags, "writeable", True)


def as_result(value: Any) -> np.ndarray:
    """An array of what a NumPy function has given, which may be a scalar."""
    return value if _device.on_device(value) else np.asarray(value)  # type: ignore[no-any-return]


_new_tensor = object.__new__


def wrap(data: np.ndarray, edge: Any = None) -> Tensor:
    """A Tensor over this very array."""
    t: Tensor = _new_tensor(Tensor)
    t._data = data
    t._edge = edge
    t._rg = edge is not None
    t._grad = None
    t._phys = None
    t._version = [0]
    return t


def not_a_tensor(value: Any) -> str:
    """What to say of an argument that should be a tensor."""
    return f"expected a Tensor, got {type(value).__name__}; lamella.tensor() makes one of it"


def written(tensor: Tensor) -> None:
    """Say that the tensor's memory was changed in place."""
    _clock[0] += 1
    tensor._version[0] = _clock[0]


def apply(op: _cpu.Op, *inputs: Tensor | None, training: bool = False) -> Any:
    """Run an op, and record it if a gradient may be asked of its result.

    Parameters
    ----------
    op : lamella._cpu.Op
        The op with its attributes.
    *inputs : Tensor or None
        None stands for an optional input that is not given.
    training : bool
        What an op that is not recorded is told; a recorded one always runs in training mode.

    Returns
    -------
    Tensor or tuple of Tensor
        One tensor, or several where the op has several outputs.
    """
    arrays: list[Any] = []
    record = False
    try:
        if _mode.autocast is not None:
            inputs = _mode.autocast.inputs_for(op, inputs)
        for t in inputs:
            if t is None:
                arrays.append(None)
                continue
            data = t._data
            if data is None:
                return t._apply_symbolic(op, inputs, training)  # type: ignore[attr-defined]
            arrays.append(data)
            if t._rg:
                record = True
    except AttributeError:
        for i, t in enumerate(inputs):
            if t is not None and not hasattr(t, "_data"):
                raise TypeError(f"{op.name}: input {i}: {not_a_tensor(t)}") from None
        raise
    if record and _mode.grad:
        outputs, fn = op.record(arrays)
        edges: list[Any] = []
        versions: list[Any] = []
        for t in inputs:
            if t is None:
                edges.append(None)
                versions.append(None)
            else:
                edges.append((t._edge or t) if t._rg else None)
                versions.append(t._version)
        node = Node(fn, edges, op, len(outputs), True, versions)
        if len(outputs) == 1:
            out = wrap(outputs[0], (node, 0))
            versions.append(out._version)
            return out
        results = tuple(wrap(a, (node, i)) for i, a in enumerate(outputs))
        versions.extend(t._version for t in results)
        return results
    outputs = op.forward(arrays, training)[0]
    if len(outputs) == 1:
        return wrap(outputs[0])
    return tuple([wrap(a) for a in outputs])


def apply_view(x: Tensor, data: np.ndarray, fn: Any) -> Tensor:
    """A tensor over `data`, which shows the memory of `x` in another form; `fn.backward` maps gradients back."""
    out = wrap(data)
    out._version = x._version
    if x._rg and _mode.grad:
        out._edge = (Node(fn, [x._edge or x], None, 1, False), 0)
        out._rg = True
    return out


# --- backward ----------------------------------------------------------------------------------------------------


@functools.cache
def _add() -> _cpu.Op:
    return _cpu.Op("add", {})


def _check_unwritten(node: Node) -> None:
    versions = node.versions
    if versions is None:
        return
    uses_in, uses_out = node.op.uses
    split = len(versions) - node.outputs
    for i, version in enumerate(versions):
        used = uses_in >> i if i < split else uses_out >> (i - split)
        if version is not None and used & 1 and version[0] > node.clock:
            what = f"input {i}" if i < split else f"output {i - split}"
            raise RuntimeError(
                f"backward: {what} of {node.name} was modified in place after it was computed with; "
                "its gradient needs the old value (clone() it first)"
            )


_Sum = tuple[np.ndarray, bool]  # a gradient under accumulation, and whether its memory is nobody else's


def _added(total: _Sum | None, g: np.ndarray, owned: bool) -> _Sum:
    """The sum with another gradient in it, whose memory may be taken over where it is `owned`."""
    if total is None:
        return g, owned
    value, mine = total
    if mine:
        _add().forward([value, g], False, [value])
        return total
    return _add().forward([value, g])[0][0], True


@functools.cache
def _one(shape: tuple[int, ...], dtype: np.dtype, where: Any) -> np.ndarray:
    return where.ones(shape, dtype)  # type: ignore[no-any-return]


def _first_gradient(tensor: Tensor, gradient: Any) -> np.ndarray:
    if gradient is None:
        if tensor._data.size != 1:
            raise RuntimeError(
                f"backward: gradient: needed for a tensor of more than one element, got none for shape {tensor.shape}"
            )
        # A copy is quicker than to make one, and whoever gets it may change it.
        return _one(tensor.shape, tensor.dtype, _device.namespace(tensor._data)).copy()
    array = as_array(gradient, tensor.dtype)
    if array.shape != tensor.shape:
        raise RuntimeError(f"backward: gradient: expected shape {tensor.shape}, got {array.shape}")
    return array


def _accumulate_leaf(leaf: Tensor, g: np.ndarray, fresh: bool) -> None:
    if leaf._grad is not None:
        # In place, so that whoever holds `grad` sees it grow.
        if leaf._grad.flags.c_contiguous and is_writable(leaf._grad):
            _add().forward([leaf._grad, g], False, [leaf._grad])
        else:
            leaf._grad = _add().forward([leaf._grad, g])[0][0]
    elif fresh:
        leaf._grad = g
    else:
        leaf._grad = g.copy(order="C")


def _run(
    roots: Sequence[Tensor], gradients: Sequence[Any], retain_graph: bool, targets: Sequence[Tensor] | None
) -> list[np.ndarray | None]:
    grads: dict[Node, list[_Sum | None]] = {}
    wanted_leaf = None if targets is None else {id(t) for t in targets if t._edge is None}
    leaf_sums: dict[int, _Sum] = {}
    # Nodes that have got a gradient, the last made first: those that read what a node made have all been run before it.
    waiting: list[tuple[int, Node]] = []

    def give_leaf(leaf: Tensor, g: np.ndarray, fresh: bool) -> None:
        if wanted_leaf is None:
            _accumulate_leaf(leaf, g, fresh)
        elif id(leaf) in wanted_leaf:
            leaf_sums[id(leaf)] = _added(leaf_sums.get(id(leaf)), g, False)

    def give_node(edge: tuple[Node, int], g: np.ndarray, owned: bool) -> None:
        node, index = edge
        sums = grads.get(node)
        if sums is None:
            sums = grads[node] = [None] * node.outputs
            heappush(waiting, (-node.seq, node))
        sums[index] = _added(sums[index], g, owned)

    for tensor, gradient in zip(roots, gradients, strict=True):
        if not tensor._rg:
            raise RuntimeError(
                "backward: the tensor does not require a gradient: nothing it was computed from does, "
                "or it was computed under no_grad"
            )
        g = _first_gradient(tensor, gradient)
        if tensor._edge is None:
            give_leaf(tensor, g, False)
        else:
            give_node(tensor._edge, g, False)

    found: dict[tuple[Node, int], np.ndarray] = {}
    kept = {t._edge for t in targets if t._edge is not None} if targets is not None else None
    while waiting:
        node = heappop(waiting)[1]
        values = [None if s is None else s[0] for s in grads.pop(node)]
        if node.retained is not None:
            _fill_retained(node, values)
        if kept:
            found.update({(node, i): v for i, v in enumerate(values) if v is not None and (node, i) in kept})
        fn = node.fn
        if fn is None:
            raise RuntimeError(
                f"backward: a second pass through {node.name}, whose record was freed by the first; "
                "pass retain_graph=True to the first"
            )
        if node.clock != _clock[0]:
            _check_unwritten(node)
        edges = node.edges
        fresh = node.frees
        out = fn.backward(values, [e is not None for e in edges])
        if fresh and not retain_graph:
            node.fn = None
        for edge, g in zip(edges, out, strict=True):
            if edge is None or g is None:
                continue
            if type(edge) is tuple:
                give_node(edge, g, fresh)
            elif fresh and wanted_leaf is None and edge._grad is None:
                edge._grad = g
            else:
                give_leaf(edge, g, fresh)
    if targets is None:
        return []
    return [
        leaf_sums[id(t)][0] if t._edge is None and id(t) in leaf_sums else found.get(t._edge)  # type: ignore[arg-type]
        for t in targets
    ]


def _fill_retained(node: Node, values: list[np.ndarray | None]) -> None:
    for index, ref in node.retained or ():
        tensor, value = ref(), values[index]
        if tensor is not None and value is not None:
            _accumulate_leaf(tensor, value, False)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs` by `inputs`; no `grad` attribute is touched.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        What to differentiate, and by what.
    grad_outputs : Tensor or sequence of Tensor, optional
        The gradients by the outputs; needed for outputs of more than one element.
    retain_graph : bool
        Keep what was recorded, for another backward pass.
    create_graph : bool
        Gradients of gradients are not supported: must be False.
    allow_unused : bool
        Give None, rather than an error, for an input that the outputs do not depend on.

    Returns
    -------
    tuple of Tensor
        One gradient per input.
    """
    if create_graph:
        raise NotImplementedError("grad: create_graph: gradients of gradients are not supported")
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    given = [grad_outputs] if grad_outputs is None or isinstance(grad_outputs, Tensor) else list(grad_outputs)
    if grad_outputs is None:
        given = [None] * len(outs)
    for t in ins:
        if not t._rg:
            raise RuntimeError("grad: inputs: one of them does not require a gradient")
    # A parameter that is shown permuted gets its gradient at the array behind it.
    values = _run(outs, given, retain_graph, [getattr(t, "physical", t) for t in ins])
    if not allow_unused and any(v is None for v in values):
        raise RuntimeError(
            "grad: inputs: the outputs do not depend on one of them; allow_unused=True gives None for it"
        )
    return tuple(
        None if v is None else wrap(v if getattr(t, "physical", t) is t else v.transpose(t._phys[1]))
        for t, v in zip(ins, values, strict=True)
    )


from . import functional as _functional  # noqa: E402  functional needs everything above, Tensor's methods need it
from ._function import Function  # noqa: E402

_methods.bind(_functional)
