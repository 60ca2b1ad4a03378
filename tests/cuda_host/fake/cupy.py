"""As much of CuPy as Lamella uses, over NumPy's memory: the arrays of the emulated device.

An array here is no NumPy array, and refuses to become one by itself, as CuPy's do. Functions of NumPy act on it through
its protocols.
"""

import types
from typing import ClassVar

import numpy as np

__version__ = "0"


def _unwrap(v):
    if isinstance(v, ndarray):
        return v._a
    if isinstance(v, (list, tuple)):
        return type(v)(_unwrap(i) for i in v)
    if isinstance(v, dict):
        return {k: _unwrap(i) for k, i in v.items()}
    return v


def _wrap(v):
    if isinstance(v, np.generic):
        v = np.asarray(v)
    if isinstance(v, np.ndarray):
        a = ndarray.__new__(ndarray)
        a._a = v
        return a
    if isinstance(v, (list, tuple)):
        return type(v)(_wrap(i) for i in v)
    return v


def _check_host(args):
    for v in args:
        if isinstance(v, np.ndarray) and v.ndim > 0:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")


class _Memory:
    def __init__(self, a):
        self.ptr = a.__array_interface__["data"][0]
        self.device_id = 0


class ndarray:
    __array_priority__ = 100
    __slots__ = ("__weakref__", "_a")

    def __new__(cls, shape=None, dtype=np.float64):
        self = object.__new__(cls)
        if shape is not None:
            self._a = np.empty(shape, dtype)
        return self

    data = property(lambda self: _Memory(self._a))
    T = property(lambda self: _wrap(self._a.T))

    @property
    def __cuda_array_interface__(self):
        return dict(self._a.__array_interface__, version=3)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        _check_host(inputs)
        return _wrap(getattr(ufunc, method)(*_unwrap(inputs), **_unwrap(kwargs)))

    def __array_function__(self, func, kinds, args, kwargs):
        _check_host(args)
        return _wrap(func(*_unwrap(args), **_unwrap(kwargs)))

    def get(self):
        return self._a.copy()

    def set(self, array):
        self._a[...] = array

    def item(self, *args):
        return self._a.item(*args)

    def tolist(self):
        return self._a.tolist()

    def __getitem__(self, i):
        return _wrap(self._a[_unwrap(i)])

    def __setitem__(self, i, v):
        _check_host([v])
        self._a[_unwrap(i)] = _unwrap(v)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self._a)

    def __int__(self):
        return int(self._a)

    def __float__(self):
        return float(self._a)

    def __repr__(self):
        return repr(self._a)

    def __deepcopy__(self, memo):
        return _wrap(self._a.copy())

    def __reduce__(self):
        return asarray, (self._a,)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        v = getattr(self._a, name)
        if not callable(v):
            return v
        return lambda *args, **kwargs: _wrap(v(*_unwrap(args), **_unwrap(kwargs)))


def _operator(name):
    def call(self, *args):
        _check_host(args)
        return _wrap(getattr(self._a, name)(*_unwrap(args)))

    return call


_BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
_OTHER = "lt le gt ge eq ne neg pos abs invert"
for _name in [*_BINARY.split(), *(f"r{n}" for n in _BINARY.split()), *_OTHER.split()]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ["iadd", "isub", "imul", "itruediv"]:

    def _in_place(self, other, _name=f"__{_name}__"):
        getattr(self._a, _name)(_unwrap(other))
        return self

    setattr(ndarray, f"__{_name}__", _in_place)
ndarray.__hash__ = None


def asarray(a, dtype=None, order=None):
    return (
        _wrap(np.array(a, dtype, order=order)) if not isinstance(a, ndarray) else _wrap(np.asarray(a._a, dtype, order))
    )


def array(a, dtype=None, copy=True, order="K"):
    return _wrap(np.array(_unwrap(a), dtype, order=order))


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


dtype = np.dtype


def get_default_memory_pool():
    return types.SimpleNamespace(free_bytes=lambda: 0)


class _Block:
    def __init__(self, n):
        self._a = np.empty(n + 256, np.uint8)
        self.ptr = -(-self._a.__array_interface__["data"][0] // 256) * 256


class Stream:
    _current: ClassVar = []
    _count = 0

    def __init__(self, non_blocking=False):
        Stream._count += 1
        self.ptr = Stream._count

    def __enter__(self):
        Stream._current.append(self)
        return self

    def __exit__(self, *error):
        Stream._current.pop()

    def synchronize(self):
        pass


_USUAL = types.SimpleNamespace(ptr=0, synchronize=lambda: None)


class _Runtime(types.SimpleNamespace):
    class CUDARuntimeError(RuntimeError):
        pass


cuda = types.SimpleNamespace(
    alloc=_Block,
    Stream=Stream,
    get_current_stream=lambda: Stream._current[-1] if Stream._current else _USUAL,
    runtime=_Runtime(getDeviceCount=lambda: 1, memGetInfo=lambda: (1 << 34, 1 << 34)),
)


def __getattr__(name):
    f = getattr(np, name)
    return lambda *args, **kwargs: _wrap(f(*_unwrap(args), **_unwrap(kwargs)))
