"""Keras' files: weights in HDF5, laid out as Keras 3 does (.weights.h5, and inside .keras) or as before (.h5).

Weights meet layers in the order and the shapes of `Layer.get_weights`, which are Keras'.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._device import fill, to_host
from .._saving import replacing
from ..layers._names import snake_case
from ..layers.base import Layer
from ..layers.rnn_cells import StackedRNNCells

__all__ = ["is_keras_file", "load_weights", "save_weights"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_INSIDE = "model.weights.h5"  # of a .keras archive


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as e:
        raise ImportError("Keras' HDF5 files need h5py: pip install lamella[h5]") from e
    return h5py


def is_keras_file(path: Any) -> bool:
    """Whether it is an HDF5 file, or an archive with one inside."""
    with open(path, "rb") as file:
        start = file.read(8)
        if start == _HDF5:
            return True
        if start[:4] != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                return _INSIDE in archive.namelist()
        except zipfile.BadZipFile:
            return os.fspath(path).endswith(".keras")


@contextmanager
def _open(path: Any) -> Iterator[Any]:
    """The HDF5 file at a path, or in the archive there. What damaged files make go wrong is a ValueError."""
    h5py = _h5py()
    try:
        with open(path, "rb") as file:
            source: Any = file
            if file.read(4) == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    member = archive.getinfo(_INSIDE)
                    if member.file_size > 100 * max(member.compress_size, 1):
                        raise ValueError(f"{_INSIDE} is a thousandfold of what is stored")
                    source = io.BytesIO(archive.read(member))
            with h5py.File(source, "r") as f:
                yield f
    except _Mismatch:
        raise
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError, MemoryError,
            zipfile.BadZipFile) as e:  # fmt: skip
        raise ValueError(f"load_weights: {path}: not a readable file of weights: {e}") from e


class _Mismatch(ValueError):
    """The file is fine, but its weights are not those of the model."""


# --- what is in a file -------------------------------------------------------------------------------------------


def _child(group: Any, name: str) -> Any:
    """A member of a group that lies in this very file; None where there is none."""
    h5py = _h5py()
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{group.name}/{name}: refused a link to elsewhere")
    found = group[name]
    if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
        raise ValueError(f"{group.name}/{name}: refused data that lie elsewhere")
    return found


def _group(group: Any, *names: str) -> Any:
    for name in names:
        group = None if group is None else _child(group, name)
        if not (group is None or isinstance(group, _h5py().Group)):
            raise ValueError(f"{name}: expected a group")
    return group


def _dataset(group: Any, name: str) -> Any:
    found: Any = group
    for part in name.split("/"):
        found = _child(found, part) if isinstance(found, _h5py().Group) else None
    if not isinstance(found, _h5py().Dataset) or found.dtype.kind not in "fiu":
        raise ValueError(f"{group.name}/{name}: expected an array of numbers")
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which is cut into several attributes where it is long."""
    if attribute in group.attrs:
        return [_text(n) for n in group.attrs[attribute]]
    names: list[str] = []
    i = 0
    while f"{attribute}{i}" in group.attrs:
        names += [_text(n) for n in group.attrs[f"{attribute}{i}"]]
        i += 1
    return names


def _variables(group: Any) -> list[Any]:
    """The arrays of `vars`, in order."""
    variables = _group(group, "vars")
    if variables is None:
        return []
    names = sorted((n for n in variables if n.isdecimal()), key=int)
    return [_dataset(variables, n) for n in names]


def _gather(group: Any, layer: Any) -> list[Any]:
    """The arrays of a layer and its parts; those of parts that the layer has not got come last."""
    found = _variables(group)
    met = {"vars"}
    for path, part in _parts(layer) if layer is not None else ():
        names = path.split("/")
        met.add(names[0])
        below = _group(group, *names)
        if below is not None:
            found += _gather(below, part)
    for name in group:
        below = None if name in met else _group(group, name)
        if below is not None:
            found += _gather(below, None)
    return found


def _holds_arrays(group: Any) -> bool:
    return bool(_variables(group)) or any(
        _holds_arrays(below) for name in group if name != "vars" and (below := _group(group, name)) is not None
    )


# --- which array belongs to which layer ------------------------------------------------------------------------------


