"""Random arrays from the streams that `lamella.seed` fixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _cpu

__all__ = ["Generator", "default_generator", "manual_seed", "normal", "permutation", "uniform"]


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


def uniform(
    shape: Sequence[int], low: float = 0.0, high: float = 1.0, dtype: Any = np.float32, generator: Any = None
) -> np.ndarray:
    """Uniform in [low, high)."""
    rng = (generator or default_generator).numpy()
    values = rng.random(tuple(shape), np.dtype(dtype).type)
    values *= high - low
    values += low
    return values


def normal(
    shape: Sequence[int], mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32, generator: Any = None
) -> np.ndarray:
    """Normal with this mean and standard deviation."""
    rng = (generator or default_generator).numpy()
    values = rng.standard_normal(tuple(shape), np.dtype(dtype).type)
    values *= std
    values += mean
    return values


def permutation(n: int, generator: Any = None) -> np.ndarray:
    """The numbers 0 to n - 1 in random order, as int64."""
    return (generator or default_generator).numpy().permutation(n)
