"""The methods and operators of `Tensor`: PyTorch's names over `lamella.functional`."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._device import device_of, on_device, to_host
from ._dtypes import as_dtype, is_float

if TYPE_CHECKING:
    from . import functional as F
    from .autograd import Tensor

__all__ = ["TensorMethods", "bind"]


def bind(functional: Any) -> None:
    """Hand over `lamella.functional`, which itself needs Tensor."""
    globals()["F"] = functional


def _ints(args: Sequence[Any]) -> tuple[int, ...]:
    """view(2, 3) and view((2, 3)) alike."""
    if len(args) == 1 and not hasattr(args[0], "__index__"):
        args = args[0]
    return tuple(int(a) for a in args)


class TensorMethods:
    """Everything of Tensor that is not the tape."""

    __slots__ = ()

    if TYPE_CHECKING:
        _data: np.ndarray
        _edge: Any
        _grad: np.ndarray | None
        _rg: bool

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def dtype(self) -> np.dtype: ...

    # -- what it is --

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one dimension of it."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for d in self.shape:
            n *= d
        return n

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float type."""
        return is_float(self.dtype)

    def is_contiguous(self) -> bool:
        """Whether the memory is in C order."""
        return self._data.flags.c_contiguous

    @property
    def device(self) -> Any:
        """Where the memory is: `device(type='cpu')`, or a GPU."""
        return device_of(self._data)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected at least one dimension, got a scalar tensor")
        return self.shape[0]

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise RuntimeError(f"bool: expected one element, got shape {self.shape}; use any() or all()")
        return builtins.bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iub":
            raise TypeError(f"index: expected an integer tensor, got {self.dtype}")
        return int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iter: expected at least one dimension, got a scalar tensor")
        return (self[i] for i in range(self.shape[0]))

    __hash__ = object.__hash__  # that of the object: comparisons give tensors

    def __contains__(self, value: Any) -> bool:
        return builtins.bool((self == value).any())

    def __repr__(self) -> str:
        from ._printing import tensor_repr

        return tensor_repr(self)

    def _repr_html_(self) -> str:
        from ._printing import tensor_html

        return tensor_html(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.numel() == 1 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        from .autograd import wrap

        if self._edge is not None:
            raise RuntimeError("deepcopy: only leaf tensors can be copied; detach() it first")
        t = wrap(self._data.copy())
        t._rg = self._rg
        t._grad = None if self._grad is None else self._grad.copy()
        memo[id(self)] = t
        return t

    def __reduce__(self) -> Any:
        from ._creation import tensor

        if self._edge is not None:
            raise RuntimeError("pickle: only leaf tensors can be pickled; detach() it first")
        return tensor, (np.asarray(to_host(self._data), order="C"), self.dtype, None, self._rg)

    # -- out to Python and NumPy --

    def item(self) -> Any:
        """The one element as a Python number."""
        if self._data.size != 1:
            raise RuntimeError(f"item: expected one element, got shape {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def numpy(self) -> np.ndarray:
        """The memory as a NumPy array; gradients do not flow through it. Nothing is copied but from a GPU."""
        return to_host(self._data)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        array = to_host(self._data)
        if copy:
            return np.array(array, dtype=dtype)
        return array if dtype is None else array.astype(dtype, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if not on_device(self._data):
            raise AttributeError("__cuda_array_interface__: the tensor is on the CPU")
        return self._data.__cuda_array_interface__  # type: ignore[attr-defined, no-any-return]

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    # -- dtypes and devices --

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False) -> Tensor:
        """This tensor with another dtype or on another device; gradients find their way back.

        Parameters
        ----------
        *args
            A dtype, a device or its name, or a tensor whose dtype is taken, in any order.
        dtype : dtype, optional
            The wanted dtype.
        device : str or device, optional
            The wanted device.
        copy : bool
            Copy even if nothing changes.
        """
        from ._device import parse_to
        from ._functional.shape import to_device

        wanted, where = parse_to(args, dtype, device)
        t = cast("Tensor", self) if where is None else to_device(cast("Tensor", self), where)
        if wanted is not None and wanted != self.dtype:
            return F.cast(t, wanted)
        return self.clone() if copy and t is self else t

    def type(self, dtype: Any) -> Tensor:
        """This tensor with another dtype."""
        return self.to(as_dtype(dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor with the other's dtype."""
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """As float32."""
        return self.to(np.dtype(np.float32))

    def half(self) -> Tensor:
        """As float16."""
        return self.to(np.dtype(np.float16))

    def bfloat16(self) -> Tensor:
        """As bfloat16."""
        return self.to("bfloat16")

    def double(self) -> Tensor:
        """As float64."""
        return self.to(np.dtype(np.float64))

    def int(self) -> Tensor:
        """As int32."""
        return self.to(np.dtype(np.int32))

    def long(self) -> Tensor:
        """As int64."""
        return self.to(np.dtype(np.int64))

    def bool(self) -> Tensor:
        """As bool."""
        return self.to(np.dtype(np.bool_))

    def cpu(self) -> Tensor:
        """This tensor in the host's memory; itself where it is there."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """This tensor on a GPU."""
        return self.to(device="cuda" if device is None else device)

    def contiguous(self) -> Tensor:
        """This tensor in C order."""
        return F.contiguous(self)

    def clone(self) -> Tensor:
        """A copy, inside the graph."""
        return F.clone(self)

    # -- shapes --

    def view(self, *shape: Any) -> Tensor:
        """Another shape; -1 stands for what is left. A dtype reinterprets nothing: use `to`."""
        return F.reshape(self, _ints(shape))

    def reshape(self, *shape: Any) -> Tensor:
        """Another shape; -1 stands for what is left."""
        return F.reshape(self, _ints(shape))

    def view_as(self, other: Tensor) -> Tensor:
        """The other's shape."""
        return F.reshape(self, other.shape)

    def flatten(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """Join the dimensions from start_dim to end_dim."""
        return F.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: builtins.int, sizes: Sequence[builtins.int]) -> Tensor:
        """Split one dimension into several."""
        return F.unflatten(self, dim, tuple(sizes))

    def permute(self, *dims: Any) -> Tensor:
        """Reorder the dimensions."""
        return F.permute(self, _ints(dims))

    def transpose(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """Exchange two dimensions."""
        return F.transpose(self, dim0, dim1)

    @property
    def T(self) -> Tensor:
        """All dimensions in reverse order."""
        return F.permute(self, tuple(reversed(range(len(self.shape)))))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return F.transpose(self, -2, -1)

    def t(self) -> Tensor:
        """The transposed matrix."""
        if len(self.shape) > 2:
            raise RuntimeError(f"t: expected at most 2 dimensions, got shape {self.shape}")
        return self.T

    def unsqueeze(self, dim: builtins.int) -> Tensor:
        """A new dimension of size 1."""
        return F.unsqueeze(self, dim)

    def squeeze(self, dim: builtins.int | None = None) -> Tensor:
        """Drop dimensions of size 1: all of them, or this one."""
        return F.squeeze(self, dim)

    def expand(self, *sizes: Any) -> Tensor:
        """Repeat dimensions of size 1 without copying; -1 keeps a dimension."""
        return F.expand(self, _ints(sizes))

    def expand_as(self, other: Tensor) -> Tensor:
        """The other's shape, by repeating dimensions of size 1."""
        return F.expand(self, other.shape)

    def __getitem__(self, index: Any) -> Tensor:
        return F.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        F.setitem(self, index, value)

    def select(self, dim: builtins.int, index: builtins.int) -> Tensor:
        """One slice of a dimension, which is dropped."""
        return F.getitem(self, (slice(None),) * (dim % len(self.shape)) + (index,))

    def narrow(self, dim: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
        """`length` slices of a dimension from `start` on."""
        return F.getitem(self, (slice(None),) * (dim % len(self.shape)) + (slice(start, start + length),))

    def chunk(self, chunks: builtins.int, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """Cut a dimension into `chunks` parts."""
        return F.chunk(self, chunks, dim)

    def split(self, size: Any, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """Cut a dimension into parts of these sizes."""
        return F.split(self, size, dim)

    # -- arithmetic --

    def __add__(self, other: Any) -> Tensor:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return F.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return F.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return F.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return F.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return F.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return F.div(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return F.floor_divide(self, other)

    def __mod__(self, other: Any) -> Tensor:
        return F.remainder(self, other)

    def __pow__(self, other: Any) -> Tensor:
        return F.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return F.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return F.matmul(other, self)

    def __neg__(self) -> Tensor:
        return F.neg(self)

    def __abs__(self) -> Tensor:
        return F.abs(self)

    def __invert__(self) -> Tensor:
        return F.logical_not(self)

    def __and__(self, other: Any) -> Tensor:
        return F.bitwise("and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return F.bitwise("or", self, other)

    def __xor__(self, other: Any) -> Tensor:
        return F.bitwise("xor", self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return F.compare("equal", self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return F.compare("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return F.compare("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return F.compare("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return F.compare("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return F.compare("greater_equal", self, other)

    # -- in place --

    def __iadd__(self, other: Any) -> Tensor:
        return F.inplace(self, F.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return F.inplace(self, F.sub, other)

    def __imul__(self, other: Any) -> Tensor:
        return F.inplace(self, F.mul, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return F.inplace(self, F.div, other)

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self += alpha * other."""
        return F.inplace(self, F.add, other if alpha == 1 else other * alpha)

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self -= alpha * other."""
        return F.inplace(self, F.sub, other if alpha == 1 else other * alpha)

    def mul_(self, other: Any) -> Tensor:
        """self *= other."""
        return F.inplace(self, F.mul, other)

    def div_(self, other: Any) -> Tensor:
        """self /= other."""
        return F.inplace(self, F.div, other)

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """Clamp in place."""
        return F.inplace(self, F.clamp, min, max)

    def zero_(self) -> Tensor:
        """Fill with zeros."""
        return F.fill_(self, 0)

    def fill_(self, value: Any) -> Tensor:
        """Fill with one value."""
        return F.fill_(self, value)

    def copy_(self, source: Any) -> Tensor:
        """Take the source's values, broadcast to this shape and converted to this dtype."""
        return F.fill_(self, source)

    def normal_(self, mean: builtins.float = 0.0, std: builtins.float = 1.0) -> Tensor:
        """Fill with normal random numbers."""
        from .nn import init

        return init.normal_(self, mean, std)

    def uniform_(self, a: builtins.float = 0.0, b: builtins.float = 1.0) -> Tensor:
        """Fill with uniform random numbers."""
        from .nn import init

        return init.uniform_(self, a, b)

    # -- functions --

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self + alpha * other."""
        return F.add(self, other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """self - alpha * other."""
        return F.sub(self, other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        """self * other."""
        return F.mul(self, other)

    def div(self, other: Any) -> Tensor:
        """self / other."""
        return F.div(self, other)

    def pow(self, exponent: Any) -> Tensor:
        """self ** exponent."""
        return F.pow(self, exponent)

    def matmul(self, other: Any) -> Tensor:
        """The matrix product."""
        return F.matmul(self, other)

    mm = matmul
    bmm = matmul

    def neg(self) -> Tensor:
        """-self."""
        return F.neg(self)

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return F.exp(self)

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return F.log(self)

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return F.sqrt(self)

    def square(self) -> Tensor:
        """The square of each element."""
        return F.square(self)

    def abs(self) -> Tensor:
        """The absolute value of each element."""
        return F.abs(self)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Each element limited to [min, max]."""
        return F.clamp(self, min, max)

    clip = clamp

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return F.relu(self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return F.sigmoid(self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
        return F.tanh(self)

    def softmax(self, dim: builtins.int) -> Tensor:
        """Softmax over one dimension."""
        return F.softmax(self, dim)

    def log_softmax(self, dim: builtins.int) -> Tensor:
        """The logarithm of softmax over one dimension."""
        return F.log_softmax(self, dim)

    # -- reductions --

    def sum(self, dim: Any = None, keepdim: builtins.bool = False, dtype: Any = None) -> Tensor:
        """The sum of all elements, or over some dimensions."""
        return F.sum(self if dtype is None else self.to(as_dtype(dtype)), dim, keepdim)

    def mean(self, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """The mean of all elements, or over some dimensions."""
        return F.mean(self, dim, keepdim)

    def var(self, dim: Any = None, unbiased: builtins.bool = True, keepdim: builtins.bool = False) -> Tensor:
        """The variance of all elements, or over some dimensions."""
        return F.var(self, dim, unbiased, keepdim)

    def std(self, dim: Any = None, unbiased: builtins.bool = True, keepdim: builtins.bool = False) -> Tensor:
        """The standard deviation of all elements, or over some dimensions."""
        return F.sqrt(F.var(self, dim, unbiased, keepdim))

    def norm(self, p: Any = 2, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """The p-norm of all elements, or over some dimensions."""
        return F.norm(self, p, dim, keepdim)

    def max(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Any:
        """The largest element; with `dim`, the pair (values, indices)."""
        return F.max(self, dim, keepdim)

    def min(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Any:
        """The smallest element; with `dim`, the pair (values, indices)."""
        return F.min(self, dim, keepdim)

    def amax(self, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """The largest element over some dimensions."""
        return F.amax(self, dim, keepdim)

    def amin(self, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """The smallest element over some dimensions."""
        return F.amin(self, dim, keepdim)

    def argmax(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """Where the largest element is; the first of equal ones."""
        return F.argmax(self, dim, keepdim)

    def argmin(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """Where the smallest element is; the first of equal ones."""
        return F.argmin(self, dim, keepdim)

    def any(self) -> Tensor:
        """Whether an element is not zero."""
        return F.test("any", self)

    def all(self) -> Tensor:
        """Whether no element is zero."""
        return F.test("all", self)

    def eq(self, other: Any) -> Tensor:
        """Elementwise equality."""
        return F.compare("equal", self, other)

    def isnan(self) -> Tensor:
        """Whether each element is NaN."""
        return F.compare("not_equal", self, self)
