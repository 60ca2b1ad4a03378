"""Convolutions."""

from __future__ import annotations

import math
from typing import Any

from .._errors import short
from . import functional as F
from . import init
from ._layout import sizes
from .linear import new_parameter, positive
from .module import Module

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]


class _Conv(Module):
    """What all convolutions share; `_dims` spatial dimensions."""

    _dims: int
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        output_padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        known = ("zeros",) if self._transposed else ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in known:
            raise ValueError(f"{name}: padding_mode: expected one of {', '.join(known)}, got {short(padding_mode)}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups: expected a divisor of {in_channels} and {out_channels} channels, got {groups}"
            )

        dims = self._dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes(dims, kernel_size, name, "kernel_size", 1)
        self.stride = sizes(dims, stride, name, "stride", 1)
        self.padding = padding if isinstance(padding, str) else sizes(dims, padding, name, "padding")
        self.output_padding = sizes(dims, output_padding, name, "output_padding")
        self.dilation = sizes(dims, dilation, name, "dilation", 1)
        self.groups = groups
        self.padding_mode = padding_mode
        outer, inner = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        # Memory in the kernels' order (kh, kw, inner, outer).
        perm = (3, 2, 0, 1) if self._dims == 2 else (2, 1, 0)
        self.weight = new_parameter((outer, inner // groups, *self.kernel_size), device, dtype, perm=perm)
        if bias:
            self.bias = new_parameter((out_channels,), device, dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.shape[1] * math.prod(self.kernel_size))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        s = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ones = (1,) * self._dims
        zeros = (0,) * self._dims
        if self.padding != zeros:
            s += f", padding={self.padding}"
        if self.dilation != ones:
            s += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            s += f", output_padding={self.output_padding}"
        if self.groups != 1:
            s += f", groups={self.groups}"
        if self.bias is None:
            s += ", bias=False"
        return s


class _ForwardConv(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _padded(self, input: Any) -> Any:
        """The input with what `padding_mode` puts around it."""
        if self.padding == "valid":
            return input
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(t // 2, t - t // 2) for t in total]
        else:
            sides = [(int(p), int(p)) for p in self.padding]
        return F.pad(input, [p for side in reversed(sides) for p in side], self.padding_mode)


class Conv2d(_ForwardConv):
    """2-D convolution of (n, c, h, w).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), "same" or "valid"
    groups : int
        Channels are cut into so many groups that do not see each other.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What lies around the input; see `functional.pad`.
    device, dtype
        "cpu"; float32 or float64.
    """

    _dims = 2

    def forward(self, input: Any) -> Any:
        params: Any = self._parameters
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._padded(input), 0
        return F.conv2d(input, params["weight"], params["bias"], self.stride, padding, self.dilation, self.groups)


class Conv1d(_ForwardConv):
    """1-D convolution of (n, c, w); see `Conv2d`."""

    _dims = 1

    def forward(self, input: Any) -> Any:
        params: Any = self._parameters
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._padded(input), 0
        return F.conv1d(input, params["weight"], params["bias"], self.stride, padding, self.dilation, self.groups)


class _TransposedConv(_Conv):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _run(self, fn: Any, input: Any) -> Any:
        params = self._parameters
        return fn(
            input,
            params["weight"],
            params["bias"],
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class ConvTranspose2d(_TransposedConv):
    """The adjoint of a 2-D convolution, on (n, c, h, w); see `Conv2d`.

    Parameters
    ----------
    output_padding : int or (int, int)
        Rows and columns added at the bottom and right of the output.
    """

    _dims = 2

    def forward(self, input: Any) -> Any:
        return self._run(F.conv_transpose2d, input)


class ConvTranspose1d(_TransposedConv):
    """The adjoint of a 1-D convolution, on (n, c, w); see `ConvTranspose2d`."""

    _dims = 1

    def forward(self, input: Any) -> Any:
        return self._run(F.conv_transpose1d, input)
