"""The promises about size and import time, checked on the installed package."""

import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import lamella

folder = Path(lamella.__file__).parent
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
    for file in folder.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            wheel.write(file, file.relative_to(folder.parent))
size = packed.tell() / 2**20
print(f"wheel: {size:.2f} MiB")
if size > 5:
    sys.exit("the wheel is larger than 5 MiB")


def seconds(code: str) -> float:
    """Best of several fresh processes."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


extra = seconds("import numpy, lamella") - seconds("import numpy")
print(f"import lamella: {extra * 1000:.0f} ms beyond NumPy's own import")
