"""Adam and what descends from it, with PyTorch's signatures and defaults.

`foreach` and `fused` are PyTorch's hints how to compute; every step here is one fused native call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._errors import refuse
from .optimizer import Optimizer, check, check_betas

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the averages of the gradient and of its square.
    eps : float
        Added to the root of the average square.
    weight_decay : float
        Factor of the L2 penalty.
    amsgrad : bool
        Whether the largest average square so far is used.
    maximize : bool
        Whether to climb.
    decoupled_weight_decay : bool
        Whether the weight decay is AdamW's.
    """

    _kind = "adam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        name = type(self).__name__
        refuse(name, False, capturable=capturable, differentiable=differentiable, foreach_and_fused=foreach and fused)
        check(name, lr=lr, eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": check_betas(name, betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2019); see `Adam`."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )


class Adamax(Optimizer):
    """Adam with the largest gradient in the place of the mean square (Kingma & Ba 2015).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the average of the gradient, and of the largest.
    eps : float
        Added to the gradient's absolute value.
    weight_decay : float
        Factor of the L2 penalty.
    maximize : bool
        Whether to climb.
    """

    _kind = "adamax"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        refuse("Adamax", False, capturable=capturable, differentiable=differentiable)
        check("Adamax", lr=lr, eps=eps, weight_decay=weight_decay)
        betas = check_betas("Adamax", betas)
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the averages of the gradient and of its square.
    eps : float
        Added to the root of the average square.
    weight_decay : float
        Factor of the L2 penalty.
    momentum_decay : float
        How fast the momentum comes up to its value.
    decoupled_weight_decay : bool
        Whether the weight decay is AdamW's.
    maximize : bool
        Whether to climb.
    """

    _kind = "nadam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse("NAdam", False, capturable=capturable, differentiable=differentiable)
        check("NAdam", lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": check_betas("NAdam", betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )


class RAdam(Optimizer):
    """Adam whose first steps wait for the variance of its rates to be known (Liu et al. 2020).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the averages of the gradient and of its square.
    eps : float
        Added to the root of the average square.
    weight_decay : float
        Factor of the L2 penalty.
    decoupled_weight_decay : bool
        Whether the weight decay is AdamW's.
    maximize : bool
        Whether to climb.
    """

    _kind = "radam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse("RAdam", False, capturable=capturable, differentiable=differentiable)
        check("RAdam", lr=lr, eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": check_betas("RAdam", betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )
