"""What holds for all tests."""

import pytest

import lamella


@pytest.fixture(autouse=True)
def number_of_threads():
    """Tests may set the number of threads; the next one finds it as it was."""
    before = lamella.get_num_threads()
    yield
    if lamella.get_num_threads() != before:
        lamella.set_num_threads(before)
