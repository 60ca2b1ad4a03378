"""CIFAR-10: 60,000 colour images, 32x32, 10 classes (Krizhevsky 2009)."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from . import _files

__all__ = ["CLASSES", "load_data"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_FOLDER = "cifar-10-batches-py"
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_Split = tuple[np.ndarray, np.ndarray]


def _images(data: bytes, where: str) -> _Split:
    """Images (n, 32, 32, 3) and labels (n, 1) of one batch file."""
    batch = _files.read_pickled_arrays(data, where)
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"{where}: data: expected uint8 rows of 3072 values")
    try:
        y = np.asarray(labels)
    except ValueError as e:
        raise ValueError(f"{where}: labels: {e}") from e
    if y.shape != (len(pixels),) or y.dtype.kind not in "iu" or (len(y) and not 0 <= y.min() <= y.max() <= 9):
        raise ValueError(f"{where}: labels: expected {len(pixels)} numbers from 0 to 9")
    x = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return x, y.astype(np.uint8).reshape(-1, 1)


def _read_folder(base: Path) -> dict[str, bytes]:
    return {n: (base / n).read_bytes() for n in (*_TRAIN, "test_batch") if (base / n).exists()}


def _read_archive(path: Path) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in (*_TRAIN, "test_batch"):
                    file = archive.extractfile(member)
                    found[name] = file.read() if file is not None else b""
    except Exception as e:  # tarfile lets all kinds of errors of the decompressors through
        raise ValueError(f"{path}: damaged archive: {e}") from e
    return found


def load_data(download: bool = True) -> tuple[_Split, _Split]:
    """Return ``(x_train, y_train), (x_test, y_test)``: uint8 images (n, 32, 32, 3) and labels (n, 1).

    Found as the folder `cifar-10-batches-py` or the archive `cifar-10-python.tar.gz` in the data folder; else
    downloaded.

    Parameters
    ----------
    download : bool
        Whether files that are not found may be downloaded; else they are an error that says where to put them.
    """
    path = _files.find([_FOLDER, "cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz"])
    if path is None:
        path = _files.download(_URL, "cifar-10-python.tar.gz", _SHA256, allowed=download)
    files = _read_folder(path) if path.is_dir() else _read_archive(path)
    missing = [n for n in (*_TRAIN, "test_batch") if n not in files]
    if missing:
        raise ValueError(f"{path}: expected data_batch_1 to 5 and test_batch, missing {', '.join(missing)}")
    train = [_images(files[n], f"{path}/{n}") for n in _TRAIN]
    x_test, y_test = _images(files["test_batch"], f"{path}/test_batch")
    return (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])), (x_test, y_test)
