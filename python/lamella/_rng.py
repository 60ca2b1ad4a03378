"""Random arrays from the streams that `lamella.seed` fixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _cpu
from ._kernels import random as _native

__all__ = ["Generator", "default_generator", "manual_seed", "normal", "permutation", "truncated_normal", "uniform"]


class Generator:
    """A source of random numbers of its own: Philox, counted in streams.

    Parameters
    ----------
    device : str
        "cpu".
    """

    def __init__(self, device: Any = "cpu") -> None:
        from ._device import check_device

        check_device(device)
        self._seed, self._stream = 0, 0

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed."""
        self._seed, self._stream = int(seed) % 2**64, 0
        return self

    def initial_seed(self) -> int:
        """The seed it was started from."""
        return self._seed

    def _key(self) -> tuple[int, int]:
        """The next stream."""
        key = self._seed, self._stream
        self._stream += 1
        return key

    def numpy(self) -> np.random.Generator:
        """NumPy's generator over the next stream."""
        return np.random.Generator(np.random.Philox(key=np.array(self._key(), np.uint64)))


class _Global(Generator):
    """The streams that native code draws from too."""

    def __init__(self) -> None:
        pass

    def manual_seed(self, seed: int) -> Generator:
        _cpu.seed(int(seed) % 2**64)
        return self

    def initial_seed(self) -> int:
        return _cpu.rng_state()[0]

    def _key(self) -> tuple[int, int]:
        seed, stream = _cpu.rng_state()
        _cpu.seed(seed, stream + 1)
        return seed, stream


default_generator = _Global()


def manual_seed(seed: int) -> Generator:
    """Fix every random stream of the package; the same as `lamella.seed`."""
    return default_generator.manual_seed(seed)


def _key(generator: Any) -> tuple[int, int] | None:
    """The key that native fills take: None lets them take the global next stream themselves."""
    return None if generator is None or isinstance(generator, _Global) else generator._key()


def uniform(
    shape: Sequence[int], low: float = 0.0, high: float = 1.0, dtype: Any = np.float32, generator: Any = None
) -> np.ndarray:
    """Uniform in [low, high)."""
    return _native.uniform(tuple(shape), float(low), float(high), dtype, _key(generator))


def normal(
    shape: Sequence[int], mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32, generator: Any = None
) -> np.ndarray:
    """Normal with this mean and standard deviation."""
    return _native.normal(tuple(shape), float(mean), float(std), dtype, _key(generator))


def truncated_normal(
    shape: Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    low: float | None = None,
    high: float | None = None,
    dtype: Any = np.float32,
    generator: Any = None,
) -> np.ndarray:
    """Normal, drawn again where it is outside [low, high]."""
    return _native.truncated_normal(tuple(shape), float(mean), float(std), low, high, dtype, _key(generator))


def permutation(n: int, generator: Any = None) -> np.ndarray:
    """The numbers 0 to n - 1 in random order, as int64."""
    return _native.permutation(int(n), _key(generator))
