"""How a raw kernel function runs its op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu

_ops: dict[Any, _cpu.Op] = {}


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, (list, tuple)) else value


def op(name: str, attrs: dict[str, Any] | None = None) -> _cpu.Op:
    """The op `name` with these attributes; None means "not given". Equal ops are shared: they are immutable."""
    key: Any = name if not attrs else (name, *attrs.items())
    try:
        return _ops[key]
    except KeyError:
        pass
    except TypeError:  # lists among the attributes
        key = (name, *((k, _freeze(v)) for k, v in (attrs or {}).items()))
        if key in _ops:
            return _ops[key]
    if len(_ops) > 4096:
        _ops.clear()
    made = _ops[key] = _cpu.Op(name, {k: v for k, v in (attrs or {}).items() if v is not None})
    return made


def _arrays(inputs: Sequence[Any]) -> list[np.ndarray | None]:
    return [x if x is None or isinstance(x, np.ndarray) else np.asarray(x) for x in inputs]


def run(name: str, attrs: dict[str, Any], inputs: Sequence[Any], out: Any = None, training: bool = False) -> Any:
    """Run an op's forward; a single output comes bare, several as a list. `out` is an array, or a list of them."""
    given = None if out is None else (list(out) if isinstance(out, (list, tuple)) else [out])
    outputs, _ = op(name, attrs).forward(_arrays(inputs), training, given)
    return outputs[0] if len(outputs) == 1 else outputs


def run_backward(
    name: str,
    attrs: dict[str, Any],
    inputs: Sequence[Any],
    grad_outputs: Sequence[Any],
    wanted: Sequence[bool] | None = None,
) -> list[Any]:
    """Run an op's forward in training mode, then its backward; the gradients of inputs that are `wanted` (all)."""
    o = op(name, attrs)
    arrays = _arrays(inputs)
    outputs, saved = o.forward(arrays, True)
    flags = [True] * len(arrays) if wanted is None else list(wanted)
    return o.backward(arrays, outputs, saved, _arrays(grad_outputs), flags)
