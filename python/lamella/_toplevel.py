"""Everything that `lamella` offers under PyTorch's names, gathered on first use (see `lamella.__getattr__`)."""

from __future__ import annotations

import builtins
import os
from typing import Any

import numpy as np

from . import _cpu, autograd

# ruff: noqa: F401  everything imported here is offered
from ._compile import compile
from ._creation import *  # noqa: F403
from ._creation import __all__ as _creation
from ._device import check_device, cuda_device_count, device, is_available
from ._explain import explain_all
from ._functional.elementwise import (
    abs,
    add,
    ceil,
    clamp,
    cos,
    div,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
    logical_not,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from ._functional.joining import cat
from ._functional.layers import matmul
from ._functional.reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    log_softmax,
    max,
    mean,
    min,
    norm,
    softmax,
    std,
    sum,
    var,
)
from ._functional.shape import chunk, flatten, permute, reshape, split, squeeze, stack, transpose, unsqueeze
from ._profile import profile
from ._rng import Generator, manual_seed
from .amp import autocast, get_autocast_dtype, is_autocast_enabled
from .autograd import (
    Tensor,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

concat = concatenate = cat
clip = clamp
mm = bmm = matmul
multiply = mul
subtract = sub
divide = true_divide = div
absolute = abs
negative = neg

float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
float16 = half = np.dtype(np.float16)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
bool = np.dtype(np.bool_)


def is_tensor(obj: Any) -> builtins.bool:
    """Whether this is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> builtins.int:
    """The number of elements."""
    return input.numel()


def dot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    if len(input.shape) != 1 or len(other.shape) != 1:
        raise RuntimeError(f"dot: expected two vectors, got shapes {input.shape} and {other.shape}")
    return matmul(input, other)


def t(input: Tensor) -> Tensor:
    """The transposed matrix."""
    return input.t()


def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN."""
    return input.isnan()


def eq(input: Tensor, other: Any) -> Tensor:
    """Elementwise equality."""
    return input.eq(other)


def equal(input: Tensor, other: Tensor) -> builtins.bool:
    """Whether two tensors have the same shape and elements."""
    return np.array_equal(input._data, other._data)


def allclose(
    input: Tensor, other: Tensor, rtol: builtins.float = 1e-05, atol: builtins.float = 1e-08, equal_nan: Any = False
) -> builtins.bool:
    """Whether two tensors agree within |input - other| <= atol + rtol * |other|."""
    return np.allclose(input._data, other._data, rtol=rtol, atol=atol, equal_nan=equal_nan)


def save(obj: Any, f: Any) -> None:
    """Write tensors: a `state_dict`, or a checkpoint of several of them.

    Parameters
    ----------
    obj : mapping
        Tensors and arrays in dicts, lists and tuples, with numbers, strings, booleans and None beside them. Other
        objects are refused: files that can hold any object can run any code when they are loaded.
    f : str, path or binary file
        A file whose name ends in .pt, .pth, .bin, .ckpt or .tar, and any open file, is written as PyTorch does, for
        ``torch.load(f, weights_only=True)``; all others are safetensors files. Under its name it appears whole or not
        at all.
    """
    from . import _saving

    _saving.save_nested(obj, f)


def load(f: Any, map_location: Any = None, *, weights_only: builtins.bool = True) -> Any:
    """Read what `save` wrote, a safetensors file as a dict of tensors, or PyTorch's .pt and .pth files.

    PyTorch's pickles are interpreted, never executed: a file that names anything but tensors, numbers, strings and
    their containers is refused. Half precision becomes float32.

    Parameters
    ----------
    f : str, path or binary file
    map_location : device, optional
        "cpu".
    weights_only : bool
        Must be True: nothing else is ever loaded.
    """
    from . import _saving

    check_device(map_location)
    if not weights_only:
        raise NotImplementedError("load: weights_only: expected True, got False; pickled objects are not supported")
    return _saving.load_nested(f)


def get_default_dtype() -> np.dtype:
    """The dtype of tensors made from Python floats."""
    return float32


class _Cuda:
    """What programs ask before they use a GPU."""

    @staticmethod
    def is_available() -> builtins.bool:
        """Whether a GPU can be used: the CUDA module, CuPy, a driver and a GPU are all there."""
        return is_available()

    @staticmethod
    def device_count() -> builtins.int:
        """The number of GPUs."""
        return cuda_device_count()

    @staticmethod
    def manual_seed_all(seed: builtins.int) -> None:
        """Seed all random numbers: devices draw from the same streams as the CPU."""
        manual_seed(seed)


cuda = _Cuda()

_NOT_OFFERED = (
    "annotations",
    "autograd",
    "builtins",
    "check_device",
    "cuda_device_count",
    "is_available",
    "explain_all",
    "np",
    "Any",
)
__all__ = [
    *_creation,
    *(name for name in list(globals()) if not name.startswith("_") and name not in _NOT_OFFERED),
]

explain_all(globals(), __all__)
__all__ += ["bfloat16"]  # noqa: F405


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        from ._dtypes import bfloat16

        return bfloat16()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
