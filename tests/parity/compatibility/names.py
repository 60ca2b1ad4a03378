"""The public names of modules."""

from __future__ import annotations

import ast
import importlib
import inspect
from fnmatch import fnmatch
from typing import Any

from .cases import PRIVATE


def imported(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return None


def _assigned(module: Any) -> list[str]:
    """What a module without `__all__` defines itself."""
    body = ast.parse(inspect.getsource(module)).body
    names = [n.name for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    return names + [t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]


def public(path: str, flat: bool = False) -> dict[str, Any]:
    """Classes and functions of a module by name; with `flat` those of its submodules too, as "mnist.load_data"."""
    module = imported(path)
    if module is None:
        return {}
    package = path.split(".")[0]
    if path == "torch.nn.functional":
        names = _assigned(module)
    elif package == "torch" and hasattr(module, "__all__"):
        names = module.__all__
    else:
        names = sorted({*dir(module), *getattr(module, "__all__", ())})
    found: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        value = getattr(module, name, None)
        if name.startswith("_") or value is None or any(fnmatch(name, p) for p in PRIVATE):
            continue
        if inspect.ismodule(value):
            if flat and value.__name__.startswith((path, "keras")):
                found.update({f"{name}.{k}": v for k, v in public(value.__name__).items()})
            continue
        origin = getattr(value, "__module__", None) or package
        if callable(value) and origin.split(".")[0] in (package, "torch") and hasattr(value, "__name__"):
            if path == "torch.nn" and not origin.startswith("torch.nn"):
                continue
            found[name] = value
    return found
