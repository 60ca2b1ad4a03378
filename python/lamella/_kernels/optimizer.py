"""Fused optimizer updates, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _cpu
from ._call import run
from .reduce import global_norm

__all__ = [
    "adagrad_step",
    "adam_step",
    "adamw_step",
    "clip_global_norm",
    "optimizer_states",
    "optimizer_step",
    "rmsprop_step",
    "sgd_step",
]


def optimizer_states(name: str, params: Sequence[np.ndarray], **hyper: Any) -> list[list[np.ndarray]]:
    """The state arrays that an optimizer keeps for each parameter, as they are before the first step.

    Parameters
    ----------
    name : {"sgd", "adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "lion", "radam", "ftrl"}
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
        lion: beta1, beta2. radam: beta1, beta2, eps. ftrl: power, initial_accumulator, l1, l2, l2_shrinkage, beta.
        For all besides: loss_scale, accumulation_steps, use_ema, ema_momentum, ema_overwrite.
        The defaults are PyTorch's; velocity, eps_hat and eps_inside select Keras' rules (in adamax eps_inside, on by
        default, is PyTorch's).
    """
    _cpu.Optimizer(name, hyper).step(list(params), list(grads), list(states), step, grad_scale=grad_scale)


def sgd_step(
    param: np.ndarray,
    grad: np.ndarray,
    momentum_buffer: np.ndarray | None = None,
    step: int | None = None,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> None:
    """One step of stochastic gradient descent, in place.

    Parameters
    ----------
    param : ndarray of float32 or float64
        C-contiguous and writable.
    grad : ndarray
        Of param's shape and dtype.
    momentum_buffer : ndarray, optional
        Needed with `momentum`, and refused without; of param's shape and dtype, zeros before the first step.
    step : int, optional
        Counts from 1. Needed with `dampening` alone, which the first step is free of.
    lr, momentum, dampening, weight_decay : float
    nesterov, maximize : bool
        All as in PyTorch.
    """
    _given("sgd_step", "momentum_buffer", momentum_buffer, momentum != 0, "momentum is not 0")
    _given("sgd_step", "step", step, dampening != 0, "dampening is not 0", refuse=False)
    hyper = {"momentum": momentum, "dampening": dampening, "nesterov": nesterov, **_common(lr, weight_decay, maximize)}
    _step("sgd", param, grad, [momentum_buffer], 1 if step is None else step, hyper)


def adam_step(
    param: np.ndarray,
    grad: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    step: int,
    max_exp_avg_sq: np.ndarray | None = None,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> None:
    """One step of Adam, in place.

    Parameters
    ----------
    param : ndarray of float32 or float64
        C-contiguous and writable.
    grad : ndarray
        Of param's shape and dtype.
    exp_avg, exp_avg_sq : ndarray
        The running means of the gradient and of its square; of param's shape and dtype, zeros before the first step.
    step : int
        Counts from 1.
    max_exp_avg_sq : ndarray, optional
        The largest `exp_avg_sq` so far, likewise: given for the AMSGrad variant.
    lr, eps, weight_decay : float
    betas : (float, float)
    maximize : bool
        All as in PyTorch.
    """
    hyper = {"beta1": betas[0], "beta2": betas[1], "eps": eps, "amsgrad": max_exp_avg_sq is not None}
    hyper |= _common(lr, weight_decay, maximize)
    _step("adam", param, grad, [exp_avg, exp_avg_sq, max_exp_avg_sq], step, hyper)


def adamw_step(
    param: np.ndarray,
    grad: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    step: int,
    max_exp_avg_sq: np.ndarray | None = None,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    maximize: bool = False,
) -> None:
    """One step of AdamW, in place: `adam_step` whose weight decay shrinks the parameter and leaves the gradient alone.

    Parameters
    ----------
    param, grad, exp_avg, exp_avg_sq, step, max_exp_avg_sq
        As in `adam_step`.
    lr, eps, weight_decay : float
    betas : (float, float)
    maximize : bool
        All as in PyTorch.
    """
    hyper = {"beta1": betas[0], "beta2": betas[1], "eps": eps, "amsgrad": max_exp_avg_sq is not None}
    hyper |= _common(lr, weight_decay, maximize) | {"decoupled": True}
    _step("adam", param, grad, [exp_avg, exp_avg_sq, max_exp_avg_sq], step, hyper)


def rmsprop_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_avg: np.ndarray,
    grad_avg: np.ndarray | None = None,
    momentum_buffer: np.ndarray | None = None,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    maximize: bool = False,
) -> None:
    """One step of RMSprop, in place.

    Parameters
    ----------
    param : ndarray of float32 or float64
        C-contiguous and writable.
    grad : ndarray
        Of param's shape and dtype.
    square_avg : ndarray
        The running mean of the gradient's square; of param's shape and dtype, zeros before the first step.
    grad_avg : ndarray, optional
        That of the gradient, likewise: given for the centered variant.
    momentum_buffer : ndarray, optional
        Needed with `momentum`, and refused without; likewise.
    lr, alpha, eps, weight_decay, momentum : float
    maximize : bool
        All as in PyTorch.
    """
    _given("rmsprop_step", "momentum_buffer", momentum_buffer, momentum != 0, "momentum is not 0")
    hyper = {"rho": alpha, "eps": eps, "momentum": momentum, "centered": grad_avg is not None}
    hyper |= _common(lr, weight_decay, maximize)
    _step("rmsprop", param, grad, [square_avg, grad_avg, momentum_buffer], 1, hyper)


def adagrad_step(
    param: np.ndarray,
    grad: np.ndarray,
    state_sum: np.ndarray,
    step: int | None = None,
    *,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> None:
    """One step of Adagrad, in place.

    Parameters
    ----------
    param : ndarray of float32 or float64
        C-contiguous and writable.
    grad : ndarray
        Of param's shape and dtype.
    state_sum : ndarray
        The sum of the gradient's squares; of param's shape and dtype, zeros or more before the first step.
    step : int, optional
        Counts from 1. Needed with `lr_decay` alone.
    lr, lr_decay, weight_decay, eps : float
    maximize : bool
        All as in PyTorch.
    """
    _given("adagrad_step", "step", step, lr_decay != 0, "lr_decay is not 0", refuse=False)
    hyper = {"eps": eps, "lr_decay": lr_decay, **_common(lr, weight_decay, maximize)}
    _step("adagrad", param, grad, [state_sum], 1 if step is None else step, hyper)


def _common(lr: float, weight_decay: float, maximize: bool) -> dict[str, Any]:
    return {"learning_rate": lr, "weight_decay": weight_decay, "maximize": maximize}


def _given(function: str, argument: str, value: Any, needed: bool, why: str, refuse: bool = True) -> None:
    if needed and value is None:
        raise ValueError(f"{function}: {argument}: expected a value, as {why}, got None")
    if refuse and not needed and value is not None:
        raise ValueError(f"{function}: {argument}: expected None, unless {why}, got a value")


def _step(name: str, param: Any, grad: Any, states: list[Any], step: int, hyper: dict[str, Any]) -> None:
    optimizer_step(name, [param], [grad], [[s for s in states if s is not None]], step, **hyper)


def clip_global_norm(grads: Sequence[np.ndarray | None], max_norm: float) -> float:
    """Scale arrays together, in place, so that the L2 norm of all their elements is at most `max_norm`.

    Parameters
    ----------
    grads : sequence of ndarray or None
        float32 or float64, C-contiguous and writable; None is passed over.
    max_norm : float

    Returns
    -------
    float
        The norm before. As with PyTorch NaN makes everything NaN, and infinity zero, but itself NaN.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_global_norm: max_norm: expected a number of at least 0, got {max_norm}")
    given = [g for g in grads if g is not None]
    for i, g in enumerate(grads):  # all before any of them is changed
        if g is not None and not (isinstance(g, np.ndarray) and g.flags.c_contiguous and g.flags.writeable):
            raise ValueError(f"clip_global_norm: array {i}: expected a C-contiguous, writable ndarray, got another")
    norm = global_norm(given)
    if not norm <= max_norm:  # also where it is NaN
        for g in given:
            run("mul", {}, [g, np.asarray(max_norm / norm, g.dtype)], out=g)
    return norm
