"""Counts that metrics are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._device import namespace
from ._call import an_array, run

__all__ = ["confusion_matrix", "threshold_counts"]


def threshold_counts(
    x: np.ndarray,
    target: np.ndarray,
    thresholds: np.ndarray | Sequence[float],
    sample_weight: np.ndarray | None = None,
    k: int | None = None,
    column: int | None = None,
    per_label: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """How many scores exceed how many thresholds, for positive and for negative targets.

    Those that exceed threshold i are in bins i + 1 and up: true positives are ``counts[0, i + 1 :].sum(0)``, false
    negatives ``counts[0, : i + 1].sum(0)``.

    Parameters
    ----------
    x, target : ndarray of float32 or float64
        Scores and targets in [0, 1], of one shape and dtype.
    thresholds : sequence of float
        Ascending.
    sample_weight : ndarray, optional
        Of the shape of x or of some of its leading axes.
    k : int, optional
        All but the k largest scores of a row count as below every threshold.
    column : int, optional
        Only this column of the last axis counts.
    per_label : bool
        Count the columns of the last axis apart.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray of float64, shape (2, thresholds + 1) or (2, thresholds + 1, columns)
        Weights by the number of thresholds below the score, of positive and of negative targets.
    """
    x = an_array(x)
    attrs = {"k": k, "column": column, "per_label": per_label}
    return run(
        "metric_threshold_counts", attrs, [x, target, namespace(x).asarray(thresholds, x.dtype), sample_weight], out
    )


def confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    classes: int,
    sample_weight: np.ndarray | None = None,
    ignore_index: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """How often each class was predicted where each was right.

    Parameters
    ----------
    labels, predictions : ndarray of int32 or int64
        Class numbers, of one shape.
    classes : int
    sample_weight : ndarray of float32 or float64, optional
        Of the shape of labels or of some of its leading axes.
    ignore_index : int, optional
        Elements with this label do not count.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray of float64, shape (classes, classes)
        Weights by label and prediction.
    """
    attrs = {"classes": classes, "ignore_index": ignore_index}
    return run("metric_confusion", attrs, [labels, predictions, sample_weight], out)
