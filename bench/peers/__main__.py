"""Run cases on Lamella and its peers in turns and print one table of ratios to the best peer."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LAMELLA_NUM_THREADS")


def _measure(pattern: str, peers: list[str], threads: int, rounds: int) -> list[dict[str, Any]]:
    """All matching cases in this process; its thread variables are set already."""
    import numpy as np

    from . import cases, measure

    modules = {}
    for name in ["lamella", *peers]:
        try:
            modules[name] = importlib.import_module(f"bench.peers.on_{name}")
        except ImportError as e:
            print(f"{name}: not installed ({e})", file=sys.stderr)
            continue
        modules[name].setup(threads)
    rows = []
    for case in cases.CASES:
        if not re.search(pattern, case.name):
            continue
        runs: dict[str, Any] = {}
        results = {}
        for name, module in modules.items():
            make = getattr(module, case.kind, None)
            if make is not None:
                runs[name], results[name] = make(**case.args)
        ours = results.get("lamella")
        for name, theirs in results.items():
            if ours is None or theirs is None or name == "lamella":
                continue
            error = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
            if error > 1e-4:
                raise SystemExit(f"{case.name}: lamella and {name} differ by {error:.1e} of the scale")
        timings = measure.in_turns(runs, rounds=rounds)
        row: dict[str, Any] = {"case": case.name, "threads": threads, "unit": case.unit, "peers": {}}
        for name, t in timings.items():
            seconds = t.median / getattr(runs[name], "calls", 1)
            value = case.work / seconds if case.work else seconds * 1e6
            row["peers"][name] = {"value": value, "spread": t.spread, "foreign": t.foreign, "seconds": seconds}
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _ratio(row: dict[str, Any]) -> tuple[float, str]:
    others = {n: p["seconds"] for n, p in row["peers"].items() if n != "lamella"}
    if not others:
        return float("nan"), "-"
    best = min(others, key=lambda n: others[n])
    return others[best] / row["peers"]["lamella"]["seconds"], best


def _line(row: dict[str, Any]) -> str:
    ratio, best = _ratio(row)
    values = "  ".join(f"{n} {p['value']:.4g} (±{p['spread'] / 2:.0%})" for n, p in row["peers"].items())
    busy = " ~" if max(p["foreign"] for p in row["peers"].values()) > 0.15 else ""
    return f"{row['threads']}T {row['case']:<42} {ratio:6.2f}x of {best:<6} {row['unit']:<8} {values}{busy}"


def _plot(rows: list[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 0.26 * len(rows) + 1))
    labels = [f"{r['case']} ({r['threads']}T)" for r in rows]
    ratios = [_ratio(r)[0] for r in rows]
    axis.barh(labels, ratios, color=["tab:green" if r >= 1 else "tab:red" for r in ratios])
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xlabel("times the best peer's speed")
    axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--cases", default="", metavar="REGEX")
    parser.add_argument("--peers", default="torch,numpy", metavar="NAMES")
    parser.add_argument("--threads", default="1,2", metavar="COUNTS")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    counts = [int(t) for t in args.threads.split(",")]
    peers = [p for p in args.peers.split(",") if p]
    if len(counts) == 1 and os.environ.get("LAMELLA_BENCH_CHILD"):
        rows = _measure(args.cases, peers, counts[0], args.rounds)
        if args.json:
            Path(args.json).write_text(json.dumps(rows))
        return 0
    # One process per thread count: libraries read their thread variables once, when they are loaded.
    rows = []
    for threads in counts:
        part = Path(f".bench-{os.getpid()}-{threads}.json")
        env = {**os.environ, **{v: str(threads) for v in _THREAD_VARIABLES}, "LAMELLA_BENCH_CHILD": "1"}
        command = [sys.executable, "-m", "bench.peers", "--cases", args.cases, "--peers", args.peers, "--threads",
                   str(threads), "--rounds", str(args.rounds), "--json", str(part)]  # fmt: skip
        try:
            subprocess.run(command, env=env, check=True)
            rows += json.loads(part.read_text())
        finally:
            part.unlink(missing_ok=True)
    if args.json:
        import lamella._cpu as native

        about = {"date": date.today().isoformat(), "cpu": native.cpu_model(), "isa": native.isa(),
                 "python": platform.python_version(), "rows": rows}  # fmt: skip
        Path(args.json).write_text(json.dumps(about, indent=1) + "\n")
    if args.plot:
        _plot(rows, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
