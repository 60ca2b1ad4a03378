"""Data sets from directories: the files of each class in a directory of its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._errors import short
from ..autograd import wrap
from ._pipeline import AUTOTUNE, Pipeline, check_format

__all__ = ["image_dataset_from_directory", "text_dataset_from_directory"]

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_MODES = {"grayscale": ("L", 1), "rgb": ("RGB", 3), "rgba": ("RGBA", 4)}


def _check_arguments(what: str, labels: Any, label_mode: Any, class_names: Any) -> None:
    if labels not in ("inferred", None) if not isinstance(labels, (list, tuple, np.ndarray)) else False:
        raise ValueError(f"{what}: labels: expected 'inferred', None or a list of integers, got {short(labels)}")
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(
            f"{what}: label_mode: expected 'int', 'categorical', 'binary' or None, got {short(label_mode)}"
        )
    if class_names is not None and not (isinstance(labels, str) and labels == "inferred"):
        raise ValueError(
            f"{what}: class_names: expected none where labels are not 'inferred', got {short(class_names)}"
        )


def _check_split(what: str, validation_split: Any, subset: Any, shuffle: bool, seed: Any) -> None:
    if (validation_split is None) != (subset is None):
        raise ValueError(
            f"{what}: validation_split, subset: expected both or neither, "
            f"got {short(validation_split)}, {short(subset)}"
        )
    if validation_split is None:
        return
    if not isinstance(validation_split, (int, float)) or not 0 < validation_split < 1:
        raise ValueError(f"{what}: validation_split: expected a number in (0, 1), got {short(validation_split)}")
    if subset not in ("training", "validation", "both"):
        raise ValueError(f"{what}: subset: expected 'training', 'validation' or 'both', got {short(subset)}")
    if shuffle and seed is None and subset != "both":
        raise ValueError(f"{what}: seed: expected one with shuffle and validation_split, or the parts would overlap")


def _listed(directory: str, formats: Sequence[str], follow_links: bool) -> list[str]:
    """The files below a directory, in order."""
    found = []
    for root, folders, files in os.walk(directory, followlinks=follow_links):
        folders.sort()
        found += [os.path.join(root, f) for f in sorted(files) if f.lower().endswith(tuple(formats))]
    return found


def _index(
    what: str,
    directory: Any,
    labels: Any,
    formats: Sequence[str],
    class_names: Any,
    follow_links: bool,
) -> tuple[list[str], np.ndarray | None, list[str] | None]:
    """(paths, labels, class names)."""
    directory = os.fspath(directory)
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"{what}: directory: expected an existing directory, got {short(directory)}")
    if not (isinstance(labels, str) and labels == "inferred"):
        paths = _listed(directory, formats, follow_links)
        if labels is None:
            return paths, None, None
        numbers = np.asarray(labels)
        if numbers.shape != (len(paths),) or numbers.dtype.kind not in "iu":
            raise ValueError(
                f"{what}: labels: expected {len(paths)} integers, one for each file of {directory!r}, "
                f"got {numbers.dtype} {numbers.shape}"
            )
        return paths, numbers.astype(np.int64), [str(c) for c in sorted(set(numbers.tolist()))]
    folders = sorted(
        e.name for e in os.scandir(directory) if e.is_dir(follow_symlinks=follow_links) and not e.name.startswith(".")
    )
    if class_names is None:
        class_names = folders
    elif set(class_names) != set(folders) or len(class_names) != len(folders):
        raise ValueError(
            f"{what}: class_names: expected the names of the directories {folders}, got {list(class_names)}"
        )
    paths, numbers_of = [], []
    for number, name in enumerate(class_names):
        found = _listed(os.path.join(directory, name), formats, follow_links)
        paths += found
        numbers_of += [number] * len(found)
    return paths, np.array(numbers_of, np.int64), list(class_names)


def _datasets(
    what: str,
    directory: Any,
    labels: Any,
    label_mode: Any,
    class_names: Any,
    formats: Sequence[str],
    shuffle: bool,
    seed: Any,
    validation_split: Any,
    subset: Any,
    follow_links: bool,
    verbose: bool,
    batch_size: int | None,
    load: Callable[[str], Any],
    join: Callable[[list[Any]], Any],
) -> Any:
    _check_arguments(what, labels, label_mode, class_names)
    _check_split(what, validation_split, subset, shuffle, seed)
    if batch_size is not None and (not hasattr(batch_size, "__index__") or batch_size < 1):
        raise ValueError(f"{what}: batch_size: expected a positive integer or None, got {short(batch_size)}")
    if labels is None or label_mode is None:
        labels = label_mode = None
    paths, numbers, names = _index(what, directory, labels, formats, class_names, follow_links)
    if verbose:
        classes = f" belonging to {len(names)} classes" if names is not None else ""
        print(f"Found {len(paths)} files{classes}.")
    if label_mode == "binary" and len(names or ()) != 2:
        raise ValueError(f"{what}: label_mode: expected two classes for 'binary', got {names}")
    seed = int(np.random.randint(10**6)) if seed is None else int(seed)
    order = np.random.default_rng(seed).permutation(len(paths)) if shuffle else np.arange(len(paths))
    cut = len(paths) - int((validation_split or 0) * len(paths))
    parts = {"training": order[:cut], "validation": order[cut:], None: order}

    def part(which: str | None, mixed: bool) -> Pipeline:
        rows = parts[which]
        if not len(rows):
            raise ValueError(f"{what}: directory: expected files {', '.join(formats)} in {directory!r}, got none"
                             + (f" for {which}" if which else ""))  # fmt: skip
        files = [paths[i] for i in rows]
        targets = None if numbers is None else _targets(numbers[rows], label_mode, len(names or ()))
        loaded = _Files(files, targets, load, join)
        made = Pipeline.over(_same, len(files), batch_size, mixed, seed).map(loaded, AUTOTUNE)
        made.class_names, made.file_paths = names, files
        return made

    if subset == "both":
        return [part("training", shuffle), part("validation", False)]
    return part(subset, shuffle)


def _targets(numbers: np.ndarray, label_mode: str, classes: int) -> np.ndarray:
    if label_mode == "int":
        return numbers.astype(np.int32)
    if label_mode == "binary":
        return numbers.astype(np.float32)[:, None]
    return np.eye(classes, dtype=np.float32)[numbers]


class _Files:
    """Loads the files of given rows, several at a time, with their targets."""

    def __init__(
        self, paths: list[str], targets: np.ndarray | None, load: Callable[[str], Any], join: Callable[[list[Any]], Any]
    ) -> None:
        self.paths, self.targets, self.load, self.join = paths, targets, load, join

    def __call__(self, rows: np.ndarray | int) -> Any:
        single = np.ndim(rows) == 0
        samples = [self.load(self.paths[i]) for i in np.atleast_1d(rows)]
        batch = samples[0] if single else self.join(samples)
        return batch if self.targets is None else (batch, wrap(np.array(self.targets[rows])))


class _ImageLoader:
    """Reads one image file as a float32 array (h, w, c) of values in [0, 255]."""

    def __init__(self, size: tuple[int, int], mode: str, interpolation: str, crop: bool, pad: bool) -> None:
        self.size, self.mode, self.interpolation, self.crop, self.pad = size, mode, interpolation, crop, pad

    def __call__(self, path: str) -> Any:
        from ..autograd import no_grad
        from ..layers.preprocessing import center_window, pad_to_aspect, resize_images

        pixels = read_image(path, self.mode)
        with no_grad():
            x = wrap(pixels[None].astype(np.float32))
            if self.crop:
                x = center_window(x, *self.size)
            elif self.pad:
                x = pad_to_aspect(x, *self.size, 0.0)
            return wrap(resize_images(x, *self.size, self.interpolation)._data[0])


def pillow() -> Any:
    """Pillow's Image module, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "reading image files needs Pillow, which is not installed: pip install pillow (or lamella[images])"
        ) from None
    return Image


