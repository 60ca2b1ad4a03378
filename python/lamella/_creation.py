"""Functions that make tensors, in PyTorch's names."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _rng
from . import autograd as ag
from ._device import check_device, place
from ._dtypes import as_dtype, is_number
from ._methods import _ints

__all__ = [
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
]

Tensor = ag.Tensor


def _new(array: np.ndarray, requires_grad: bool = False, device: Any = None) -> Tensor:
    t = ag.wrap(place(array, check_device(device)))
    if requires_grad:
        t.requires_grad = True
    return t


def _dtype(dtype: Any, default: Any = np.float32) -> np.dtype:
    return as_dtype(default if dtype is None else dtype)


def _numbers(function: str, data: Any, dtype: Any = None) -> np.ndarray:
    array = ag.as_array(data, dtype)
    if not is_number(array.dtype):
        what = f"an array of {array.dtype}" if isinstance(data, np.ndarray) else f"{type(data).__name__} {data!r:.60}"
        raise TypeError(f"{function}: data: expected numbers, got {what}")
    return array


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of the data.

    Parameters
    ----------
    data : array_like
        Numbers, nested lists, arrays, tensors. Python floats become float32, integers int64; arrays keep their dtype.
    dtype : dtype, optional
        The wanted dtype.
    device : str or device, optional
        "cpu".
    requires_grad : bool
        Whether `backward` shall give it a `grad`.
    """
    if isinstance(data, (list, tuple)) and any(isinstance(d, Tensor) for d in data):
        data = [d.tolist() if isinstance(d, Tensor) else d for d in data]
    return _new(_numbers("tensor", data, dtype).copy(order="C"), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor over the data's own memory where that is possible."""
    where = check_device(device)
    if isinstance(data, Tensor) and (dtype is None or as_dtype(dtype) == data.dtype):
        return data if where is None else data.to(where)
    return ag.wrap(place(_numbers("as_tensor", data, dtype), where))


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over this array's memory."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}")
    return ag.wrap(_numbers("from_numpy", array))


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of this shape."""
    return _new(np.zeros(_ints(size), _dtype(dtype)), requires_grad, device)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of this shape."""
    return _new(np.ones(_ints(size), _dtype(dtype)), requires_grad, device)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory of this shape that holds anything."""
    return _new(np.empty(_ints(size), _dtype(dtype)), requires_grad, device)


def full(
    size: Sequence[int], fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value in this shape."""
    if dtype is None:
        dtype = ag.as_array(fill_value).dtype
    return _new(np.full(_ints((size,)), fill_value, dtype), requires_grad, device)


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix."""
    return _new(np.eye(n, m, dtype=_dtype(dtype)), requires_grad, device)


def arange(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers from start (0) up to end, which is left out."""
    if end is None:
        start, end = 0, start
    if dtype is None:
        dtype = np.float32 if any(isinstance(v, float) for v in (start, end, step)) else np.int64
    return _new(np.arange(start, end, step).astype(dtype, copy=False), requires_grad, device)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from start to end, both included."""
    return _new(np.linspace(start, end, steps).astype(_dtype(dtype)), requires_grad, device)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the input's shape and dtype."""
    return _new(np.zeros(input.shape, _dtype(dtype, input.dtype)), requires_grad, input.device)


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the input's shape and dtype."""
    return _new(np.ones(input.shape, _dtype(dtype, input.dtype)), requires_grad, input.device)


def empty_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory in the input's shape and dtype that holds anything."""
    return _new(np.empty(input.shape, _dtype(dtype, input.dtype)), requires_grad, input.device)


def full_like(input: Tensor, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One value in the input's shape and dtype."""
    return _new(np.full(input.shape, fill_value, _dtype(dtype, input.dtype)), requires_grad, input.device)


# --- random ------------------------------------------------------------------------------------------------------


def rand(
    *size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform random numbers in [0, 1)."""
    return _new(_rng.uniform(_ints(size), 0.0, 1.0, _dtype(dtype), generator), requires_grad, device)


def randn(
    *size: Any, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal random numbers with mean 0 and standard deviation 1."""
    return _new(_rng.normal(_ints(size), 0.0, 1.0, _dtype(dtype), generator), requires_grad, device)


def rand_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in the input's shape and dtype."""
    return rand(input.shape, dtype=_dtype(dtype, input.dtype), requires_grad=requires_grad)


def randn_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the input's shape and dtype."""
    return randn(input.shape, dtype=_dtype(dtype, input.dtype), requires_grad=requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random integers in [low, high): randint(high, size) or randint(low, high, size)."""
    if size is None:
        low, high, size = 0, low, high
    rng = (generator or _rng.default_generator).numpy()
    kind = _dtype(dtype, np.int64)
    return _new(rng.integers(low, high, tuple(size)).astype(kind, copy=False), requires_grad, device)


def randperm(n: builtins.int, *, generator: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    return _new(_rng.permutation(n, generator).astype(_dtype(dtype, np.int64), copy=False), False, device)
