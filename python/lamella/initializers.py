"""Initial weights, in Keras' names. Every draw comes from the stream that `lamella.seed` fixes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._kernels import random as _random
from ._suggest import unknown_name

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "deserialize", "get", "serialize",
]  # fmt: skip


class Initializer:
    """Makes an array of a given shape and dtype when called."""

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        raise NotImplementedError("an initializer implements __call__(shape, dtype)")

    def get_config(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)


def _refuse_seed(seed: Any) -> None:
    if seed is not None:
        raise NotImplementedError("initializer: seed: not supported; lamella.seed(n) fixes all random streams")


class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return np.zeros(tuple(shape), dtype)


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return np.ones(tuple(shape), dtype)


class Constant(Initializer):
    """One value everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return np.full(tuple(shape), self.value, dtype)


class RandomNormal(Initializer):
    """Normal with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        _refuse_seed(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return _random.normal(tuple(shape), self.mean, self.stddev, dtype=np.dtype(dtype).name)


class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        _refuse_seed(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return _random.uniform(tuple(shape), self.minval, self.maxval, dtype=np.dtype(dtype).name)


class TruncatedNormal(Initializer):
    """Normal whose values beyond two standard deviations are drawn again."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        _refuse_seed(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        name = np.dtype(dtype).name
        flat = _random.normal((math.prod(shape),), 0.0, 1.0, dtype=name)
        outside = np.flatnonzero(np.abs(flat) > 2)
        while outside.size:
            flat[outside] = _random.normal((outside.size,), 0.0, 1.0, dtype=name)
            outside = outside[np.abs(flat[outside]) > 2]
        return (flat * self.stddev + self.mean).astype(dtype).reshape(tuple(shape))


def _fans(shape: Sequence[int]) -> tuple[float, float]:
    """Inputs and outputs of one unit: (in, out) for matrices, (kh, kw, in, out) for convolutions."""
    if len(shape) < 1:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


class VarianceScaling(Initializer):
    """Variance `scale / n`, with n the fan in, the fan out, or their mean (Glorot & Bengio 2010; He et al. 2015)."""

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: Any = None
    ) -> None:
        _refuse_seed(seed)
        if scale <= 0:
            raise ValueError(f"VarianceScaling: scale: expected a positive number, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise unknown_name("VarianceScaling: mode", mode, ["fan_in", "fan_out", "fan_avg"])
        known = ["truncated_normal", "untruncated_normal", "uniform"]
        if distribution not in known:
            raise unknown_name("VarianceScaling: distribution", distribution, known)
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        fan_in, fan_out = _fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return RandomUniform(-limit, limit)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, math.sqrt(variance))(shape, dtype)
        # A normal cut at two sigma has only 0.774 of its variance left.
        return TruncatedNormal(0.0, math.sqrt(variance) / 0.87962566103423978)(shape, dtype)


class _Scaled(VarianceScaling):
    _args: tuple[float, str, str]

    def __init__(self, seed: Any = None) -> None:
        super().__init__(*self._args, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {}


class GlorotUniform(_Scaled):
    """Uniform with variance 2 / (fan in + fan out)."""

    _args = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal with variance 2 / (fan in + fan out)."""

    _args = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform with variance 2 / fan in."""

    _args = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal with variance 2 / fan in."""

    _args = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform with variance 1 / fan in."""

    _args = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal with variance 1 / fan in."""

    _args = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """A (semi-)orthogonal matrix times `gain`, from the QR decomposition of a normal one (Saxe et al. 2014)."""

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        _refuse_seed(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: shape: expected at least 2 dimensions, got {tuple(shape)}")
        rows, cols = math.prod(shape[:-1]), shape[-1]
        long, short = max(rows, cols), min(rows, cols)
        a = _random.normal((long, short), 0.0, 1.0, dtype="float64")
        if long >= 2 * short:
            # So long a matrix is well conditioned: R is the Cholesky factor of its Gram matrix. Two products take half
            # the time of Householder's QR, and far less where the threads of NumPy's BLAS must share their cores.
            q = a @ np.linalg.inv(np.linalg.cholesky(a.T @ a)).T
        else:
            q, r = np.linalg.qr(a)
            q = q * np.sign(np.diag(r))
        return (self.gain * (q if rows >= cols else q.T)).reshape(tuple(shape)).astype(dtype)


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity: shape: expected 2 dimensions, got {tuple(shape)}")
        return (self.gain * np.eye(shape[0], shape[1])).astype(dtype)


_CLASSES: dict[str, type[Initializer]] = {
    c.__name__: c
    for c in (Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal, LecunUniform, Ones,
              Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros)
}  # fmt: skip


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


_BY_NAME = {**{_snake(n): c for n, c in _CLASSES.items()}, **_CLASSES, "uniform": RandomUniform, "normal": RandomNormal}


def get(identifier: Any) -> Callable[..., np.ndarray]:
    """An initializer from its name, class, configuration or itself; a callable(shape, dtype) passes as it is."""
    if identifier is None:
        return Zeros()
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        if identifier not in _BY_NAME:
            raise unknown_name("initializer", identifier, {_snake(n) for n in _CLASSES})
        return _BY_NAME[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(f"initializer: expected a name, an Initializer or a callable, got {type(identifier).__name__}")


def serialize(initializer: Any) -> dict[str, Any]:
    """The configuration from which `deserialize` rebuilds the initializer."""
    if not isinstance(initializer, Initializer):
        raise TypeError(f"initializer: only Initializer objects can be saved, got {initializer!r}")
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}


def deserialize(config: dict[str, Any]) -> Initializer:
    """The initializer of a configuration."""
    name = config.get("class_name")
    if name not in _CLASSES:
        raise unknown_name("initializer", name, _CLASSES)
    return _CLASSES[name].from_config(config.get("config", {}))
