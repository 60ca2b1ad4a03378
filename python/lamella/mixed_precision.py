"""Dtype policies of layers: in which precision they compute, and in which their weights are.

``set_global_policy("mixed_bfloat16")`` before a model is made lets its layers compute in bfloat16, with weights,
gradients and the loss in float32; see `lamella.amp` for what that means op by op. A last layer with ``dtype="float32"``
keeps the model's outputs in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._errors import short

__all__ = [
    "DTypePolicy",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
_PLAIN = ("float32", "float64")


class DTypePolicy:
    """How a layer computes.

    Parameters
    ----------
    name : str
        "float32" or "float64", for computations and weights; "mixed_bfloat16" or "mixed_float16" for computations in 16
        bits with weights in float32.
    """

    def __init__(self, name: str = "float32") -> None:
        if name in _MIXED:
            self._compute, self._variable = _MIXED[name], "float32"
        else:
            try:
                plain = np.dtype(name).name
            except TypeError:
                plain = ""
            if plain not in _PLAIN:
                expected = ", ".join([*_PLAIN, *_MIXED])
                raise TypeError(f"dtype: expected one of {expected}, got {short(name)}")
            name = self._compute = self._variable = plain
        self._name = name

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """The dtype of what layers take and give."""
        return self._compute

    @property
    def variable_dtype(self) -> str:
        """The dtype of weights."""
        return self._variable

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {"name": self._name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """The policy that `get_config` told of."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'


Policy = DTypePolicy
_global = DTypePolicy("float32")


def set_global_policy(policy: Any) -> None:
    """Set the policy of layers that are made from now on and not told another.

    Parameters
    ----------
    policy : str or DTypePolicy
    """
    global _global
    _global = policy_of(policy)


def global_policy() -> DTypePolicy:
    """The policy of layers that are not told another."""
    return _global


@contextlib.contextmanager
def unsaid_is_float32() -> Iterator[None]:
    """While layers are made from configurations, which name no policy but those that differ from float32."""
    global _global
    before, _global = _global, DTypePolicy("float32")
    try:
        yield
    finally:
        _global = before


set_dtype_policy, dtype_policy = set_global_policy, global_policy


def policy_of(value: Any) -> DTypePolicy:
    """The policy that a layer's `dtype` argument means: a name, a dtype, a policy or its configuration."""
    if value is None:
        return _global
    if isinstance(value, DTypePolicy):
        return value
    if isinstance(value, dict):
        config = value.get("config", value)
        if isinstance(config, dict) and isinstance(config.get("name"), str):
            return DTypePolicy(config["name"])
    return DTypePolicy(value)
