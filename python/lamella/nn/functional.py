"""PyTorch's functions: images (n, c, h, w), weights (out, in, ...).

Activations of layers that want (n, h, w, c) are shown as permuted views, so a chain of layers copies nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import _rng
from .. import autograd as ag
from .._errors import short
from .._explain import explain_all
from .._functional import elementwise as _e
from .._functional import layers as _layers
from .._functional import reduce as _r
from .._functional.shape import on_memory, permute, unsqueeze
from . import _activation, _features, _image, _losses, _norm, _pool, _unpool
from ._activation import *  # noqa: F403
from ._attention import scaled_dot_product_attention
from ._features import *  # noqa: F403
from ._image import *  # noqa: F403
from ._layout import channels_last, from_last, numbers, sizes, to_last
from ._losses import *  # noqa: F403
from ._norm import *  # noqa: F403
from ._pool import *  # noqa: F403
from ._unpool import *  # noqa: F403

__all__ = [
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "dropout",
    "dropout1d",
    "dropout2d",
    "group_norm",
    "gumbel_softmax",
    "layer_norm",
    "linear",
    "log_softmax",
    "normalize",
    "one_hot",
    "scaled_dot_product_attention",
    "softmax",
    "softmin",
    *_activation.__all__,
    *_features.__all__,
    *_image.__all__,
    *_losses.__all__,
    *_norm.__all__,
    *_pool.__all__,
    *_unpool.__all__,
]

Tensor = Any


# --- dense layers and convolutions -------------------------------------------------------------------------------

_MATRIX = (1, 0)
_KERNELS = {2: (2, 3, 1, 0), 1: (2, 1, 0)}  # (oc, c, kh, kw) as (kh, kw, c, oc)
_dense_op = None


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, with weight of shape (out, in)."""
    global _dense_op
    if _dense_op is None:
        _dense_op = _layers.dense_op()
    phys = weight._phys
    return ag.apply(_dense_op, input, phys[0] if phys is not None else permute(weight, _MATRIX), bias)


def _padding(padding: Any, dims: int, op: str) -> Any:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"{op}: padding: expected 'same', 'valid' or integers, got {short(padding)}")
        return padding
    return numbers(dims, padding, op, "padding")


def _conv(
    op: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    groups: int, output_padding: Any = None,
) -> Tensor:  # fmt: skip
    """A convolution of (n, c, ...) over `dims` axes; with `output_padding` its adjoint."""
    if len(input.shape) == dims + 1:
        more = bias, stride, padding, dilation, groups, output_padding
        return _conv(op, dims, unsqueeze(input, 0), weight, *more)[0]
    forward = output_padding is None
    if forward and padding == "same" and sizes(dims, stride, op, "stride", 1) != (1,) * dims:
        raise ValueError(f"{op}: padding: 'same' needs stride 1, got {short(stride)}")
    conv_op = _layers.conv_op(
        f"conv{dims}d" if forward else f"conv{dims}d_transpose",
        numbers(dims, stride, op, "stride", 1),
        _padding(padding, dims, op) if forward else numbers(dims, padding, op, "padding"),
        numbers(dims, dilation, op, "dilation", 1),
        groups,
        output_padding=None if forward else numbers(dims, output_padding, op, "output_padding"),
    )
    y = ag.apply(conv_op, to_last(dims, input), permute(weight, _KERNELS[dims]), bias)
    return from_last(dims, y)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """2-D convolution of (n, c, h, w) with weight (oc, c / groups, kh, kw)."""
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """1-D convolution of (n, c, w) with weight (oc, c / groups, kw)."""
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of conv2d: (n, c, h, w) with weight (c, oc / groups, kh, kw)."""
    return _conv("conv_transpose2d", 2, input, weight, bias, stride, padding, dilation, groups, output_padding)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The adjoint of conv1d: (n, c, w) with weight (c, oc / groups, kw)."""
    return _conv("conv_transpose1d", 1, input, weight, bias, stride, padding, dilation, groups, output_padding)


