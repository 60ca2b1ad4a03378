"""Layers that move, repeat, cut off and surround elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._errors import short
from .._functional.resize import resize
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._arguments import integers, pair, positive
from ._format import checked_format, from_last, sizes, to_last
from .base import Layer

__all__ = [
    "Cropping1D", "Cropping2D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D", "UpSampling2D",
    "ZeroPadding1D", "ZeroPadding2D",
]  # fmt: skip


class Flatten(Layer):
    """All dimensions but the first in one, in memory order (rows, columns, channels).

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        Inputs with channels first are flattened in the order of those with channels last, as in Keras.
    **kwargs
        See `Layer`.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = checked_format("Flatten", data_format)

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) == 1:
            return apply(op("expand_dims", {"axis": 1}), inputs)
        x = to_last(self, inputs) if len(inputs.shape) > 2 else inputs
        return apply(op("flatten", {"start_axis": 1}), x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Another shape for each sample; one size may be -1."""

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = integers(target_shape, "Reshape: target_shape")

    def call(self, inputs: Tensor) -> Tensor:
        if all(d > 0 for d in self.target_shape):
            want, have = math.prod(self.target_shape), math.prod(inputs.shape[1:])
            if want != have:
                raise ValueError(
                    f"{self.name}: target_shape: expected {have} elements a sample, got {self.target_shape}"
                )
        return apply(op("reshape", {"shape": (0, *self.target_shape)}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Permute(Layer):
    """Dimensions in another order; they count from 1, without the batch."""

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = integers(dims, "Permute: dims")
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute: dims: expected each of 1..{len(self.dims)} once, got {self.dims}")

    def call(self, inputs: Tensor) -> Tensor:
        return apply(op("transpose", {"perm": (0, *self.dims)}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


class RepeatVector(Layer):
    """(n, c) to (n, times, c)."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive(n, "RepeatVector: n")

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) != 2:
            raise ValueError(f"{self.name}: input: expected 2 dimensions, got shape {tuple(inputs.shape)}")
        column = apply(op("expand_dims", {"axis": 1}), inputs)
        return apply(op("concat", {"axis": 1}), *([column] * self.n)) if self.n > 1 else column

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


# --- at the borders ----------------------------------------------------------------------------------------------


def _sides(value: Any, rank: int, what: str) -> tuple[tuple[int, int], ...]:
    """(before, after) for each of `rank` axes, from one number, one an axis, or all of them."""

    def is_size(v: Any) -> bool:
        return hasattr(v, "__index__") and not isinstance(v, bool) and int(v) >= 0

    if is_size(value):
        return ((int(value), int(value)),) * rank
    items = value if isinstance(value, (list, tuple)) else ()
    if rank == 1 and len(items) == 2 and all(map(is_size, items)):
        return ((int(items[0]), int(items[1])),)
    found = [(v, v) if is_size(v) else v for v in items]
    if len(found) != rank or any(
        not isinstance(v, (list, tuple)) or len(v) != 2 or not all(map(is_size, v)) for v in found
    ):
        raise ValueError(f"{what}: expected sizes >= 0, one, one an axis or a pair an axis, got {short(value)}")
    return tuple((int(v[0]), int(v[1])) for v in found)


class _Border(Layer):
    """Adds rows at the ends of the middle axes, or takes them off."""

    _rank = 2
    _sign = 1

    def _run(self, inputs: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
        if len(inputs.shape) != self._rank + 2:
            raise ValueError(
                f"{self.name}: input: expected {self._rank + 2} dimensions, got shape {tuple(inputs.shape)}"
            )
        x = to_last(self, inputs)
        if self._sign < 0:
            for size, (before, after) in zip(x.shape[1:], sides, strict=False):
                if before + after >= size:
                    raise ValueError(f"{self.name}: cropping: expected less than the size {size}, got {before, after}")
        amounts = [self._sign * n for side in ((0, 0), *sides, (0, 0)) for n in side]
        return from_last(self, apply(op("pad", {"padding": amounts}), x))


def _shown(sides: tuple[tuple[int, int], ...]) -> Any:
    return list(sides[0]) if len(sides) == 1 else [list(s) for s in sides]


class _ZeroPadding(_Border):
    def __init__(self, padding: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        self._sides = _sides(padding, self._rank, f"{label}: padding")
        self.padding = _shown(self._sides)
        self.data_format = checked_format(label, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        return self._run(inputs, self._sides)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding2D(_ZeroPadding):
    """Zeros around each image.

    Parameters
    ----------
    padding : int, or two ints (height, width), or ((top, bottom), (left, right))
    data_format : {"channels_last", "channels_first"}, optional
    **kwargs
        See `Layer`.
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after each sequence.

    Parameters
    ----------
    padding : int or two ints (before, after)
    data_format : {"channels_last", "channels_first"}, optional
    **kwargs
        See `Layer`.
    """

    _rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class _Cropping(_Border):
    _sign = -1

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        self._sides = _sides(cropping, self._rank, f"{label}: cropping")
        self.cropping = _shown(self._sides)
        self.data_format = checked_format(label, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        return self._run(inputs, self._sides)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Cropping2D(_Cropping):
    """Takes rows and columns off each image.

    Parameters
    ----------
    cropping : int, or two ints (height, width), or ((top, bottom), (left, right))
    data_format : {"channels_last", "channels_first"}, optional
    **kwargs
        See `Layer`.
    """

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class Cropping1D(_Cropping):
    """Takes steps off each sequence.

    Parameters
    ----------
    cropping : int or two ints (before, after)
    **kwargs
        See `Layer`.
    """

    _rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, None, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


# --- larger ------------------------------------------------------------------------------------------------------


class UpSampling1D(Layer):
    """Each step of (n, t, c) repeated `size` times."""

    def __init__(self, size: Any = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = sizes(size, 1, "UpSampling1D: size")[0]

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) != 3:
            raise ValueError(f"{self.name}: input: expected 3 dimensions, got shape {tuple(inputs.shape)}")
        return apply(op("repeat", {"repeats": self.size, "axis": 1}), inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class UpSampling2D(Layer):
    """Images enlarged by whole factors.

    Parameters
    ----------
    size : int or two ints
        The factors.
    data_format : {"channels_last", "channels_first"}, optional
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"}
        "nearest" repeats pixels.
    **kwargs
        See `Layer`.
    """

    _modes = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if interpolation not in self._modes:
            known = ", ".join(map(repr, self._modes))
            raise ValueError(f"UpSampling2D: interpolation: expected one of {known}, got {short(interpolation)}")
        self.size, self.interpolation = pair(size, "UpSampling2D: size"), interpolation
        self.data_format = checked_format("UpSampling2D", data_format)

    def call(self, inputs: Tensor) -> Tensor:
        if len(inputs.shape) != 4:
            raise ValueError(f"{self.name}: input: expected 4 dimensions, got shape {tuple(inputs.shape)}")
        x = to_last(self, inputs)
        if self.interpolation in ("nearest", "bilinear"):
            y = apply(op("upsample2d", {"scale": self.size, "mode": self.interpolation}), x)
        else:
            y = resize(x, tuple(d * s for d, s in zip(x.shape[1:3], self.size, strict=True)), self.interpolation)
        return from_last(self, y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": list(self.size), "interpolation": self.interpolation,
                "data_format": self.data_format}  # fmt: skip
