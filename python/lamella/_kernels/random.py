"""Random numbers from Philox streams.

Each call takes the next stream of the global generator, so `lamella.seed(n)` makes a whole program repeat itself; with
`key=(seed, stream)` a call draws from that stream instead. Element i depends on nothing but the key and i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu
from ._call import run

__all__ = [
    "bernoulli",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "normal",
    "permutation",
    "truncated_normal",
    "uniform",
]

Key = tuple[int, int]


def _fill(name: str, attrs: dict[str, Any], key: Key | None, out: np.ndarray | None) -> np.ndarray:
    if "shape" in attrs:
        shape = attrs["shape"]
        attrs["shape"] = [int(d) for d in shape] if isinstance(shape, Sequence) else [int(shape)]
    if "dtype" in attrs:
        attrs["dtype"] = np.dtype(attrs["dtype"]).name
    if key is None:
        return run(name, attrs, [], out=out)
    # Ops of a key are used once: past the cache of ops.
    attrs["key"] = [k - 2**64 if k >= 2**63 else k for k in key]
    attrs = {k: v for k, v in attrs.items() if v is not None}
    return _cpu.Op(name, attrs).forward([], False, None if out is None else [out])[0][0]


def uniform(
    shape: int | Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = np.float32,
    key: Key | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Uniform in [low, high): multiples of (high - low) / 2**24 for float32, / 2**53 for float64."""
    return _fill("random_uniform", {"shape": shape, "dtype": dtype, "low": low, "high": high}, key, out)


def normal(
    shape: int | Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = np.float32,
    key: Key | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Normal with this mean and standard deviation."""
    return _fill("random_normal", {"shape": shape, "dtype": dtype, "mean": mean, "std": std}, key, out)


def truncated_normal(
    shape: int | Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    low: float | None = None,
    high: float | None = None,
    dtype: Any = np.float32,
    key: Key | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Normal, but inside [low, high] (default: mean -+ 2 std), as if drawn again until it is."""
    attrs = {"shape": shape, "dtype": dtype, "mean": mean, "std": std, "low": low, "high": high}
    return _fill("random_truncated_normal", attrs, key, out)


def bernoulli(
    shape: int | Sequence[int],
    p: float = 0.5,
    dtype: Any = np.float32,
    key: Key | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """1 with probability p, else 0."""
    return _fill("random_bernoulli", {"shape": shape, "dtype": dtype, "p": p}, key, out)


def permutation(n: int, key: Key | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """The numbers 0 ... n - 1 in random order, as int64."""
    return _fill("random_permutation", {"n": n}, key, out)


def dropout(
    x: np.ndarray, rate: float, noise_shape: Sequence[int] | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Zero each element with probability `rate` and divide the others by 1 - rate.

    Parameters
    ----------
    x : ndarray of float32 or float64
    rate : float
        In [0, 1].
    noise_shape : sequence of int, optional
        One entry per axis: 1 where all elements along it share their fate, -1 where each has its own. The shared axes
        must be neighbours.
    out : ndarray, optional
        May be `x` itself.
    """
    attrs = {"rate": rate, "noise_shape": None if noise_shape is None else list(noise_shape)}
    return run("dropout", attrs, [x], out=out, training=True)


def gaussian_noise(x: np.ndarray, stddev: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    """x plus normal noise of mean 0 and this standard deviation; `out` may be `x` itself."""
    return run("gaussian_noise", {"stddev": stddev}, [x], out=out, training=True)


def gaussian_dropout(x: np.ndarray, rate: float, out: np.ndarray | None = None) -> np.ndarray:
    """x times normal noise of mean 1 and variance rate / (1 - rate), rate in [0, 1); `out` may be `x` itself."""
    return run("gaussian_dropout", {"rate": rate}, [x], out=out, training=True)
