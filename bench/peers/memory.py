"""Peak memory of a training step: a fresh process for each network and framework, counted from before the model."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .cases import CASES
from .networks import NETWORKS, data, weights

_STATUS = Path("/proc/self/status")


def _kib(entry: str) -> int:
    found = re.search(rf"^{entry}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _one(framework: str, args: dict[str, Any]) -> float:
    """MiB that building the network and a few steps on it took at most, beside data and first weights."""
    module = importlib.import_module(f"bench.peers.on_{framework}")
    module.setup(1)
    network, rows = NETWORKS[args["network"]], 2 * args["batch"]
    data(network, rows)  # these are kept
    weights(network.name)
    weights(network.name, channels_first=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _kib("VmRSS")
    form = "channels_last" if network.images else ""
    if framework == "torch":
        run = module.train(**args, rows=rows, forms=[form])[form].run
    else:
        run = module.fit(**args, rows=rows).run
    for _ in range(3):
        run()
    return (_kib("VmHWM") - before) / 1024


def measure(pattern: str) -> list[dict[str, Any]]:
    """A row for each training case, for Lamella and PyTorch (images channels last)."""
    rows = []
    for case in CASES:
        if case.kind != "train" or not re.search(pattern, case.name):
            continue
        row: dict[str, Any] = {"case": case.name, "unit": "MiB"}
        for framework in ("lamella", "torch"):
            command = [sys.executable, "-m", "bench.peers.memory", framework, json.dumps(case.args)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row[framework] = float(done.stdout.split()[-1])
        rows.append(row)
        print(f"{case.name:<28} lamella {row['lamella']:8.1f} MiB  torch {row['torch']:8.1f} MiB  "
              f"{row['lamella'] / row['torch']:.2f} of torch's", flush=True)  # fmt: skip
    return rows


if __name__ == "__main__":
    print(_one(sys.argv[1], json.loads(sys.argv[2])))
