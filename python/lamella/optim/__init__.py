"""Optimizers and learning-rate schedules in PyTorch's idiom."""

from . import lr_scheduler, swa_utils
from .adam_family import Adam, Adamax, AdamW, NAdam, RAdam
from .algorithms import SGD, Adadelta, Adagrad, Lion, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "Optimizer", "RAdam", "RMSprop",
    "lr_scheduler", "swa_utils",
]  # fmt: skip
