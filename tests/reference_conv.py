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


def _pair(value, axes, fallback):
    """One value per axis of a 2-D convolution from an attribute of a `axes`-D one."""
    values = [value] * axes if isinstance(value, int) else list(value)
    return (*[fallback] * (2 - axes), *values)


def _paddings(padding, axes):
    """Per axis of a 2-D convolution: a name or (before, after)."""
    if isinstance(padding, str):
        return (*["valid"] * (2 - axes), *[padding] * axes)
    p = [padding] * axes if isinstance(padding, int) else list(padding)
    sides = [(n, n) for n in p] if len(p) == axes else list(zip(p[::2], p[1::2], strict=True))
    return (*[(0, 0)] * (2 - axes), *sides)


def transposed_size(size, kernel, stride, dilation, padding, output_padding):
    """(before, outputs) of one axis: what is cut off at the front of the full spread, and what stays."""
    extent = (kernel - 1) * dilation + 1
    full = (size - 1) * stride + extent
    if isinstance(padding, tuple):  # PyTorch's
        return padding[0], full - sum(padding) + (output_padding or 0)
    if output_padding is not None:  # Keras'
        before = extent // 2 if padding == "same" else 0
        return before, full - 2 * before + output_padding
    if padding == "same":
        return max(full - size * stride, 0) // 2, size * stride
    return 0, (size - 1) * stride + max(extent, stride)


class Conv:
    """Any of the four convolution ops by its attributes, without the activation: forward and backward."""

    def __init__(self, name, *, stride=1, padding="valid", dilation=1, groups=1, output_padding=None):
        self.axes = 1 if "1d" in name else 2
        self.transposed = name.endswith("transpose")
        self.stride, self.dilation = _pair(stride, self.axes, 1), _pair(dilation, self.axes, 1)
        self.padding = _paddings(padding, self.axes)
        self.groups = groups
        # An axis that is not there neither grows nor shrinks.
        self.extra = (None, None) if output_padding is None else _pair(output_padding, self.axes, 0)

    def _flat(self, *arrays):
        """In float64; images with h = 1, kernels with kh = 1."""
        arrays = [np.asarray(a, np.float64) for a in arrays]
        return arrays if self.axes == 2 else [np.expand_dims(a, 0 if k else 1) for k, a in enumerate(arrays)]

    def _canvas(self, x, kernel):
        """For a transpose: the canvas' size, where the output lies in it, and where each tap's products go."""
        axes = [
            transposed_size(x.shape[1 + i], kernel[i], self.stride[i], self.dilation[i], self.padding[i], self.extra[i])
            for i in range(2)
        ]
        size, taps = [], {}
        for i, (before, out) in enumerate(axes):
            size.append(
                max((x.shape[1 + i] - 1) * self.stride[i] + (kernel[i] - 1) * self.dilation[i] + 1, before + out)
            )
        where = (slice(None), *(slice(before, before + out) for before, out in axes))
        for tap in np.ndindex(*kernel):
            first = [t * d for t, d in zip(tap, self.dilation, strict=True)]
            taps[tap] = (
                slice(None),
                *(slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, x.shape[1:3], self.stride, strict=True)),
            )
        return size, where, taps

    def _groups(self, x, weight):
        cg, og = x.shape[3] // self.groups, weight.shape[2]
        return [(slice(g * cg, (g + 1) * cg), slice(g * og, (g + 1) * og)) for g in range(self.groups)]

    def forward(self, x, weight, bias=None):
        x, weight = self._flat(x, weight)
        if self.transposed:
            size, where, taps = self._canvas(x, weight.shape[:2])
            canvas = np.zeros((x.shape[0], *size, weight.shape[2] * self.groups))
            for tap, at in taps.items():
                for cs, os in self._groups(x, weight):
                    canvas[at][..., os] += x[..., cs] @ weight[tap][:, cs].T
            y = canvas[where]
        else:
            y = conv2d(x, weight, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)
        y = y if bias is None else y + np.asarray(bias, np.float64)
        return y if self.axes == 2 else y[:, 0]

    def backward(self, x, weight, dy):
        """Gradients to x and to weight."""
        x, weight = self._flat(x, weight)
        dy = np.asarray(dy, np.float64)
        dy = dy if self.axes == 2 else dy[:, None]
        if self.transposed:
            size, where, taps = self._canvas(x, weight.shape[:2])
            canvas = np.zeros((x.shape[0], *size, weight.shape[2] * self.groups))
            canvas[where] = dy
            dx, dw = np.zeros_like(x), np.zeros_like(weight)
            for tap, at in taps.items():
                for cs, os in self._groups(x, weight):
                    dx[..., cs] += canvas[at][..., os] @ weight[tap][:, cs]
                    dw[tap][:, cs] = np.tensordot(canvas[at][..., os], x[..., cs], axes=([0, 1, 2], [0, 1, 2]))
        else:
            dx, dw = conv2d_backward(
                x, weight, dy, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
            )
        return (dx, dw) if self.axes == 2 else (dx[:, 0], dw[0])


def operands(name, size, kernel, c, oc, groups=1, n=2, dtype=np.float64):
    """Random x, weight and bias of the convolution op `name`."""
    rng = np.random.default_rng(sum((*size, *kernel, c, oc)))
    channels = (oc // groups, c) if name.endswith("transpose") else (c // groups, oc)
    shapes = [(n, *size, c), (*kernel, *channels), (oc,)]
    return [rng.standard_normal(s).astype(dtype) for s in shapes]
