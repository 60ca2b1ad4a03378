"""The optimizers, with Keras' signatures and defaults; what they share stands behind their own arguments."""

from __future__ import annotations

from typing import Any

from .._errors import short
from .base import Optimizer

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
    nesterov : bool
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "sgd"

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, *shared: Any, **kwargs: Any
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"{type(self).__name__}: momentum: expected a number in [0, 1], got {short(momentum)}")
        self.momentum, self.nesterov = momentum, nesterov
        # Keras lets nesterov stand without momentum, where it changes nothing.
        hyper = {"momentum": momentum, "nesterov": bool(nesterov) and momentum > 0, "velocity": True}
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class _Adaptive(Optimizer):
    """What optimizers with two averages have in common."""

    def _averages_config(self, beta_1: float, beta_2: float, epsilon: float) -> dict[str, Any]:
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        return {"beta1": beta_1, "beta2": beta_2, "eps": epsilon}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Adam(_Adaptive):
    """Adam (Kingma & Ba 2014), epsilon added as "epsilon hat".

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
    amsgrad : bool
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "adam"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        self.amsgrad = amsgrad
        hyper = {**self._averages_config(beta_1, beta_2, epsilon), "amsgrad": bool(amsgrad), "eps_hat": True}
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amsgrad": self.amsgrad}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017).

    Parameters
    ----------
    learning_rate, weight_decay, beta_1, beta_2, epsilon : float
    amsgrad : bool
    *shared, **kwargs
        See Optimizer, from `clipnorm` on.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError(f"{type(self).__name__}: weight_decay: expected a number, got None")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, *shared, **kwargs)


class RMSprop(Optimizer):
    """Gradients divided by a running mean of their magnitude.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon : float
    centered : bool
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "rmsprop"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        hyper = {"rho": rho, "momentum": momentum, "eps": epsilon, "centered": bool(centered), "eps_inside": True,
                 "velocity": True}  # fmt: skip
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)

    def get_config(self) -> dict[str, Any]:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}
        return {**super().get_config(), **own}


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares (Duchi et al. 2011).

    Parameters
    ----------
    learning_rate, initial_accumulator_value, epsilon : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "adagrad"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon
        hyper = {"initial_accumulator": initial_accumulator_value, "eps": epsilon, "eps_inside": True}
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)

    def get_config(self) -> dict[str, Any]:
        own = {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


class Adadelta(Optimizer):
    """Steps of the size of the last steps, relative to the gradients' (Zeiler 2012).

    Parameters
    ----------
    learning_rate, rho, epsilon : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "adadelta"

    def __init__(
        self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, *shared: Any, **kwargs: Any
    ) -> None:
        self.rho, self.epsilon = rho, epsilon
        super().__init__(learning_rate, *shared, hyper={"rho": rho, "eps": epsilon}, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


class Adamax(_Adaptive):
    """Adam with the largest gradient in the place of the mean square (Kingma & Ba 2014).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "adamax"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        hyper = {**self._averages_config(beta_1, beta_2, epsilon), "eps_inside": False}
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)


class Nadam(_Adaptive):
    """Adam with Nesterov's momentum (Dozat 2016).

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "nadam"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        hyper = {**self._averages_config(beta_1, beta_2, epsilon), "momentum_decay": 1.0}
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)


class Lion(Optimizer):
    """Steps of one size in the direction of the momentum's sign (Chen et al. 2023).

    Parameters
    ----------
    learning_rate, beta_1, beta_2 : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "lion"

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, *shared: Any, **kwargs: Any
    ) -> None:
        if not 0 < beta_1 <= 1:
            raise ValueError(f"Lion: beta_1: expected a number in (0, 1], got {short(beta_1)}")
        self.beta_1, self.beta_2 = beta_1, beta_2
        super().__init__(learning_rate, *shared, hyper={"beta1": beta_1, "beta2": beta_2}, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}


class Ftrl(Optimizer):
    """Follow the regularized leader (McMahan et al. 2013): l1 keeps weights at zero.

    Parameters
    ----------
    learning_rate : float
    learning_rate_power : float
        At most 0; 0 keeps the learning rate as it is.
    initial_accumulator_value : float
    l1_regularization_strength, l2_regularization_strength : float
    l2_shrinkage_regularization_strength : float
        A penalty on the weights as they are, not on those that a step makes.
    beta : float
    *shared, **kwargs
        See Optimizer, from `weight_decay` on.
    """

    _kind = "ftrl"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        *shared: Any,
        **kwargs: Any,
    ) -> None:
        if learning_rate_power > 0:
            raise ValueError(f"Ftrl: learning_rate_power: expected a number <= 0, got {short(learning_rate_power)}")
        self.learning_rate_power, self.initial_accumulator_value = learning_rate_power, initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength, self.beta = l2_shrinkage_regularization_strength, beta
        hyper = {
            "power": -learning_rate_power,
            "initial_accumulator": initial_accumulator_value,
            "l1": l1_regularization_strength,
            "l2": l2_regularization_strength,
            "l2_shrinkage": l2_shrinkage_regularization_strength,
            "beta": beta,
        }
        super().__init__(learning_rate, *shared, hyper=hyper, **kwargs)

    def get_config(self) -> dict[str, Any]:
        keys = ("learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
                "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta")  # fmt: skip
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}