class _Unit:
    """A layer's own weights, without those of the layers inside it, as Keras shows them."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        made = layer.__dict__.get("_weight_trainable", {})
        self.fixed = sum(not m for m in made.values())  # weights that are never trained: the last ones
        self._own: list[Any] | None = None
        if any(True for _ in layer.children()):
            names = sorted(layer._parameters, key=lambda n: not made.get(n, True))
            self._own = [p for n in names if (p := layer._parameters[n]) is not None]
        self.shapes = [a.shape for a in self.arrays()]

    def arrays(self) -> list[np.ndarray]:
        """The weights."""
        return self.layer.get_weights() if self._own is None else [to_host(p._data) for p in self._own]

    def assign(self, arrays: list[np.ndarray]) -> None:
        if self._own is not None:
            for p, a in zip(self._own, arrays, strict=True):
                fill(p._data, a)
            return
        self.layer.set_weights(arrays)


def _units(layer: Any) -> list[_Unit]:
    """Those of a layer and all inside it, each once, in the order of its weights."""
    return [_Unit(m) for m in layer.modules() if isinstance(m, Layer) and m._parameters]


class _Match:
    """Arrays of the file for one layer."""

    def __init__(
        self, layer: Layer, source: str, arrays: list[Any], regroup: bool, units: list[_Unit] | None = None
    ) -> None:
        self.layer, self.source, self.arrays = layer, source, arrays
        self.units = _units(layer) if units is None else units
        shapes = [s for u in self.units for s in u.shapes]
        self.problem = ""
        if regroup:
            places = self._by_trainable()
            # A nested model may have been frozen when it was saved: then its weights are not sorted.
            if len(places) == len(arrays) and [shapes[i] for i in places] == [a.shape for a in arrays]:
                self.arrays = [a for _, a in sorted(zip(places, arrays, strict=True), key=lambda pair: pair[0])]
        if len(self.arrays) != len(shapes):
            self.problem = f"expected {len(shapes)} arrays, got {len(self.arrays)}"
        for have, a in zip(shapes, self.arrays, strict=False):
            if have != a.shape and not self.problem:
                self.problem = f"expected shape {have}, got {a.shape}"

    def _by_trainable(self) -> list[int]:
        """Places of the weights in the old format, where the trainable ones of all parts go first."""
        kinds = [i < len(u.shapes) - u.fixed for u in self.units for i in range(len(u.shapes))]
        return [i for i, trained in enumerate(kinds) if trained] + [i for i, trained in enumerate(kinds) if not trained]

    def __str__(self) -> str:
        return f"layer {self.layer.name} ({self.source} in the file): {self.problem}"

    def assign(self) -> None:
        arrays = iter(self.arrays)
        for unit in self.units:
            unit.assign([np.asarray(next(arrays)[()]) for _ in unit.shapes])


def _has_weights(layer: Any) -> bool:
    return any(True for _ in layer.parameters())


def _with_weights(model: Any) -> list[tuple[str, Layer]]:
    return [(name, layer) for name, layer in model._named_layers() if _has_weights(layer)]


def _legacy_matches(model: Any, group: Any, by_name: bool) -> tuple[list[_Match], list[str]]:
    saved: list[tuple[str, list[Any]]] = []
    for name in _names(group, "layer_names"):
        below = _group(group, *name.split("/"))
        if below is None:
            raise ValueError(f"layer {name} is missing")
        arrays = [_dataset(below, n) for n in _names(below, "weight_names")]
        if arrays:
            saved.append((name, arrays))
    layers = _with_weights(model)
    if by_name:
        found = dict(saved)
        return [_Match(m, n, found[n], True) for n, m in layers if n in found], []
    if len(saved) != len(layers):
        raise _Mismatch(
            f"the file has the weights of {len(saved)} layers ({_some([n for n, _ in saved])}), the model has "
            f"{len(layers)} ({_some([n for n, _ in layers])}); by_name=True takes those of the same name"
        )
    return [_Match(m, n, a, True) for (_, m), (n, a) in zip(layers, saved, strict=True)], []


def _keys(model: Any) -> Iterator[tuple[str, str, Any]]:
    """(path of the group, layer's name, layer) of what is right below a model."""
    if model._graph is None and not hasattr(model, "add"):  # subclassed: by attribute
        for name, layer in model._named_layers():
            yield name, name, layer
        return
    named = model._named_layers()
    for key, (name, layer) in zip(_numbered([layer for _, layer in named]), named, strict=True):
        yield f"layers/{key}", name, layer


def _numbered(layers: list[Any]) -> Iterator[str]:
    """What the groups of layers in a list are called."""
    used: dict[str, int] = {}
    for layer in layers:
        kind = type(layer).__name__
        base = snake_case("Functional" if kind == "Model" and getattr(layer, "_graph", None) is not None else kind)
        n = used.get(base, 0)
        used[base] = n + 1
        yield f"{base}_{n}" if n else base


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "_named_layers")


