"""Losses in Keras' idiom: called with (y_true, y_pred)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from . import functional as F
from ._custom import custom, find, get_registered_name, named
from ._errors import short
from ._kernels._call import op
from ._loss_base import (
    Loss,
    NativeLoss,
    RowSums,
    Wrapped,
    as_float,
    axis_last,
    matched,
    signed_labels,
)
from ._suggest import unknown_name
from .activations import logits_of
from .autograd import Tensor, apply, wrap

__all__ = [
    "CTC", "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy", "CategoricalHinge", "CosineSimilarity", "Dice", "Hinge", "Huber",
    "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Poisson", "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky",
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy", "categorical_hinge", "cosine_similarity", "ctc", "deserialize", "dice",
    "get", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "poisson", "serialize", "sparse_categorical_crossentropy",
    "squared_hinge", "tversky",
]  # fmt: skip

_EPSILON = 1e-7


# --- cross-entropies ---------------------------------------------------------------------------------------------


def _share(what: str, name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{what}: {name}: expected a number in [0, 1], got {short(value)}")
    return float(value)


class _CrossEntropy(NativeLoss):
    _ops = ("cross_entropy", "softmax_cross_entropy")  # from probabilities, from logits
    _from = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits, self.axis = bool(from_logits), axis
        self.label_smoothing = _share(type(self).__name__, "label_smoothing", label_smoothing)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        if not self.from_logits and self.axis == -1:
            logits = logits_of(y_pred, self._from)
            if logits is not None:  # exact where probabilities would have to be kept off 0
                exact = copy.copy(self)
                exact.from_logits = True
                return exact(y_true, logits, sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def _op_name(self) -> str:
        return self._ops[self.from_logits]

    def _attrs(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing}

    def _apply(self, y_pred: Tensor, y_true: Tensor, weight: Tensor | None, how: str) -> Tensor:
        inputs = (y_pred, y_true) if weight is None else (y_pred, y_true, None, weight)  # the third: class weights
        return apply(op(self._op_name(), {**self._attrs(), "reduction": how}), *inputs)

    def get_config(self) -> dict[str, Any]:
        own = {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
        return {**super().get_config(), **own}


class CategoricalCrossentropy(_CrossEntropy):
    """``-sum(y_true * log(y_pred))`` for one-hot or probability targets.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` are logits rather than probabilities.
    label_smoothing : float
        The share of each target that is spread evenly over the classes.
    axis : int
        That of the classes.
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def _arrange(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(y_true.shape) != tuple(y_pred.shape):
            raise ValueError(
                f"categorical_crossentropy: y_true: expected the shape of y_pred, {tuple(y_pred.shape)} (one-hot "
                f"rows; for class numbers use sparse_categorical_crossentropy), got {tuple(y_true.shape)}"
            )
        what = type(self).__name__
        return axis_last(as_float(y_true, y_pred), self.axis, what), axis_last(y_pred, self.axis, what)


class SparseCategoricalCrossentropy(_CrossEntropy):
    """``-log(y_pred[label])`` for class numbers as targets.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` are logits rather than probabilities.
    ignore_class : int, optional
        A label that counts for nothing.
    axis : int
        That of the classes in `y_pred`.
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype)
        self.ignore_class = ignore_class

    def _attrs(self) -> dict[str, Any]:
        return {"ignore_index": self.ignore_class}

    def _arrange(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        y_pred = axis_last(y_pred, self.axis, type(self).__name__)
        rank = len(y_pred.shape)
        if len(y_true.shape) == rank and y_true.shape[-1] == 1:
            y_true = apply(op("squeeze", {"axis": -1}), y_true)
        if tuple(y_true.shape) != tuple(y_pred.shape[:-1]):
            raise ValueError(
                f"sparse_categorical_crossentropy: y_true: expected class numbers of shape {tuple(y_pred.shape[:-1])}, "
                f"got {tuple(y_true.shape)}"
            )
        return _integers(y_true), y_pred

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["label_smoothing"]
        return {**config, "ignore_class": self.ignore_class}


def _integers(y_true: Tensor) -> Tensor:
    return y_true if y_true.dtype.kind == "i" else F.cast(y_true, np.int64)


class BinaryCrossentropy(_CrossEntropy):
    """``-y log(p) - (1 - y) log(1 - p)``, the mean over an axis.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` are logits rather than probabilities.
    label_smoothing : float
        The share of each target that is moved to one half.
    axis : int
        The axis over which the mean is taken.
    reduction, name, dtype
        See `Loss`.
    """

    _ops = ("bce_loss", "bce_with_logits_loss")
    _from = "sigmoid"
    _apply = NativeLoss._apply

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def _arrange(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        y_true = matched(self.name, y_true, y_pred)
        if not len(y_pred.shape):
            return y_true, y_pred
        what = type(self).__name__
        return axis_last(y_true, self.axis, what), axis_last(y_pred, self.axis, what)


class BinaryFocalCrossentropy(Loss):
    """Binary cross-entropy times ``(1 - p_t) ** gamma``, p_t being the probability of what is true.

    Parameters
    ----------
    apply_class_balancing : bool
        Whether positive targets weigh `alpha`, negative ones ``1 - alpha``.
    alpha, gamma : float
    from_logits, label_smoothing, axis, reduction, name, dtype
        See `BinaryCrossentropy`.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.apply_class_balancing, self.from_logits, self.axis = bool(apply_class_balancing), bool(from_logits), axis
        self.alpha, self.gamma = float(alpha), float(gamma)
        self.label_smoothing = _share("BinaryFocalCrossentropy", "label_smoothing", label_smoothing)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = matched(self.name, y_true, y_pred)
        smoothing = {"label_smoothing": self.label_smoothing}
        if self.from_logits:
            loss = F.element_loss("bce_with_logits_loss", y_pred, y_true, reduction="none", **smoothing)
            y_pred = F.sigmoid(y_pred)
        else:
            loss = F.element_loss("bce_loss", y_pred, y_true, reduction="none", epsilon=_EPSILON, **smoothing)
        if self.label_smoothing:
            y_true = F.add(F.mul(y_true, 1.0 - self.label_smoothing), 0.5 * self.label_smoothing)
        wrong = F.sub(F.add(y_true, y_pred), F.mul(F.mul(y_true, y_pred), 2.0))  # 1 - p_t
        loss = F.mul(loss, _power(wrong, self.gamma))
        if self.apply_class_balancing:
            loss = F.mul(loss, F.add(F.mul(y_true, 2.0 * self.alpha - 1.0), 1.0 - self.alpha))
        return F.mean(loss, self.axis) if len(loss.shape) else loss

    def get_config(self) -> dict[str, Any]:
        names = ("apply_class_balancing", "alpha", "gamma", "from_logits", "label_smoothing", "axis")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


def _power(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent for x that rounding alone can make negative."""
    if exponent in (0.0, 1.0, 2.0):
        return F.square(x) if exponent == 2 else x if exponent == 1 else F.add(F.mul(x, 0.0), 1.0)
    return F.pow(F.clamp(x, min=0.0), exponent)


class CategoricalFocalCrossentropy(Loss):
    """Cross-entropy of which each class's part is multiplied by ``alpha * (1 - p) ** gamma``.

    Parameters
    ----------
    alpha : float or sequence of float
        One for all classes, or one a class.
    gamma : float
    from_logits, label_smoothing, axis, reduction, name, dtype
        See `CategoricalCrossentropy`.
    """

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha = [float(a) for a in np.asarray(alpha).reshape(-1)] if np.ndim(alpha) else float(alpha)
        self.gamma, self.from_logits, self.axis = float(gamma), bool(from_logits), axis
        self.label_smoothing = _share("CategoricalFocalCrossentropy", "label_smoothing", label_smoothing)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        what = type(self).__name__
        y_true = axis_last(matched(self.name, y_true, y_pred), self.axis, what)
        y_pred = axis_last(y_pred, self.axis, what)
        if self.label_smoothing:
            share = self.label_smoothing / max(y_pred.shape[-1], 1)
            y_true = F.add(F.mul(y_true, 1.0 - self.label_smoothing), share)
        p = F.softmax(y_pred, -1) if self.from_logits else F.div(y_pred, F.sum(y_pred, -1, True))
        p = F.clamp(p, _EPSILON, 1.0 - _EPSILON)
        alpha: Any = self.alpha
        if isinstance(alpha, list):
            if len(alpha) != y_pred.shape[-1]:
                raise ValueError(f"{what}: alpha: expected {y_pred.shape[-1]} numbers, one a class, got {len(alpha)}")
            alpha = wrap(np.asarray(alpha, y_pred.dtype))
        loss = F.mul(F.mul(y_true, F.log(p)), _power(F.sub(1.0, p), self.gamma))
        return F.neg(F.sum(F.mul(loss, alpha), -1))

    def get_config(self) -> dict[str, Any]:
        names = ("alpha", "gamma", "from_logits", "label_smoothing", "axis")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


class CategoricalGeneralizedCrossEntropy(Loss):
    """``(1 - p**q) / q`` of the label's probability p: between cross-entropy and mean absolute error.

    Parameters
    ----------
    q : float
        In (0, 1).
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ValueError(f"CategoricalGeneralizedCrossEntropy: q: expected a number in (0, 1), got {short(q)}")
        super().__init__(name, reduction, dtype)
        self.q = float(q)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = apply(op("squeeze", {"axis": -1}), y_true)
        p = F.neg(F.nll_loss(y_pred, _integers(y_true), reduction="none"))
        return F.div(F.sub(1.0, F.pow(p, self.q)), self.q)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "q": self.q}


class CTC(Loss):
    """Connectionist temporal classification.

    `y_true` (n, width) are class numbers from 1, padded with 0; `y_pred` (n, steps, classes) are logits, whose class 0
    is the blank.

    Parameters
    ----------
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "ctc", dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_pred.shape) != 3 or len(y_true.shape) != 2:
            raise ValueError(
                "ctc: y_true, y_pred: expected shapes (n, width) and (n, steps, classes), got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        return F.ctc_loss(F.log_softmax(y_pred, -1), _integers(y_true))


# --- errors ------------------------------------------------------------------------------------------------------


def _simple(name: str, base: type, doc: str, default: str, **members: Any) -> Any:
    """A loss class without arguments of its own."""

    def __init__(
        self: Any, reduction: str | None = "sum_over_batch_size", name: str | None = default, dtype: Any = None
    ) -> None:
        Loss.__init__(self, name, reduction, dtype)

    doc += "\n\nParameters\n----------\nreduction, name, dtype\n    See `Loss`.\n"
    body = {"__init__": __init__, "__doc__": doc, "__module__": __name__, "__qualname__": name, **members}
    __init__.__qualname__ = f"{name}.__init__"
    return type(name, (base,), body)


class _SignedLabels(NativeLoss):
    def _arrange(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return signed_labels(matched(self.name, y_true, y_pred)), y_pred


MeanSquaredError = _simple(
    "MeanSquaredError", NativeLoss, "``mean((y_true - y_pred)**2)``.", "mean_squared_error", _op="mse_loss"
)
MeanAbsoluteError = _simple(
    "MeanAbsoluteError", NativeLoss, "``mean(|y_true - y_pred|)``.", "mean_absolute_error", _op="mae_loss"
)
MeanAbsolutePercentageError = _simple(
    "MeanAbsolutePercentageError", NativeLoss, "``100 * mean(|y_true - y_pred| / |y_true|)``.",
    "mean_absolute_percentage_error", _op="mape_loss",
)  # fmt: skip
MeanSquaredLogarithmicError = _simple(
    "MeanSquaredLogarithmicError", NativeLoss, "``mean((log(1 + y_true) - log(1 + y_pred))**2)``.",
    "mean_squared_logarithmic_error", _op="msle_loss",
)  # fmt: skip
LogCosh = _simple("LogCosh", NativeLoss, "``mean(log(cosh(y_pred - y_true)))``.", "log_cosh", _op="log_cosh_loss")
Poisson = _simple("Poisson", NativeLoss, "``mean(y_pred - y_true * log(y_pred))``.", "poisson", _op="poisson_loss")
KLDivergence = _simple(
    "KLDivergence", RowSums, "``sum(y_true * log(y_true / y_pred))``, both being probabilities.", "kl_divergence",
    _op="kl_div_loss",
)  # fmt: skip
_LABELS = " `y_true` are -1 and 1, or 0 and 1."
Hinge = _simple("Hinge", _SignedLabels, "``mean(max(0, 1 - y_true * y_pred))``." + _LABELS, "hinge", _op="hinge_loss")
SquaredHinge = _simple(
    "SquaredHinge", _SignedLabels, "``mean(max(0, 1 - y_true * y_pred)**2)``." + _LABELS, "squared_hinge",
    _op="squared_hinge_loss",
)  # fmt: skip


class Huber(NativeLoss):
    """Half the squared error up to `delta`, linear beyond.

    Parameters
    ----------
    delta : float
    reduction, name, dtype
        See `Loss`.
    """

    _op = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = float(delta)

    def _attrs(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


class CategoricalHinge(Loss):
    """``max(0, 1 + max((1 - y_true) * y_pred) - sum(y_true * y_pred))`` for one-hot targets.

    Parameters
    ----------
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "categorical_hinge", dtype: Any = None
    ) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = matched(self.name, y_true, y_pred)
        right = F.sum(F.mul(y_true, y_pred), -1)
        wrong = F.amax(F.mul(F.sub(1.0, y_true), y_pred), -1)
        return F.clamp(F.add(F.sub(wrong, right), 1.0), min=0.0)


class CosineSimilarity(Loss):
    """Minus the cosine of the angle between `y_true` and `y_pred`: -1 where their directions agree.

    Parameters
    ----------
    axis : int
        That of the vectors.
    reduction, name, dtype
        See `Loss`.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axis

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return F.neg(cosine(matched(self.name, y_true, y_pred), y_pred, self.axis))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def cosine(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """The cosine of the angle between vectors along the axis; 0 for vectors of zeros."""
    lengths = [F.rsqrt(F.clamp(F.sum(F.square(t), axis), min=1e-12)) for t in (a, b)]
    return F.mul(F.mul(F.sum(F.mul(a, b), axis), lengths[0]), lengths[1])


class _Overlap(Loss):
    def __init__(self, reduction: str | None, name: str | None, axis: Any, dtype: Any) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dice(_Overlap):
    """``1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred))``.

    Parameters
    ----------
    reduction, name, dtype
        See `Loss`.
    axis : int or sequence of int, optional
        What the sums are over. Default: everything.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, axis, dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = matched(self.name, y_true, y_pred)
        both = F.mul(F.sum(F.mul(y_true, y_pred), self.axis), 2.0)
        each = F.add(F.add(F.sum(y_true, self.axis), F.sum(y_pred, self.axis)), _EPSILON)
        return F.sub(1.0, F.div(both, each))


class Tversky(_Overlap):
    """One minus the Tversky index, which weighs what is missed by `alpha` and what is too much by `beta`.

    Parameters
    ----------
    alpha, beta : float
        With both 1/2 it is `Dice`.
    reduction, name, dtype
        See `Loss`.
    axis : int or sequence of int, optional
        What the sums are over. Default: everything.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, axis, dtype)
        self.alpha, self.beta = float(alpha), float(beta)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = matched(self.name, y_true, y_pred)
        both = F.sum(F.mul(y_true, y_pred), self.axis)
        missed = F.sum(F.mul(F.sub(1.0, y_pred), y_true), self.axis)
        excess = F.sum(F.mul(F.sub(1.0, y_true), y_pred), self.axis)
        whole = F.add(F.add(both, F.mul(missed, self.alpha)), F.add(F.mul(excess, self.beta), _EPSILON))
        return F.sub(1.0, F.div(both, whole))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


# --- functions: one value per sample -----------------------------------------------------------------------------


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """One value per sample; see SparseCategoricalCrossentropy."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class, "none", axis)(y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """One value per sample; see CategoricalCrossentropy."""
    return CategoricalCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """One value per sample; see BinaryCrossentropy."""
    return BinaryCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """One value per sample; see BinaryFocalCrossentropy."""
    loss = BinaryFocalCrossentropy(apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis, "none")
    return loss(y_true, y_pred)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """One value per sample; see CategoricalFocalCrossentropy."""
    return CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Tensor:
    """One value per sample; see CategoricalGeneralizedCrossEntropy."""
    return CategoricalGeneralizedCrossEntropy(q, "none")(y_true, y_pred)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """One value per sample; see Huber."""
    return Huber(delta, "none")(y_true, y_pred)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """One value per sample; see CosineSimilarity."""
    return CosineSimilarity(axis, "none")(y_true, y_pred)


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Tensor:
    """See Dice."""
    return Dice("none", axis=axis)(y_true, y_pred)


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Tensor:
    """See Tversky."""
    return Tversky(alpha, beta, "none", axis=axis)(y_true, y_pred)


def _function(name: str, cls: Any) -> Any:
    def function(y_true: Any, y_pred: Any) -> Tensor:
        return cls("none")(y_true, y_pred)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"One value per sample; see {cls.__name__}."
    return function


mean_squared_error = _function("mean_squared_error", MeanSquaredError)
mean_absolute_error = _function("mean_absolute_error", MeanAbsoluteError)
mean_absolute_percentage_error = _function("mean_absolute_percentage_error", MeanAbsolutePercentageError)
mean_squared_logarithmic_error = _function("mean_squared_logarithmic_error", MeanSquaredLogarithmicError)
log_cosh = _function("log_cosh", LogCosh)
poisson = _function("poisson", Poisson)
kl_divergence = _function("kl_divergence", KLDivergence)
hinge = _function("hinge", Hinge)
squared_hinge = _function("squared_hinge", SquaredHinge)
categorical_hinge = _function("categorical_hinge", CategoricalHinge)
ctc = _function("ctc", CTC)


# --- by name -----------------------------------------------------------------------------------------------------

_BY_FUNCTION: dict[Any, type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy, binary_focal_crossentropy: BinaryFocalCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy, categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_generalized_cross_entropy: CategoricalGeneralizedCrossEntropy, categorical_hinge: CategoricalHinge,
    cosine_similarity: CosineSimilarity, ctc: CTC, dice: Dice, hinge: Hinge, huber: Huber, kl_divergence: KLDivergence,
    log_cosh: LogCosh, mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError, mean_squared_error: MeanSquaredError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError, poisson: Poisson,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy, squared_hinge: SquaredHinge, tversky: Tversky,
}  # fmt: skip
_CLASSES: dict[str, type[Loss]] = {cls.__name__: cls for cls in _BY_FUNCTION.values()}
# Keras' short names; those of several words as one in capitals, too.
SHORT_NAMES = {
    "bce": "binary_crossentropy", "kld": "kl_divergence", "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error", "mse": "mean_squared_error", "msle": "mean_squared_logarithmic_error",
}  # fmt: skip
_BY_NAME: dict[str, type[Loss]] = {f.__name__: cls for f, cls in _BY_FUNCTION.items()}
_BY_NAME |= {name: _BY_NAME[long] for short, long in SHORT_NAMES.items() for name in (short, short.upper())}
_BY_NAME |= {"kullback_leibler_divergence": KLDivergence, "logcosh": LogCosh}


def get(identifier: Any) -> Loss:
    """A loss from its name, class, function, configuration, or itself."""
    identifier = named(identifier)
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        known = {**_BY_NAME, **_CLASSES}
        if identifier not in known:
            raise unknown_name("loss", identifier, known)
        return known[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if identifier in _BY_FUNCTION:
        return _BY_FUNCTION[identifier]()
    if callable(identifier):
        return Wrapped(identifier)
    raise TypeError(f"loss: expected a name, a Loss or a callable, got {type(identifier).__name__}")


def serialize(loss: Loss) -> dict[str, Any]:
    """The configuration from which `get` rebuilds the loss."""
    name = get_registered_name(type(loss))
    if find(name, _CLASSES) is None:
        raise TypeError(f"loss: only Lamella's own and registered losses can be saved, got {short(loss)}")
    return {"class_name": name, "config": loss.get_config()}


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Loss:
    """A loss from what `serialize` gave, or from its name.

    Parameters
    ----------
    name : dict or str
    custom_objects : dict of str to class, optional
        The user's own losses.
    """
    if not isinstance(name, dict):
        found = (custom_objects or {}).get(name)
        return get(name if found is None else found)
    cls = find(name.get("class_name"), _CLASSES, custom_objects)
    if cls is None:
        known = {**_CLASSES, **custom(), **(custom_objects or {})}
        raise unknown_name("loss", name.get("class_name"), known)
    return cls.from_config(name.get("config") or {})
