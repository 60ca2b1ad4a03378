"""Files that TensorBoard reads: records of protocol buffers with checksums, written without either package."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# -- protocol buffers: fields of a number and a kind --


def _varint(value: int) -> bytes:
    out = bytearray()
    value %= 1 << 64
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _single(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _data(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _doubles(field: int, values: Iterable[float]) -> bytes:
    return _data(field, np.asarray(list(values), "<f8").tobytes())


# -- records: length, its checksum, data, their checksum --


def _table() -> list[int]:
    entries = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        entries.append(n)
    return entries


_CRC32C = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and shifted so that a checksum of checksums keeps its strength."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """The data as a record of a file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def histogram(values: Any, bins: int = 30) -> bytes:
    """The message of a histogram."""
    a = np.asarray(values, np.float64).ravel()
    a = a[np.isfinite(a)]
    counts, edges = np.histogram(a, bins=bins) if a.size else (np.zeros(1), np.zeros(2))
    least, most = (float(a.min()), float(a.max())) if a.size else (0.0, 0.0)
    head = [_double(1, least), _double(2, most), _double(3, a.size), _double(4, a.sum()), _double(5, (a * a).sum())]
    # Each bucket ends at its limit; an empty one before them says where the first begins.
    return b"".join([*head, _doubles(6, edges), _doubles(7, [0.0, *counts])])


def graph(nodes: Sequence[tuple[str, str, Sequence[str]]]) -> bytes:
    """The message of a graph, from (name, kind, names of the inputs) for each node."""
    made = [_data(1, b"".join([_data(1, name), _data(2, kind), *[_data(3, i) for i in inputs]]))
            for name, kind, inputs in nodes]  # fmt: skip
    return b"".join(made) + _data(4, _integer(1, 22))  # the version in which these fields mean this


class EventWriter:
    """One event file.

    Parameters
    ----------
    folder : str
        Made if need be; the file's name is made up.
    """

    _count = 0

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        now, host = time.time(), socket.gethostname() or "localhost"
        name = f"events.out.tfevents.{int(now):010d}.{host}.{os.getpid()}.{EventWriter._count}.v2"
        EventWriter._count += 1
        self.path = os.path.join(folder, name)
        self._file = open(self.path, "ab")  # noqa: SIM115
        self._write(0, _data(3, "brain.Event:2"))

    def _write(self, step: int, content: bytes) -> None:
        self._file.write(record(_double(1, time.time()) + _integer(2, step) + content))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number."""
        self._write(step, _data(5, _data(1, _data(1, tag) + _single(2, float(value)))))

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write how values are distributed."""
        self._write(step, _data(5, _data(1, _data(1, tag) + _data(5, histogram(values)))))

    def graph(self, nodes: Sequence[tuple[str, str, Sequence[str]]]) -> None:
        """Write a graph, as `graph` takes it."""
        self._write(0, _data(4, graph(nodes)))

    def flush(self) -> None:
        """Let readers see what has been written."""
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
