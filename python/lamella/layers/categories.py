"""Categories and numbers as rows: encodings of integers, bins of numbers, bins by hashes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .. import functional as F
from .._dtypes import is_float
from .._errors import short
from ..autograd import Tensor, as_array, wrap
from ._arguments import fraction, positive
from ._symbolic import KerasTensor
from .base import Layer
from .text import _batches, _leaves, _nested, _shape

__all__ = ["CategoryEncoding", "Discretization", "Hashing"]


def _mode(what: str, output_mode: Any, sparse: Any, known: tuple[str, ...]) -> str:
    output_mode = "multi_hot" if output_mode == "binary" else output_mode
    if output_mode not in known:
        raise ValueError(f"{what}: output_mode: expected one of {', '.join(known)}, got {short(output_mode)}")
    if sparse:
        raise NotImplementedError(f"{what}: sparse: expected False, got True; not supported")
    return str(output_mode)


def _given(inputs: Any) -> Any:
    """Lists of numbers are arrays here, not several inputs."""
    if isinstance(inputs, (list, tuple)) and not any(isinstance(t, (Tensor, KerasTensor)) for t in inputs):
        return np.asarray(inputs)
    return inputs


def _encoded(x: Tensor, mode: str, depth: int, dtype: str, weights: Tensor | None = None) -> Tensor:
    """Integers as rows of `depth` numbers: each its own, or those along the last axis together."""
    if not len(x.shape):
        x = F.unsqueeze(x, -1)
    if mode == "one_hot" and len(x.shape) > 1 and x.shape[-1] == 1:
        x = x[..., 0]
    rows = F.cast(F.compare("equal", F.unsqueeze(x, -1), wrap(np.arange(depth, dtype=x.dtype))), dtype)
    if mode == "one_hot":
        return rows
    if mode == "multi_hot":
        return F.amax(rows, -2)
    return F.sum(rows if weights is None else F.mul(rows, F.unsqueeze(F.cast(weights, dtype), -1)), -2)


class CategoryEncoding(Layer):
    """Integers as rows of zeros and ones, or of how often they are there.

    Parameters
    ----------
    num_tokens : int
        The integers lie in [0, num_tokens).
    output_mode : {"multi_hot", "one_hot", "count"}
        A row for the integers along the last axis, which says whether they are there; one for each of them; or how
        often they are there, times `count_weights`, which the call takes.
    sparse : bool
        Must be False.
    **kwargs
        See `Layer`.
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_tokens = positive(num_tokens, "CategoryEncoding: num_tokens")
        self.output_mode = _mode("CategoryEncoding", output_mode, sparse, ("multi_hot", "one_hot", "count"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*map(_given, args), **{k: _given(v) for k, v in kwargs.items()})

    def call(self, inputs: Tensor, count_weights: Tensor | None = None) -> Tensor:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(f"{self.name}: count_weights: expected None for output_mode {self.output_mode!r}")
        if inputs._data is not None and inputs._data.size:
            low, high = inputs._data.min(), inputs._data.max()
            if low < 0 or high >= self.num_tokens:
                raise ValueError(
                    f"{self.name}: inputs: expected integers in [0, {self.num_tokens}), got {low} to {high}"
                )
        if inputs.dtype.kind not in "iu":
            inputs = F.cast(inputs, np.int64)
        return _encoded(inputs, self.output_mode, self.num_tokens, self.compute_dtype, count_weights)

    def _takes_integers(self) -> bool:
        return True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}


