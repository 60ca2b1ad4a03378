"""Ops written in Python on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import autograd as ag
from ._dtypes import is_float

__all__ = ["Function"]


class Context:
    """What a `Function` hands from forward to backward."""

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *arrays: Any) -> None:
        """Keep arrays until backward has run."""
        self.saved_tensors = arrays


class _FunctionBackward:
    def __init__(self, cls: type[Function], ctx: Context, shapes: list[Any]) -> None:
        self.cls, self.ctx, self.shapes = cls, ctx, shapes

    def backward(self, grads: Sequence[np.ndarray | None], wanted: Sequence[bool]) -> list[np.ndarray | None]:
        out = self.cls.backward(self.ctx, *grads)
        out = out if isinstance(out, (tuple, list)) else (out,)
        if len(out) != len(self.shapes):
            raise RuntimeError(
                f"{self.cls.__name__}.backward: expected {len(self.shapes)} gradients, one per argument of forward, "
                f"got {len(out)}"
            )
        result: list[np.ndarray | None] = []
        for i, (g, spec, want) in enumerate(zip(out, self.shapes, wanted, strict=True)):
            if g is None or not want:
                result.append(None)
                continue
            array = ag.as_array(g, spec[1])
            if array.shape != spec[0]:
                raise RuntimeError(
                    f"{self.cls.__name__}.backward: gradient {i}: expected shape {spec[0]}, got {array.shape}"
                )
            result.append(array.copy())  # the user may keep, or return twice, what came back
        return result


class Function:
    """An op written in Python on NumPy arrays.

    Subclass it with two static methods and call the class's `apply`:

    - `forward(ctx, *args)` gets an array for every Tensor argument and other arguments as they are, and returns an
      array or a tuple of arrays; it may call `ctx.save_for_backward(*arrays)` or set attributes on `ctx`.
    - `backward(ctx, *grads)` gets one array (or None for zero) per output, and returns one array or None per argument.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        raise NotImplementedError("Function: forward is not defined")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("Function: backward is not defined")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward, and record it if a gradient may be asked of its result."""
        ctx = Context()
        tensors = [a if isinstance(a, ag.Tensor) else None for a in args]
        for t in tensors:
            if t is not None and t._data is None:
                t._refuse(f"the Python function {cls.__name__}")  # type: ignore[attr-defined]
        ctx.needs_input_grad = tuple(t is not None and t._rg for t in tensors)
        result = cls.forward(ctx, *(a if t is None else t._data for a, t in zip(args, tensors, strict=True)))
        several = isinstance(result, (tuple, list))
        arrays = [np.asarray(r) for r in (result if several else (result,))]
        if ag.is_grad_enabled() and any(ctx.needs_input_grad):
            fn = _FunctionBackward(cls, ctx, [None if t is None else (t.shape, t.dtype) for t in tensors])
            edges = [None if t is None else ag._edge_of(t) for t in tensors]
            node = ag.Node(fn, edges, cls, len(arrays), True)
            out = tuple(ag.wrap(a, (node, i)) if is_float(a.dtype) else ag.wrap(a) for i, a in enumerate(arrays))
        else:
            out = tuple(ag.wrap(a) for a in arrays)
        return out if several else out[0]
