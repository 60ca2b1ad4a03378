"""Moves of elements, and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._function import Call, Several, gradient, kernel

__all__ = [
    "broadcast_to",
    "broadcast_to_backward",
    "cast",
    "cast_backward",
    "concat",
    "concat_backward",
    "expand_dims",
    "expand_dims_backward",
    "flatten",
    "flatten_backward",
    "gather",
    "gather_backward",
    "pad",
    "pad_backward",
    "repeat",
    "repeat_backward",
    "reshape",
    "reshape_backward",
    "reverse",
    "reverse_backward",
    "slice",
    "slice_backward",
    "split",
    "split_backward",
    "squeeze",
    "squeeze_backward",
    "stack",
    "stack_backward",
    "tile",
    "tile_backward",
    "transpose",
    "transpose_backward",
    "upsample2d",
    "upsample2d_backward",
]


@kernel
def reshape(x: np.ndarray, shape: int | Sequence[int]) -> Call:
    """A dense copy of x under another shape.

    Parameters
    ----------
    x : ndarray
    shape : int or sequence of int
        -1 stands for what is left, 0 keeps the size that x has there.

    Returns
    -------
    ndarray
    """
    return Call("reshape", {"shape": [shape] if isinstance(shape, int) else list(shape)}, {"x": x})


@kernel
def flatten(x: np.ndarray, start_axis: int = 1, end_axis: int = -1) -> Call:
    """A dense copy of x with some neighbouring axes joined into one.

    Parameters
    ----------
    x : ndarray
    start_axis, end_axis : int
        The first and the last of them.

    Returns
    -------
    ndarray
    """
    return Call("flatten", {"start_axis": start_axis, "end_axis": end_axis}, {"x": x})


@kernel
def expand_dims(x: np.ndarray, axis: int = -1) -> Call:
    """A dense copy of x with a new axis of size 1.

    Parameters
    ----------
    x : ndarray
    axis : int
        Where it stands in the result.

    Returns
    -------
    ndarray
    """
    return Call("expand_dims", {"axis": axis}, {"x": x})


@kernel
def squeeze(x: np.ndarray, axis: int | Sequence[int] | None = None) -> Call:
    """A dense copy of x without axes of size 1.

    Parameters
    ----------
    x : ndarray
    axis : int or sequence of int, optional
        Which, all of size 1; None: all that are.

    Returns
    -------
    ndarray
    """
    return Call("squeeze", {"axis": axis if axis is None or isinstance(axis, int) else list(axis)}, {"x": x})


@kernel
def slice(
    x: np.ndarray,
    starts: Sequence[int | None],
    stops: Sequence[int | None],
    steps: Sequence[int] | None = None,
) -> Call:
    """x[start:stop:step, ...], a dense copy.

    Parameters
    ----------
    x : ndarray
    starts, stops : sequence of int or None
        For each of the first axes; the others stay whole. Python's rules: negative numbers count from the end, what is
        beyond it is cut, None is as far as the step goes.
    steps : sequence of int, optional
        Also negative; 1 for all if not given.

    Returns
    -------
    ndarray
    """
    strides = [1] * len(starts) if steps is None else list(steps)
    last = 2**63 - 1
    first = [(0 if d > 0 else last) if s is None else s for s, d in zip(starts, strides, strict=False)]
    until = [(last if d > 0 else -last) if s is None else s for s, d in zip(stops, strides, strict=False)]
    if not len(starts) == len(stops) == len(strides):
        lengths = f"{len(starts)}, {len(stops)}, {len(strides)}"
        raise ValueError(f"slice: starts, stops, steps: expected lists of one length, got {lengths}")
    return Call("slice", {"starts": first, "stops": until, "steps": strides}, {"x": x})


@kernel
def transpose(x: np.ndarray, perm: Sequence[int] | None = None) -> Call:
    """A dense copy of x with its axes in another order.

    Parameters
    ----------
    x : ndarray
    perm : sequence of int, optional
        Which axis of x comes where; reversed if None.

    Returns
    -------
    ndarray
    """
    return Call("transpose", {"perm": list(range(np.ndim(x)))[::-1] if perm is None else perm}, {"x": x})


@kernel
def concat(arrays: Sequence[np.ndarray], axis: int = -1) -> Call:
    """Join arrays along an existing axis.

    Parameters
    ----------
    arrays : sequence of ndarray
        Of one dtype, and of equal shapes but for that axis.
    axis : int

    Returns
    -------
    ndarray
    """
    return Call("concat", {"axis": axis}, {"arrays": Several(arrays)})


@kernel
def stack(arrays: Sequence[np.ndarray], axis: int = 0) -> Call:
    """Join arrays along a new axis.

    Parameters
    ----------
    arrays : sequence of ndarray
        Of one dtype and shape.
    axis : int
        Where the new axis stands in the result.

    Returns
    -------
    ndarray
    """
    return Call("stack", {"axis": axis}, {"arrays": Several(arrays)})


@kernel(several=True)
def split(x: np.ndarray, sizes: Sequence[int], axis: int = -1) -> Call:
    """Cut x into pieces along an axis.

    Parameters
    ----------
    x : ndarray
    sizes : sequence of int
        How long each piece is.
    axis : int

    Returns
    -------
    list of ndarray
    """
    return Call("split", {"sizes": list(sizes), "axis": axis}, {"x": x})


@kernel
def pad(x: np.ndarray, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Call:
    """Add elements before and after x along each axis.

    Parameters
    ----------
    x : ndarray
    padding : sequence of (before, after)
        One pair per axis; negative numbers crop.
    value : float
        What the new elements are.

    Returns
    -------
    ndarray
    """
    return Call("pad", {"padding": [n for side in padding for n in side], "value": value}, {"x": x})


@kernel
def repeat(x: np.ndarray, repeats: int, axis: int = 0) -> Call:
    """Repeat each element along an axis.

    Parameters
    ----------
    x : ndarray
    repeats : int
    axis : int

    Returns
    -------
    ndarray
    """
    return Call("repeat", {"repeats": repeats, "axis": axis}, {"x": x})


@kernel
def tile(x: np.ndarray, reps: int | Sequence[int]) -> Call:
    """Repeat the whole array along each axis.

    Parameters
    ----------
    x : ndarray
    reps : int or sequence of int
        How often along each axis, counted from the last one.

    Returns
    -------
    ndarray
    """
    return Call("tile", {"reps": reps}, {"x": x})


@kernel
def broadcast_to(x: np.ndarray, shape: Sequence[int]) -> Call:
    """A dense array of a shape that x broadcasts to.

    Parameters
    ----------
    x : ndarray
    shape : sequence of int
        -1 keeps x's size.

    Returns
    -------
    ndarray
    """
    return Call("broadcast_to", {"shape": list(shape)}, {"x": x})


@kernel
def reverse(x: np.ndarray, axis: int = 0) -> Call:
    """The elements along an axis in reverse order.

    Parameters
    ----------
    x : ndarray
    axis : int

    Returns
    -------
    ndarray
        Of x's shape.
    """
    return Call("reverse", {"axis": axis}, {"x": x})


@kernel
def gather(x: np.ndarray, indices: np.ndarray, axis: int = 0) -> Call:
    """Slices of x by their indices along an axis.

    Parameters
    ----------
    x : ndarray
    indices : ndarray of int32 or int64
        Of any shape, values in [0, size of the axis).
    axis : int

    Returns
    -------
    ndarray
        Of x's shape, with the shape of `indices` in place of the axis.
    """
    return Call("gather", {"axis": axis}, {"x": x, "indices": indices})


@kernel
def cast(x: np.ndarray, dtype: str | type | np.dtype) -> Call:
    """Convert to another dtype.

    Parameters
    ----------
    x : ndarray
    dtype : dtype
        Floats are cut to integers; NaN gives 0, what does not fit the nearest end.

    Returns
    -------
    ndarray
        Of x's shape.
    """
    return Call("cast", {"dtype": np.dtype(dtype).name}, {"x": x})


@kernel
def upsample2d(
    x: np.ndarray,
    scale: int | Sequence[int] | None = None,
    size: int | Sequence[int] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Call:
    """Resize images.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (n, h, w, c)
    scale : int or [h, w], optional
        Whole factors.
    size : int or [h, w], optional
        The size of the result; give either this or `scale`.
    mode : {"nearest", "bilinear"}
        "nearest" takes input floor(o * n / m) for output o of m; "bilinear" mixes between pixel centres.
    align_corners : bool
        Bilinear only: let the corner pixels of both grids coincide.

    Returns
    -------
    ndarray, shape (n, oh, ow, c)
    """
    attrs = {"scale": scale, "size": size, "mode": mode, "align_corners": align_corners}
    return Call("upsample2d", attrs, {"x": x})


broadcast_to_backward = gradient(broadcast_to, "x", note="It is summed over what was repeated.")
cast_backward = gradient(cast, "x", note="Of a cast to integers it is zero.")
concat_backward = gradient(concat, "arrays")
expand_dims_backward = gradient(expand_dims, "x")
flatten_backward = gradient(flatten, "x")
gather_backward = gradient(gather, "x", note="It is summed over equal indices, and zero where none points.")
pad_backward = gradient(pad, "x")
repeat_backward = gradient(repeat, "x", note="It is summed over what was repeated.")
reshape_backward = gradient(reshape, "x")
reverse_backward = gradient(reverse, "x")
slice_backward = gradient(slice, "x", note="It is zero where nothing was taken.")
split_backward = gradient(split, "x")
squeeze_backward = gradient(squeeze, "x")
stack_backward = gradient(stack, "arrays")
tile_backward = gradient(tile, "x", note="It is summed over what was repeated.")
transpose_backward = gradient(transpose, "x")
upsample2d_backward = gradient(upsample2d, "x")
