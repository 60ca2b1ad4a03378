"""What follows from counting labels against predictions: the confusion matrix, intersections over unions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .. import functional as F
from .._errors import short
from .._kernels._call import op
from .._loss_base import align_weight, as_float
from ..autograd import Tensor, apply
from .accuracy import integers
from .base import Metric, Term
from .thresholds import ratio


class _Matrix(Metric):
    """Weights by label and prediction."""

    def __init__(self, name: str | None, dtype: Any, num_classes: int, ignore_class: int | None) -> None:
        super().__init__(dtype, name)
        if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)) or num_classes < 1:
            raise ValueError(
                f"{type(self).__name__}: num_classes: expected a positive integer, got {short(num_classes)}"
            )
        self.num_classes, self.ignore_class = int(num_classes), ignore_class

    def _classes(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and predictions as class numbers."""
        raise NotImplementedError

    def terms(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> tuple[Term, ...]:
        labels, predictions = self._classes(y_true, y_pred)
        if tuple(labels.shape) != tuple(predictions.shape):
            if prod(labels.shape) != prod(predictions.shape):
                raise ValueError(
                    f"{type(self).__name__}: y_true, y_pred: expected as many labels as predictions, got shapes "
                    f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
                )
            labels = F.reshape(labels, predictions.shape)
        inputs = [labels, predictions]
        if sample_weight is not None:
            inputs.append(align_weight(sample_weight, labels))
        attrs = {"classes": self.num_classes, "ignore_index": self.ignore_class}
        return (apply(op("metric_confusion", attrs), *inputs),)

    def matrix(self) -> np.ndarray:
        """The counts so far: labels down, predictions across."""
        return np.zeros((self.num_classes, self.num_classes)) if self._sums is None else self._sums[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "ignore_class": self.ignore_class}


class ConfusionMatrix(_Matrix):
    """How often each class was predicted (across) where each was right (down).

    Labels are class numbers, or one-hot rows of `num_classes`; predictions are scores of the classes along the last
    axis, of which the largest counts, class numbers, or, for two classes, probabilities of the second.

    Parameters
    ----------
    num_classes : int
    threshold : float
        From where on the probability of the second of two classes counts as that class.
    normalize : {"true", "pred", "all"}, optional
        Divide by the sum of each row, of each column, or of all.
    ignore_class : int, optional
        A label that counts for nothing.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(
        self,
        num_classes: int,
        threshold: float = 0.5,
        normalize: str | None = None,
        ignore_class: int | None = None,
        name: str | None = "confusion_matrix",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype, num_classes, ignore_class)
        if normalize not in (None, "true", "pred", "all"):
            raise ValueError(
                f"ConfusionMatrix: normalize: expected None, 'true', 'pred' or 'all', got {short(normalize)}"
            )
        self.threshold, self.normalize = float(threshold), normalize

    def _classes(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        n, rank = self.num_classes, len(y_pred.shape)
        scores = n > 1 and rank > 1 and y_pred.shape[-1] == n
        one_hot = scores and tuple(y_true.shape) == tuple(y_pred.shape)
        labels = F.argmax(as_float(y_true, y_pred), -1) if one_hot else integers(y_true)
        if scores and (one_hot or prod(labels.shape) * n == prod(y_pred.shape)):
            return labels, F.argmax(y_pred, -1)
        if n == 2:
            return labels, integers(F.cast(F.compare("greater", y_pred, self.threshold), y_pred.dtype))
        return labels, integers(y_pred)

    def result(self) -> np.ndarray:
        counts = self.matrix()
        if self.normalize is None:
            return counts.copy()
        axis: Any = {"true": 1, "pred": 0, "all": (0, 1)}[self.normalize]
        return ratio(counts, counts.sum(axis, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold, "normalize": self.normalize}


_IOU = """

    Parameters
    ----------
    num_classes : int
    {targets}name : str, optional
    dtype : {{"float32", "float64"}}, optional
    ignore_class : int, optional
        A label that counts for nothing.
    {sparse}axis : int
        That of the classes where not.
    """
_TARGETS = "target_class_ids : sequence of int\n        The mean is over these.\n    "
_SPARSE = "sparse_y_true, sparse_y_pred : bool\n        Whether they are class numbers rather than scores.\n    "
_SPARSE_PRED = "sparse_y_pred : bool\n        Whether predictions are class numbers rather than scores.\n    "


class IoU(_Matrix):
    __doc__ = "The mean over some classes of intersection over union of labels and predictions." + _IOU.format(
        targets=_TARGETS, sparse=_SPARSE
    )

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype, num_classes, ignore_class)
        self.target_class_ids = [int(i) for i in target_class_ids]
        if not self.target_class_ids or any(not 0 <= i < num_classes for i in self.target_class_ids):
            raise ValueError(
                f"{type(self).__name__}: target_class_ids: expected numbers in [0, {num_classes}), got "
                f"{target_class_ids}"
            )
        self.sparse_y_true, self.sparse_y_pred, self.axis = bool(sparse_y_true), bool(sparse_y_pred), axis

    def _classes(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return (
            integers(y_true) if self.sparse_y_true else F.argmax(as_float(y_true, y_pred), self.axis),
            integers(y_pred) if self.sparse_y_pred else F.argmax(y_pred, self.axis),
        )

    def result(self) -> float:
        counts = self.matrix()
        both = np.diag(counts)
        either = counts.sum(0) + counts.sum(1) - both
        both, either = both[self.target_class_ids], either[self.target_class_ids]
        return float(ratio(ratio(both, either).sum(), (either > 0).sum()))

    def get_config(self) -> dict[str, Any]:
        names = ("target_class_ids", "sparse_y_true", "sparse_y_pred", "axis")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


class BinaryIoU(IoU):
    """`IoU` of two classes, given probabilities of the second.

    Parameters
    ----------
    target_class_ids : sequence of int
        The mean is over these.
    threshold : float
        From where on a probability counts as the second class.
    name : str, optional
    dtype : {"float32", "float64"}, optional
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name or "binary_io_u", dtype)
        self.threshold = float(threshold)

    def _classes(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        above = F.cast(F.compare("greater_equal", y_pred, self.threshold), y_pred.dtype)
        return integers(y_true), integers(above)

    def get_config(self) -> dict[str, Any]:
        return {**Metric.get_config(self), "target_class_ids": self.target_class_ids, "threshold": self.threshold}


class MeanIoU(IoU):
    __doc__ = "The mean over all classes of intersection over union of labels and predictions." + _IOU.format(
        targets="", sparse=_SPARSE
    )

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes, range(num_classes), name or "mean_io_u", dtype, ignore_class, sparse_y_true, sparse_y_pred,
            axis,
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["target_class_ids"]
        return config


class OneHotIoU(IoU):
    __doc__ = "`IoU` for one-hot labels." + _IOU.format(targets=_TARGETS, sparse=_SPARSE_PRED)

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes, target_class_ids, name or "one_hot_io_u", dtype, ignore_class, False, sparse_y_pred, axis
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sparse_y_true"]
        return config


class OneHotMeanIoU(MeanIoU):
    __doc__ = "`MeanIoU` for one-hot labels." + _IOU.format(targets="", sparse=_SPARSE_PRED)

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name or "one_hot_mean_io_u", dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sparse_y_true"]
        return config
