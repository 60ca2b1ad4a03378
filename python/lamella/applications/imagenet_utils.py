"""What networks trained on ImageNet take and give."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np

from .._errors import short
from ..autograd import Tensor, as_array, wrap
from . import _pretrained

__all__ = ["decode_predictions", "preprocess_input"]

MEAN_BGR = (103.939, 116.779, 123.68)  # of pixels from 0 to 255
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of pixels from 0 to 1

_CLASS_INDEX = _pretrained.File(
    "imagenet_class_index.json",
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "md5",
    "c2c37ea517e94d9795004a39431a14cb",
)


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Images from 0 to 255 as a network wants them.

    Parameters
    ----------
    x : array or Tensor
        RGB images, (h, w, 3) or (n, h, w, 3). It is not changed.
    data_format : {"channels_last", "channels_first"}, optional
        Default: channels_last.
    mode : {"caffe", "tf", "torch"}
        caffe: BGR, the mean colour of ImageNet subtracted. tf: from -1 to 1. torch: RGB from 0 to 1, normalised by mean
        and standard deviation of ImageNet.

    Returns
    -------
    array or Tensor
        A float array keeps its type, others become float32.
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(f"preprocess_input: mode: expected 'caffe', 'tf' or 'torch', got {short(mode)}")
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"preprocess_input: data_format: expected 'channels_last' or 'channels_first', got {short(data_format)}"
        )
    array = as_array(x)
    array = array.astype(array.dtype if array.dtype.kind == "f" else np.float32)
    axis = -3 if data_format == "channels_first" else -1
    if array.ndim not in (3, 4) or array.shape[axis] != 3:
        raise ValueError(f"preprocess_input: x: expected images with 3 channels, got shape {array.shape}")
    if mode == "tf":
        array = array / array.dtype.type(127.5) - array.dtype.type(1)
        return wrap(array) if isinstance(x, Tensor) else array
    channels = np.moveaxis(array, axis, -1)
    if mode == "caffe":
        channels = channels[..., ::-1] - np.asarray(MEAN_BGR, array.dtype)
    else:
        mean, std = np.asarray(TORCH_MEAN, array.dtype), np.asarray(TORCH_STD, array.dtype)
        channels = (channels / array.dtype.type(255) - mean) / std
    array = np.ascontiguousarray(np.moveaxis(channels, -1, axis))
    return wrap(array) if isinstance(x, Tensor) else array


@functools.cache
def _class_index() -> list[tuple[str, str]]:
    path = _pretrained.fetch("the names of ImageNet's classes", [_CLASS_INDEX])
    try:
        index = json.loads(path.read_text())
        return [(str(index[str(i)][0]), str(index[str(i)][1])) for i in range(1000)]
    except (ValueError, KeyError, IndexError, TypeError, OSError) as e:
        raise ValueError(f"{path}: not a list of ImageNet's classes: {type(e).__name__}: {e}") from e


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The likeliest classes of each sample, by name.

    Parameters
    ----------
    preds : array of shape (n, 1000)
        What a network with the top gives.
    top : int
        How many.

    Returns
    -------
    list of list of tuple
        (WordNet's id, name, score), the highest score first.
    """
    scores = as_array(preds)
    if scores.ndim != 2 or scores.shape[1] != 1000:
        raise ValueError(f"decode_predictions: preds: expected shape (n, 1000), got {scores.shape}")
    if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or not 1 <= top <= 1000:
        raise ValueError(f"decode_predictions: top: expected an integer from 1 to 1000, got {short(top)}")
    names = _class_index()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [[(*names[i], float(row[i])) for i in order] for row, order in zip(scores, best, strict=True)]
