"""Philox4x32-10 in NumPy, written from its paper."""

from __future__ import annotations

import numpy as np

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counter, key):
    """Words (..., 4) of counters (..., 4) under a key of two words."""
    c0, c1, c2, c3 = (np.asarray(counter, np.uint64)[..., i] for i in range(4))
    k0, k1 = (np.uint64(k) for k in key)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    return np.stack([c0, c1, c2, c3], -1)


def words(key, n):
    """The first n words of the stream key = (seed, stream)."""
    seed, stream = (np.uint64(k) for k in key)
    block = np.arange((n + 3) // 4, dtype=np.uint64)
    counter = np.stack(
        [block & LOW, block >> HALF, np.full_like(block, stream & LOW), np.full_like(block, stream >> HALF)], -1
    )
    return philox(counter, (seed & LOW, seed >> HALF)).reshape(-1)[:n]


def threshold(p):
    return round(p * 2.0**32)


def uniform(key, n, dtype):
    if dtype == np.float32:
        return ((words(key, n) >> np.uint64(8)).astype(np.float64) * 2.0**-24).astype(np.float32)
    w = words(key, 2 * n).reshape(-1, 2)
    return ((w[:, 0] >> np.uint64(5)) * 2.0**26 + (w[:, 1] >> np.uint64(6))) * 2.0**-53


def normal(key, n, dtype):
    m = n + n % 2
    if dtype == np.float32:
        w = words(key, m).reshape(-1, 2)
        u, t = (w[:, 0] + 0.5) * 2.0**-32, (w[:, 1] >> np.uint64(8)) * 2.0**-24
    else:
        v = uniform(key, m, np.float64).reshape(-1, 2)
        u, t = v[:, 0] + 2.0**-54, v[:, 1]
    r = np.sqrt(-2 * np.log(u))
    return np.stack([r * np.cos(2 * np.pi * t), r * np.sin(2 * np.pi * t)], -1).reshape(-1)[:n]


def permutation(key, n):
    stream = iter(words(key, 4 * n + 64).tolist())
    p = np.arange(n)
    for i in range(n - 1, 0, -1):
        limit = 2**32 // (i + 1) * (i + 1)  # the low halves of word * (i + 1) that are drawn again number 2^32 - limit
        while True:
            product = next(stream) * (i + 1)
            if product % 2**32 >= 2**32 - limit:
                break
        j = product >> 32
        p[i], p[j] = p[j], p[i]
    return p
