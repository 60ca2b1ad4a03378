"""Files from the net, kept in a folder."""

from __future__ import annotations

import os
import tarfile
import urllib.parse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._errors import short
from ..datasets import _files

__all__ = ["get_file"]

_FORMATS: dict[str, Any] = {"tar": tarfile.is_tarfile, "zip": zipfile.is_zipfile}


def get_file(
    fname: Any = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: Any = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | Sequence[str] | None = "auto",
    cache_dir: Any = None,
    force_download: bool = False,
) -> str:
    """Download a file, unless it is there already.

    Parameters
    ----------
    fname : str, optional
        What to call it; default: as in `origin`. With `extract` a name without a dot is that of the folder.
    origin : str
        Its URL.
    untar : bool
        Extract, from tar only.
    md5_hash : str, optional
        The same as `file_hash` with `hash_algorithm` "md5".
    file_hash : str, optional
        What the file must have; without it anything is taken. A file that is there but has another is downloaded again.
    cache_subdir : str
        The folder in `cache_dir`, or one of its own where it begins at the root.
    hash_algorithm : {"auto", "sha256", "md5"}
        "auto": by the length of the hash.
    extract : bool
        Whether to unpack an archive. Members that would lie outside the folder are an error.
    archive_format : {"auto", "tar", "zip", None} or list of them
        Which archives are unpacked.
    cache_dir : str or path, optional
        Default: ~/.lamella, where the data sets are, or the folder that `LAMELLA_DATA` names.
    force_download : bool

    Returns
    -------
    str
        The path of the file, or of the folder with what was in it.
    """
    if origin is None:
        raise ValueError("get_file: origin: expected a URL, got None")
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    algorithm = _algorithm(file_hash, hash_algorithm)
    name = os.fspath(fname) if fname else os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name or os.path.basename(name) != name:
        raise ValueError(f"get_file: fname: expected a name without folders, got {short(name)}")
    formats = _formats(archive_format if not untar else "tar")
    into = _folder(cache_dir, cache_subdir)
    extract = extract or untar
    folder = into / name
    if extract and fname and "." in name:
        folder = into / f"{name[: name.find('.')]}_extracted"
    elif extract:
        name += "_archive"
    path = into / name
    known = path.is_file() and not force_download
    if known and file_hash is not None:
        known = _files.digest_of(path, False, algorithm) == file_hash.lower()
    if not known:
        _files.download(origin, name, (file_hash or "").lower(), into=into, algorithm=algorithm)
    if not extract:
        return str(path)
    _unpack(path, folder, formats)
    return str(folder)


def _algorithm(file_hash: str | None, algorithm: str) -> str:
    lengths = {"sha256": 64, "md5": 32}
    if algorithm not in ("auto", *lengths):
        raise ValueError(f"get_file: hash_algorithm: expected 'auto', 'sha256' or 'md5', got {short(algorithm)}")
    if file_hash is None:
        return "sha256"
    fitting = [a for a, n in lengths.items() if len(file_hash) == n and algorithm in ("auto", a)]
    if not fitting:
        raise ValueError(
            f"get_file: file_hash: expected 64 digits (sha256) or 32 (md5) for hash_algorithm {short(algorithm)}, got "
            f"{short(file_hash)}"
        )
    return fitting[0]


def _formats(archive_format: str | Sequence[str] | None) -> list[str]:
    if archive_format == "auto":
        return list(_FORMATS)
    found = [archive_format] if isinstance(archive_format, str) else list(archive_format or ())
    if any(f not in _FORMATS for f in found):
        raise ValueError(
            f"get_file: archive_format: expected 'auto', 'tar', 'zip' or None, got {short(archive_format)}"
        )
    return found


def _folder(cache_dir: Any, cache_subdir: Any) -> Path:
    if cache_dir is None and os.fspath(cache_subdir) == "datasets":
        return _files.folder()
    base = Path.home() / ".lamella" if cache_dir is None else Path(cache_dir).expanduser()
    return base / cache_subdir


def _unpack(path: Path, folder: Path, formats: list[str]) -> None:
    fitting = [f for f in formats if _FORMATS[f](path)]
    if not fitting:
        raise ValueError(f"get_file: extract: expected an archive ({' or '.join(formats) or 'none'}), got {path}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if fitting[0] == "zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # drops drives, roots and ".." of the names
        else:
            with tarfile.open(path) as archive:
                _unpack_tar(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile) as e:
        raise ValueError(f"get_file: extract: {path}: {e}") from e


def _unpack_tar(archive: tarfile.TarFile, folder: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    # Before Python 3.10.12 and 3.11.4 nothing is kept in the folder: files and folders alone pass, by where they go.
    inside = folder.resolve()
    for member in archive.getmembers():
        target = (inside / member.name).resolve()
        if not (member.isfile() or member.isdir()) or (target != inside and inside not in target.parents):
            raise tarfile.TarError(f"{member.name!r} is a link or would be written outside the folder")
    archive.extractall(folder)
