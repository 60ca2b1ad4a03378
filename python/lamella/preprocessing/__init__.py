"""Keras' older names for what prepares data: `preprocessing.sequence`, `preprocessing.text`, `preprocessing.image`."""

from ..utils._files import image_dataset_from_directory, text_dataset_from_directory
from ..utils._sequences import timeseries_dataset_from_array
from . import image, sequence, text

__all__ = [
    "image",
    "image_dataset_from_directory",
    "sequence",
    "text",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]
