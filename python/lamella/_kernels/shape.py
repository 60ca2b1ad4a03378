"""Moves of elements, and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._call import run

__all__ = [
    "broadcast_to",
    "cast",
    "concat",
    "gather",
    "pad",
    "repeat",
    "reverse",
    "split",
    "stack",
    "tile",
    "transpose",
    "upsample2d",
]

Array = np.ndarray
Ints = int | Sequence[int]


def transpose(x: Array, perm: Sequence[int] | None = None, out: Array | None = None) -> Array:
    """A dense copy of x with its axes in the order `perm` (default: reversed)."""
    return run("transpose", {"perm": list(range(x.ndim))[::-1] if perm is None else perm}, [x], out=out)


def concat(arrays: Sequence[Array], axis: int = -1, out: Array | None = None) -> Array:
    """Join arrays of one dtype along an existing axis."""
    return run("concat", {"axis": axis}, list(arrays), out=out)


def stack(arrays: Sequence[Array], axis: int = 0, out: Array | None = None) -> Array:
    """Join equal-shaped arrays of one dtype along a new axis."""
    return run("stack", {"axis": axis}, list(arrays), out=out)


def split(x: Array, sizes: Sequence[int], axis: int = -1, out: Sequence[Array] | None = None) -> list[Array]:
    """Cut x into pieces of the given sizes along an axis."""
    pieces = run("split", {"sizes": list(sizes), "axis": axis}, [x], out=out)
    return pieces if isinstance(pieces, list) else [pieces]


def pad(x: Array, padding: Sequence[tuple[int, int]], value: float = 0.0, out: Array | None = None) -> Array:
    """Add (before, after) elements of `value` to each axis; negative numbers crop."""
    return run("pad", {"padding": [n for side in padding for n in side], "value": value}, [x], out=out)


def repeat(x: Array, repeats: int, axis: int = 0, out: Array | None = None) -> Array:
    """Repeat each element in place along an axis."""
    return run("repeat", {"repeats": repeats, "axis": axis}, [x], out=out)


def tile(x: Array, reps: Ints, out: Array | None = None) -> Array:
    """Repeat the whole array along each axis; `reps` counts from the last one."""
    return run("tile", {"reps": reps}, [x], out=out)


def broadcast_to(x: Array, shape: Sequence[int], out: Array | None = None) -> Array:
    """A dense array of `shape`, to which x broadcasts; -1 keeps x's size."""
    return run("broadcast_to", {"shape": list(shape)}, [x], out=out)


def reverse(x: Array, axis: int = 0, out: Array | None = None) -> Array:
    """The elements along an axis in reverse order."""
    return run("reverse", {"axis": axis}, [x], out=out)


def gather(x: Array, indices: Array, axis: int = 0, out: Array | None = None) -> Array:
    """x's slices at `indices` (int32 or int64, at least 0) along an axis; the indices' shape takes its place."""
    return run("gather", {"axis": axis}, [x, indices], out=out)


def cast(x: Array, dtype: str | type | np.dtype, out: Array | None = None) -> Array:
    """Convert to another dtype. Floats are cut to integers; NaN gives 0, what does not fit the nearest end."""
    return run("cast", {"dtype": np.dtype(dtype).name}, [x], out=out)


def upsample2d(
    x: Array,
    scale: Ints | None = None,
    size: Ints | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    out: Array | None = None,
) -> Array:
    """Resize images (n, h, w, c).

    Parameters
    ----------
    x : ndarray of float32 or float64
    scale : int or [h, w], optional
        Whole factors.
    size : int or [h, w], optional
        The size of the result; give either this or `scale`.
    mode : {"nearest", "bilinear"}
        "nearest" takes input floor(o * n / m) for output o of m; "bilinear" mixes between pixel centres.
    align_corners : bool
        Bilinear only: let the corner pixels of both grids coincide.
    out : ndarray, optional
    """
    attrs = {"scale": scale, "size": size, "mode": mode, "align_corners": align_corners}
    return run("upsample2d", attrs, [x], out=out)
