"""Limits on gradients, applied in place between `backward` and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import autograd as ag
from ..._device import dense
from ..._functional import elementwise as e
from ..._functional import reduce as r
from ..._functional.shape import stack
from ..._kernels.reduce import global_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _grads(parameters: Any) -> list[ag.Tensor]:
    """The gradients as they lie in memory."""
    if isinstance(parameters, ag.Tensor):
        parameters = [parameters]
    leaves = [getattr(p, "physical", p) for p in parameters]
    return [ag.wrap(leaf._grad) for leaf in leaves if leaf._grad is not None]


@ag.no_grad()
def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> ag.Tensor:
    """Scale all gradients together so that their joint norm is at most max_norm.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Whose gradients are scaled, in place.
    max_norm : float
        The limit.
    norm_type : float
        The order of the norm; inf for the largest absolute value.
    error_if_nonfinite : bool
        Whether a norm that is NaN or infinite is an error.
    foreach : bool, optional
        PyTorch's hint how to compute; it changes nothing here.

    Returns
    -------
    Tensor
        The norm before scaling.
    """
    grads = _grads(parameters)
    norm = _norm(grads, norm_type, error_if_nonfinite, "clip_grad_norm_")
    _scale(grads, max_norm, norm)
    return _scalar(norm, grads)


@ag.no_grad()
def get_total_norm(
    tensors: Iterable[ag.Tensor] | ag.Tensor,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> ag.Tensor:
    """The norm of all elements of several tensors together, with the arguments of `clip_grad_norm_`."""
    given = [tensors] if isinstance(tensors, ag.Tensor) else list(tensors)
    return _scalar(_norm(given, norm_type, error_if_nonfinite, "get_total_norm"), given)


@ag.no_grad()
def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: ag.Tensor | float, foreach: bool | None = None
) -> None:
    """Scale all gradients by ``max_norm / total_norm`` where that is below 1, in place."""
    _scale(_grads(parameters), max_norm, float(total_norm))


def _norm(grads: list[ag.Tensor], norm_type: float, error_if_nonfinite: bool, caller: str) -> float:
    norm_type = float(norm_type)
    if not grads:
        return 0.0
    if norm_type == 2:
        norm = global_norm([dense(g._data) for g in grads])
    else:
        norm = r.norm(stack([r.norm(g, norm_type) for g in grads]), norm_type).item()
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"{caller}: expected a finite norm, got {norm}")
    return norm


def _scale(grads: list[ag.Tensor], max_norm: float, norm: float) -> None:
    scale = float(max_norm) / (norm + 1e-6)
    if not scale >= 1:  # also where it is NaN
        mul = e.named_op("mul")
        for g in grads:
            mul.forward([g._data, np.array(scale, g.dtype)], False, [g._data])


def _scalar(norm: float, grads: list[ag.Tensor]) -> ag.Tensor:
    dtype = np.result_type(*{g.dtype for g in grads}) if grads else np.dtype(np.float32)
    with np.errstate(over="ignore"):  # the norm may be more than a float32 holds
        return ag.Tensor(np.asarray(norm, dtype))


@ag.no_grad()
def clip_grad_value_(parameters: Iterable[Any] | Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient's elements to [-clip_value, clip_value], in place."""
    clip = e.clip_op(-float(clip_value), float(clip_value))
    for g in _grads(parameters):
        clip.forward([g._data], False, [g._data])
