"""The raw kernels on NumPy arrays, for people who want only those.

Every function takes C-contiguous float32 or float64 arrays (others are copied to that layout, never to another dtype),
returns new arrays, and writes into `out` where that is given.
"""

from importlib import import_module as _import_module
from pkgutil import iter_modules as _iter_modules

from . import _kernels

__all__: list[str] = []
for _module in _iter_modules(_kernels.__path__):
    if not _module.name.startswith("_"):
        _family = _import_module(f"{_kernels.__name__}.{_module.name}")
        for _name in _family.__all__:
            globals()[_name] = getattr(_family, _name)
            __all__.append(_name)
