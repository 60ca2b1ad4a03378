"""Checks that the kernels' ISA objects share no code with the rest of the program.

A function that an AVX2 or AVX-512 object defines weakly (an inline function, a template instance) may be defined by
other objects, too; the linker keeps one copy, and if that is the AVX-512 one, every older CPU crashes in code that
never asked for AVX-512. So nothing weak may be defined there outside the level's own namespace, where everything global
must stand, and nothing may be called but that namespace and the C library.

    check_isa_symbols.py [--nm NM] BUILD_DIR|OBJECT...
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

LEVELS = ("avx2", "avx512")
SOURCES = Path(__file__).resolve().parents[2] / "csrc"

# Undefined symbols that break the rules of isa.h: the C++ library, exceptions, allocation.
FORBIDDEN = re.compile(
    r"_ZSt|_ZNK?St|_ZNK?9__gnu_cxx|_Zn[wa]|_Zd[la]|__cxa_|_Unwind_"
    r"|(malloc|calloc|realloc|free|aligned_alloc|posix_memalign)$"
)


def level_of(path: Path) -> str | None:
    """The ISA level that an object was compiled for, from its target's folder; None for portable code."""
    for part in path.parts:
        for level in LEVELS:
            if part == f"lamella_kernels_{level}.dir":
                return level
    return None


def objects_in(build: Path) -> list[Path]:
    """The ISA objects below a build folder, without leftovers of sources that are gone."""
    found = []
    for path in sorted(build.rglob("lamella_kernels_*.dir/**/*.o")):
        source = SOURCES / "kernels" / "cpu" / path.name.removesuffix(".o")
        if level_of(path) is not None and source.exists():
            found.append(path)
    return found


def check_object(path: Path, level: str, nm: str = "nm") -> list[str]:
    """What is wrong with one object, a line each."""
    listing = subprocess.run([nm, "-P", str(path)], check=True, capture_output=True, text=True).stdout
    own = f"N7lamella{len(level)}{level}"  # the mangled lamella::<level>
    problems = []
    for line in listing.splitlines():
        name, kind = line.split()[:2]
        if kind in "WVu" and not name.startswith(f"_Z{own}"):
            # A template of the level's own namespace is another symbol at every level; anything else is shared.
            problems.append(f"{path}: weak definition of {name}")
        elif kind == "U":
            foreign = "7lamella" in name and own not in name
            if foreign or FORBIDDEN.match(name):
                problems.append(f"{path}: uses {name}")
        elif kind.isupper() and own not in name:
            problems.append(f"{path}: global definition of {name} outside lamella::{level}")
        elif name.startswith("_GLOBAL__sub_I"):
            problems.append(f"{path}: static initialiser {name}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nm", default="nm")
    parser.add_argument("paths", nargs="+", type=Path)
    args = parser.parse_args()
    objects = [o for p in args.paths for o in (objects_in(p) if p.is_dir() else [p])]
    checked = [(o, level) for o in objects if (level := level_of(o)) is not None]
    if not checked:
        print("no ISA objects among the arguments", file=sys.stderr)
        return 2
    problems = [line for o, level in checked for line in check_object(o, level, args.nm)]
    print("\n".join([*problems, f"{len(checked)} objects, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