class Discretization(Layer):
    """Numbers to the bins that they lie in.

    Parameters
    ----------
    bin_boundaries : list of float, optional
        Bin i holds numbers from boundary i - 1 on, up to boundary i, which is not in it.
    num_bins : int, optional
        In place of boundaries: `adapt` makes so many bins that are equally full.
    epsilon : float
        How exact the shares of `adapt` are, of data that are too large to keep.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        The numbers of the bins, or as for `CategoryEncoding`.
    sparse : bool
        Must be False.
    dtype, name
        See `Layer`.
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.output_mode = _mode("Discretization", output_mode, sparse, ("int", "one_hot", "multi_hot", "count"))
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(
                f"Discretization: bin_boundaries, num_bins: expected one of them, got {short(bin_boundaries)} and "
                f"{short(num_bins)}"
            )
        self.epsilon = fraction(epsilon, "Discretization: epsilon")
        if not self.epsilon:
            raise ValueError("Discretization: epsilon: expected a number above 0, got 0")
        self.num_bins = None if num_bins is None else positive(num_bins, "Discretization: num_bins")
        self.bin_boundaries = None if bin_boundaries is None else _boundaries(bin_boundaries)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget the data of `update_state`."""
        self._summary = np.zeros((2, 0))  # numbers in their order, and how many they stand for

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Make the boundaries of data.

        Parameters
        ----------
        data : array or an iterable of batches
        steps : int, optional
            At most so many batches.
        """
        self.reset_state()
        for batch in _batches(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Take in a batch."""
        if self.num_bins is None:
            raise ValueError(f"{self.name}: adapt: the boundaries were given when the layer was made")
        values = np.asarray(as_array(data), np.float64).ravel()
        both = np.concatenate([self._summary, [values, np.ones_like(values)]], 1)
        both = both[:, np.argsort(both[0], kind="stable")]
        points = int(np.ceil(1 / self.epsilon))
        if both.shape[1] > 2 * points:
            # Each number that is kept stands in the middle of its share: were it at the end, shares would drift.
            middles = (np.arange(points) + 0.5) / points
            both = np.stack([_quantiles(both, middles, 0.5), np.full(points, both[1].sum() / points)])
        self._summary = both

    def finalize_state(self) -> None:
        """Make the boundaries of what has been taken in."""
        if self.num_bins is None:
            return
        if not self._summary.shape[1]:
            raise ValueError(f"{self.name}: adapt: expected data, got none")
        if self._summary.shape[1] < self.num_bins:
            found = self._summary[0, :-1]
        else:
            found = _quantiles(self._summary, np.arange(1, self.num_bins) / self.num_bins)
        self.bin_boundaries = np.float32(found).tolist()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*map(_given, args), **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        if self.bin_boundaries is None:
            raise RuntimeError(f"{self.name}: bin_boundaries: call adapt first")
        x = inputs if is_float(inputs.dtype) else F.cast(inputs, self.compute_dtype)
        edges = wrap(np.array(self.bin_boundaries, x.dtype))
        # NaN is below nothing: it lies in the last bin.
        below = F.sum(F.cast(F.compare("less", F.unsqueeze(x, -1), edges), x.dtype), -1)
        bins = F.cast(F.sub(float(len(self.bin_boundaries)), below), np.int64)
        if self.output_mode == "int":
            return bins
        return _encoded(bins, self.output_mode, len(self.bin_boundaries) + 1, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Discretization:
        adapted = config.get("num_bins") is not None
        layer = cls(**{**config, **({"bin_boundaries": None} if adapted else {})})
        if adapted:
            layer.bin_boundaries = config.get("bin_boundaries")
        return layer


def _boundaries(values: Any) -> list[float]:
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found) or not (np.diff(found) >= 0).all():
        raise ValueError(f"Discretization: bin_boundaries: expected numbers that rise, got {short(values)}")
    return found.tolist()  # type: ignore[no-any-return]


def _quantiles(summary: np.ndarray, shares: np.ndarray, before: float = 0.0) -> np.ndarray:
    """Numbers below which these shares lie; of what a number stands for itself, a part counts as before it."""
    counts = np.cumsum(summary[1])
    return np.interp(shares, (counts - before * summary[1]) / counts[-1], summary[0])


class Hashing(Layer):
    """Strings and integers to bins by a hash (BLAKE2). Takes strings, and so stands before a model, not in it.

    Parameters
    ----------
    num_bins : int
    mask_value : str or int, optional
        What bin 0 is kept for.
    salt : int or two of them, optional
        Makes another hash.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        The numbers of the bins, or as for `CategoryEncoding`.
    sparse : bool
        Must be False.
    **kwargs
        See `Layer`.

    Notes
    -----
    The bins are always the same ones, but not those of Keras, which uses other hashes.
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_bins, self.mask_value = positive(num_bins, "Hashing: num_bins"), mask_value
        self.output_mode = _mode("Hashing", output_mode, sparse, ("int", "one_hot", "multi_hot", "count"))
        salts = (salt, salt) if isinstance(salt, (int, np.integer)) else salt
        if salts is not None and (
            not isinstance(salts, (tuple, list)) or len(salts) != 2 or not all(0 <= int(s) < 2**64 for s in salts)
        ):
            raise ValueError(f"Hashing: salt: expected an integer >= 0 or two of them, got {short(salt)}")
        self.salt = None if salts is None else [int(s) for s in salts]
        self._key = b"" if self.salt is None else b"".join(s.to_bytes(8, "little") for s in self.salt)
        self.built = True

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self.call(inputs)

    def call(self, inputs: Any) -> Tensor:
        nested = _nested(inputs)
        shape = _shape(nested, self.name)
        bins = wrap(np.array([self._bin(v) for v in _leaves(nested)], np.int64).reshape(shape))
        return (
            bins if self.output_mode == "int" else _encoded(bins, self.output_mode, self.num_bins, self.compute_dtype)
        )

    def _bin(self, value: Any) -> int:
        masked = self.mask_value is not None and self.num_bins > 1
        if masked and value == self.mask_value:
            return 0
        if isinstance(value, float):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, bytes, int)):
            raise TypeError(f"{self.name}: inputs: expected strings or integers, got {type(value).__name__}")
        data = value if isinstance(value, bytes) else str(value).encode()
        digest = hashlib.blake2b(data, digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") % (self.num_bins - masked) + masked

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "mask_value": self.mask_value,
            "salt": self.salt,
            "output_mode": self.output_mode,
        }
