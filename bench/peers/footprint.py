"""What a framework costs before it computes anything: time and memory of its import, megabytes on disk."""

from __future__ import annotations

import importlib.util
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# What is imported, and what is installed for it.
_PACKAGES = {
    "lamella": ("lamella", ["lamella"]),
    "torch": ("torch", ["torch"]),
    "jax": ("jax", ["jax"]),
    "keras": ("keras", ["keras", "tensorflow-cpu", "tensorflow"]),
    "onnxruntime": ("onnxruntime", ["onnxruntime"]),
    "ncnn": ("ncnn", ["ncnn"]),
    "numpy": ("numpy", ["numpy"]),
}
_PROGRAM = """
import time
start = time.perf_counter()
{statement}
took = time.perf_counter() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(took, float(peak.split()[1]) / 1024)
"""


def _import(module: str | None) -> tuple[float, float]:
    """(milliseconds, MiB at most) of importing it in a fresh process; None: of the bare interpreter."""
    program = _PROGRAM.format(statement=f"import {module}" if module else "")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    seconds, mib = map(float, done.stdout.split())
    return seconds * 1e3, mib


def _files(distribution: metadata.Distribution) -> dict[str, int]:
    found = {}
    for file in distribution.files or []:
        path = Path(str(distribution.locate_file(file)))
        if path.is_file():
            found[str(path.resolve())] = path.stat().st_size
    return found


def _installed(name: str, seen: set[str]) -> dict[str, int]:
    """The files of a distribution and of those that it needs."""
    if name in seen:
        return {}
    seen.add(name)
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return {}
    found = _files(distribution)
    for need in distribution.requires or []:
        if "extra ==" not in need:
            found |= _installed(re.split(r"[\s;<>=!~\[(]", need, maxsplit=1)[0].lower(), seen)
    return found


def _disk(module: str, distributions: list[str]) -> float:
    """MiB of the package with its dependencies."""
    seen: set[str] = set()
    files: dict[str, int] = {}
    for name in distributions:
        files |= _installed(name, seen)
    if not files:  # run from a checkout
        spec = importlib.util.find_spec(module)
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        files = {str(p): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        for need in ("numpy", "tqdm"):
            files |= _installed(need, set())
    return sum(files.values()) / 2**20


def measure(peers: list[str], rounds: int) -> list[dict[str, Any]]:
    """A row for each framework; imports in turns, medians over `rounds` after one that is not counted."""
    names = [n for n in ["lamella", *peers] if importlib.util.find_spec(_PACKAGES[n][0])]
    runs: dict[str, list[tuple[float, float]]] = {n: [] for n in names}
    for i in range(rounds + 1):
        for name in names:
            run = _import(_PACKAGES[name][0])
            if i > 0:
                runs[name].append(run)
    bare = _import(None)[1]
    rows = []
    for name in names:
        row = {
            "package": name,
            "import_ms": statistics.median(r[0] for r in runs[name]),
            "import_mib": statistics.median(r[1] for r in runs[name]) - bare,
            "disk_mib": _disk(*_PACKAGES[name]),
        }
        rows.append(row)
        print(f"{name:<12} import {row['import_ms']:8.1f} ms  {row['import_mib']:8.1f} MiB beyond Python's  "
              f"disk {row['disk_mib']:8.1f} MiB", flush=True)  # fmt: skip
    return rows
