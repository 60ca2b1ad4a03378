"""PyTorch's files: the zip archives of today, and the bare pickles from before 1.6."""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from .._errors import short
from .._saving import replacing
from ..autograd import Tensor, as_array, wrap
from ..nn.parameter import Parameter
from .pickles import BadPickle, Builder, read

__all__ = ["is_torch_file", "load", "save"]

# What PyTorch calls the types of elements: their size, and how NumPy reads them; None: not supported.
_BFLOAT16 = "bfloat16"
_STORAGES: dict[str, tuple[int, str | None]] = {
    "Float": (4, "f4"), "Double": (8, "f8"), "Half": (2, "f2"), "BFloat16": (2, _BFLOAT16), "Long": (8, "i8"),
    "Int": (4, "i4"), "Short": (2, "i2"), "Char": (1, "i1"), "Byte": (1, "u1"), "Bool": (1, "?"),
    "ComplexFloat": (8, None), "ComplexDouble": (16, None), "QUInt8": (1, None), "QInt8": (1, None),
    "QInt32": (4, None), "Untyped": (1, "u1"),
}  # fmt: skip
_DTYPES = {
    "float32": "Float", "float": "Float", "float64": "Double", "double": "Double", "float16": "Half", "half": "Half",
    "bfloat16": "BFloat16", "int64": "Long", "long": "Long", "int32": "Int", "int": "Int", "int16": "Short",
    "short": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip
_NAMES = {
    "f4": "Float",
    "f8": "Double",
    "i8": "Long",
    "i4": "Int",
    "i2": "Short",
    "i1": "Char",
    "u1": "Byte",
    "b1": "Bool",
}

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")


def is_torch_file(start: bytes) -> bool:
    """Whether a file with these first bytes may be one: a zip archive, or a pickle."""
    return start[:4] == b"PK\x03\x04" or start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


# --- reading -----------------------------------------------------------------------------------------------------


class _Storage:
    """Elements in a row, read once; types that NumPy lacks, and halves, are float32."""

    def __init__(self, kind: str, key: str, raw: np.ndarray, swap: bool) -> None:
        self.kind, self.key, self.raw, self.swap = kind, key, raw, swap
        self._arrays: dict[str, np.ndarray] = {}

    def array(self, kind: str) -> np.ndarray:
        """All of it as elements of a kind."""
        if kind not in self._arrays:
            self._arrays[kind] = _elements(self.raw, kind, self.swap)
        return self._arrays[kind]


def _elements(raw: np.ndarray, kind: str, swap: bool) -> np.ndarray:
    size, code = _STORAGES[kind]
    if code is None:
        raise BadPickle(f"tensors of {kind} elements are not supported")
    if len(raw) % size:
        raise BadPickle(f"{len(raw)} bytes are no whole number of {kind} elements")
    if code == _BFLOAT16:
        return (raw.view(">u2" if swap else "<u2").astype(np.uint32) << 16).view(np.float32)
    if code == "?":
        return raw != 0
    order = ">" if swap else "<"
    found = raw.view(order + code if size > 1 else code)
    return found.astype(np.float32 if code == "f2" else found.dtype.newbyteorder("="), copy=code == "f2" or swap)


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > 32:
        raise BadPickle(f"{what}: expected a tuple of at most 32 sizes")
    if not all(type(v) is int and 0 <= v < 2**48 for v in values):
        raise BadPickle(f"{what}: expected sizes, got {short(values)}")
    return tuple(values)


class _Tensors:
    """The globals of PyTorch that a file may name, over storages given by `persistent`."""

    def __init__(self, size: int) -> None:
        self.copies = size  # bytes that may be copied to make parameters dense
        self.table: dict[tuple[str, str], Builder] = {
            ("torch._utils", "_rebuild_tensor_v2"): Builder(self.tensor),
            ("torch._utils", "_rebuild_tensor"): Builder(self.tensor),
            ("torch._utils", "_rebuild_tensor_v3"): Builder(self.untyped_tensor),
            ("torch._utils", "_rebuild_parameter"): Builder(self.parameter),
            ("torch._utils", "_rebuild_parameter_with_state"): Builder(self.parameter),
            ("torch", "Size"): Builder(lambda machine, sizes=(): tuple(machine.copied(sizes))),
            ("torch", "device"): Builder(lambda machine, *place: "cpu"),
            ("torch.storage", "UntypedStorage"): Builder(None, "Untyped"),
        }
        for name in _STORAGES:
            self.table["torch", f"{name}Storage"] = Builder(None, name)
        for name in _DTYPES:
            self.table["torch", name] = Builder(None, np.dtype(_numpy_name(name)))
        self.names = {v.value: _DTYPES[k[1]] for k, v in self.table.items() if k[1] in _DTYPES}

    def tensor(
        self, machine: Any, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
        hooks: Any = None, metadata: Any = None,
    ) -> Any:  # fmt: skip
        kind = storage.kind if isinstance(storage, _Storage) else ""
        return self._view(storage, kind, offset, size, stride, requires_grad)

    def untyped_tensor(
        self, machine: Any, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any,
        dtype: Any, metadata: Any = None,
    ) -> Any:  # fmt: skip
        if dtype not in self.names:
            raise BadPickle(f"expected a dtype, got {short(dtype)}")
        return self._view(storage, self.names[dtype], offset, size, stride, requires_grad)

    def _view(self, storage: Any, kind: str, offset: Any, size: Any, stride: Any, requires_grad: Any) -> Any:
        if not isinstance(storage, _Storage):
            raise BadPickle("a tensor without a storage")
        (offset,), size, stride = _sizes((offset,), "offset"), _sizes(size, "size"), _sizes(stride, "stride")
        elements = storage.array(kind)
        if len(size) != len(stride):
            raise BadPickle(f"expected a stride for each of the sizes {size}, got {stride}")
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if 0 not in size else offset - 1
        if last >= len(elements) or offset > len(elements):
            raise BadPickle(f"a tensor of shape {size} lies outside its {len(elements)} elements")
        steps = tuple(s * elements.itemsize for s in stride)
        array = np.lib.stride_tricks.as_strided(elements[offset:], size, steps)
        found = wrap(array)
        if requires_grad and array.dtype.kind == "f":
            found.requires_grad = True
        return found

    def parameter(self, machine: Any, data: Any, requires_grad: Any, hooks: Any = None, state: Any = None) -> Any:
        if not isinstance(data, Tensor) or state:
            raise BadPickle("expected a parameter that is a plain tensor")
        if not data._data.flags.c_contiguous:
            self.copies -= data._data.nbytes
            if self.copies < 0:
                raise BadPickle("parameters are larger than the file")
        return Parameter(data._data, bool(requires_grad) and data.dtype.kind == "f")


def _numpy_name(dtype: str) -> str:
    """A NumPy dtype that stands for PyTorch's while a file is read; it never leaves this module."""
    return {"bfloat16": "V2", "half": "float16", "long": "int64", "int": "int32", "short": "int16", "double": "float64",
            "float": "float32"}.get(dtype, dtype)  # fmt: skip


def _storage_id(pid: Any) -> tuple[str, str, int, Any]:
    """(kind, key, number of elements, view of another storage) of a persistent id."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise BadPickle(f"expected a storage, got {pid!r:.80}")
    kind, key, count = pid[1], pid[2], pid[4]
    if kind not in _STORAGES or not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**48:
        raise BadPickle(f"expected a storage, got {pid!r:.80}")
    return kind, key, count, pid[5] if len(pid) == 6 else None


def load(file: BinaryIO, name: str) -> Any:
    """Read a file of tensors in containers.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but tensors, numbers, strings and containers of them.
    """
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    try:
        if start[:4] == b"PK\x03\x04":
            return _load_archive(file)
        return _load_legacy(file)
    except (BadPickle, zipfile.BadZipFile, struct.error, EOFError, MemoryError, NotImplementedError, KeyError,
            RuntimeError, OverflowError, UnicodeError) as e:  # fmt: skip
        raise ValueError(f"load: {name}: not a readable file of tensors: {e}") from e


def _load_archive(file: BinaryIO) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        members = {m.filename: m for m in archive.infolist()}
        pickles = [n for n in members if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickles) != 1:
            raise BadPickle("the archive has no data.pkl")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}constants.pkl" in members:
            raise BadPickle("a TorchScript program, not a file of tensors; save its state_dict()")
        total = sum(m.file_size for m in members.values())
        if total > size or any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            raise BadPickle("expected members that are stored as they are, got compressed or overlapping ones")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in members else b"little"
        if order not in (b"little", b"big"):
            raise BadPickle(f"unknown byte order {order!r}")
        storages: dict[str, _Storage] = {}

        def storage(pid: Any) -> _Storage:
            kind, key, count, _ = _storage_id(pid)
            if key not in storages:
                member = members.get(f"{root}data/{key}")
                if member is None:
                    raise BadPickle(f"storage {key} is missing")
                storages[key] = _Storage(kind, key, _member(archive, member), order == b"big")
            found = storages[key]
            if found.kind != kind or count * _STORAGES[kind][0] != len(found.raw):
                raise BadPickle(f"storage {key}: expected {count} elements of {kind}, got {len(found.raw)} bytes")
            return found

        data = memoryview(archive.read(pickles[0]))
        return read(data, 0, _Tensors(size).table, storage)[0]


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    raw = np.empty(member.file_size, np.uint8)
    with archive.open(member) as stream:
        at = 0
        while at < len(raw):
            block = stream.read(min(1 << 22, len(raw) - at))
            if not block:
                raise BadPickle(f"{member.filename} is cut short")
            raw[at : at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
    return raw


def _load_legacy(file: BinaryIO) -> Any:
    """Before 1.6: pickles of a magic number, a version, the machine, the object, and the keys; then the storages."""
    data = memoryview(file.read())
    nothing: Callable[[Any], Any] = lambda pid: None  # noqa: E731
    magic, at = read(data, 0, {}, nothing)
    if magic != _LEGACY_MAGIC:
        raise BadPickle("a pickle, but not one of PyTorch's")
    version, at = read(data, at, {}, nothing)
    machine, at = read(data, at, {}, nothing)
    if version != 1001 or not isinstance(machine, dict):
        raise BadPickle(f"unknown version {version!r}")
    swap = machine.get("little_endian") is False
    begin = at
    # Storages stand behind the object that names them: a first reading tells which there are.
    known: dict[str, tuple[str, int]] = {}

    def note(pid: Any) -> None:
        kind, key, count, _ = _storage_id(pid)
        if known.setdefault(key, (kind, count)) != (kind, count):
            raise BadPickle(f"storage {key}: two sizes")

    blank = {
        k: Builder(None if b.call is None else lambda machine, *a: None, b.value) for k, b in _Tensors(0).table.items()
    }
    _, at = read(data, begin, blank, note)
    keys, at = read(data, at, {}, nothing)
    if not isinstance(keys, list) or set(known) != set(keys) or len(keys) != len(known):
        raise BadPickle("the list of storages does not fit the object")
    storages = {}
    for key in keys:
        kind, count = known[key]
        width = _STORAGES[kind][0]
        if len(data) - at < 8 + count * width or struct.unpack_from(">q" if swap else "<q", data, at)[0] != count:
            raise BadPickle(f"storage {key} is cut short")
        raw = np.frombuffer(data, np.uint8, count * width, at + 8).copy()
        storages[key] = _Storage(kind, key, raw, swap)
        at += 8 + count * width

    def storage(pid: Any) -> _Storage:
        _, key, _, view = _storage_id(pid)
        whole = storages[key]
        if view is None:
            return whole
        if not isinstance(view, tuple) or len(view) != 3:
            raise BadPickle("expected (key, offset, size) of a view")
        (offset, size), width = _sizes(view[1:], "view"), _STORAGES[whole.kind][0]
        if (offset + size) * width > len(whole.raw):
            raise BadPickle("a view lies outside its storage")
        return _Storage(whole.kind, key, whole.raw[offset * width : (offset + size) * width], swap)

    return read(data, begin, _Tensors(len(data)).table, storage)[0]


# --- writing -----------------------------------------------------------------------------------------------------


class _Writer:
    """The pickle of tensors in containers, protocol 2, and the storages that it names."""

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.storages: list[np.ndarray] = []
        self._keys: dict[Any, int] = {}

    def text(self, value: str) -> None:
        raw = value.encode("utf-8", "surrogatepass")
        self.out.write(b"X" + struct.pack("<I", len(raw)) + raw)

    def named(self, module: str, name: str) -> None:
        self.out.write(f"c{module}\n{name}\n".encode())

    def integer(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self.out.write(b"J" + struct.pack("<i", value))
            return
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(raw) > 255:
            raise ValueError(f"save: expected integers of at most 2,000 bits, got one of {value.bit_length()}")
        self.out.write(b"\x8a" + bytes([len(raw)]) + raw)

    def sizes(self, values: tuple[int, ...]) -> None:
        self.out.write(b"(")
        for v in values:
            self.integer(v)
        self.out.write(b"t")

    def tensor(self, array: np.ndarray, requires_grad: bool) -> None:
        code = array.dtype.str[1:]
        if code not in _NAMES:
            raise TypeError(f"save: expected tensors of floats, integers and booleans, got {array.dtype}")
        known = (array.__array_interface__["data"][0], array.shape, array.strides, code)
        dense = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        if known not in self._keys:
            self._keys[known] = len(self.storages)
            self.storages.append(dense)
        self.named("torch._utils", "_rebuild_tensor_v2")
        self.out.write(b"((")
        self.text("storage")
        self.named("torch", f"{_NAMES[code]}Storage")
        self.text(str(self._keys[known]))
        self.text("cpu")
        self.integer(array.size)
        self.out.write(b"tQ")
        self.integer(0)
        self.sizes(array.shape)
        strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
        self.sizes(tuple(strides))
        self.out.write(b"\x88" if requires_grad else b"\x89")
        self.empty_hooks()
        self.out.write(b"tR")

    def empty_hooks(self) -> None:
        self.named("collections", "OrderedDict")
        self.out.write(b")R")

    def value(self, value: Any, place: str) -> None:
        if isinstance(value, Parameter):
            self.named("torch._utils", "_rebuild_parameter")
            self.out.write(b"(")
            self.tensor(value._data, False)
            self.out.write(b"\x88" if value.requires_grad else b"\x89")
            self.empty_hooks()
            self.out.write(b"tR")
        elif isinstance(value, (Tensor, np.ndarray)):
            self.tensor(as_array(value), isinstance(value, Tensor) and value.is_leaf and value.requires_grad)
        elif value is None or isinstance(value, (bool, np.bool_)):
            self.out.write(b"N" if value is None else b"\x88" if value else b"\x89")
        elif isinstance(value, (int, np.integer)):
            self.integer(int(value))
        elif isinstance(value, (float, np.floating)):
            self.out.write(b"G" + struct.pack(">d", float(value)))
        elif isinstance(value, str):
            self.text(value)
        elif isinstance(value, Mapping):
            self.mapping(value, place)
        elif isinstance(value, (list, tuple)):
            self.out.write(b"(" if isinstance(value, tuple) else b"](")
            for i, v in enumerate(value):
                self.value(v, f"{place}.{i}")
            self.out.write(b"t" if isinstance(value, tuple) else b"e")
        else:
            raise TypeError(
                f"save: {place.lstrip('.') or 'obj'}: expected tensors, numbers, strings, or dicts, lists and tuples "
                f"of them, such as module.state_dict(), got {type(value).__name__}; pickled objects are not supported"
            )

    def mapping(self, value: Mapping[Any, Any], place: str) -> None:
        if isinstance(value, OrderedDict):
            self.empty_hooks()
        else:
            self.out.write(b"}")
        self.out.write(b"(")
        for k, v in value.items():
            if not isinstance(k, (str, int)):
                raise TypeError(
                    f"save: {place.lstrip('.') or 'obj'}: expected keys that are strings or integers, got {short(k)}"
                )
            self.value(k, place)
            self.value(v, f"{place}.{k}")
        self.out.write(b"u")


def save(obj: Any, file: Any) -> None:
    """Write tensors in containers as PyTorch does; a file at a path appears whole or not at all.

    Parameters
    ----------
    obj : Tensor, mapping, list or tuple
    file : str, path or binary file
    """
    writer = _Writer()
    writer.out.write(b"\x80\x02")
    writer.value(obj, "")
    writer.out.write(b".")
    if hasattr(file, "write"):
        _write_archive(writer, file, "archive")
        return
    path = os.fspath(file)
    with replacing(path) as stream:
        _write_archive(writer, stream, os.path.splitext(os.path.basename(path))[0] or "archive")


def _write_archive(writer: _Writer, stream: BinaryIO, root: str) -> None:
    members: list[tuple[str, Any]] = [
        ("data.pkl", writer.out.getvalue()),
        ("byteorder", b"little"),
        *((f"data/{i}", a) for i, a in enumerate(writer.storages)),
        ("version", b"3\n"),
    ]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(f"{root}/{name}")
            raw = content.reshape(-1).view(np.uint8).data if isinstance(content, np.ndarray) else content
            large = len(raw) >= 1 << 30
            if not large:  # storages begin at multiples of 64 bytes, so that they can be mapped
                used = archive.start_dir + 30 + len(info.filename.encode()) + 4
                padding = -used % 64
                info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
            with archive.open(info, "w", force_zip64=large) as out:
                out.write(raw)
