"""Makes threadpoolctl see and limit the thread pool, as it does with those of BLAS and OpenMP libraries."""

from __future__ import annotations

import sys
from typing import Any

from . import _cpu


def _register(threadpoolctl: Any) -> None:
    if not hasattr(threadpoolctl, "register"):  # before 3.2
        return

    class LamellaController(threadpoolctl.LibController):  # type: ignore[name-defined, misc]
        user_api = internal_api = "lamella"
        filename_prefixes = ("_cpu",)
        check_symbols = ("lamella_num_threads",)

        def get_num_threads(self) -> int:
            return _cpu.num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _cpu.set_num_threads(max(1, num_threads))

        def get_version(self) -> str:
            return _cpu.__version__

    threadpoolctl.register(LamellaController)


# Loader and finder in form only: importlib.abc takes longer to import than all of this package.
class _Loader:
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self.loader.exec_module(module)
        _register(module)


class _Finder:
    """Registers the pool once somebody imports threadpoolctl: importing it for them would cost every program 8 ms."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "threadpoolctl":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def watch() -> None:
    """Register with threadpoolctl, now or when it is imported."""
    loaded = sys.modules.get("threadpoolctl")
    if loaded is not None:
        _register(loaded)
    else:
        sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
