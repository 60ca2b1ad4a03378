"""The raw kernels on arrays, one file per family; the public face is `lamella.kernels`."""
