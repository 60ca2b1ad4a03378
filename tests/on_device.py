"""Runs tests that are written for NumPy's arrays on a device: each op gets copies there, and its results come back.

`load` brings the device: a GPU, or the emulated one, whose build folder it is given, with a CuPy to go with it.
"""

import importlib.machinery
import importlib.util
import sys
from itertools import chain
from pathlib import Path

import numpy as np


def load(where):
    """Make `lamella._cuda` the module of the emulated device in the folder `where`, or leave the real one ("real")."""
    if where == "real":
        return
    sys.path.insert(0, str(Path(__file__).parent / "cuda_host" / "fake"))
    (path,) = Path(where).glob("_cuda*.so")
    loader = importlib.machinery.ExtensionFileLoader("lamella._cuda", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lamella._cuda", loader))
    loader.exec_module(module)
    sys.modules["lamella._cuda"] = module
    import lamella

    lamella._cuda = module


def divert():
    """Let every op and optimizer step run on the device."""
    import lamella
    from lamella import _cpu, _device

    _device.check_device("cuda")
    cupy = sys.modules["cupy"]

    def there(a):
        # The native byte order and C order are what the CPU's binding makes of an array; errors of dtype stay its own.
        known = isinstance(a, np.ndarray) and (
            a.dtype in (bool, np.uint8) or (a.dtype.kind in "fiu" and a.itemsize >= 4)
        )
        if not known:
            return a
        return cupy.asarray(np.asarray(a, a.dtype.newbyteorder("="), order="C"))

    def back(a):
        return a if a is None or isinstance(a, np.ndarray) else cupy.asnumpy(a)

    def all_there(arrays):
        return None if arrays is None else [there(a) for a in arrays]

    def give(results, out):
        for r, o in zip(results, out or (), strict=False):
            if o is not None and isinstance(o, np.ndarray):
                o[...] = back(r)
        return [back(r) if o is None else o for r, o in zip(results, out or [None] * len(results), strict=True)]

    def _name(dtype):
        return "uint8" if dtype.kind == "b" else dtype.newbyteorder("=").name

    class Record:
        def __init__(self, record):
            self.record = record

        def backward(self, grad_outputs, wanted, out=None):
            return give(self.record.backward(all_there(grad_outputs), wanted), out)

    class Op(_cpu.Op):
        """Runs on copies; what the op changes in place comes back too."""

        def _updated(self, inputs, copies):
            for a, c in zip(inputs, copies, strict=True):
                if isinstance(a, np.ndarray) and a is not c and a.flags.writeable and a.dtype.kind == "f":
                    new = back(c)
                    if not np.array_equal(a, new, equal_nan=True):
                        a[...] = new

        def forward(self, inputs, training=False, out=None):
            # The CPU says what is wrong with arguments, in its own words; its results are thrown away.
            if all(a is None or there(a) is not a for a in inputs):
                self.infer([None if a is None else (_name(a.dtype), a.shape) for a in inputs], training)
            else:
                return super().forward(inputs, training, out)
            copies = all_there(inputs)
            if not any(map(_device.on_device, copies)):
                return super().forward(inputs, training, out)
            if out is not None:  # what is wrong with it, the CPU says, and writes what is overwritten below
                super().forward(inputs, False, out)
            outputs, saved = super().forward(copies, training)
            if training:
                self._updated(inputs, copies)
            return give(outputs, out), [back(s) for s in saved]

        def direct(self, inputs, out):
            return None

        def record(self, inputs):
            copies = all_there(inputs)
            if not any(map(_device.on_device, copies)):
                return super().record(inputs)
            outputs, record = super().record(copies)
            self._updated(inputs, copies)
            return [back(o) for o in outputs], Record(record)

        def backward(self, inputs, outputs, saved, grad_outputs, wanted, out=None):
            copies = all_there(inputs)
            if not any(map(_device.on_device, copies)):
                return super().backward(inputs, outputs, saved, grad_outputs, wanted, out)
            # Keys of random streams stay on the host.
            kept = None if saved is None else [s if _on_host(s) else there(s) for s in saved]
            return give(super().backward(copies, all_there(outputs), kept, all_there(grad_outputs), wanted), out)

    def _on_host(saved):
        return isinstance(saved, np.ndarray) and saved.dtype == np.uint64 and saved.shape == (3,)

    class Optimizer(_cpu.Optimizer):
        def step(self, params, grads, states, step, *args, **kwargs):
            copies = [all_there(a) for a in (params, grads)]
            kept = [all_there(s) for s in states]
            super().step(*copies, kept, step, *args, **kwargs)
            for ours, theirs in zip(chain(params, *states), chain(copies[0], *kept), strict=True):
                ours[...] = back(theirs)

    _cpu.Op, _cpu.Optimizer = Op, Optimizer
    _cpu.Shortcuts.learn = lambda *args: None  # they lead past the op's Python object
    plain_norm = _cpu.global_norm
    _cpu.global_norm = lambda arrays: plain_norm(all_there(arrays))
    return lamella
