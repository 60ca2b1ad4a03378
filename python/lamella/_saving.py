"""Saved models: one safetensors file; weights under their layer paths, everything else as JSON in its metadata."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from . import _cpu
from ._custom import custom_scope, find
from ._device import to_host
from ._errors import short
from ._suggest import unknown_name
from .autograd import Tensor, as_array, wrap
from .mixed_precision import unsaid_is_float32

FORMAT = 1
_KEY = "lamella"


def check_path(path: Any) -> str:
    """The path as a string; names that promise another format are refused."""
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"save: path: expected a string or a path, got {type(path).__name__}")
    if name.endswith((".h5", ".hdf5", ".keras", ".pt", ".pth", ".onnx")):
        raise ValueError(f"save: path: models are written as .safetensors files, got {short(name)}")
    return name


def write(path: Any, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write a file that appears whole or not at all."""
    name = check_path(path)
    text = json.dumps({"format": FORMAT, **description}, separators=(",", ":"))
    _cpu.safetensors_write(name, {k: to_host(a) for k, a in tensors.items()}, {_KEY: text})


def read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors, and the description if Lamella wrote the file (else an empty one)."""
    with open(path, "rb"):
        pass  # FileNotFoundError, PermissionError and IsADirectoryError are Python's own
    try:
        tensors, metadata = _cpu.safetensors_read(os.fspath(path))
    except TypeError:  # elements that no op computes with, such as halves
        from ._weights import safetensors_files

        tensors, metadata = safetensors_files.read(path)
    if _KEY not in metadata:
        return tensors, {}
    try:
        description = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as e:
        raise ValueError(f"load: {path}: the description in the file is not JSON: {e}") from None
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ValueError(f"load: {path}: the description in the file is malformed")
    if description["format"] > FORMAT:
        raise ValueError(
            f"load: {path}: written by a newer Lamella (format {description['format']}; this one reads up to {FORMAT})"
        )
    return tensors, description


@contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A file to write, which takes its place under `path` when all is written, and vanishes on an error."""
    target = os.path.abspath(os.fspath(path))
    handle, part = tempfile.mkstemp(dir=os.path.dirname(target), prefix=f".{os.path.basename(target)}.")
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.unlink(part)


_TENSOR = "tensor"


# PyTorch's habits, and what its own files are called.
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")


def save_nested(obj: Any, path: Any) -> None:
    """Write tensors in dicts, lists and tuples: as PyTorch does, where the name says so or `path` is an open file; else
    the tensors by their place in a safetensors file, the rest as JSON.
    """
    if hasattr(path, "write") or os.fspath(path).endswith(_TORCH_SUFFIXES):
        from ._weights import torch_files

        torch_files.save(obj, path)
        return
    tensors: dict[str, np.ndarray] = {}
    plain = isinstance(obj, Mapping) and all(
        isinstance(k, str) and isinstance(v, (Tensor, np.ndarray)) for k, v in obj.items()
    )
    structure = _encode(obj, "", tensors)
    if plain:
        _cpu.safetensors_write(check_path(path), tensors, {})
    else:
        write(path, tensors, {"nested": structure})


def _encode(value: Any, place: str, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(value, (Tensor, np.ndarray)):
        while place in tensors:  # {"a.b": t} beside {"a": {"b": t}}
            place += "_"
        tensors[place] = np.asarray(to_host(as_array(value)), order="C")
        return {_TENSOR: place}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    below = f"{place}." if place else ""
    if isinstance(value, Mapping):
        keys = list(value)
        if not all(isinstance(k, (str, int)) and not isinstance(k, bool) for k in keys):
            raise TypeError(f"save: {place or 'obj'}: expected keys that are strings or integers, got {keys}")
        return {"dict": [[k, _encode(v, f"{below}{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, f"{below}{i}", tensors) for i, v in enumerate(value)]}
    raise TypeError(
        f"save: {place or 'obj'}: expected tensors, numbers, strings, or dicts, lists and tuples of them, such as "
        f"module.state_dict(), got {type(value).__name__}; pickled objects are not supported"
    )


def load_nested(path: Any) -> Any:
    """What `save_nested` or PyTorch wrote; a safetensors file by others is a dict of tensors."""
    from ._weights import torch_files

    if hasattr(path, "read"):
        return torch_files.load(io.BytesIO(path.read()), getattr(path, "name", "the file"))
    with open(path, "rb") as file:
        start = file.read(8)
        if torch_files.is_torch_file(start):
            file.seek(0)
            return torch_files.load(file, str(path))
    if start == b"\x89HDF\r\n\x1a\n":
        raise ValueError(f"load: {path}: an HDF5 file; give it to the load_weights method of a model")
    tensors, description = read(path)
    if "nested" not in description:
        return OrderedDict((k, wrap(a)) for k, a in tensors.items())
    try:
        return _decode(description["nested"], tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise ValueError(f"load: {path}: the description in the file is malformed: {type(e).__name__}: {e}") from None


def _decode(item: Any, tensors: dict[str, np.ndarray]) -> Any:
    if not isinstance(item, dict):
        return item
    ((kind, value),) = item.items()
    if kind == _TENSOR:
        return wrap(tensors[value])
    if kind == "dict":
        return {k: _decode(v, tensors) for k, v in value}
    if kind not in ("list", "tuple"):
        raise ValueError(f"unknown kind {kind!r}")
    parts = [_decode(v, tensors) for v in value]
    return parts if kind == "list" else tuple(parts)


@contextmanager
def malformed(path: Any, what: str = "load_model") -> Iterator[None]:
    """What a file makes go wrong is the file's fault: a ValueError that names it."""
    try:
        yield
    except (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError, RecursionError, TypeError) as e:
        raise ValueError(f"{what}: {path}: malformed configuration: {type(e).__name__}: {e}") from e
    except ValueError as e:
        raise ValueError(f"{what}: {path}: {e}") from e


def rebuild(config: Any, classes: dict[str, type], custom_objects: dict[str, type] | None = None) -> Any:
    """A layer or model from {"class_name", "config"}; only known classes are ever made."""
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"expected a configuration with a class_name, got {type(config).__name__}")
    name = config["class_name"]
    cls: Any = find(name, classes, custom_objects)
    if cls is None:
        raise unknown_name("layer (pass your own classes in custom_objects)", name, classes)
    with custom_scope(custom_objects), unsaid_is_float32():
        if getattr(cls, "_holds_layers", False):
            return cls.from_config(config.get("config"), custom_objects)
        return cls.from_config(config.get("config", {}))
