"""Run cases on Lamella and its peers in turns and print one table of ratios to the best peer."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

PEERS = ("torch", "jax", "keras", "onnxruntime", "ncnn", "numpy")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LAMELLA_NUM_THREADS")
_TOLERANCE = 1e-4  # of the scale of a result: long sums and Winograd convolutions stay below, mistakes do not


def _modules(peers: Iterable[str], threads: int) -> dict[str, Any]:
    found = {}
    for name in ["lamella", *peers]:
        try:
            found[name] = importlib.import_module(f"bench.peers.on_{name}")
        except ImportError as e:
            print(f"{name}: skipped, not installed ({e})", file=sys.stderr)
            continue
        found[name].setup(threads)
    return found


def _difference(ours: Any, theirs: Any) -> str:
    """What two results disagree in; nothing where they agree or one is not given."""
    import numpy as np

    if ours is None or theirs is None:
        return ""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} and {theirs.shape}"
    error = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
    return "" if error <= _TOLERANCE else f"{error:.1e} of the scale"


def _forms(case: Any, modules: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is to be timed, and which forms are not because their results are not Lamella's."""
    from .measure import Form

    forms: dict[str, Any] = {}
    wrong = []
    ours = None
    for name, module in modules.items():
        make = getattr(module, case.kind, None)
        try:
            made = make(**case.args) if make else {}
        except Exception as e:  # a peer that cannot do a case leaves the others their turn
            if name == "lamella":
                raise
            print(f"{case.name}: {name} failed: {type(e).__name__}: {str(e)[:300]}", file=sys.stderr)
            continue
        for variant, form in ({"": made} if isinstance(made, Form) else made).items():
            full = f"{name}-{variant}" if variant else name
            result, form.result = form.result, None  # large ones are not kept
            ours = result if ours is None and name == "lamella" else ours
            difference = _difference(ours, result)
            if difference:
                print(f"{case.name}: lamella and {full} differ: {difference}", file=sys.stderr)
                wrong.append(full)
            else:
                forms[full] = form
    return forms, wrong


def _measure(cases: Iterable[tuple[Any, dict[str, Any]]], peers: list[str], threads: int, rounds: int) -> list[Any]:
    """The cases in this process, whose thread variables are set already; each row gets the entries beside its case."""
    from . import measure, report

    modules = _modules(peers, threads)
    rows = []
    for case, entries in cases:
        forms, wrong = _forms(case, modules)
        timings = measure.in_turns(forms, rounds=rounds)
        row: dict[str, Any] = {"case": case.name, "threads": threads, "unit": case.unit, **entries, "peers": {}}
        if wrong:
            row["disagree"] = wrong
        for name, t in timings.items():
            value = case.work / t.median if case.work else t.median * 1e6
            entry = {"seconds": t.median, "best_seconds": t.best, "spread": t.spread, "foreign": t.foreign}
            row["peers"][name] = {"value": value, **entry}
        rows.append(row)
        print(report.line(row), flush=True)
        del forms
        gc.collect()  # before the next case's networks are built
    return rows


def _in_own_process(args: argparse.Namespace, threads: int) -> list[Any]:
    """Libraries read their thread variables once, when they are loaded.

    The process is kept to as many CPUs: what some of them run beside their pools (queues, executors) counts as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "rows.json"
        env = {**os.environ, **{v: str(threads) for v in _THREAD_VARIABLES}, "LAMELLA_BENCH_CHILD": "1"}
        command = [sys.executable, "-m", "bench.peers", "--cases", args.cases, "--peers", args.peers, "--threads",
                   str(threads), "--rounds", str(args.rounds), "--json", str(part)]  # fmt: skip
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        try:
            if cpus:
                os.sched_setaffinity(0, cpus[:threads])
            subprocess.run(command + ["--scaling"] * args.scaling, env=env, check=True)
        finally:
            if cpus:
                os.sched_setaffinity(0, cpus)
        return list(json.loads(part.read_text()))


def _about(peers: list[str]) -> dict[str, Any]:
    import lamella._cpu as native

    versions = {}
    for name in ["lamella", *peers, "tensorflow-cpu"]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"date": date.today().isoformat(), "cpu": native.cpu_model(), "isa": native.isa(),
            "python": platform.python_version(), "versions": versions}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--cases", default="", metavar="REGEX", help="those whose name it is found in (all)")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--threads", default="1,2", metavar="COUNTS", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="samples of each peer; default: %(default)s")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--scaling", action="store_true", help="cost against batch, image size, channels, ... instead")
    instead.add_argument("--memory", action="store_true", help="peak of training steps, against PyTorch, one thread")
    instead.add_argument("--footprint", action="store_true", help="time and memory of imports, size on disk")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    peers = [p for p in args.peers.split(",") if p]
    unknown = [p for p in peers if p not in PEERS]
    if unknown:
        parser.error(f"--peers: expected names among {', '.join(PEERS)}, got {', '.join(unknown)}")
    counts = [int(t) for t in args.threads.split(",")]
    if os.environ.get("LAMELLA_BENCH_CHILD"):
        from . import cases

        if args.scaling:
            chosen = [(s.case(n), {"sweep": s.name, "axis": s.axis, "size": n}) for s in cases.SWEEPS for n in s.sizes]
        else:
            chosen = [(c, {}) for c in cases.CASES]
        chosen = [(c, entries) for c, entries in chosen if re.search(args.cases, c.name)]
        Path(args.json).write_text(json.dumps(_measure(chosen, peers, counts[0], args.rounds)))
        return 0
    from . import footprint, memory, report

    if args.footprint:
        rows = footprint.measure(peers, min(args.rounds, 5))
        if args.json:
            Path(args.json).write_text(json.dumps({**_about(peers), "rows": rows}, indent=1) + "\n")
        return 0
    rows = memory.measure(args.cases) if args.memory else [r for t in counts for r in _in_own_process(args, t)]
    if not (args.memory or args.scaling):
        print("\n" + report.table(rows))
    if args.json:
        Path(args.json).write_text(json.dumps({**_about(peers), "rows": rows}, indent=1) + "\n")
    if args.plot:
        (report.plot_memory if args.memory else report.plot_sweeps if args.scaling else report.plot)(rows, args.plot)
    return int(any("disagree" in r for r in rows))


if __name__ == "__main__":
    sys.exit(main())
