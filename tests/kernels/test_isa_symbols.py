"""The ISA objects of a build folder must not define or use code that older CPUs could be handed.

The folder is LAMELLA_BUILD_DIR, or build/ in the source tree; the native build runs the same check as a ctest.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

spec = importlib.util.spec_from_file_location("check_isa_symbols", ROOT / "tests/native/check_isa_symbols.py")
checker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checker)


@pytest.fixture(scope="module")
def objects():
    build = Path(os.environ.get("LAMELLA_BUILD_DIR", ROOT / "build"))
    cache = build / "CMakeCache.txt"
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    if not cache.exists():
        pytest.skip(f"{build} is no build folder; name one in LAMELLA_BUILD_DIR")
    if any(line.startswith("LAMELLA_SANITIZE:") and not line.endswith("=") for line in cache.read_text().splitlines()):
        pytest.skip(f"{build} is a sanitizer build, whose objects hold the sanitizer's own symbols")
    found = checker.objects_in(build)
    if not found:
        pytest.skip(f"{build} holds no AVX2 or AVX-512 objects")
    return found


def test_isa_objects_share_no_code(objects):
    assert [p for o in objects for p in checker.check_object(o, checker.level_of(o))] == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("} inline int f(int x) { return x; } int (*g())(int) { return f; } namespace avx2 {", "weak definition"),
        ("} template <class T> T f(T x) { return x; } template int f<int>(int); namespace x {", "weak definition"),
        ("} int f(int x) { return x; } namespace x {", "outside lamella::avx2"),
        ("} namespace portable { int f(int); } namespace avx2 { int g() { return portable::f(1); }", "uses"),
        ("int* f() { return new int; }", "uses"),
        ("void f() { throw 1; }", "uses"),
        ("int f(); int g = f();", "static initialiser"),
    ],
)
def test_checker_sees_violations(tmp_path, source, problem):
    compiler = shutil.which("c++")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C++ compiler or nm")
    folder = tmp_path / "lamella_kernels_avx2.dir"
    folder.mkdir()
    (folder / "x.cpp").write_text(f"namespace lamella {{ namespace avx2 {{ {source} }} }}")
    subprocess.run([compiler, "-c", "x.cpp", "-o", "x.cpp.o"], cwd=folder, check=True)
    problems = checker.check_object(folder / "x.cpp.o", "avx2")
    assert any(problem in p for p in problems), problems
