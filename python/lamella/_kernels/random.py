"""Random numbers from Philox streams.

Each call takes the next stream of the global generator, so `lamella.seed(n)` makes a whole program repeat itself; with
`key=(seed, stream)` a call draws from that stream instead. Element i depends on nothing but the key and i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._call import run, run_arrays
from ._function import Call, gradient, kernel

__all__ = [
    "bernoulli",
    "dropout",
    "dropout_backward",
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_noise",
    "gaussian_noise_backward",
    "normal",
    "permutation",
    "truncated_normal",
    "uniform",
]

Key = tuple[int, int]


def _signed(key: Key) -> list[int]:
    """The two words as the signed integers that attributes are."""
    return [k - 2**64 if k >= 2**63 else k for k in key]


def _fill(name: str, attrs: dict[str, Any], key: Key | None, out: np.ndarray | None) -> np.ndarray:
    if "shape" in attrs:
        shape = attrs["shape"]
        attrs["shape"] = [int(d) for d in shape] if isinstance(shape, Sequence) else [int(shape)]
    if "dtype" in attrs:
        attrs["dtype"] = np.dtype(attrs["dtype"]).name
    if key is not None:
        attrs["key"] = _signed(key)
    return run(name, attrs, [], out=out)


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
    attrs = {"n": n} if key is None else {"n": n, "key": _signed(key)}
    return run_arrays("random_permutation", attrs, [], out, False, False)  # type: ignore[no-any-return]


def _noise(name: str, attrs: dict[str, Any], x: Any, key: Key | None) -> Call:
    words = [0, 0] if key is None else _signed(key)
    if key is not None:
        attrs["key"] = words
    saved = [np.array([*words, 0], np.int64).view(np.uint64)]
    return Call(name, attrs, {"x": x}, training=True, saved=saved, once=key is None)


@kernel(in_place="x")
def dropout(x: np.ndarray, rate: float, noise_shape: Sequence[int] | None = None, *, key: Key | None = None) -> Call:
    """Zero each element with probability `rate` and divide the others by 1 - rate.

    Parameters
    ----------
    x : ndarray of float32 or float64
    rate : float
        In [0, 1].
    noise_shape : sequence of int, optional
        One entry per axis: 1 where all elements along it share their fate, -1 where each has its own. The shared axes
        must be neighbours.
    key : (seed, stream), optional
        The random stream that decides; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return _noise("dropout", {"rate": rate, "noise_shape": None if noise_shape is None else list(noise_shape)}, x, key)


@kernel(in_place="x")
def gaussian_noise(x: np.ndarray, stddev: float = 1.0, *, key: Key | None = None) -> Call:
    """x plus normal noise.

    Parameters
    ----------
    x : ndarray of float32 or float64
    stddev : float
        The noise's standard deviation.
    key : (seed, stream), optional
        The random stream that it comes from; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    call = _noise("gaussian_noise", {"stddev": stddev}, x, key)
    call.once = False  # the gradient passes, whatever was added
    return call


@kernel(in_place="x")
def gaussian_dropout(x: np.ndarray, rate: float, *, key: Key | None = None) -> Call:
    """x times normal noise of mean 1 and variance rate / (1 - rate).

    Parameters
    ----------
    x : ndarray of float32 or float64
    rate : float
        In [0, 1).
    key : (seed, stream), optional
        The random stream that the noise comes from; the global generator's next one if None.

    Returns
    -------
    ndarray
        Of x's shape and dtype.
    """
    return _noise("gaussian_dropout", {"rate": rate}, x, key)


dropout_backward = gradient(dropout, "x", note="`key` must be given, and be that of the forward call.")
gaussian_dropout_backward = gradient(
    gaussian_dropout, "x", note="`key` must be given, and be that of the forward call."
)
gaussian_noise_backward = gradient(gaussian_noise, "x", note="It passes as it is.")
