"""Devices: the CPU, and NVIDIA GPUs, whose arrays are CuPy's. Nothing of a GPU is loaded before one is asked for."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from . import _cpu
from ._dtypes import as_dtype
from ._errors import short

__all__ = ["CPU", "device", "parse_to"]


class device:
    """Where arrays live.

    Parameters
    ----------
    type : str or device
        "cpu", or a name such as "cuda" or "cuda:0".
    index : int, optional
        Which one of that type.
    """

    type: str
    index: int | None

    def __init__(self, type: Any, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        name, _, number = str(type).partition(":")
        self.type = name
        self.index = int(number) if number else index
        if name not in ("cpu", "cuda"):
            raise RuntimeError(f"device: type: expected 'cpu' or 'cuda', got {short(name)}")

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))


CPU = device("cpu")

_lock = threading.Lock()
_open: int | None = None  # the GPU that is open


def check_device(value: Any) -> device | None:
    """The device meant by a `device` argument, made ready; an error says what is missing for it."""
    if value is None:
        return None
    d = device(value)
    if d.type == "cuda":
        _open_cuda(d.index)
    return d


def _open_cuda(index: int | None) -> None:
    global _open
    if _open is not None and index in (None, _open):
        return
    with _lock:
        wanted = 0 if index is None else index
        if _open is not None and wanted != _open:
            raise RuntimeError(f"device: cuda:{wanted}: cuda:{_open} is in use; one GPU per process")
        try:
            from . import _cuda  # type: ignore[attr-defined]
        except ImportError as e:
            raise RuntimeError(
                "device: cuda: this build of Lamella has no CUDA module (build it with LAMELLA_CUDA=ON); "
                f"only 'cpu' is available ({e})"
            ) from None
        try:
            import cupy  # noqa: F401
        except ImportError as e:
            raise RuntimeError(f"device: cuda: CuPy is needed: pip install 'lamella[cuda13]' ({e})") from None
        try:
            arrays = _cuda.open(wanted)
        except RuntimeError as e:
            raise RuntimeError(f"device: cuda:{wanted}: {e}") from None
        _cpu.attach_device(arrays)
        _open = wanted


def is_available() -> bool:
    """Whether device="cuda" can be used."""
    try:
        _open_cuda(None)
    except RuntimeError:
        return False
    return True


def cuda_device_count() -> int:
    """The number of GPUs, 0 without the CUDA module."""
    try:
        from . import _cuda  # type: ignore[attr-defined]
    except ImportError:
        return 0
    return int(_cuda.device_count())


def on_device(array: Any) -> bool:
    """Whether an array lies on a GPU."""
    return type(array) is not np.ndarray and hasattr(array, "__cuda_array_interface__")


def device_of(array: Any) -> device:
    """Where an array lies."""
    return device("cuda", _open or 0) if on_device(array) else CPU


def namespace(array: Any) -> Any:
    """NumPy, or CuPy for arrays on a GPU."""
    return sys.modules["cupy"] if on_device(array) else np


def to_host(array: Any) -> np.ndarray:
    """The values as a NumPy array: the very array where it is one."""
    return array.get() if on_device(array) else np.asarray(array)  # type: ignore[no-any-return]


def place(array: Any, where: device | None) -> Any:
    """The array on a device; itself where it lies there."""
    if where is None or device_of(array).type == where.type:
        return array
    if where.type == "cpu":
        return array.get()
    return sys.modules["cupy"].asarray(array, order="C")


def free_memory() -> int:
    """Bytes that arrays could still take on the GPU."""
    cupy = sys.modules["cupy"]
    return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())


def fill(array: Any, values: Any) -> None:
    """Give an array other values, wherever both lie."""
    array[...] = place(values, device_of(array))


def dense(array: Any, dtype: Any = None) -> Any:
    """The values in C order and, if given, another dtype; the very array where it has both."""
    if on_device(array):
        return sys.modules["cupy"].ascontiguousarray(array if dtype is None else array.astype(dtype, copy=False))
    return np.ascontiguousarray(array, dtype)


def foreign(data: Any) -> Any:
    """CuPy's view of an array on a GPU that another library has made."""
    check_device("cuda")
    cupy = sys.modules["cupy"]
    return data if isinstance(data, cupy.ndarray) else cupy.asarray(data)


def parse_to(args: tuple[Any, ...], dtype: Any, where: Any) -> tuple[np.dtype | None, device | None]:
    """The dtype and the device wanted by the arguments of `to`."""
    from .autograd import Tensor

    for a in args:
        if isinstance(a, Tensor):
            dtype = a.dtype
            where = a.device
        elif isinstance(a, device) or (isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda")):
            where = a
        elif isinstance(a, bool):
            continue  # non_blocking: copies from the host are done when `to` returns
        elif a is not None:
            dtype = a
    return (None if dtype is None else as_dtype(dtype)), check_device(where)
