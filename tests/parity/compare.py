"""What both sides share: settings of hypothesis, random inputs, and the comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st

# Few examples, always the same and none smaller: a file must stay short, and a failure must come again.
parity = settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["float32", "float32", "float64"])

# The other side computes in float64, from numbers that float32 holds too: what differs is Lamella's own rounding. Sums
# have up to a few hundred terms of random sign, so float32 keeps 1e-6 of the scale; float64 runs the same code on a
# portable path, where a wrong formula shows without any rounding in its way.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# Ten steps of training carry their rounding along.
TRAINED = {"float32": 5e-5, "float64": 1e-11}


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers that float32 holds, in float64."""
    values = np.random.default_rng(seed).normal(0, scale, shape)
    return values.astype(np.float32).astype(np.float64)


def array(value: Any) -> np.ndarray:
    """The numbers of a tensor of any side."""
    if hasattr(value, "detach"):
        value = value.detach()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def leaves(structure: Any) -> list[Any]:
    """What nested tuples, lists and dicts hold, but for None."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (tuple, list)):
        return [leaf for item in structure for leaf in leaves(item)]
    return [] if structure is None else [structure]


def mapped(fn: Any, structure: Any) -> Any:
    """The same nesting with `fn` applied to every leaf; None stays."""
    if isinstance(structure, dict):
        return {k: mapped(fn, v) for k, v in structure.items()}
    if isinstance(structure, (tuple, list)):
        return type(structure)(mapped(fn, item) for item in structure)
    return None if structure is None else fn(structure)


def close(ours: Any, theirs: Any, what: str, tolerance: float, least: float = 1e-3) -> None:
    """Equal shapes, and numbers equal within `tolerance` of their scale, or of `least` where that is more."""
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape, f"{what}: Lamella has shape {a.shape}, the other side {b.shape}"
    finite = np.abs(b[np.isfinite(b)]) if b.dtype.kind == "f" else np.abs(b.astype(np.float64))
    scale = max(float(finite.max(initial=0.0)), least)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=what)
