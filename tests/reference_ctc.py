"""CTC in NumPy float64: once by listing all paths, once by the recursion over states, both written for plainness."""

from __future__ import annotations

import itertools

import numpy as np


def collapse(path, blank):
    """Repeats joined, blanks dropped."""
    return [c for c, _ in itertools.groupby(path) if c != blank]


def by_paths(log_p, target, blank=0):
    """Minus the logarithm of the summed probabilities of all paths that collapse to the target."""
    steps, classes = log_p.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        if collapse(path, blank) == list(target):
            total += np.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    with np.errstate(divide="ignore"):
        return -np.log(total)


def ctc_loss(log_p, target, blank=0):
    """The same by dynamic programming; log_p (steps, classes)."""
    log_p = np.asarray(log_p, np.float64)
    states = [blank]
    for label in target:
        states += [int(label), blank]
    if len(log_p) == 0:
        return 0.0 if len(target) == 0 else np.inf
    alpha = np.full(len(states), -np.inf)
    alpha[: min(2, len(states))] = [log_p[0, c] for c in states[:2]]
    for row in log_p[1:]:
        new = np.full(len(states), -np.inf)
        for s, c in enumerate(states):
            before = [alpha[s]]
            if s >= 1:
                before.append(alpha[s - 1])
            if s >= 2 and c != blank and c != states[s - 2]:
                before.append(alpha[s - 2])
            new[s] = np.logaddexp.reduce(before) + row[c]
        alpha = new
    return -np.logaddexp.reduce(alpha[-2:])
