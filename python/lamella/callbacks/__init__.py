"""Callbacks of `fit`, `evaluate` and `predict`."""

from .backup import BackupAndRestore
from .base import Callback, CallbackList, History, LambdaCallback, ProgbarLogger, format_logs
from .csv_logger import CSVLogger
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .schedules import LearningRateScheduler, SwapEMAWeights, TerminateOnNaN
from .tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau", "SwapEMAWeights", "TensorBoard",
    "TerminateOnNaN", "format_logs",
]  # fmt: skip
