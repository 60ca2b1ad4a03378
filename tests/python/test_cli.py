"""The command line."""

import subprocess
import sys

import numpy as np
import pytest

import lamella
from lamella import cli, datasets, models


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


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nonsense"], "invalid choice"),
        ([], "required"),
        (["quickstart", "--epochs", "0"], "argument --epochs: expected an integer from 1"),
        (["quickstart", "--seed", "-1"], "argument --seed: expected an integer from 0"),
        (["quickstart", "--seed", "x"], "argument --seed: expected an integer from 0"),
        (["quickstart", "--seed", str(2**64)], "argument --seed: expected an integer from 0"),
        (["quickstart", "--output", "model.h5"], "models are written as .safetensors files"),
        (["quickstart", "--output", "nowhere/m.safetensors"], "--output: nowhere/m.safetensors: there is no folder"),
        (["quickstart", "--output", "."], "--output: expected a file, got the folder"),
        (["quickstart", "--plot", "picture.txt"], "--plot: expected a name that ends in .png"),
        (["quickstart", "--plot", "nowhere/picture.png"], "--plot: nowhere/picture.png: there is no folder"),
        (["quickstart", "--data", "mnist"], "--data: expected digits, fashion-mnist or a folder, got 'mnist'"),
    ],
)
def test_bad_arguments_are_refused_before_training(tmp_path, monkeypatch, capsys, args, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    seen = capsys.readouterr()
    assert stop.value.code == 2 and "usage: lamella" in seen.err and text in seen.err
    assert seen.out == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"lamella {lamella.__version__}\n"


def test_a_failing_save_ends_without_a_traceback(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models.Model, "save", full)
    assert cli.main(["quickstart", "--epochs", "1"]) == 2
    assert "lamella quickstart: [Errno 28] No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("size", [8, 28])
@pytest.mark.parametrize("columns", [None, 8, 20, 79, 80, 83, 111, 200])
def test_pictures_fit_the_terminal(monkeypatch, capsys, size, columns):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr("os.get_terminal_size", lambda *a: (_ for _ in ()).throw(OSError()))  # no terminal
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    images = np.ones((6, size, size, 1))[..., 0]
    labels = np.arange(6)
    names = datasets.fashion_mnist.CLASSES if size == 28 else [str(i) for i in range(10)]
    cli._show_in_terminal(images, labels, np.eye(10)[labels], names)
    *pictures, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "6 of these 6 are right"
    longest = max(map(len, pictures))
    assert longest <= (columns or 80)
    # every picture is there, as large as it may be
    assert sum(line.count("@") for line in pictures) % 6 == 0
    assert longest > min(columns or 80, 6 * 2 * min(size, 14)) // 2


def test_missing_data_says_where_to_put_them(tmp_path):
    done = run("quickstart", "--data", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2 and "train-images" in done.stderr
