"""Fashion-MNIST: 70,000 images of clothes, 28x28, 10 classes (Xiao, Rasul & Vollgraf 2017, MIT licence)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import _files

__all__ = ["CLASSES", "load_data"]

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# Where Debian's package dataset-fashion-mnist puts the files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
# SHA-256 of the unpacked files: compressions of the same data differ.
_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_Split = tuple[np.ndarray, np.ndarray]


def load_data(path: str | Path | None = None, download: bool = True) -> tuple[_Split, _Split]:
    """Return ``(x_train, y_train), (x_test, y_test)``: uint8 images (n, 28, 28) and labels (n,).

    The four IDX files (.gz or not) are looked for in `path`, in `fashion-mnist` inside the data folder and where
    Debian's package dataset-fashion-mnist puts them; else they are downloaded.

    Parameters
    ----------
    path : str or path, optional
        A folder that holds the files; nothing is downloaded where it is given.
    download : bool
        Whether files that are not found may be downloaded; else they are an error that says where to put them.
    """
    if path is not None:
        arrays = _files.read_idx_folder(Path(path))
        if arrays is None:
            raise FileNotFoundError(f"{path}: expected the files {', '.join(n + '.gz' for n in _files.IDX_NAMES)}")
    else:
        own = _files.folder() / "fashion-mnist"
        base = next((b for b in (own, _DEBIAN) if len(_files.idx_files(b)) == len(_files.IDX_NAMES)), own)
        try:
            for name in _files.IDX_NAMES:
                if name not in _files.idx_files(base):
                    target = f"fashion-mnist/{name}.gz"
                    _files.download(f"{_URL}{name}.gz", target, _SHA256[name], unpacked=True, allowed=download)
        except FileNotFoundError as e:
            raise FileNotFoundError(f"{e}; Debian and Ubuntu have it as the package dataset-fashion-mnist") from e
        arrays = _files.read_idx_folder(base)
        assert arrays is not None
    x_train, y_train, x_test, y_test = arrays
    return (x_train, y_train), (x_test, y_test)
