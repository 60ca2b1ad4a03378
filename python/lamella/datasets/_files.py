"""Finding, downloading and reading data files; nothing in a file is ever executed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_TIMEOUT = 30.0


def folder() -> Path:
    """Where data sets live."""
    return Path(os.environ.get("LAMELLA_DATA") or Path.home() / ".lamella" / "datasets")


def find(names: Iterable[str], also: Iterable[Path] = ()) -> Path | None:
    """The first of the names that exists in the data folder or one of the other folders."""
    names = list(names)
    for base in (folder(), *also):
        for name in names:
            if (base / name).exists():
                return base / name
    return None


def download(
    url: str,
    name: str,
    checksum: str,
    unpacked: bool = False,
    *,
    allowed: bool = True,
    into: Path | None = None,
    variable: str = "LAMELLA_DATA",
    algorithm: str = "sha256",
) -> Path:
    """Download a file, which appears only if its checksum is right.

    Parameters
    ----------
    url, name : str
    checksum : str
        In hexadecimal; the beginning is enough.
    unpacked : bool
        Whether the checksum is that of the data inside the gzip file.
    allowed : bool
        What the loader was told by `download`.
    into : Path, optional
        Default: the data folder.
    variable : str
        The environment variable that names that folder, for messages.
    algorithm : {"sha256", "md5"}
        Of the checksum.

    Raises
    ------
    FileNotFoundError
        If it cannot be had; the message says where to put it by hand.
    ValueError
        If the checksum differs.
    """
    base = into or folder()
    target = base / name
    hint = f"put {name} into {base} (or set {variable} to the folder that holds it); it is at {url}"
    if not allowed:
        raise FileNotFoundError(f"{name}: not found, and download is False: {hint}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as e:
        raise FileNotFoundError(f"{name}: not found, and {base} cannot be written ({e}): {hint}") from e
    try:
        with (
            os.fdopen(handle, "wb") as out,
            urllib.request.urlopen(url, timeout=_TIMEOUT) as response,
            _bar(name, response) as bar,
        ):
            while block := response.read(1 << 20):
                out.write(block)
                bar.update(len(block))
        found = digest_of(Path(part), unpacked, algorithm)
        if not found.startswith(checksum):
            kind = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
            raise ValueError(f"{name}: the download has the wrong {kind} ({found}, expected {checksum})")
        os.replace(part, target)
    except (OSError, urllib.error.URLError, EOFError) as e:
        raise FileNotFoundError(f"{name}: not found, and the download failed ({e}): {hint}") from e
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return target


def _bar(name: str, response: Any) -> Any:
    """A progress bar, on a terminal."""
    from tqdm import tqdm

    size = getattr(response, "length", None)  # None where the server does not tell
    return tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None)


def digest_of(path: Path, unpacked: bool, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with gzip.open(path) if unpacked else path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_idx(path: Path) -> np.ndarray:
    """An array of unsigned bytes from an IDX file, gzip-compressed or not."""
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: damaged gzip file: {e}") from e
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    rank = raw[3]
    start = 4 + 4 * rank
    if len(raw) < start:
        raise ValueError(f"{path}: truncated")
    shape = struct.unpack(f">{rank}I", raw[4:start])
    if len(raw) - start != int(np.prod(shape, dtype=object)):
        raise ValueError(f"{path}: expected {shape} bytes of data, got {len(raw) - start}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_files(base: Path) -> dict[str, Path]:
    """Those of the four IDX files that are there, by name; a compressed one goes before one that is not."""
    found = {n: next((p for p in (base / f"{n}.gz", base / n) if p.exists()), None) for n in IDX_NAMES}
    return {n: p for n, p in found.items() if p is not None}


def read_idx_folder(base: Path) -> list[np.ndarray] | None:
    """Train images and labels, test images and labels; None where there is no such file.

    Raises
    ------
    FileNotFoundError
        If only some of the four files are there.
    ValueError
        If a file is damaged, or the labels do not belong to the images.
    """
    files = idx_files(base)
    if not files:
        return None
    missing = [n for n in IDX_NAMES if n not in files]
    if missing:
        raise FileNotFoundError(f"{base}: expected {', '.join(IDX_NAMES)} (.gz or not), missing {', '.join(missing)}")
    arrays = [read_idx(files[n]) for n in IDX_NAMES]
    for i in (0, 2):
        check_images(arrays[i], arrays[i + 1], str(files[IDX_NAMES[i]]), str(files[IDX_NAMES[i + 1]]))
    return arrays


def check_images(x: np.ndarray, y: np.ndarray, x_where: str, y_where: str) -> None:
    """Refuse what are not 28x28 images with a label from 0 to 9 each."""
    if x.dtype != np.uint8 or x.ndim != 3 or x.shape[1:] != (28, 28):
        raise ValueError(f"{x_where}: expected uint8 images (n, 28, 28), got {x.dtype} of shape {x.shape}")
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise ValueError(f"{y_where}: expected {len(x)} labels for {x_where}, got {y.dtype} of shape {y.shape}")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) <= 9:
        raise ValueError(f"{y_where}: expected labels from 0 to 9, got {y.min()} to {y.max()}")


def read_npz(path: Path, keys: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of an .npz file; pickled objects are refused."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an .npz file, or cut short")
    try:
        with np.load(path, allow_pickle=False) as f:
            missing = [k for k in keys if k not in f.files]
            arrays = [] if missing else [f[k] for k in keys]
    except Exception as e:  # zipfile, zlib and NumPy raise all kinds of errors for damaged members
        raise ValueError(f"{path}: damaged: {e}") from e
    if missing:
        raise ValueError(f"{path}: expected arrays {', '.join(keys)}, missing {', '.join(missing)}")
    return arrays


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickles that hold containers and NumPy arrays, and refuses to call anything else."""

    _ALLOWED = frozenset({
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"),
        ("numpy", "dtype"), ("_codecs", "encode"), ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.numeric", "_frombuffer"),
    })  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core") if _new_numpy() else module, name)


def _new_numpy() -> bool:
    return int(np.__version__.split(".")[0]) >= 2


def read_pickled_arrays(data: bytes, where: str) -> dict[Any, Any]:
    """A pickled dict of arrays and lists."""
    try:
        found = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as e:  # a hostile pickle can raise anything
        raise ValueError(f"{where}: not a readable data file: {e}") from e
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected a dict, got {type(found).__name__}")
    return found
