"""The command line."""

import subprocess
import sys

import pytest


def run(*args, cwd):
    return subprocess.run(
        [sys.executable, "-m", "lamella", *args], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_info(tmp_path):
    done = run("info", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("lamella", "numpy", "isa", "threads", "cuda"):
        assert word in done.stdout


def test_quickstart_on_the_digits(tmp_path):
    done = run("quickstart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = next(s for s in done.stdout.splitlines() if s.startswith("test accuracy"))
    assert float(line.split()[2]) >= 0.98
    assert "images/s" in done.stdout and "epoch 20" in done.stdout
    assert (tmp_path / "digits.safetensors").exists()


@pytest.mark.parametrize("args", [["quickstart", "--epochs", "0"], ["nonsense"], []])
def test_bad_arguments(tmp_path, args):
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 2 and "usage" in done.stderr


def test_missing_data_says_where_to_put_them(tmp_path):
    done = run("quickstart", "--data", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2 and "train-images" in done.stderr