def read_image(path: Any, mode: str | None = "RGB") -> np.ndarray:
    """An image file as a uint8 array (h, w, c); the first frame of an animation."""
    image = pillow()
    try:
        with image.open(path) as file:
            pixels = np.asarray(file if mode is None else file.convert(mode))
    except (OSError, SyntaxError) as e:
        raise OSError(f"{os.fspath(path)}: expected an image file: {e}") from e
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _stack(samples: list[Any]) -> Any:
    return wrap(np.stack([s._data for s in samples]))


def _same(value: Any) -> Any:
    return value


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of images from a directory with one directory a class. Needs Pillow.

    Parameters
    ----------
    directory : str or path
        Holds ``class_a/1.jpg``, ``class_b/2.png`` and so on: .bmp, .gif, .jpeg, .jpg, .png.
    labels : "inferred", None or list of int
        By the directories, none, or one for each file in the order of their paths.
    label_mode : {"int", "categorical", "binary", None}
        int32 numbers, one-hot rows, 0 and 1 as float32 of shape (n, 1), or none.
    class_names : list of str, optional
        The order of the classes; alphabetical by default.
    color_mode : {"rgb", "grayscale", "rgba"}
    batch_size : int or None
        None gives single images.
    image_size : (height, width)
    shuffle : bool
        Whether the order is drawn, anew for each pass; otherwise files come in the order of their paths.
    seed : int, optional
        Fixes the order.
    validation_split : float, optional
        The share of the files that is kept for validation, with `subset`.
    subset : {"training", "validation", "both"}, optional
        Which part; "both" gives a list of the two.
    interpolation : {"bilinear", "nearest"}
    follow_links : bool
        Whether directories that are links count.
    crop_to_aspect_ratio, pad_to_aspect_ratio : bool
        Cut off, or add, borders before resizing, rather than distort the images.
    data_format : {"channels_last"}
    format : {"tf"}
        The batches come from a `Pipeline`, whose methods are those of tf.data.
    verbose : bool
        Whether to print how many files there are.

    Returns
    -------
    Pipeline
        Of float32 images (n, height, width, channels) in [0, 255], or tuples (images, labels); with the attributes
        `class_names` and `file_paths`. Files are read by as many threads as the package uses, a batch each, ahead of
        what is asked for.
    """
    what = "image_dataset_from_directory"
    check_format(what, format)
    if color_mode not in _MODES:
        raise ValueError(f"{what}: color_mode: expected 'rgb', 'grayscale' or 'rgba', got {short(color_mode)}")
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or any(not hasattr(d, "__index__") or d < 1 for d in size):
        raise ValueError(f"{what}: image_size: expected two positive integers, got {short(image_size)}")
    if interpolation not in ("bilinear", "nearest"):
        raise NotImplementedError(
            f"{what}: interpolation: expected 'bilinear' or 'nearest', got {short(interpolation)}"
        )
    if data_format not in (None, "channels_last"):
        raise NotImplementedError(f"{what}: data_format: expected 'channels_last', got {short(data_format)}")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(f"{what}: crop_to_aspect_ratio, pad_to_aspect_ratio: expected at most one of them, got both")
    pillow()
    load = _ImageLoader(size, _MODES[color_mode][0], interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio)
    return _datasets(what, directory, labels, label_mode, class_names, _IMAGES, shuffle, seed, validation_split, subset,
                     follow_links, verbose, batch_size, load, _stack)  # fmt: skip


class _TextLoader:
    def __init__(self, max_length: int | None) -> None:
        self.max_length = max_length

    def __call__(self, path: str) -> str:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read() if self.max_length is None else f.read(self.max_length)


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of texts from a directory with one directory of .txt files a class.

    Parameters
    ----------
    directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split, subset, follow_links,
    format, verbose
        As for `image_dataset_from_directory`.
    max_length : int, optional
        Characters of a text that are kept.

    Returns
    -------
    Pipeline
        Of lists of strings, or tuples (strings, labels).
    """
    what = "text_dataset_from_directory"
    check_format(what, format)
    if max_length is not None and (not hasattr(max_length, "__index__") or max_length < 1):
        raise ValueError(f"{what}: max_length: expected a positive integer or None, got {short(max_length)}")
    return _datasets(
        what, directory, labels, label_mode, class_names, (".txt",), shuffle, seed, validation_split, subset,
        follow_links, verbose, batch_size, _TextLoader(max_length), _same,
    )  # fmt: skip
