"""Optimizers other than Adam's family, with PyTorch's signatures and defaults.

`foreach` and `fused` are PyTorch's hints how to compute; every step here is one fused native call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .._errors import refuse, short
from .optimizer import Optimizer, check, check_betas

__all__ = ["SGD", "Adadelta", "Adagrad", "Lion", "RMSprop"]


class SGD(Optimizer):
    """Stochastic gradient descent.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    momentum : float
        How much of the last update stays.
    dampening : float
        How much less of the gradient enters the momentum.
    weight_decay : float
        Factor of the L2 penalty.
    nesterov : bool
        Whether the momentum looks ahead.
    maximize : bool
        Whether to climb.
    """

    _kind = "sgd"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse("SGD", False, differentiable=differentiable, foreach_and_fused=foreach and fused)
        check("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov: needs a momentum and no dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )


class RMSprop(Optimizer):
    """RMSprop (Hinton 2012).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    alpha : float
        Decay of the average of the squared gradient.
    eps : float
        Added to its root.
    weight_decay : float
        Factor of the L2 penalty.
    momentum : float
        How much of the last update stays.
    centered : bool
        Whether the average gradient is taken off, so that the variance is used.
    maximize : bool
        Whether to climb.
    """

    _kind = "rmsprop"
    _native_names: ClassVar[dict[str, str]] = {**Optimizer._native_names, "alpha": "rho"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse("RMSprop", False, capturable=capturable, differentiable=differentiable)
        check("RMSprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Learning rate.
    lr_decay : float
        The rate is divided by 1 + lr_decay * (steps before).
    weight_decay : float
        Factor of the L2 penalty.
    initial_accumulator_value : float
        Where the sum of squares starts.
    eps : float
        Added to its root.
    maximize : bool
        Whether to climb.
    """

    _kind = "adagrad"
    _native_names: ClassVar[dict[str, str]] = {
        **Optimizer._native_names,
        "initial_accumulator_value": "initial_accumulator",
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        refuse("Adagrad", False, differentiable=differentiable, foreach_and_fused=foreach and fused)
        check(
            "Adagrad",
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )


class Adadelta(Optimizer):
    """Steps of the size of the last steps, relative to the gradients' (Zeiler 2012).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        Factor of the steps.
    rho : float
        Decay of the averages of the squared gradients and steps.
    eps : float
        Added to the averages.
    weight_decay : float
        Factor of the L2 penalty.
    maximize : bool
        Whether to climb.
    """

    _kind = "adadelta"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        refuse("Adadelta", False, capturable=capturable, differentiable=differentiable)
        check("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        if not 0 <= rho < 1:
            raise ValueError(f"Adadelta: rho: expected a number in [0, 1), got {short(rho)}")
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})


class Lion(Optimizer):
    """Steps of one size in the direction of the momentum's sign (Chen et al. 2023); PyTorch itself has none.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The size of the steps.
    betas : (float, float)
        How much of the average stays in the direction, and in the average itself.
    weight_decay : float
        Apart from the gradient, as in AdamW.
    maximize : bool
        Whether to climb.
    """

    _kind = "lion"
    _fixed: ClassVar[dict[str, Any]] = {"decoupled": True}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        check("Lion", lr=lr, weight_decay=weight_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": check_betas("Lion", betas), "weight_decay": weight_decay, "maximize": maximize},
        )
