"""The device that the tests of this folder run on.

LAMELLA_TEST_CUDA is the build folder of the emulated device, whose module takes the place of the real one, with a CuPy
that keeps its arrays in NumPy's memory; or "real", for a GPU. Without it these tests are left out.
"""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

import pytest

WHERE = os.environ.get("LAMELLA_TEST_CUDA", "")


def _load_emulated():
    sys.path.insert(0, str(Path(__file__).parent / "fake"))
    (path,) = Path(WHERE).glob("_cuda*.so")
    loader = importlib.machinery.ExtensionFileLoader("lamella._cuda", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lamella._cuda", loader))
    loader.exec_module(module)
    sys.modules["lamella._cuda"] = module
    import lamella

    lamella._cuda = module


if WHERE and WHERE != "real":
    _load_emulated()


def pytest_collection_modifyitems(items):
    if WHERE:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "cuda" in item.fixturenames:
            item.add_marker(pytest.mark.skip(reason="LAMELLA_TEST_CUDA names no device"))


@pytest.fixture
def cuda():
    """The name of the device."""
    return "cuda"
