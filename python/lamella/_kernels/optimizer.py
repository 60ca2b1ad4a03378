"""Fused optimizer updates, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu

__all__ = ["optimizer_states", "optimizer_step"]


def optimizer_states(name: str, params: Sequence[np.ndarray], **hyper: Any) -> list[list[np.ndarray]]:
    """The state arrays that an optimizer keeps for each parameter, as they are before the first step.

    Parameters
    ----------
    name : {"sgd", "adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "lion"}
    params : sequence of ndarray
    **hyper
        See `optimizer_step`.
    """
    slots = _cpu.Optimizer(name, hyper).slots
    return [[np.full(p.shape, initial, p.dtype) for _, initial in slots] for p in params]


def optimizer_step(
    name: str,
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray | None],
    states: Sequence[Sequence[np.ndarray]],
    step: int,
    grad_scale: float = 1.0,
    **hyper: Any,
) -> None:
    """One update of `params` and `states`, in one pass over memory.

    Parameters
    ----------
    name : str
        See `optimizer_states`.
    params : sequence of ndarray
        C-contiguous, writable, all float32 or all float64.
    grads : sequence of ndarray or None
        Of the parameters' shapes; None leaves its parameter as it is.
    states : sequence of sequences of ndarray
        From `optimizer_states`.
    step : int
        Counts from 1.
    grad_scale : float
        Multiplies the gradients first.
    **hyper
        For all: learning_rate (0.001), weight_decay (0), decoupled (False; True: AdamW's weight decay), maximize, and
        at most one of clipvalue, clipnorm (of each gradient), global_clipnorm (of all together).
        sgd: momentum, dampening, nesterov, velocity. adam: beta1, beta2, eps, amsgrad, eps_hat. rmsprop: rho, eps,
        momentum, centered, eps_inside, velocity. adagrad: eps, lr_decay, initial_accumulator, eps_inside.
        adadelta: rho, eps. adamax: beta1, beta2, eps, eps_inside. nadam: beta1, beta2, eps, momentum_decay.
        lion: beta1, beta2. The defaults are PyTorch's; velocity, eps_hat and eps_inside select Keras' rules (in adamax
        eps_inside, on by default, is PyTorch's).
    """
    _cpu.Optimizer(name, hyper).step(list(params), list(grads), list(states), step, grad_scale=grad_scale)
