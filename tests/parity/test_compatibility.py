"""docs/compatibility.md tells the truth, and no argument is ignored without saying so."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("keras", minversion="3.0")

from .compatibility import comparing, writing
from .compatibility.cases import NOTES


@pytest.fixture(scope="module")
def report():
    return comparing.build()


def test_every_argument_is_the_same_or_noted_or_refused(report):
    assert not report.problems, "\n".join(report.problems)


def test_every_note_is_needed(report):
    unused = [NOTES[i][0] for i in range(len(NOTES)) if i not in report.noted]
    assert not unused


def test_the_file_is_current(report):
    written = writing.PATH.read_text()
    if writing.versions() not in written:
        pytest.skip(f"written for other versions than {writing.versions()}")
    assert written == writing.render(report), "run: PYTHONPATH=python:tests python -m parity.compatibility"
