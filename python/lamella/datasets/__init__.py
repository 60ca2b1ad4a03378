"""Data sets, from the folder `LAMELLA_DATA` (default ``~/.lamella/datasets``) or downloaded with a checksum."""

from . import cifar10, digits, fashion_mnist, mnist

__all__ = ["cifar10", "digits", "fashion_mnist", "mnist"]
