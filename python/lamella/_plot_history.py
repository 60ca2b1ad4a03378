"""Curves of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["plot"]


def plot(history: Any, metrics: Sequence[str] | None, figsize: tuple[float, float] | None) -> Any:
    """A figure with a panel per metric."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as e:
        raise ImportError("History.plot needs Matplotlib: pip install lamella[plot]") from e
    logged = history.history
    names = list(dict.fromkeys(k.removeprefix("val_") for k in logged))
    chosen = names if metrics is None else list(metrics)
    unknown = [m for m in chosen if m not in names]
    if unknown or not chosen:
        raise ValueError(f"plot: metrics: expected some of {', '.join(names) or 'none, as nothing was logged'}, "
                         f"got {', '.join(map(repr, unknown)) or 'none'}")  # fmt: skip
    figure, axes = plt.subplots(
        1, len(chosen), figsize=figsize or (4.5 * len(chosen), 3.5), squeeze=False, layout="constrained"
    )
    for name, ax in zip(chosen, axes[0], strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            values = logged.get(key)
            if values:
                epochs = [e + 1 for e in history._logged_at[key]]
                ax.plot(epochs, values, label=label, marker="." if len(values) < 30 else None)
        ax.set_xlabel("epoch")
        ax.set_title(name)
        ax.legend()
    return figure
