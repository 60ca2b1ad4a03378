"""Normalisation of channels-last arrays."""

from __future__ import annotations

import numpy as np

from ._call import run

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]

Array = np.ndarray | None


def batch_norm(
    x: np.ndarray,
    gamma: Array = None,
    beta: Array = None,
    running_mean: Array = None,
    running_var: Array = None,
    training: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.99,
    unbiased_running_var: bool = False,
    activation: str = "identity",
    out: Array = None,
) -> np.ndarray:
    """Normalise each channel over all other axes: (x - mean) / sqrt(var + eps) * gamma + beta.

    Parameters
    ----------
    x : ndarray (n, ..., c)
    gamma, beta, running_mean, running_var : ndarray (c,), optional
    training : bool
        Use the batch's statistics and update the running ones in place, if given. Otherwise use the running ones;
        without them the batch's.
    eps : float
    momentum : float
        Weight of the old value in the running statistics.
    unbiased_running_var : bool
        Scale the batch's variance by n / (n - 1) before it goes into `running_var`.
    activation : {"identity", "relu"}
        Applied to the result in the same pass.
    out : ndarray, optional

    Returns
    -------
    ndarray
        As `x`.
    """
    attrs = {
        "eps": eps,
        "momentum": momentum,
        "unbiased_running_var": unbiased_running_var,
        "activation": activation,
    }
    return run("batch_norm", attrs, [x, gamma, beta, running_mean, running_var], out=out, training=training)


def group_norm(
    x: np.ndarray, groups: int, gamma: Array = None, beta: Array = None, eps: float = 1e-5, out: Array = None
) -> np.ndarray:
    """Normalise each image (n, ..., c) over its middle axes and each group of c / `groups` neighbouring channels.

    gamma and beta have shape (c,).
    """
    return run("group_norm", {"groups": groups, "eps": eps}, [x, gamma, beta], out=out)


def instance_norm(
    x: np.ndarray, gamma: Array = None, beta: Array = None, eps: float = 1e-5, out: Array = None
) -> np.ndarray:
    """Normalise each channel of each image (n, ..., c) over the middle axes. gamma and beta have shape (c,)."""
    return run("instance_norm", {"eps": eps}, [x, gamma, beta], out=out)


def layer_norm(
    x: np.ndarray, gamma: Array = None, beta: Array = None, axes: int = 1, eps: float = 1e-5, out: Array = None
) -> np.ndarray:
    """Normalise over the last `axes` axes, whose shape gamma and beta have."""
    return run("layer_norm", {"axes": axes, "eps": eps}, [x, gamma, beta], out=out)


def rms_norm(x: np.ndarray, gamma: Array = None, axes: int = 1, eps: float = 1e-5, out: Array = None) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) * gamma, the mean over the last `axes` axes, whose shape gamma has."""
    return run("rms_norm", {"axes": axes, "eps": eps}, [x, gamma], out=out)
