"""Initial weights, in Keras' names. Every draw comes from the stream that `lamella.seed` fixes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._custom import custom, find, get_registered_name, named
from ._errors import short
from ._kernels import random as _random
from ._rng import Generator
from ._suggest import unknown_name

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "constant", "deserialize", "get",
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal", "lecun_uniform",
    "ones", "orthogonal", "random_normal", "random_uniform", "serialize", "truncated_normal", "variance_scaling",
    "zeros",
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


class _Random(Initializer):
    """An initializer that draws: from the next global stream, or always the same with a seed.

    Parameters
    ----------
    seed : int or Generator, optional
        An integer makes every call give the same values; a generator gives its next ones.
    """

    def __init__(self, seed: Any = None) -> None:
        if not (seed is None or isinstance(seed, Generator) or hasattr(seed, "__index__")):
            raise TypeError(f"{type(self).__name__}: seed: expected an integer or None, got {short(seed)}")
        self.seed = int(seed) if hasattr(seed, "__index__") else seed

    def _key(self) -> tuple[int, int] | None:
        if isinstance(self.seed, Generator):
            return self.seed._key()
        return None if self.seed is None else (self.seed % 2**64, 0)

    def get_config(self) -> dict[str, Any]:
        if isinstance(self.seed, Generator):
            raise TypeError(f"{type(self).__name__}: seed: a generator cannot be saved, use an integer")
        return dict(vars(self))


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


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return _random.normal(tuple(shape), self.mean, self.stddev, np.dtype(dtype).name, self._key())


class RandomUniform(_Random):
    """Uniform in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return _random.uniform(tuple(shape), self.minval, self.maxval, np.dtype(dtype).name, self._key())


class TruncatedNormal(_Random):
    """Normal whose values beyond two standard deviations are drawn again."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        return _random.truncated_normal(
            tuple(shape), self.mean, self.stddev, dtype=np.dtype(dtype).name, key=self._key()
        )


def _fans(shape: Sequence[int], inputs: Any = None, outputs: Any = None) -> tuple[float, float]:
    """Inputs and outputs of one unit: (in, out) for matrices, (kh, kw, in, out) for convolutions, or the given axes."""
    if inputs is not None and outputs is not None:
        return float(math.prod(shape[a] for a in inputs)), float(math.prod(shape[a] for a in outputs))
    if len(shape) < 1:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


class VarianceScaling(_Random):
    """Variance `scale / n`, with n the fan in, the fan out, or their mean (Glorot & Bengio 2010; He et al. 2015).

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int, optional
    input_axes, output_axes : list of int, optional
        The axes whose sizes make up the fans, where they are others than those of dense and convolution kernels.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(seed)
        if scale <= 0:
            raise ValueError(f"VarianceScaling: scale: expected a positive number, got {short(scale)}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise unknown_name("VarianceScaling: mode", mode, ["fan_in", "fan_out", "fan_avg"])
        known = ["truncated_normal", "untruncated_normal", "uniform"]
        if distribution not in known:
            raise unknown_name("VarianceScaling: distribution", distribution, known)
        if (input_axes is None) != (output_axes is None):
            raise ValueError("VarianceScaling: input_axes, output_axes: expected both or neither, got one")
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def get_config(self) -> dict[str, Any]:
        return {k: v for k, v in super().get_config().items() if v is not None or k == "seed"}

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        fan_in, fan_out = _fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return RandomUniform(-limit, limit, self.seed)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, math.sqrt(variance), self.seed)(shape, dtype)
        # A normal cut at two sigma has only 0.774 of its variance left.
        return TruncatedNormal(0.0, math.sqrt(variance) / 0.87962566103423978, self.seed)(shape, dtype)


class _Scaled(VarianceScaling):
    _args: tuple[float, str, str]

    def __init__(
        self, seed: Any = None, input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
    ) -> None:
        super().__init__(*self._args, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {k: config[k] for k in ("seed", "input_axes", "output_axes") if config.get(k) is not None}


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


class Orthogonal(_Random):
    """A (semi-)orthogonal matrix times `gain`, from the QR decomposition of a normal one (Saxe et al. 2014)."""

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: shape: expected at least 2 dimensions, got {tuple(shape)}")
        rows, cols = math.prod(shape[:-1]), shape[-1]
        long, short = max(rows, cols), min(rows, cols)
        a = _random.normal((long, short), 0.0, 1.0, "float64", self._key())
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


constant = Constant
zeros = Zeros
ones = Ones
identity = IdentityInitializer = Identity
orthogonal = OrthogonalInitializer = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
lecun_normal = LecunNormal
lecun_uniform = LecunUniform

_CLASSES: dict[str, type[Initializer]] = {
    c.__name__: c
    for c in (Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal, LecunUniform, Ones,
              Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros)
}  # fmt: skip


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


_BY_NAME = {**{_snake(n): c for n, c in _CLASSES.items()}, **_CLASSES, "uniform": RandomUniform, "normal": RandomNormal}
_BY_NAME.update({n: _CLASSES[n.removesuffix("Initializer")] for n in ("IdentityInitializer", "OrthogonalInitializer")})


def get(identifier: Any) -> Callable[..., np.ndarray]:
    """An initializer from its name, class, configuration or itself; a callable(shape, dtype) passes as it is."""
    identifier = named(identifier)
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
        raise TypeError(f"initializer: only Initializer objects can be saved, got {short(initializer)}")
    return {"class_name": get_registered_name(type(initializer)), "config": initializer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer of a configuration; the user's own classes are looked up in `custom_objects`."""
    name = config.get("class_name")
    cls = find(name, _CLASSES, custom_objects)
    if cls is None:
        raise unknown_name("initializer", name, {**_CLASSES, **custom(), **(custom_objects or {})})
    return cls.from_config(config.get("config", {}))
