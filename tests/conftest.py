"""What holds for all tests.

LAMELLA_TEST_BACKEND names a shared object, the emulated CUDA device of tests/cuda_host: ops then run its kernels, on
NumPy's arrays. LAMELLA_TEST_CUDA is "real", for a GPU, or the build folder of the emulated device: ops run on copies of
the arrays there. Tests marked `cpu` are about the CPU's own kernels and are left out of both.
"""

import os
from pathlib import Path

import on_device
import pytest

BACKEND = os.environ.get("LAMELLA_TEST_BACKEND", "")
DEVICE = os.environ.get("LAMELLA_TEST_CUDA", "")
if DEVICE:
    on_device.load(DEVICE)

import lamella  # noqa: E402

HERE = Path(__file__).parent


def pytest_configure(config):
    config.addinivalue_line("markers", "cpu: about the CPU's own kernels; left out on devices")
    config.addinivalue_line(
        "markers", "bindings: about plans or arguments; left out where ops are diverted to a device"
    )
    config.addinivalue_line("markers", "backend: about the kernels that LAMELLA_TEST_BACKEND names; skipped without it")
    if BACKEND:
        lamella._cpu.run_everything_on(BACKEND)


def pytest_collection_modifyitems(config, items):
    if not BACKEND:
        for item in items:
            if item.get_closest_marker("backend"):
                item.add_marker(pytest.mark.skip(reason="LAMELLA_TEST_BACKEND names no emulated device"))
    if not DEVICE:
        for item in items:
            if "cuda" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason="LAMELLA_TEST_CUDA names no device"))
    if not (BACKEND or DEVICE):
        return
    unfit = ("cpu", "bindings") if DEVICE else ("cpu",)
    left_out = [item for item in items if any(map(item.get_closest_marker, unfit))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    about_ops = [HERE / "kernels" in i.path.parents or HERE / "ops" in i.path.parents for i in items]
    if DEVICE and any(about_ops):
        if not all(about_ops):
            raise pytest.UsageError("on a device, tests/kernels and tests/ops run apart from others: they divert ops")
        on_device.divert()


@pytest.fixture
def cuda():
    """The name of the device."""
    return "cuda"


@pytest.fixture(autouse=True)
def number_of_threads():
    """Tests may set the number of threads; the next one finds it as it was."""
    before = lamella.get_num_threads()
    yield
    if lamella.get_num_threads() != before:
        lamella.set_num_threads(before)
