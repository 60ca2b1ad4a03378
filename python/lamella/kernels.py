"""The raw kernels on NumPy arrays, for people who want only those.

Every function takes C-contiguous float32 or float64 arrays (others are copied to that layout, never to another dtype),
returns new arrays, and writes into `out` where that is given: an array of the result's shape and dtype, C-contiguous,
writable, and apart from the others but where the function says so.

Where a function can be differentiated, `<function>_backward` takes the gradient by its result and then the function's
own arguments, and gives one gradient for each array that it can be differentiated by: a bare one where there is one
such array, else a tuple.

    y = kernels.conv2d(x, weight, bias, stride=2)
    dx, dweight, dbias = kernels.conv2d_backward(dy, x, weight, bias, stride=2)
    _, dweight, _ = kernels.conv2d_backward(dy, x, weight, bias, stride=2, wanted="weight")

It holds no state, and so runs the function again where the gradient needs its result; `vjp` keeps what is needed.

    y, backward = kernels.vjp(kernels.lstm, x, w_ih, w_hh)
    dx, dw_ih, dw_hh, *_ = backward([dy, None, None])

A family of kernels is imported when one of its functions is first used.
"""

from importlib import import_module as _import_module
from pkgutil import iter_modules as _iter_modules
from typing import Any as _Any

from . import _kernels

_families = [m.name for m in _iter_modules(_kernels.__path__) if not m.name.startswith("_")]


def _functions(family: str) -> dict[str, _Any]:
    module = _import_module(f"{_kernels.__name__}.{family}")
    return {name: getattr(module, name) for name in module.__all__}


def __getattr__(name: str) -> _Any:
    if name == "__all__":
        return [n for family in _families for n in _functions(family)]
    if not name.startswith("__"):
        for family in _families:
            found = _functions(family)
            if name in found:
                globals().update(found)
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
