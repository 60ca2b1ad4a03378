"""The promises about size and import time, checked on the installed package."""

import subprocess
import sys
import time
from pathlib import Path

import lamella

folder = Path(lamella.__file__).parent
size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts) / 2**20
print(f"installed size: {size:.1f} MiB")
if size > 15:
    sys.exit("the package is larger than it may be")


def seconds(code: str) -> float:
    """Best of several fresh processes."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


extra = seconds("import lamella") - seconds("import numpy")
print(f"import lamella: {extra * 1000:.0f} ms beyond NumPy's own import")
