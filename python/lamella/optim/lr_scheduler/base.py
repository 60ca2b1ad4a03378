"""What schedules have in common."""

from __future__ import annotations

from typing import Any


class LRScheduler:
    """The base of schedules: `get_lr` gives one learning rate per group for `last_epoch`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups' "lr" is set.
    last_epoch : int
        -1 to start anew, else the last epoch that was done.
    """

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"lr_scheduler: last_epoch: group {i} has no 'initial_lr' to go on from")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rates for `last_epoch`; to be written by subclasses."""
        raise NotImplementedError("lr_scheduler: get_lr is not defined")

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to this one, and set its learning rates."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        # What multiplies the last rate must not look at it where epochs are left out.
        rates = self.get_lr() if epoch is None else self._closed_form()
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and not k.startswith("_fn")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def _closed_form(self) -> list[float]:
        """The learning rates for `last_epoch` from the initial ones alone, where that is possible."""
        return self.get_lr()

    def _now(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


def per_group(optimizer: Any, value: Any, name: str) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value] * len(optimizer.param_groups)
    if len(values) != len(optimizer.param_groups):
        raise ValueError(f"lr_scheduler: {name}: expected {len(optimizer.param_groups)} values, got {len(values)}")
    return values
