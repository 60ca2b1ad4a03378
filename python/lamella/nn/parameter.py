"""Parameters: leaf tensors that a Module trains, and its other named arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import autograd as ag
from .._device import place, to_host
from .._dtypes import is_float
from .._functional.shape import PermuteBackward, inverse
from .._grad_mode import state as _mode

__all__ = ["Buffer", "Parameter"]


class Parameter(ag.Tensor):
    """A tensor that is a parameter of the Module to which it is assigned.

    Kernels want some weights in another order of dimensions than PyTorch shows them: then the parameter is a permuted
    view of `physical`, the leaf tensor that the ops use and that holds the gradient.

    Parameters
    ----------
    data : Tensor or array_like
        The values, as seen; shared if they are a tensor or an array.
    requires_grad : bool
        Whether it is trained.
    perm : tuple of int, optional
        `data` is the physical array with its dimensions in this order.

    Attributes
    ----------
    name : str or None
        That of a layer's weight.
    constraint : callable or None
        What a layer's weight is brought back to after each update (see `lamella.constraints`).
    """

    __slots__ = ("_leaf", "constraint", "name")

    _leaf: ag.Tensor | None  # the tensor of the physical array where that is another one

    def __init__(self, data: Any = (), requires_grad: bool = True, perm: tuple[int, ...] | None = None) -> None:
        array = ag.as_array(data)
        self._edge = None
        self._grad = None
        self._phys = None
        self._version = [0]
        self._rg = False
        self.name: str | None = None
        self.constraint: Any = None
        self._set_array(array, perm)
        self.requires_grad = requires_grad

    def _set_array(self, array: np.ndarray, perm: tuple[int, ...] | None) -> None:
        if perm is None:
            if not (array.flags.c_contiguous and ag.is_writable(array)):
                array = array.copy(order="C")
            self._data = array
            self._leaf = None
            return
        dense = array.transpose(inverse(perm))
        if not (dense.flags.c_contiguous and ag.is_writable(dense)):
            dense = dense.copy(order="C")
        leaf = self._leaf = ag.wrap(dense)
        leaf._version = self._version
        self._data = dense.transpose(perm)
        self._phys = (leaf, perm)

    @property
    def physical(self) -> ag.Tensor:
        """The leaf tensor that the ops use and that holds the gradient; the parameter itself where both agree."""
        return self if self._leaf is None else self._leaf

    # Seen from outside a parameter is a leaf, though its node carries gradients on to the physical array.

    @property
    def is_leaf(self) -> bool:
        return True

    @property
    def grad_fn(self) -> ag.Node | None:
        return None

    @property
    def requires_grad(self) -> bool:
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not is_float(self._data.dtype):
            raise RuntimeError(f"requires_grad: only float tensors can have gradients, got {self.dtype}")
        self._rg = bool(value)
        if self._phys is not None:
            source, perm = self._phys
            source._rg = self._rg
            node = ag.Node(PermuteBackward(inverse(perm)), [source], None, 1, False)
            self._edge = (node, 0) if value else None

    @property
    def grad(self) -> ag.Tensor | None:
        g = self.physical._grad
        if g is None:
            return None
        if self._phys is None:
            return ag.wrap(g)
        perm = self._phys[1]
        t = ag.wrap(g.transpose(perm))
        t._phys = (ag.wrap(g), perm)
        t._phys[0]._version = t._version
        return t

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is None:
            self.physical._grad = None
            return
        array = ag.as_array(value)
        if array.shape != self.shape or array.dtype != self.dtype:
            raise RuntimeError(f"grad: expected {self.dtype} {self.shape}, got {array.dtype} {array.shape}")
        if self._phys is not None:
            array = array.transpose(inverse(self._phys[1]))
        self.physical._grad = array if array.flags.c_contiguous else array.copy(order="C")

    @property
    def data(self) -> ag.Tensor:
        """The same memory, outside the graph."""
        t = ag.wrap(self._data)
        if self._phys is not None:
            t._phys = (ag.wrap(self.physical._data), self._phys[1])
        return t

    @data.setter
    def data(self, value: Any) -> None:
        self.assign(ag.as_array(value))

    @property
    def value(self) -> Parameter:
        """The parameter itself: what Keras' variables call their tensor."""
        return self

    def assign(self, array: np.ndarray) -> None:
        """Take other values: in place where shape and dtype stay."""
        if array.shape == self.shape and array.dtype == self.dtype:
            self._data[...] = place(array, self.device)
            ag.written(self)
            return
        wants = self._rg
        perm = None if self._phys is None else self._phys[1]
        self._version = [0]
        self.physical._grad = None
        self._set_array(place(array, self.device).copy(), perm)
        self.requires_grad = wants

    def replace(self, array: np.ndarray) -> None:
        """Take this very array, where the kernels can use it as it lies, and its dtype."""
        wants, perm = self._rg, None if self._phys is None else self._phys[1]
        self._version = [0]
        self.physical._grad = None
        self._set_array(array, perm)
        self.requires_grad = wants

    def move(self, where: Any) -> None:
        """Bring values and gradient to a device."""
        if self.device.type == where.type:
            return
        g = self.physical._grad
        self.replace(place(self.physical._data, where).transpose(self._phys[1] if self._phys else range(self.ndim)))
        self.physical._grad = None if g is None else place(g, where)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        perm = None if self._phys is None else self._phys[1]
        new = type(self)(self._data.copy(), self._rg, perm)
        g = self.physical._grad
        new.physical._grad = None if g is None else g.copy()
        new.name, new.constraint = self.name, self.constraint
        memo[id(self)] = new
        return new

    def __reduce__(self) -> Any:
        perm = None if self._phys is None else self._phys[1]
        state = None, {"name": self.name, "constraint": self.constraint}
        return type(self), (np.asarray(to_host(self._data), order="C"), self._rg, perm), state

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


def traced(p: Parameter) -> Any:
    """The parameter, or what stands for it in the graph while this thread traces."""
    return p if _mode.tracer is None else _mode.tracer.symbol(p)


def Buffer(data: Any, persistent: bool = True) -> Any:
    """A tensor that a Module keeps without training it; assign it to an attribute."""
    t = data if isinstance(data, ag.Tensor) else ag.wrap(ag.as_array(data))
    return _NewBuffer(t, persistent)


class _NewBuffer:
    """What `Buffer` hands to Module.__setattr__."""

    def __init__(self, tensor: ag.Tensor, persistent: bool) -> None:
        self.tensor, self.persistent = tensor, persistent
