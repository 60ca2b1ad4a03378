"""Data loading, and what else is not a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .._custom import (
        CustomObjectScope,
        custom_object_scope,
        get_custom_objects,
        get_registered_name,
        get_registered_object,
        register_keras_serializable,
    )
    from ..preprocessing.image import array_to_img, img_to_array, load_img, save_img
    from ._balance import class_weights, sampling_weights
    from ._files import image_dataset_from_directory, text_dataset_from_directory
    from ._get_file import get_file
    from ._numbers import normalize, standardize_dtype
    from ._pipeline import AUTOTUNE, Pipeline
    from ._plot_model import model_to_dot, plot_model
    from ._progbar import Progbar
    from ._py_dataset import PyDataset
    from ._py_dataset import PyDataset as Sequence
    from ._sequences import pad_sequences, timeseries_dataset_from_array
    from ._session import clear_session, is_keras_tensor
    from ._split import split_dataset

# Where the names are that are imported when they are first used.
_PLACES = {
    "AUTOTUNE": "_pipeline",
    "CustomObjectScope": ".._custom",
    "Pipeline": "_pipeline",
    "Progbar": "_progbar",
    "PyDataset": "_py_dataset",
    "Sequence": "_py_dataset",
    "array_to_img": "..preprocessing.image",
    "class_weights": "_balance",
    "clear_session": "_session",
    "custom_object_scope": ".._custom",
    "get_custom_objects": ".._custom",
    "get_file": "_get_file",
    "get_registered_name": ".._custom",
    "get_registered_object": ".._custom",
    "image_dataset_from_directory": "_files",
    "img_to_array": "..preprocessing.image",
    "is_keras_tensor": "_session",
    "load_img": "..preprocessing.image",
    "model_to_dot": "_plot_model",
    "normalize": "_numbers",
    "pad_sequences": "_sequences",
    "plot_model": "_plot_model",
    "register_keras_serializable": ".._custom",
    "sampling_weights": "_balance",
    "save_img": "..preprocessing.image",
    "split_dataset": "_split",
    "standardize_dtype": "_numbers",
    "text_dataset_from_directory": "_files",
    "timeseries_dataset_from_array": "_sequences",
}

__all__ = [
    "AUTOTUNE",
    "CustomObjectScope",
    "Pipeline",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "class_weights",
    "clear_session",
    "custom_object_scope",
    "data",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "image_dataset_from_directory",
    "img_to_array",
    "is_keras_tensor",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "sampling_weights",
    "save_img",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "data":
        return import_module(f"{__name__}.data")
    if name in _PLACES:
        place = _PLACES[name]
        module = import_module(place if place.startswith(".") else f".{place}", __name__)
        value = globals()[name] = getattr(module, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows (float32) of class numbers.

    Parameters
    ----------
    x : array_like of int
        Class numbers from 0; a last axis of size 1 is dropped.
    num_classes : int, optional
        Default: the largest number plus one.
    """
    labels = np.asarray(x)
    if labels.dtype.kind not in "iub" and not np.array_equal(labels, np.round(labels)):
        raise TypeError(f"to_categorical: x: expected class numbers, got dtype {labels.dtype}")
    labels = labels.astype(np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    count = int(labels.max(initial=-1)) + 1 if num_classes is None else int(num_classes)
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"to_categorical: x: expected class numbers in [0, {count}), got {wrong}")
    out = np.zeros((*labels.shape, count), np.float32)
    np.put_along_axis(out, labels[..., np.newaxis], 1.0, axis=-1)
    return out


def set_random_seed(seed: int) -> None:
    """Fix Python's, NumPy's and Lamella's random streams."""
    import random

    import lamella

    random.seed(seed)
    np.random.seed(seed % 2**32)
    lamella.seed(seed)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """What a `train_step` is given, as (x, y, sample_weight) with None for what there is not."""
    parts = tuple(data) if isinstance(data, (list, tuple)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"unpack_x_y_sample_weight: data: expected x, (x, y) or (x, y, sample_weight), got {len(parts)} parts"
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The opposite of `unpack_x_y_sample_weight`: (x, y, sample_weight) as far as they are given."""
    if y is None:
        return (x,) if isinstance(x, (list, tuple)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)
