"""Logs as a table in a file."""

from __future__ import annotations

import csv
import os
from typing import IO, Any

import numpy as np

from .base import Callback

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Writes what every epoch logs to a CSV file, a row an epoch.

    Parameters
    ----------
    filename : str or path
    separator : str
        Stands between the columns.
    append : bool
        Whether rows are added to an existing file, under its heading, rather than the file replaced.
    """

    _kept = ("keys", "_length")

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self.keys: list[str] | None = None
        self._length: int | None = None  # of the file, after the last row
        self._file: IO[str] | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._close()
        self.keys = self._length = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if self.params.get("do_validation") and not any(k.startswith("val_") for k in self.keys):
                self.keys += [f"val_{k}" for k in self.keys]  # the first epoch was not validated
        file = self._file or self._open()
        writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
        writer.writerow([epoch, *[_cell(logs.get(k, "NA")) for k in self.keys]])
        file.flush()
        self._length = file.tell()

    def _open(self) -> IO[str]:
        going_on = self._length is not None or self.append
        mode = "r+" if going_on and os.path.exists(self.filename) else "w"
        self._file = file = open(self.filename, mode, newline="")  # noqa: SIM115
        # After a restart the rows of epochs that are done again go.
        end = file.seek(0, os.SEEK_END) if self._length is None else file.seek(min(self._length, _size(file)))
        file.truncate()
        if end == 0:
            csv.writer(file, delimiter=self.separator, lineterminator="\n").writerow(["epoch", *(self.keys or [])])
        return file

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


def _size(file: IO[str]) -> int:
    return os.fstat(file.fileno()).st_size


def _cell(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        array = np.asarray(value)
        return array.item() if array.ndim == 0 else f'"[{", ".join(map(str, array.tolist()))}]"'
    return value
