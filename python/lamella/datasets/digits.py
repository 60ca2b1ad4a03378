"""Digits: the 1,797 handwritten 8x8 digits that come with the package (Alpaydin & Kaynak 1998, UCI, CC BY 4.0)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import _files

__all__ = ["load_data"]

_Split = tuple[np.ndarray, np.ndarray]


def load_data(test_fraction: float = 0.2, seed: int = 0) -> tuple[_Split, _Split]:
    """Return ``(x_train, y_train), (x_test, y_test)``: uint8 images (n, 8, 8) with values 0 to 16, and labels (n,).

    Parameters
    ----------
    test_fraction : float
        Part of the images that is held out, in (0, 1).
    seed : int
        Fixes which ones.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"digits: test_fraction: expected a number in (0, 1), got {test_fraction}")
    x, y = _files.read_npz(Path(__file__).parent.parent / "data" / "digits.npz", ("x", "y"))
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) - round(len(x) * test_fraction)
    train, test = order[:cut], order[cut:]
    return (x[train], y[train]), (x[test], y[test])
