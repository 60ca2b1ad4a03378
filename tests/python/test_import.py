"""What `import lamella` loads, and PyTorch's names at top level."""

import subprocess
import sys

import numpy as np
import pytest

import lamella


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_is_lazy():
    loaded = run("import sys, lamella; print([m for m in sys.modules if m.startswith('lamella.')])")
    assert set(eval(loaded)) <= {"lamella._config", "lamella._cpu", "lamella._errors", "lamella._threadpoolctl"}


def test_submodules_on_first_use():
    assert run("import lamella as torch; print(torch.nn.Linear(2, 3).weight.shape)") == "(3, 2)"
    assert run("import lamella as torch; print(torch.utils.data.DataLoader.__name__)") == "DataLoader"
    assert run("import lamella; print(lamella.kernels.softmax.__name__)") == "softmax"
    assert run("from lamella.kernels import *; print(callable(softmax))") == "True"
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = lamella.no_such_thing


NAMES = (
    "tensor Tensor from_numpy zeros ones randn rand randint arange full zeros_like relu sigmoid tanh softmax exp log "
    "cat stack argmax matmul no_grad manual_seed float32 float64 int64 long save load device cuda eye linspace where"
)


def test_names():
    missing = [name for name in NAMES.split() if not hasattr(lamella, name)]
    assert not missing and set(dir(lamella)) >= {"nn", "optim", "tensor", "seed"}


def test_creation():
    assert lamella.zeros(2, 3).shape == lamella.ones((2, 3)).shape == (2, 3)
    assert lamella.tensor([1, 2]).dtype == lamella.long and lamella.tensor([1.0]).dtype == lamella.float32
    assert lamella.tensor(np.ones(2)).dtype == lamella.float64 and lamella.tensor([True]).dtype == lamella.bool
    assert lamella.arange(3).tolist() == [0, 1, 2] and lamella.arange(0, 1, 0.5).dtype == lamella.float32
    assert lamella.full((2,), 7).dtype == lamella.int64 and lamella.full((2,), 1.5).dtype == lamella.float32
    assert lamella.eye(2).tolist() == [[1, 0], [0, 1]] and lamella.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    a = np.zeros(2, np.float32)
    assert lamella.from_numpy(a).numpy() is a and lamella.tensor(a).numpy() is not a
    assert lamella.as_tensor(a).numpy() is a
    lamella.seed(0)
    x = lamella.randint(2, 5, (1000,))
    assert x.min().item() == 2 and x.max().item() == 4
    assert sorted(lamella.randperm(5).tolist()) == [0, 1, 2, 3, 4]
    u = lamella.rand(10000)
    # The mean of 10^4 uniform numbers has a standard error of 0.0029.
    assert abs(u.mean().item() - 0.5) < 0.015 and u.min().item() >= 0 and u.max().item() < 1


def test_devices():
    assert str(lamella.ones(1).device) == "cpu" and lamella.device("cuda:1").index == 1
    assert not lamella.cuda.is_available()
    for make in (lambda: lamella.zeros(1, device="cuda"), lambda: lamella.ones(1).cuda()):
        with pytest.raises(RuntimeError, match="no CUDA module"):
            make()
    assert lamella.ones(1).to(lamella.device("cpu"), lamella.float64).dtype == lamella.float64
    with pytest.raises(RuntimeError, match="expected 'cpu' or 'cuda'"):
        lamella.device("tpu")


def test_save_and_load(tmp_path):
    net = lamella.nn.Sequential(lamella.nn.Conv2d(1, 2, 3), lamella.nn.BatchNorm2d(2))
    path = tmp_path / "net.safetensors"
    lamella.save(net.state_dict(), path)
    other = lamella.nn.Sequential(lamella.nn.Conv2d(1, 2, 3), lamella.nn.BatchNorm2d(2))
    other.load_state_dict(lamella.load(path))
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(TypeError, match="pickled objects are not supported"):
        lamella.save(net, path)
    with pytest.raises(ValueError, match=r"\.safetensors"):
        lamella.save(net.state_dict(), tmp_path / "net.h5")
    with pytest.raises(NotImplementedError, match="weights_only"):
        lamella.load(path, weights_only=False)
