"""Recurrent kernels that keep weights on chip: how units, rows and columns are shared out changes no bit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import reference_rnn as ref

import lamella
from lamella._kernels._call import op, run_backward

LIBRARY = os.environ.get("LAMELLA_TEST_BACKEND", "")
pytestmark = pytest.mark.backend

CELLS = ["simple_rnn", "lstm", "gru"]


def inputs_of(cell: str, n: int, t: int, c: int, h: int, directions: int = 1, dtype: Any = np.float32) -> list[Any]:
    rng = np.random.default_rng(n + t + c + h)
    gates = ref.GATES[cell]

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * (0.7 / max(1, shape[0]) ** 0.5)).astype(dtype)

    def direction() -> list[Any]:
        w = [draw(c, gates * h), draw(h, gates * h), draw(gates * h), draw(gates * h), draw(n, h)]
        return w + ([draw(n, h)] if cell == "lstm" else [])

    x = rng.standard_normal((n, t, c)).astype(dtype)
    lengths = rng.integers(0, t + 1, n).astype(np.int32)
    return [x, *direction(), lengths, *(direction() if directions == 2 else [])]


def weights_of(cell: str, direction: list[Any]) -> dict[str, Any]:
    return dict(zip(["w_ih", "w_hh", "b_ih", "b_hh", "h0", "c0"], direction, strict=False))


# Many rows of few units, rows that fill several tiles, units that are no whole packs, columns beyond one tile.
@pytest.mark.parametrize(("n", "t", "c", "h"), [(130, 3, 4, 8), (33, 4, 3, 37), (9, 5, 2, 90), (300, 3, 2, 5)])
@pytest.mark.parametrize("cell", CELLS)
def test_shares(cell: str, n: int, t: int, c: int, h: int) -> None:
    for directions in [1, 2]:
        inputs = inputs_of(cell, n, t, c, h, directions)
        given = 6 if cell == "lstm" else 5
        mask = inputs[1 + given]
        weights = [weights_of(cell, inputs[1 : 1 + given]), weights_of(cell, inputs[2 + given :])][:directions]
        attrs = {"bidirectional": directions == 2}
        got = op(cell, attrs).forward(inputs)[0]
        for a, b in zip(got, ref.sequence(cell, inputs[0], weights, mask), strict=True):
            # As in tests/kernels/test_rnn.py: a few steps' errors of sums of c + h products.
            np.testing.assert_allclose(a, b, rtol=0, atol=8 * 1.2e-7 * (c + h + 4) ** 0.5)
        rng = np.random.default_rng(0)
        grads = [rng.standard_normal(o.shape).astype(np.float32) for o in got]
        double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in inputs]
        want = run_backward(cell, attrs, double, [g.astype(np.float64) for g in grads])
        for a, b in zip(run_backward(cell, attrs, inputs, grads), want, strict=True):
            if b is not None:
                # Sums over n * t rows and 4 h gates, which carry the forward pass's errors.
                atol = 32 * 1.2e-7 * (c + 4 * h + 4) ** 0.5 * max(1.0, float(np.abs(b).max()))
                np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("cell", CELLS)
def test_precisions(cell: str) -> None:
    """Without matrix units, and with factors of tf32 (whose products the default adds up from three)."""
    inputs = inputs_of(cell, 18, 4, 6, 52, 2)
    inputs[0] += 0.5
    attrs = {"bidirectional": True}

    def results() -> list[Any]:
        outputs = op(cell, attrs).forward(inputs)[0]
        return outputs + run_backward(cell, attrs, inputs, [np.ones_like(o) for o in outputs])

    def error(got: list[Any]) -> float:
        pairs = [(a, b) for a, b in zip(got, exact, strict=True) if a is not None]
        return max(float(np.abs(a - b).max()) / max(1.0, float(np.abs(b).max())) for a, b in pairs)

    default = results()
    try:
        lamella.set_precision("strict")
        exact = results()
        lamella.set_precision("default")
        lamella._cpu.set_matmul_precision(1)
        rounded = results()
    finally:
        lamella.set_precision("default")
        lamella._cpu.set_matmul_precision(0)
    assert error(default) < 2e-6
    assert 1e-6 < error(rounded) < 2e-3


@pytest.mark.parametrize("cell", CELLS)
def test_two_steps_are_launched_one_by_one(cell: str) -> None:
    inputs = inputs_of(cell, 6, 3, 5, 20)
    inputs[-1] = np.full(6, 3, np.int32)
    whole = op(cell, {}).forward(inputs)[0][0]
    short = [inputs[0][:, :2], *inputs[1:-1], np.full(6, 2, np.int32)]
    np.testing.assert_allclose(op(cell, {}).forward(short)[0][0], whole[:, :2], rtol=0, atol=2e-6)


PROGRAM = """
import hashlib, os, sys
import numpy as np
import lamella
from lamella._kernels._call import op, run_backward
lamella._cpu.run_everything_on(os.environ["LAMELLA_TEST_BACKEND"])
sys.path.insert(0, sys.argv[1])
from test_rnn import CELLS, inputs_of
for cell in CELLS:
    for n, t, c, h, directions in [(5, 4, 3, 24, 1), (18, 3, 3, 13, 2), (1, 3, 2, 40, 1)]:
        inputs = inputs_of(cell, n, t, c, h, directions)
        attrs = {"bidirectional": directions == 2}
        outputs = op(cell, attrs).forward(inputs)[0]
        got = outputs + run_backward(cell, attrs, inputs, [np.ones_like(o) for o in outputs])
        print(hashlib.sha256(b"".join(a.tobytes() for a in got if a is not None)).hexdigest())
"""


def test_any_number_of_multiprocessors_gives_the_same_bits() -> None:
    here = os.path.dirname(__file__)
    path = os.pathsep.join([os.path.dirname(here), *sys.path])
    results = []
    for count in ["2", "3", "16"]:
        environment = {**os.environ, "LAMELLA_CUDA_HOST_MULTIPROCESSORS": count, "PYTHONPATH": path}
        results.append(subprocess.check_output([sys.executable, "-c", PROGRAM, here], env=environment, text=True))
    assert results[0].count("\n") == 9
    assert results[1] == results[0]
    assert results[2] == results[0]
