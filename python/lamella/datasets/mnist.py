"""MNIST: 70,000 handwritten digits, 28x28 (LeCun, Cortes & Burges)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import _files

__all__ = ["load_data"]

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_Split = tuple[np.ndarray, np.ndarray]


def load_data(path: str = "mnist.npz", download: bool = True) -> tuple[_Split, _Split]:
    """Return ``(x_train, y_train), (x_test, y_test)``: uint8 images (n, 28, 28) and labels (n,).

    Found as `mnist.npz`, or as the four IDX files (.gz or not) in the data folder or its subfolder `mnist`; else
    downloaded.

    Parameters
    ----------
    path : str
        Name of the .npz file in the data folder, or an absolute path.
    download : bool
        Whether files that are not found may be downloaded; else they are an error that says where to put them.
    """
    found = Path(path) if Path(path).is_absolute() else _files.find([path, f"mnist/{path}"])
    if found is None:
        for base in (_files.folder() / "mnist", _files.folder() / "MNIST" / "raw", _files.folder()):
            arrays = _files.read_idx_folder(base)
            if arrays is not None:
                x_train, y_train, x_test, y_test = arrays
                return (x_train, y_train), (x_test, y_test)
        found = _files.download(_URL, "mnist.npz", _SHA256, allowed=download)
    x_train, y_train, x_test, y_test = _files.read_npz(found, ("x_train", "y_train", "x_test", "y_test"))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        _files.check_images(x, y, f"{found}: x_{part}", f"{found}: y_{part}")
    return (x_train, y_train), (x_test, y_test)