def _parts(layer: Any) -> Iterator[tuple[str, Layer]]:
    """(path of the group, layer) of the layers right inside a layer, in the order of its weights."""
    if _is_model(layer):
        for path, _, part in _keys(layer):
            yield path, part
    elif isinstance(layer, StackedRNNCells):
        for key, cell in zip(_numbered(layer.cells), layer.cells, strict=True):
            if isinstance(cell, Layer):
                yield f"cells/{key}", cell
    else:
        for name, part in layer.named_children():
            if isinstance(part, Layer):
                yield name, part


def _tree_matches(model: Any, group: Any, by_name: bool, path: str = "") -> tuple[list[_Match], list[str]]:
    named: dict[str, str] = {}
    layers = _group(group, "layers")
    if by_name and layers is not None:
        for key in layers:
            variables = _group(layers, key, "vars")
            if variables is not None and "name" in variables.attrs:
                named[_text(variables.attrs["name"])] = f"layers/{key}"
    matches: list[_Match] = []
    problems: list[str] = []
    own = _variables(group)
    if (own or model._parameters) and not by_name:
        matches.append(_Match(model, f"{path}vars", own, False, [_Unit(model)] if model._parameters else []))
    met: set[str] = set()
    for key, name, layer in _keys(model):
        if by_name and layers is not None:
            if name not in named:
                continue
            key = named[name]
        met.add(key)
        below = _group(group, *key.split("/"))
        if below is None:
            if _has_weights(layer):
                problems.append(f"layer {path}{name}: the file has no {path}{key}")
        elif _is_model(layer):
            more, trouble = _tree_matches(layer, below, False, f"{path}{key}/")
            matches += more
            problems += trouble
        elif _has_weights(layer) or not by_name:
            match = _Match(layer, f"{path}{key}", _gather(below, layer), False)
            if _has_weights(layer) or match.arrays:
                matches.append(match)
    if not by_name and layers is not None:
        left = [k for k in layers if f"layers/{k}" not in met and _holds_arrays(_group(layers, k))]
        if left:
            problems.append(f"the model has no layers for {_some([f'{path}layers/{k}' for k in left])}")
    return matches, problems


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def load_weights(model: Any, path: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read weights into a model: nothing is changed unless all fit, or `skip_mismatch`."""
    with _open(path) as file:
        root = _group(file, "model_weights") or file
        legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
        try:
            matches, problems = (_legacy_matches if legacy else _tree_matches)(model, root, by_name)
            problems += [str(m) for m in matches if m.problem]
            if not matches and not by_name and not problems and _has_weights(model):
                problems.append("the file holds no weights of layers")
            if problems and not skip_mismatch:
                raise _Mismatch("; ".join(problems))
        except _Mismatch as e:
            raise _Mismatch(f"load_weights: {path}: {e}") from None
        for problem in problems:
            warnings.warn(f"load_weights: {path}: skipped {problem}", stacklevel=4)
        fitting = [m for m in matches if not m.problem]
        for match in fitting:
            match.assign()


# --- writing -----------------------------------------------------------------------------------------------------


def save_weights(model: Any, path: Any) -> None:
    """Write a .weights.h5 file as Keras 3 does; it appears whole or not at all."""
    h5py = _h5py()
    with replacing(path) as stream, h5py.File(stream, "w") as file:
        _write(model, file)


def _write(layer: Any, group: Any) -> None:
    variables = group.require_group("vars")
    variables.attrs["name"] = layer.name
    if layer._parameters:
        for i, a in enumerate(_Unit(layer).arrays()):
            variables[str(i)] = a
    for path, part in _parts(layer):
        _write(part, group.require_group(path))
