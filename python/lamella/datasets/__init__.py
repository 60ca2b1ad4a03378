"""Data sets: looked for in the folder `LAMELLA_DATA` (default ``~/.lamella/datasets``), else downloaded with a checksum."""

from . import cifar10, digits, fashion_mnist, mnist

__all__ = ["cifar10", "digits", "fashion_mnist", "mnist"]
