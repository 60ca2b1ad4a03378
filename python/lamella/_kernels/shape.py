"""Moves of elements, and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._call import run

__all__ = [
    "broadcast_to",
    "cast",
    "concat",
    "expand_dims",
    "flatten",
    "gather",
    "pad",
    "repeat",
    "reshape",
    "reverse",
    "slice",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "upsample2d",
]

Array = np.ndarray
Ints = int | Sequence[int]


def reshape(x: Array, shape: Ints, out: Array | None = None) -> Array:
    """A dense copy of x under another shape: -1 stands for what is left, 0 keeps the size that x has there."""
    return run("reshape", {"shape": [shape] if isinstance(shape, int) else list(shape)}, [x], out=out)


def flatten(x: Array, start_axis: int = 1, end_axis: int = -1, out: Array | None = None) -> Array:
    """A dense copy of x with the axes from `start_axis` to `end_axis` joined into one."""
    return run("flatten", {"start_axis": start_axis, "end_axis": end_axis}, [x], out=out)


def expand_dims(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """A dense copy of x with a new axis of size 1, which stands at `axis` in the result."""
    return run("expand_dims", {"axis": axis}, [x], out=out)


def squeeze(x: Array, axis: Ints | None = None, out: Array | None = None) -> Array:
    """A dense copy of x without these axes, which must have size 1; None: without all that do."""
    return run("squeeze", {"axis": axis if axis is None or isinstance(axis, int) else list(axis)}, [x], out=out)


def slice(
    x: Array,
    starts: Sequence[int | None],
    stops: Sequence[int | None],
    steps: Sequence[int] | None = None,
    out: Array | None = None,
) -> Array:
    """x[start:stop:step, ...], a dense copy.

    Parameters
    ----------
    x : ndarray
    starts, stops : sequence of int or None
        For each of the first axes; the others stay whole. Python's rules: negative numbers count from the end, what is
        beyond it is cut, None is as far as the step goes.
    steps : sequence of int, optional
        Also negative; 1 for all if not given.
    out : ndarray, optional
    """
    strides = [1] * len(starts) if steps is None else list(steps)
    last = 2**63 - 1
    first = [(0 if d > 0 else last) if s is None else s for s, d in zip(starts, strides, strict=False)]
    until = [(last if d > 0 else -last) if s is None else s for s, d in zip(stops, strides, strict=False)]
    if not len(starts) == len(stops) == len(strides):
        lengths = f"{len(starts)}, {len(stops)}, {len(strides)}"
        raise ValueError(f"slice: starts, stops, steps: expected lists of one length, got {lengths}")
    return run("slice", {"starts": first, "stops": until, "steps": strides}, [x], out=out)


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
