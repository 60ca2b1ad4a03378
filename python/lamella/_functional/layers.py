"""Dense layers, convolutions, pooling, normalisation, embeddings, recurrent layers, dropout."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .. import autograd as ag
from .._dtypes import is_float
from .._kernels._call import op as make_op

__all__ = [
    "alpha_dropout",
    "batch_norm",
    "conv",
    "dense",
    "dropout",
    "embedding",
    "group_norm",
    "layer_norm",
    "matmul",
    "pad",
    "pool",
    "recurrent",
    "upsample",
]

Tensor = Any


@lru_cache(maxsize=256)
def dense_op(activation: str = "identity", alpha: float | None = None) -> Any:
    return make_op("dense", {"activation": activation, "alpha": alpha})


def dense(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "identity", alpha: float | None = None
) -> Tensor:
    """activation(x @ weight + bias).

    Parameters
    ----------
    x : Tensor, shape (..., in)
    weight : Tensor, shape (in, out)
    bias : Tensor, shape (out,), optional
    activation : str
        Name of an activation that the kernel applies to the result; `alpha` is its parameter.
    alpha : float, optional

    Returns
    -------
    Tensor, shape (..., out)
    """
    return ag.apply(dense_op(activation, alpha), x, weight, bias)


@lru_cache(maxsize=1)
def _matmul_op() -> Any:
    return make_op("matmul")


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, batched over leading dimensions, which broadcast; vectors as in NumPy."""
    from .elementwise import _operands

    a, b = _operands(a, b)
    if not is_float(a.dtype):
        from .elementwise import _known

        return ag.wrap(ag.as_result(_known("matmul", a) @ _known("matmul", b)))
    return ag.apply(_matmul_op(), a, b)


Ints = Any


@lru_cache(maxsize=512)
def conv_op(
    name: str,
    stride: Ints = 1,
    padding: str | Ints = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    activation: str = "identity",
    alpha: float | None = None,
    output_padding: Ints | None = None,
) -> Any:
    """The op "conv1d", "conv2d", "conv1d_transpose" or "conv2d_transpose" with these attributes."""
    attrs = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "activation": activation,
        "alpha": alpha,
        "output_padding": output_padding,
    }
    return make_op(name, attrs)


def conv(name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None, **attrs: Any) -> Tensor:
    """A convolution by the name of its op.

    Parameters
    ----------
    name : {"conv1d", "conv2d", "conv1d_transpose", "conv2d_transpose"}
    x : Tensor, shape (n, w, c) or (n, h, w, c)
    weight : Tensor, shape (kw, c / groups, oc) or (kh, kw, c / groups, oc)
    bias : Tensor, shape (oc,), optional
    **attrs
        stride, padding, dilation, groups, activation, alpha, output_padding: see `conv_op`.
    """
    return ag.apply(conv_op(name, **attrs), x, weight, bias)


@lru_cache(maxsize=64)
def embedding_op(padding_idx: int | None = None) -> Any:
    return make_op("embedding", {"padding_idx": padding_idx})


