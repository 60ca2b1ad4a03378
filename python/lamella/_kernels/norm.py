"""Normalisation of channels-last arrays."""

from __future__ import annotations

import numpy as np

from ._function import Call, gradient, kernel

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
]


@kernel
def batch_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    training: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.99,
    unbiased_running_var: bool = False,
    activation: str = "identity",
) -> Call:
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

    Returns
    -------
    ndarray
        As `x`.
    """
    attrs = {
        "eps": eps,
        "momentum": momentum,
        "unbiased_running_var": unbiased_running_var,
        "use_running_stats": not training and running_mean is not None,
        "activation": activation,
    }
    inputs = {"x": x, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return Call("batch_norm", attrs, inputs, training)


@kernel
def group_norm(
    x: np.ndarray,
    groups: int,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    eps: float = 1e-5,
) -> Call:
    """Normalise each image over its middle axes and each group of neighbouring channels.

    Parameters
    ----------
    x : ndarray (n, ..., c)
    groups : int
        How many groups of c / `groups` channels there are.
    gamma, beta : ndarray (c,), optional
    eps : float

    Returns
    -------
    ndarray
        As `x`.
    """
    return Call("group_norm", {"groups": groups, "eps": eps}, {"x": x, "gamma": gamma, "beta": beta})


@kernel
def instance_norm(
    x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, eps: float = 1e-5
) -> Call:
    """Normalise each channel of each image over the middle axes.

    Parameters
    ----------
    x : ndarray (n, ..., c)
    gamma, beta : ndarray (c,), optional
    eps : float

    Returns
    -------
    ndarray
        As `x`.
    """
    return Call("instance_norm", {"eps": eps}, {"x": x, "gamma": gamma, "beta": beta})


@kernel
def layer_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    axes: int = 1,
    eps: float = 1e-5,
) -> Call:
    """Normalise over the last axes: (x - mean) / sqrt(var + eps) * gamma + beta.

    Parameters
    ----------
    x : ndarray of float32 or float64
    gamma, beta : ndarray, optional
        Of the shape of these axes.
    axes : int
        How many there are.
    eps : float

    Returns
    -------
    ndarray
        As `x`.
    """
    return Call("layer_norm", {"axes": axes, "eps": eps}, {"x": x, "gamma": gamma, "beta": beta})


@kernel
def rms_norm(x: np.ndarray, gamma: np.ndarray | None = None, axes: int = 1, eps: float = 1e-5) -> Call:
    """x / sqrt(mean(x^2) + eps) * gamma, the mean over the last axes.

    Parameters
    ----------
    x : ndarray of float32 or float64
    gamma : ndarray, optional
        Of the shape of these axes.
    axes : int
        How many there are.
    eps : float

    Returns
    -------
    ndarray
        As `x`.
    """
    return Call("rms_norm", {"axes": axes, "eps": eps}, {"x": x, "gamma": gamma})


batch_norm_backward = gradient(
    batch_norm, "x", "gamma", "beta", note="The running statistics are constants here, and stay as they are."
)
group_norm_backward = gradient(group_norm, "x", "gamma", "beta")
instance_norm_backward = gradient(instance_norm, "x", "gamma", "beta")
layer_norm_backward = gradient(layer_norm, "x", "gamma", "beta")
rms_norm_backward = gradient(rms_norm, "x", "gamma")
