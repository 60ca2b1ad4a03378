"""Layers that pad, resize and move the elements of (n, c, h, w) and (n, c, w)."""

from __future__ import annotations

from typing import Any

from .._errors import short
from . import functional as F
from .module import Module

__all__ = [
    "ChannelShuffle", "CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "Fold", "PixelShuffle",
    "PixelUnshuffle", "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "Unfold",
    "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d",
]  # fmt: skip


class _Pad(Module):
    _dims: int
    _mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        sides = 2 * self._dims
        given = (padding,) * sides if hasattr(padding, "__index__") else tuple(padding)
        if len(given) != sides or not all(hasattr(p, "__index__") for p in given):
            raise ValueError(
                f"{type(self).__name__}: padding: expected an integer or {sides} of them, got {short(padding)}"
            )
        self.padding = tuple(int(p) for p in given)

    def forward(self, input: Any) -> Any:
        if len(input.shape) not in (self._dims + 1, self._dims + 2):
            raise ValueError(
                f"{type(self).__name__}: input: expected {self._dims + 1} or {self._dims + 2} dimensions, got shape "
                f"{tuple(input.shape)}"
            )
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Pad):
    """Zeros at both ends of (n, c, w): (left, right), or one number for both."""

    _dims = 1


class ZeroPad2d(_Pad):
    """Zeros around (n, c, h, w): (left, right, top, bottom), or one number for all sides."""

    _dims = 2


class ReflectionPad1d(_Pad):
    """(n, c, w) mirrored at its border elements: (left, right), or one number for both."""

    _dims, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """(n, c, h, w) mirrored at its border pixels: (left, right, top, bottom), or one number for all sides."""

    _dims, _mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """The border elements of (n, c, w) repeated: (left, right), or one number for both."""

    _dims, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The border pixels of (n, c, h, w) repeated: (left, right, top, bottom), or one number for all sides."""

    _dims, _mode = 2, "replicate"


class CircularPad1d(_Pad):
    """(n, c, w) continued from its other end: (left, right), or one number for both."""

    _dims, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """(n, c, h, w) continued from its other sides: (left, right, top, bottom), or one number for all sides."""

    _dims, _mode = 2, "circular"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """One value at both ends of (n, c, w): (left, right), or one number for both."""

    _dims = 1


class ConstantPad2d(_ConstantPad):
    """One value around (n, c, h, w): (left, right, top, bottom), or one number for all sides."""

    _dims = 2


class Upsample(Module):
    """Resize (n, c, h, w) or (n, c, w); see `functional.interpolate`."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Any) -> Any:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        what = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` in mode "nearest"."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """`Upsample` in mode "bilinear" with aligned corners."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """(..., c * r * r, h, w) as (..., c, h * r, w * r): channels become neighbouring pixels."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., c, h * r, w * r) as (..., c * r * r, h, w): neighbouring pixels become channels."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """(n, c, ...) with its channels taken in turn from each group."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Any) -> Any:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Unfold(Module):
    """The windows of (n, c, h, w) as columns: (n, c * kh * kw, number of windows)."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Any) -> Any:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns (n, c * kh * kw, number of windows) added up where their windows lie: (n, c, h, w)."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Any) -> Any:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