# --- normalisation, dropout --------------------------------------------------------------------------------------


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of (n, c, ...) by its mean and variance over everything else."""
    if not training and (running_mean is None or running_var is None):
        raise ValueError("batch_norm: running_mean, running_var: needed when not training, got None")
    x, back = channels_last(input)
    # PyTorch's momentum is what enters the running statistics, the kernels' what stays.
    y = _layers.batch_norm(x, weight, bias, running_mean, running_var, training, 1 - momentum, eps, True)
    return permute(y, back) if len(back) > 2 else y


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, whose sizes are normalized_shape."""
    shape = (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)
    if tuple(input.shape[len(input.shape) - len(shape) :]) != shape:
        raise ValueError(f"layer_norm: input: expected last dimensions {shape}, got shape {input.shape}")
    return _layers.layer_norm(input, weight, bias, len(shape), eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each sample of (n, c, ...) over its positions and a group of its channels."""
    x, back = channels_last(input)
    y = _layers.group_norm(x, num_groups, weight, bias, eps)
    return permute(y, back) if len(back) > 2 else y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero elements with probability p and scale the others by 1 / (1 - p); nothing unless training."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p: expected a probability, got {short(p)}")
    return on_memory(lambda x: _layers.dropout(x, p, training), input)


def _channel_dropout(name: str, input: Tensor, p: float, training: bool, rank: int) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p: expected a probability, got {short(p)}")
    if len(input.shape) == rank - 1:
        return _channel_dropout(name, unsqueeze(input, 0), p, training, rank)[0]
    if len(input.shape) != rank:
        raise ValueError(f"{name}: input: expected {rank - 1} or {rank} dimensions, got shape {input.shape}")
    x, back = channels_last(input)
    return permute(_layers.dropout(x, p, training, (-1, *(1,) * (rank - 2), -1)), back)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (n, c, w) with probability p."""
    return _channel_dropout("dropout1d", input, p, training, 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (n, c, h, w) with probability p."""
    return _channel_dropout("dropout2d", input, p, training, 4)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the p-norm over a dimension."""
    return _e.div(input, _e.clamp(_r.norm(input, p, dim, True), min=eps))


# --- activations -------------------------------------------------------------------------------------------------


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) divided by its sum over a dimension."""
    return _along(_r.softmax, "softmax", input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(-x) divided by its sum over a dimension."""
    return softmax(_e.neg(input), dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """The logarithm of softmax over a dimension."""
    return _along(_r.log_softmax, "log_softmax", input, dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Samples of classes that have gradients: softmax of the logits plus Gumbel noise.

    Parameters
    ----------
    logits : Tensor
    tau : float
        The temperature.
    hard : bool
        Rows with one 1, whose gradients are those of the softmax.
    eps : float
        Has no use any more, as in PyTorch.
    dim : int
    """
    if eps != 1e-10:
        warnings.warn("gumbel_softmax: eps: deprecated; it has no effect", stacklevel=2)
    logits.detach()  # noise of a plan would be the same at each step: this is refused while tracing
    noise = _rng.uniform(logits.shape, np.finfo(logits.dtype).tiny, 1.0, logits.dtype)
    soft = _r.softmax((logits - ag.wrap(np.log(-np.log(noise)))) / float(tau), dim)
    if not hard:
        return soft
    values = soft.detach().numpy()
    ones = np.zeros(values.shape, values.dtype)
    np.put_along_axis(ones, np.expand_dims(values.argmax(dim), dim), 1, dim)
    return ag.wrap(ones - values) + soft


def _along(function: Any, name: str, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    if dim is None:
        warnings.warn(f"{name}: dim: choose it explicitly; the implicit choice is PyTorch's old one", stacklevel=3)
        dim = 0 if len(input.shape) in (0, 1, 3) else 1
    x = input if dtype is None else input.to(dtype)
    if len(x.shape) or dim not in (0, -1):
        return function(x, dim)
    return function(x.reshape(1), 0).reshape(())  # a scalar counts as one element


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices as rows with one 1, of dtype int64."""
    indices = tensor._data
    if indices.dtype.kind not in "iu":
        raise TypeError(f"one_hot: expected an integer tensor, got {tensor.dtype}")
    n = (int(indices.max()) + 1 if indices.size else 0) if num_classes == -1 else num_classes
    if indices.size and (indices.min() < 0 or indices.max() >= n):
        raise ValueError(f"one_hot: expected indices in [0, {n}), got {indices.min()} to {indices.max()}")
    return ag.wrap(np.eye(n, dtype=np.int64)[indices])


explain_all(globals(), __all__)
