"""Files of trained networks: where they are looked for, and where they come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..datasets._files import download


class File(NamedTuple):
    """A file that can be had: its name, address, and the (beginning of the) checksum that its publishers name."""

    name: str
    url: str
    algorithm: str
    checksum: str


def folder() -> Path:
    """Where trained networks live."""
    return Path(os.environ.get("LAMELLA_MODELS") or Path.home() / ".lamella" / "models")


def _folders() -> list[Path]:
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    torch = Path(os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch")
    return [folder(), keras / "models", torch.expanduser() / "hub" / "checkpoints"]


def find(names: Sequence[str]) -> Path | None:
    """The first of the names that is in one of the folders."""
    for name in names:
        for base in _folders():
            if (base / name).is_file():
                return base / name
    return None


def fetch(what: str, files: Sequence[File], also: Sequence[str] = ()) -> Path:
    """A file found in one of the folders, else downloaded into the first of them.

    Parameters
    ----------
    what : str
        What it is, for messages.
    files : sequence of File
        In order of preference.
    also : sequence of str
        Other names under which it may lie in the folders.

    Raises
    ------
    FileNotFoundError
        If it cannot be had.
    ValueError
        If a download has the wrong checksum.
    """
    found = find([*(f.name for f in files), *also])
    if found is not None:
        return found
    try:
        f = files[0]
        return download(f.url, f.name, f.checksum, into=folder(), variable="LAMELLA_MODELS", algorithm=f.algorithm)
    except FileNotFoundError as e:
        others = [*(f"{f.name} from {f.url}" for f in files[1:]), *also]
        hint = f" (or, instead of it, {'; or '.join(others)})" if others else ""
        raise FileNotFoundError(f"{what}: {e}{hint}") from e
