"""Convolution in float64 NumPy: the truth that the kernels are tested against."""

from __future__ import annotations

import numpy as np


def conv_padding(size, kernel, stride, dilation, padding):
    """(before, after, outputs) of one axis."""
    extent = (kernel - 1) * dilation + 1
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + extent - size, 0)
        return total // 2, total - total // 2, out
    before, after = {"valid": (0, 0), "causal": (extent - 1, 0)}.get(padding, padding)
    return before, after, (size + before + after - extent) // stride + 1


def _windows(x, kernel, stride, dilation, padding):
    """Padded x, and for every tap the slices of it that the outputs see."""
    axes = [conv_padding(x.shape[1 + i], kernel[i], stride[i], dilation[i], padding[i]) for i in range(2)]
    padded = np.pad(x, [(0, 0), axes[0][:2], axes[1][:2], (0, 0)])
    slices = {}
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            slices[r, s] = (
                slice(None),
                slice(r * dilation[0], r * dilation[0] + (axes[0][2] - 1) * stride[0] + 1, stride[0]),
                slice(s * dilation[1], s * dilation[1] + (axes[1][2] - 1) * stride[1] + 1, stride[1]),
            )
    return padded, slices, axes


def conv2d(x, weight, bias=None, *, stride=(1, 1), padding=("valid", "valid"), dilation=(1, 1), groups=1):
    """x (n,h,w,c), weight (kh,kw,c/groups,oc); padding per axis: 'same', 'valid' or (before, after)."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    padded, slices, axes = _windows(x, weight.shape[:2], stride, dilation, padding)
    cg, og = x.shape[3] // groups, weight.shape[3] // groups
    y = np.zeros((x.shape[0], axes[0][2], axes[1][2], weight.shape[3]))
    for tap, where in slices.items():
        seen = padded[where]
        for g in range(groups):
            y[..., g * og : (g + 1) * og] += seen[..., g * cg : (g + 1) * cg] @ weight[tap][:, g * og : (g + 1) * og]
    return y if bias is None else y + np.asarray(bias, np.float64)


def conv2d_backward(x, weight, dy, *, stride=(1, 1), padding=("valid", "valid"), dilation=(1, 1), groups=1):
    """Gradients to x and to weight."""
    x, weight, dy = (np.asarray(a, np.float64) for a in (x, weight, dy))
    padded, slices, axes = _windows(x, weight.shape[:2], stride, dilation, padding)
    cg, og = x.shape[3] // groups, weight.shape[3] // groups
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for tap, where in slices.items():
        for g in range(groups):
            cs, os = slice(g * cg, (g + 1) * cg), slice(g * og, (g + 1) * og)
            dpadded[where][..., cs] += dy[..., os] @ weight[tap][:, os].T
            dweight[tap][:, os] = np.tensordot(padded[where][..., cs], dy[..., os], axes=([0, 1, 2], [0, 1, 2]))
    top, left = axes[0][0], axes[1][0]
    return dpadded[:, top : top + x.shape[1], left : left + x.shape[2]], dweight
