"""How a raw kernel function runs its op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu, _device

_ops: dict[Any, _cpu.Op] = {}


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, (list, tuple)) else value


def op(name: str, attrs: dict[str, Any] | None = None) -> _cpu.Op:
    """The op `name` with these attributes; None means "not given". Equal ops are shared: they are immutable."""
    if attrs and "key" in attrs:  # of a random stream: used once, past the cache
        return _cpu.Op(name, {k: v for k, v in attrs.items() if v is not None})
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


def an_array(x: Any) -> np.ndarray:
    """NumPy's array of numbers that are not one yet; CuPy's of what lies on a GPU."""
    return _device.foreign(x) if _device.on_device(x) else np.asarray(x)  # type: ignore[no-any-return]


def as_arrays(inputs: Sequence[Any]) -> list[np.ndarray | None]:
    return [x if x is None or isinstance(x, np.ndarray) else an_array(x) for x in inputs]


def run_arrays(
    name: str, attrs: dict[str, Any], arrays: list[np.ndarray | None], out: Any, training: bool, several: bool
) -> Any:
    """Run an op's forward; a single output comes bare unless `several`. `out` is an array, or a list of them."""
    run_op = op(name, attrs)
    if not (training or several):
        result = run_op.direct(tuple(arrays), out)
        if result is not None:
            return result
    given = None if out is None else (list(out) if isinstance(out, (list, tuple)) else [out])
    outputs, _ = run_op.forward(arrays, training, given)
    return outputs if several or len(outputs) != 1 else outputs[0]


def run(name: str, attrs: dict[str, Any], inputs: Sequence[Any], out: Any = None) -> Any:
    return run_arrays(name, attrs, as_arrays(inputs), out, False, False)


def run_backward(
    name: str,
    attrs: dict[str, Any],
    inputs: Sequence[Any],
    grad_outputs: Sequence[Any],
    wanted: Sequence[bool] | None = None,
    out: Sequence[np.ndarray | None] | None = None,
    outputs: Sequence[np.ndarray] | None = None,
    saved: Sequence[np.ndarray] | None = None,
) -> list[Any]:
    """Run an op's backward: the gradients of inputs that are `wanted` (all), into `out` where there is an array.

    Forward runs before it, in training mode, where the gradients need outputs or saved arrays that are not given.
    """
    flags = [True] * len(inputs) if wanted is None else list(wanted)
    return op(name, attrs).backward(as_arrays(inputs), outputs, saved, as_arrays(grad_outputs), flags, out)
