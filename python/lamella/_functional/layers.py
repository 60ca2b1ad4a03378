"""Dense layers, convolutions, pooling, normalisation, embeddings, recurrent layers, dropout."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .. import autograd as ag
from .._kernels._call import op as make_op

__all__ = ["conv", "conv_op", "dense", "embedding", "matmul"]

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
    if a.dtype.kind != "f":
        import numpy as np

        from .elementwise import _known

        return ag.wrap(np.asarray(_known("matmul", a) @ _known("matmul", b)))
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
