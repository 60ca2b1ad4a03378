"""Initial values, in PyTorch's names: every function fills a tensor in place and returns it."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from .. import _rng
from .. import autograd as ag
from .._errors import short

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]

Tensor = Any


def _deprecated(function: Any) -> Any:
    """PyTorch's name for it of before 0.4."""

    @functools.wraps(function)
    def old(*args: Any, **kwargs: Any) -> Tensor:
        name = function.__name__
        warnings.warn(f"nn.init.{name[:-1]}: deprecated; use nn.init.{name}", FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    old.__name__ = old.__qualname__ = function.__name__[:-1]
    return old


def _fill(tensor: Tensor, values: Any) -> Tensor:
    tensor._data[...] = values
    ag.written(tensor)
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return _fill(tensor, _rng.uniform(tensor.shape, a, b, tensor.dtype, generator))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with this mean and standard deviation."""
    return _fill(tensor, _rng.normal(tensor.shape, mean, std, tensor.dtype, generator))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal, with values outside [a, b] drawn again."""
    if not a < b:
        raise ValueError(f"trunc_normal_: expected a < b, got {a} and {b}")
    values = _rng.truncated_normal(tensor.shape, mean, std, float(a), float(b), tensor.dtype, generator)
    return _fill(tensor, values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One value everywhere."""
    return _fill(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return _fill(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return _fill(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ValueError(f"eye_: expected 2 dimensions, got shape {tensor.shape}")
    return _fill(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution weights (oc, c, ...) that keep the input's channels."""
    shape = tensor.shape
    if not 3 <= len(shape) <= 5 or shape[0] % groups:
        raise ValueError(f"dirac_: expected 3 to 5 dimensions, the first a multiple of {groups}, got shape {shape}")
    values = np.zeros(shape, tensor.dtype)
    per_group = shape[0] // groups
    center = tuple(d // 2 for d in shape[2:])
    for g in range(groups):
        for d in range(min(per_group, shape[1])):
            place = (g * per_group + d, d, *center)
            values[place] = 1
    return _fill(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    ones = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "sigmoid")
    if nonlinearity in ones:
        return 1.0
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity: expected one of {', '.join((*ones, *gains))}, leaky_relu, "
            f"got {short(nonlinearity)}"
        )
    return gains[nonlinearity]


def _fans(tensor: Tensor) -> tuple[int, int]:
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError(f"init: expected at least 2 dimensions, got shape {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform with variance 2 * gain^2 / (fan in + fan out)."""
    fan_in, fan_out = _fans(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with variance 2 * gain^2 / (fan in + fan out)."""
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode: expected 'fan_in' or 'fan_out', got {short(mode)}")
    fan = _fans(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Uniform with variance gain^2 / fan."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Normal with variance gain^2 / fan."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix; dimensions after the first are joined."""
    if len(tensor.shape) < 2:
        raise ValueError(f"orthogonal_: expected at least 2 dimensions, got shape {tensor.shape}")
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    values = _rng.normal((max(rows, cols), min(rows, cols)), 0.0, 1.0, np.float64, generator)
    q, r = np.linalg.qr(values)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return _fill(tensor, gain * (q if rows >= cols else q.T).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal with this standard deviation; in each column that share of the elements, at random places, is 0."""
    if len(tensor.shape) != 2:
        raise ValueError(f"sparse_: expected 2 dimensions, got shape {tensor.shape}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity: expected a number in [0, 1], got {sparsity}")
    rows, columns = tensor.shape
    values = _rng.normal((rows, columns), 0.0, std, tensor.dtype, generator)
    zeros = math.ceil(sparsity * rows)
    for column in range(columns):
        values[_rng.permutation(rows, generator)[:zeros], column] = 0
    return _fill(tensor, values)


constant = _deprecated(constant_)
dirac = _deprecated(dirac_)
eye = _deprecated(eye_)
kaiming_normal = _deprecated(kaiming_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
normal = _deprecated(normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
uniform = _deprecated(uniform_)
xavier_normal = _deprecated(xavier_normal_)
xavier_uniform = _deprecated(xavier_uniform_)
