"""Saved models: one safetensors file; weights under their layer paths, everything else as JSON in its metadata."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from . import _cpu
from ._suggest import unknown_name

FORMAT = 1
_KEY = "lamella"


def check_path(path: Any) -> str:
    """The path as a string; names that promise another format are refused."""
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"save: path: expected a string or a path, got {type(path).__name__}")
    if name.endswith((".h5", ".hdf5", ".keras", ".pt", ".pth", ".onnx")):
        raise ValueError(f"save: path: models are written as .safetensors files, got {name!r}")
    return name


def write(path: Any, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write a file that appears whole or not at all."""
    name = check_path(path)
    text = json.dumps({"format": FORMAT, **description}, separators=(",", ":"))
    _cpu.safetensors_write(name, tensors, {_KEY: text})


def read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors, and the description if Lamella wrote the file (else an empty one)."""
    tensors, metadata = _cpu.safetensors_read(os.fspath(path))
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


def rebuild(
    config: Any, classes: dict[str, type], what: str = "layer", custom_objects: dict[str, type] | None = None
) -> Any:
    """An object from {"class_name", "config"}; only known classes are ever made."""
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"load: {what}: expected a configuration with a class_name, got {type(config).__name__}")
    name = config["class_name"]
    if name not in classes:
        raise unknown_name(f"load: {what} (pass your own classes in custom_objects)", name, classes)
    try:
        make = classes[name].from_config  # type: ignore[attr-defined]
        if what == "model":
            return make(config.get("config"), custom_objects)
        return make(config.get("config", {}))
    except (TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"load: {what} {name!r}: malformed configuration: {e}") from e
