"""Process-wide settings: threads, random seed, precision."""

from __future__ import annotations

import operator

from . import _cpu
from ._errors import short


def seed(n: int) -> None:
    """Fix every random stream of the package: initial weights, shuffling, dropout, augmentation.

    Parameters
    ----------
    n : int
        Any integer in [0, 2**64).
    """
    n = operator.index(n)
    if not 0 <= n < 2**64:
        raise ValueError(f"seed: n: expected 0 <= n < 2**64, got {n}")
    _cpu.seed(n)


def set_num_threads(n: int) -> None:
    """Set how many threads kernels may use, the calling one included (1 to 1024). Results do not depend on it."""
    _cpu.set_num_threads(operator.index(n))


def get_num_threads() -> int:
    """Return how many threads kernels may use.

    The default is `LAMELLA_NUM_THREADS`, else `OMP_NUM_THREADS`, else the CPUs this process may use (affinity and
    container quota).
    """
    return _cpu.num_threads()


def set_precision(mode: str) -> None:
    """Choose between speed and the last bits.

    Parameters
    ----------
    mode : {"default", "strict"}
        "strict" keeps to algorithms without extra rounding error: no Winograd convolutions.
    """
    if mode not in ("default", "strict"):
        raise ValueError(f"set_precision: mode: expected 'default' or 'strict', got {short(mode)}")
    _cpu.set_strict_precision(mode == "strict")


def get_precision() -> str:
    """Return "default" or "strict"."""
    return "strict" if _cpu.strict_precision() else "default"


_MATMUL = ("highest", "high", "medium")


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how products and convolutions of float32 arrays on a GPU may round their factors.

    Sums are float32 in all cases, and so are the arrays. The CPU always keeps all digits; so does a GPU under
    `set_precision("strict")`.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        "highest", the default, keeps all 24 bits; "high" rounds to TF32's 11 bits, "medium" to bfloat16's 8, on the
        matrix units.
    """
    if precision not in _MATMUL:
        raise ValueError(
            f"set_float32_matmul_precision: precision: expected one of {', '.join(map(repr, _MATMUL))}, got "
            f"{short(precision)}"
        )
    _cpu.set_matmul_precision(_MATMUL.index(precision))


def get_float32_matmul_precision() -> str:
    """Return "highest", "high" or "medium"."""
    return _MATMUL[_cpu.matmul_precision()]
