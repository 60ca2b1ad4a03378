"""Weights in other programs' files: PyTorch's, Keras'. Nothing in a file is ever executed."""
