"""Lamella: deep learning in one small wheel."""

from ._config import get_num_threads, get_precision, seed, set_num_threads, set_precision
from ._cpu import __version__

__all__ = ["__version__", "get_num_threads", "get_precision", "seed", "set_num_threads", "set_precision"]
