"""What holds for all tests.

LAMELLA_TEST_BACKEND names a shared object, the emulated CUDA device of tests/cuda_host: ops then run its kernels, on
NumPy's arrays. Tests marked `cpu` are about the CPU's own kernels and are left out there.
"""

import os

import pytest

import lamella

BACKEND = os.environ.get("LAMELLA_TEST_BACKEND", "")


def pytest_configure(config):
    config.addinivalue_line("markers", "cpu: about the CPU's own kernels; left out on an emulated device")
    if BACKEND:
        lamella._cpu.run_everything_on(BACKEND)


def pytest_collection_modifyitems(config, items):
    if not BACKEND:
        return
    left_out = [item for item in items if item.get_closest_marker("cpu")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("cpu")]


@pytest.fixture(autouse=True)
def number_of_threads():
    """Tests may set the number of threads; the next one finds it as it was."""
    before = lamella.get_num_threads()
    yield
    if lamella.get_num_threads() != before:
        lamella.set_num_threads(before)
