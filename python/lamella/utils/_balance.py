"""Weights that make classes count alike where there are more samples of some than of others."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["class_weights", "sampling_weights"]


def _labels(labels: Any, what: str) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim > 1 and array.shape[-1] > 1:
        array = array.argmax(-1)  # one-hot rows
    array = array.reshape(-1)
    if array.size == 0 or array.dtype.kind not in "iubf" or not np.array_equal(array, np.floor(array)):
        raise ValueError(f"{what}: labels: expected class numbers, got an array of shape {np.shape(labels)}")
    return array.astype(np.int64)


def class_weights(labels: Any) -> dict[int, float]:
    """Weights for `fit(class_weight=...)` with which each class counts as much as any other.

    Parameters
    ----------
    labels : array of int, or of one-hot rows

    Returns
    -------
    dict of int to float
        The number of samples, divided by that of classes and by that of the class's samples: their mean over the
        samples is 1.
    """
    classes, counts = np.unique(_labels(labels, "class_weights"), return_counts=True)
    share = counts.sum() / (len(classes) * counts)
    return {int(c): float(w) for c, w in zip(classes, share, strict=True)}


def sampling_weights(labels: Any) -> np.ndarray:
    """Weights for a `WeightedRandomSampler` that draws each class as often as any other.

    With as many draws as there are samples, small classes are over-sampled and large ones under-sampled::

        sampler = WeightedRandomSampler(sampling_weights(y), num_samples=len(y))
        model.fit(DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler))

    Parameters
    ----------
    labels : array of int, or of one-hot rows

    Returns
    -------
    ndarray of float64
        One weight a sample; they add up to 1.
    """
    classes, which, counts = np.unique(_labels(labels, "sampling_weights"), return_inverse=True, return_counts=True)
    return (1.0 / (len(classes) * counts))[which.reshape(-1)]
