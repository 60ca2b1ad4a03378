"""Layers that find out at their first call how many features or channels come in."""

from __future__ import annotations

from typing import Any, NoReturn

from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear, positive
from .module import Module
from .normalization import BatchNorm1d, BatchNorm2d, InstanceNorm1d, InstanceNorm2d
from .parameter import Parameter

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyConv1d", "LazyConv2d", "LazyConvTranspose1d", "LazyConvTranspose2d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyLinear", "UninitializedParameter",
]  # fmt: skip


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet. Once it is, the same object is a `Parameter`, so that an optimizer may
    have been given it before.
    """

    __slots__ = ()

    @property
    def shape(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("UninitializedParameter: shape: not known before the module's first call")

    def _become(self, made: Parameter) -> None:
        """Be that parameter."""
        made.requires_grad = self._rg
        self.__class__ = Parameter  # type: ignore[assignment]
        for slot in ("_data", "_edge", "_grad", "_leaf", "_phys", "_rg", "_version", "name", "constraint"):
            setattr(self, slot, getattr(made, slot))

    def __repr__(self) -> str:
        return "UninitializedParameter()"


class _Lazy(Module):
    """Becomes a `_becomes` at its first call."""

    _becomes: type[Module]
    _axis = 1  # where the input has what is to be counted
    _counted = "in_channels"

    def _set(self, parameters: dict[str, bool], **arguments: Any) -> None:
        """Say which parameters there will be, and the arguments that are known."""
        Module.__init__(self)
        self._arguments = arguments
        for name, wanted in parameters.items():
            self.register_parameter(name, UninitializedParameter() if wanted else None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        input = args[0] if args else kwargs["input"]
        self.initialize_parameters(input)
        return type(self).forward(self, *args, **kwargs)

    def has_uninitialized_params(self) -> bool:
        """Whether it has not been called yet."""
        return True

    def initialize_parameters(self, input: Any) -> None:
        """Make the parameters for an input like this."""
        rank = len(input.shape)
        # A sample without batch dimension has its channels first.
        axis = self._axis if self._axis < 0 or rank > self._least_rank() else 0
        made = self._becomes(**{self._counted: int(input.shape[axis])}, **self._arguments)
        training = self.training
        ours = dict(self._parameters)
        for name, p in made._parameters.items():
            if p is not None:
                ours[name]._become(p)
                made._parameters[name] = ours[name]
        hooks = self._pre_hooks, self._hooks
        self.__dict__.clear()
        self.__dict__.update(made.__dict__)
        self.__dict__.update(_pre_hooks=hooks[0], _hooks=hooks[1], training=training)
        self.__class__ = self._becomes  # type: ignore[assignment]

    def _least_rank(self) -> int:
        return getattr(self._becomes, "_dims", 0) + 1

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self._arguments.items() if k not in ("device", "dtype"))


class LazyLinear(_Lazy):
    """`Linear` whose in_features are the first input's."""

    _becomes = Linear
    _axis = -1
    _counted = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        positive("LazyLinear", out_features=out_features)
        wanted = {"weight": True, "bias": bias}
        self._set(wanted, out_features=out_features, bias=bias, device=device, dtype=dtype)


class _LazyConv(_Lazy):
    def __init__(
        self,
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
        positive(type(self).__name__, out_channels=out_channels, groups=groups)
        self._set(
            {"weight": True, "bias": bias},
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )


class LazyConv1d(_LazyConv):
    """`Conv1d` whose in_channels are the first input's."""

    _becomes = Conv1d


class LazyConv2d(_LazyConv):
    """`Conv2d` whose in_channels are the first input's."""

    _becomes = Conv2d


class _LazyConvTranspose(_Lazy):
    def __init__(
        self,
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
        positive(type(self).__name__, out_channels=out_channels, groups=groups)
        self._set(
            {"weight": True, "bias": bias},
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )


class LazyConvTranspose1d(_LazyConvTranspose):
    """`ConvTranspose1d` whose in_channels are the first input's."""

    _becomes = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose):
    """`ConvTranspose2d` whose in_channels are the first input's."""

    _becomes = ConvTranspose2d


class _LazyNorm(_Lazy):
    _counted = "num_features"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        self._set(
            {"weight": affine, "bias": affine and bias},
            eps=eps,
            momentum=momentum,
            affine=affine,
            track_running_stats=track_running_stats,
            device=device,
            dtype=dtype,
            bias=bias,
        )


class LazyBatchNorm1d(_LazyNorm):
    """`BatchNorm1d` whose num_features are the first input's."""

    _becomes = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm):
    """`BatchNorm2d` whose num_features are the first input's."""

    _becomes = BatchNorm2d


class LazyInstanceNorm1d(_LazyNorm):
    """`InstanceNorm1d` whose num_features are the first input's."""

    _becomes = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm):
    """`InstanceNorm2d` whose num_features are the first input's."""

    _becomes = InstanceNorm2d
