"""Limits on gradients, applied in place between `backward` and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import autograd as ag
from ..._functional import elementwise as e
from ..._functional import reduce as r
from ..._functional.shape import stack

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


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
    if not grads:
        return ag.Tensor(0.0)
    norm_type = float(norm_type)
    total = r.norm(stack([r.norm(g, norm_type) for g in grads]), norm_type)
    if error_if_nonfinite and not float("-inf") < total.item() < float("inf"):
        raise RuntimeError(f"clip_grad_norm_: expected a finite norm, got {total.item()}")
    scale = e.clamp(e.div(float(max_norm), e.add(total, 1e-6)), max=1.0)
    mul = e.named_op("mul")
    for g in grads:
        mul.forward([g._data, scale._data], False, [g._data])
    return total


@ag.no_grad()
def clip_grad_value_(parameters: Iterable[Any] | Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient's elements to [-clip_value, clip_value], in place."""
    clip = e.clip_op(-float(clip_value), float(clip_value))
    for g in _grads(parameters):
        clip.forward([g._data], False, [g._data])