def embedding(indices: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` (rows, dim) by index; row `padding_idx` gets no gradient."""
    return ag.apply(embedding_op(padding_idx), indices, weight)


# --- pooling, padding, resizing ----------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _pool_op(name: str, attrs: tuple[tuple[str, Any], ...]) -> Any:
    return make_op(name, dict(attrs))


def pool(name: str, x: Tensor, **attrs: Any) -> Tensor:
    """Pooling by the name of its op, over (n, ..., c).

    Parameters
    ----------
    name : str
        "max_pool2d", "avg_pool1d", "adaptive_avg_pool2d", "global_max_pool", ...
    x : Tensor
    **attrs
        The op's attributes: window, stride, padding, ... (see `lamella.kernels`).
    """
    return ag.apply(_pool_op(name, tuple(attrs.items())), x)


@lru_cache(maxsize=256)
def _pad_op(sides: tuple[tuple[int, int], ...], value: float) -> Any:
    return make_op("pad", {"padding": [n for side in sides for n in side], "value": value})


def pad(x: Tensor, sides: Any, value: float = 0.0) -> Tensor:
    """Add `sides[i] = (before, after)` elements to dimension i."""
    return ag.apply(_pad_op(tuple(tuple(s) for s in sides), float(value)), x)


def upsample(x: Tensor, factors: tuple[int, int]) -> Tensor:
    """Repeat the rows and columns of (n, h, w, c) by whole factors."""
    from .joining import cat

    _, h, w, c = x.shape
    rows, columns = factors
    if columns > 1:
        x = cat([x.reshape(-1, h, w, 1, c)] * columns, 3)
    if rows > 1:
        x = cat([x.reshape(-1, h, 1, w * columns, c)] * rows, 2)
    return x.reshape(-1, h * rows, w * columns, c)


# --- normalisation, dropout --------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _batch_norm_op(momentum: float, eps: float, unbiased: bool, frozen: bool) -> Any:
    attrs = {"momentum": momentum, "eps": eps, "unbiased_running_var": unbiased, "use_running_stats": frozen}
    return make_op("batch_norm", attrs)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float = 0.99,
    eps: float = 1e-3,
    unbiased_running_var: bool = False,
) -> Tensor:
    """Normalise each channel (the last dimension) by its mean and variance.

    Parameters
    ----------
    x : Tensor, shape (..., c)
    weight, bias : Tensor, shape (c,), optional
    running_mean, running_var : Tensor, shape (c,), optional
        Updated in training, used otherwise.
    training : bool
        Whether the statistics are the batch's.
    momentum : float
        How much of the running statistics stays.
    eps : float
        Added to the variance.
    unbiased_running_var : bool
        Whether the running variance is that of the population, as in PyTorch.
    """
    op = _batch_norm_op(float(momentum), float(eps), unbiased_running_var, not training)
    return ag.apply(op, x, weight, bias, running_mean, running_var, training=training)


@lru_cache(maxsize=256)
def _layer_norm_op(dims: int, eps: float) -> Any:
    return make_op("layer_norm", {"axes": dims, "eps": eps})


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: int = 1, eps: float = 1e-5) -> Tensor:
    """Normalise over the last `dims` dimensions."""
    return ag.apply(_layer_norm_op(dims, float(eps)), x, weight, bias)


@lru_cache(maxsize=256)
def _group_norm_op(groups: int, eps: float) -> Any:
    return make_op("group_norm", {"groups": groups, "eps": eps})


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Normalise each sample over its positions and a group of its channels (the last dimension)."""
    return ag.apply(_group_norm_op(groups, float(eps)), x, weight, bias)


@lru_cache(maxsize=64)
def _dropout_op(rate: float, noise_shape: tuple[int, ...] | None, seed: int | None = None) -> Any:
    return make_op("dropout", {"rate": rate, "noise_shape": noise_shape, "seed": seed})


def dropout(
    x: Tensor,
    rate: float,
    training: bool = True,
    noise_shape: tuple[int, ...] | None = None,
    seed: int | None = None,
) -> Tensor:
    """In training, zero elements at random and scale the others by 1 / (1 - rate).

    Parameters
    ----------
    x : Tensor
    rate : float
        The probability of a zero.
    training : bool
        Without it nothing happens.
    noise_shape : tuple of int, optional
        One entry per dimension: 1 where all elements along it share their fate, -1 where each has its own.
    seed : int, optional
        Takes the place of the global seed, not of the count of draws.
    """
    if rate == 0 or not training:
        return x
    return ag.apply(_dropout_op(float(rate), noise_shape, seed), x, training=training)


# Where selu saturates: -scale * alpha.
_SELU_FLOOR = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


def alpha_dropout(
    x: Tensor, rate: float, noise_shape: tuple[int, ...] | None = None, seed: int | None = None
) -> Tensor:
    """Set elements at random to selu's lower limit, and scale and shift so that mean 0 and variance 1 stay.

    Parameters
    ----------
    x : Tensor
    rate : float
        How many, in [0, 1).
    noise_shape, seed
        See `dropout`.
    """
    low = _SELU_FLOOR
    a = ((1 - rate) * (1 + rate * low**2)) ** -0.5
    # Dropout zeroes what is counted from the limit, and divides the rest by 1 - rate.
    kept = dropout(x - low, rate, True, noise_shape, seed)
    return kept * (a * (1 - rate)) + (a * low - a * low * rate)


# --- recurrent layers --------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _rnn_op(name: str, attrs: tuple[tuple[str, Any], ...]) -> Any:
    return make_op(name, dict(attrs))


def recurrent(name: str, *inputs: Tensor | None, **attrs: Any) -> tuple[Tensor, ...]:
    """A recurrent layer over whole sequences, by the name of its op.

    Parameters
    ----------
    name : {"simple_rnn", "lstm", "gru"}
    *inputs : Tensor or None
        x (n, t, c), then w_ih (c, G*h), w_hh (h, G*h), b_ih, b_hh, h0 (and c0 for "lstm") of the first direction, the
        mask, and those of the second direction.
    **attrs
        The op's attributes: bidirectional, reverse, time_major, return_sequences, ...

    Returns
    -------
    tuple of Tensor
        The sequence of outputs where it is wanted, then h (and c) of each direction.
    """
    out = ag.apply(_rnn_op(name, tuple(attrs.items())), *inputs)
    return out if isinstance(out, tuple) else (out,)
