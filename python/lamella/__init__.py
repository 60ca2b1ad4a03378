"""Lamella: deep learning in one small wheel.

`lamella.nn`, `lamella.optim` and this module's functions follow PyTorch (`import lamella as torch`); `lamella.keras`,
`lamella.layers` and `lamella.models` follow Keras. Both are faces of the same layers and kernels. Everything beyond the
settings below is imported when it is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from ._config import (
    get_float32_matmul_precision,
    get_num_threads,
    get_precision,
    seed,
    set_float32_matmul_precision,
    set_num_threads,
    set_precision,
)
from ._cpu import __version__
from ._threadpoolctl import watch as _watch_threadpoolctl

if TYPE_CHECKING:
    from ._toplevel import *  # noqa: F403

_watch_threadpoolctl()

__all__ = [
    "__version__",
    "get_float32_matmul_precision",
    "get_num_threads",
    "get_precision",
    "seed",
    "set_float32_matmul_precision",
    "set_num_threads",
    "set_precision",
]

_SUBMODULES = frozenset({
    "activations", "amp", "applications", "audio", "autograd", "callbacks", "constraints", "data", "datasets",
    "functional", "initializers", "io", "keras", "kernels", "layers", "losses", "metrics", "mixed_precision", "models",
    "nn", "optim", "optimizers", "preprocessing", "regularizers", "saving", "transforms", "utils",
})  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _SUBMODULES:
        try:
            return _import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as e:
            if e.name != f"{__name__}.{name}":
                raise
    elif not name.startswith("_"):
        toplevel = _import_module(f"{__name__}._toplevel")
        if name in toplevel.__all__:
            value = globals()[name] = getattr(toplevel, name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    toplevel = _import_module(f"{__name__}._toplevel")
    return sorted({*globals(), *_SUBMODULES, *toplevel.__all__})
