"""A machine for pickles that can only build plain values.

The opcodes are interpreted here, without the pickle module. A global is one of the caller's table, or an error; no
attribute of any object is looked up or set. Every value is paid for by bytes of the file: nothing is copied more often
than the file is long, and keys are such that hashing them takes no longer than reading them.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["BadPickle", "Builder", "read"]


class BadPickle(ValueError):
    """The pickle is damaged, or asks for what is not allowed."""


class Builder:
    """A global that a pickle may name.

    Parameters
    ----------
    call : callable, optional
        What calling it does, given the machine and the arguments of the pickle; None: it cannot be called.
    value : object
        What it stands for where it cannot be called, such as a dtype.
    """

    __slots__ = ("call", "value")

    def __init__(self, call: Callable[..., Any] | None = None, value: Any = None) -> None:
        self.call, self.value = call, value


_MARK = object()
_SCALARS = (str, bytes, int, float, type(None))


def _key(value: Any) -> Any:
    """A key of a dict, or an item of a set: a scalar or a flat tuple of them, so that it is hashed in no time."""
    parts = value if isinstance(value, tuple) and len(value) <= 16 else (value,)
    for part in parts:
        if not isinstance(part, _SCALARS) or (isinstance(part, int) and part.bit_length() > 64):
            raise BadPickle(f"expected keys that are strings or numbers, got {type(part).__name__}")
    return value


class _Machine:
    def __init__(
        self, data: memoryview, start: int, table: Mapping[tuple[str, str], Builder], persistent: Callable[[Any], Any]
    ) -> None:
        self.data, self.at = data, start
        self.table, self.persistent = table, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = len(data)  # elements that may be copied

    # -- bytes --

    def take(self, n: int) -> memoryview:
        if n < 0 or n > len(self.data) - self.at:
            raise BadPickle("cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def line(self) -> str:
        end = bytes(self.data[self.at : self.at + 4096]).find(b"\n")
        if end < 0:
            raise BadPickle("a line without an end")
        text = bytes(self.take(end)).decode()
        self.take(1)
        return text

    # -- stack --

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise BadPickle("an operand is missing")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise BadPickle(f"expected a {kind.__name__} to fill")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """The values above the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise BadPickle("a mark is missing")

    def fill_dict(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise BadPickle("a key without a value")
        target = self.top(dict)
        for k, v in zip(items[::2], items[1::2], strict=True):
            target[_key(k)] = v

    def copied(self, items: Any) -> Any:
        """A list, set or tuple that is about to be copied."""
        if not isinstance(items, (list, tuple, set, dict)):
            raise BadPickle(f"expected a list, got {type(items).__name__}")
        self.pay(len(items))
        return items

    def pay(self, elements: int) -> None:
        """Count elements that are copied."""
        self.budget -= elements
        if self.budget < 0:
            raise BadPickle("values are copied more often than the file is long")

    def lookup(self, module: Any, name: Any) -> Any:
        found = self.table.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if found is None:
            raise BadPickle(f"refused to load {module}.{name}: only tensors, numbers, strings and their containers are")
        return found.value if found.call is None else found

    def call(self) -> None:
        args, fn = self.pop(), self.pop()
        if not isinstance(fn, Builder) or fn.call is None or not isinstance(args, tuple):
            raise BadPickle("refused to call what is no function of tensors")
        self.stack.append(fn.call(self, *args))

    def build(self) -> None:
        """State of an object: a state_dict's versions; for others there is none to set."""
        state = self.pop()
        target = self.top(OrderedDict)
        if not isinstance(state, dict) or set(state) - {"_metadata"}:
            raise BadPickle("refused to set attributes")
        if "_metadata" in state:
            target._metadata = state["_metadata"]

    # -- the loop --

    def run(self) -> Any:
        push = self.stack.append
        while True:
            code = self.take(1)[0:1].tobytes()
            if code == b".":
                value = self.pop()
                if self.stack:
                    raise BadPickle("values are left over")
                return value
            if code == b"\x80":
                if self.number("<B") > 5:
                    raise BadPickle("an unknown protocol")
            elif code == b"\x95":
                self.number("<Q")  # a frame's size: everything is here already
            elif code == b"(":
                push(_MARK)
            elif code == b"0":
                if not self.stack:
                    raise BadPickle("an operand is missing")
                self.stack.pop()
            elif code == b"1":
                self.marked()
            elif code == b"2":
                value = self.pop()
                self.stack += [value, value]
            elif code == b"N":
                push(None)
            elif code == b"\x88":
                push(True)
            elif code == b"\x89":
                push(False)
            elif code == b"J":
                push(self.number("<i"))
            elif code == b"K":
                push(self.number("<B"))
            elif code == b"M":
                push(self.number("<H"))
            elif code in (b"\x8a", b"\x8b"):
                push(int.from_bytes(self.take(self.number("<B" if code == b"\x8a" else "<i")), "little", signed=True))
            elif code == b"I":
                text = self.line()
                push({"00": False, "01": True}[text] if text in ("00", "01") else int(text))
            elif code == b"L":
                push(int(self.line().rstrip("L")))
            elif code == b"F":
                push(float(self.line()))
            elif code == b"G":
                push(struct.unpack(">d", self.take(8))[0])
            elif code in (b"X", b"\x8c", b"\x8d"):
                size = self.number({b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}[code])
                push(bytes(self.take(size)).decode("utf-8", "surrogatepass"))
            elif code in (b"T", b"U"):  # strings of Python 2
                push(bytes(self.take(self.number("<i" if code == b"T" else "<B"))).decode("utf-8"))
            elif code in (b"B", b"C", b"\x8e"):
                push(bytes(self.take(self.number({b"B": "<I", b"C": "<B", b"\x8e": "<Q"}[code]))))
            elif code == b"]":
                push([])
            elif code == b"}":
                push({})
            elif code == b")":
                push(())
            elif code == b"\x8f":
                push(set())
            elif code == b"l":
                push(self.marked())
            elif code == b"t":
                push(tuple(self.marked()))
            elif code == b"d":
                items = self.marked()
                push({})
                self.fill_dict(items)
            elif code == b"\x85":
                push((self.pop(),))
            elif code == b"\x86":
                last = self.pop()
                push((self.pop(), last))
            elif code == b"\x87":
                last, middle = self.pop(), self.pop()
                push((self.pop(), middle, last))
            elif code == b"a":
                value = self.pop()
                self.top(list).append(value)
            elif code == b"e":
                items = self.marked()
                self.top(list).extend(items)
            elif code == b"s":
                value, key = self.pop(), self.pop()
                self.fill_dict([key, value])
            elif code == b"u":
                self.fill_dict(self.marked())
            elif code == b"\x90":
                items = self.marked()
                self.top(set).update(_key(v) for v in items)
            elif code == b"\x91":
                push(frozenset(_key(v) for v in self.marked()))
            elif code in (b"q", b"r"):
                self.remember(self.number("<B" if code == b"q" else "<I"))
            elif code == b"p":
                self.remember(int(self.line()))
            elif code == b"\x94":
                self.remember(len(self.memo))
            elif code in (b"h", b"j"):
                push(self.recall(self.number("<B" if code == b"h" else "<I")))
            elif code == b"g":
                push(self.recall(int(self.line())))
            elif code == b"c":
                module = self.line()
                push(self.lookup(module, self.line()))
            elif code == b"\x93":
                name = self.pop()
                push(self.lookup(self.pop(), name))
            elif code in (b"R", b"\x81"):
                self.call()
            elif code == b"b":
                self.build()
            elif code == b"Q":
                push(self.persistent(self.pop()))
            else:
                raise BadPickle(f"refused opcode {code!r}")

    def remember(self, place: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise BadPickle("nothing to remember")
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> Any:
        if place not in self.memo:
            raise BadPickle("a reference to nothing")
        return self.memo[place]


def _ordered_dict(machine: _Machine, items: Any = ()) -> OrderedDict[Any, Any]:
    found: OrderedDict[Any, Any] = OrderedDict()
    for pair in machine.copied(items):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise BadPickle("expected pairs")
        found[_key(pair[0])] = pair[1]
    return found


def _set(kind: type) -> Callable[..., Any]:
    return lambda machine, items=(): kind([_key(v) for v in machine.copied(items)])


def _counter(machine: _Machine, items: Any = None) -> dict[Any, Any]:
    return dict(machine.copied({} if items is None else items))


def _encoded(machine: _Machine, text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, as protocol 2 has them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise BadPickle("expected text in latin1")
    machine.pay(len(text))
    return text.encode("latin1")


# What any pickle may name.
PLAIN = {
    ("collections", "OrderedDict"): Builder(_ordered_dict),
    ("collections", "Counter"): Builder(_counter),
    ("_codecs", "encode"): Builder(_encoded),
    **{(m, "set"): Builder(_set(set)) for m in ("builtins", "__builtin__")},
    **{(m, "frozenset"): Builder(_set(frozenset)) for m in ("builtins", "__builtin__")},
}


def read(
    data: memoryview,
    start: int,
    table: Mapping[tuple[str, str], Builder],
    persistent: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Read one pickle.

    Parameters
    ----------
    data : memoryview of bytes
    start : int
        Where it begins.
    table : mapping of (module, name) to Builder
        The globals it may name, beside the containers of Python.
    persistent : callable
        Gives the object of a persistent id.

    Returns
    -------
    tuple
        The value, and where the pickle ends.

    Raises
    ------
    BadPickle
    """
    machine = _Machine(data, start, {**PLAIN, **table}, persistent)
    try:
        return machine.run(), machine.at
    except BadPickle:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
            struct.error) as e:  # fmt: skip
        raise BadPickle(f"{type(e).__name__}: {e}") from e
