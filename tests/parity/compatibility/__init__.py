"""docs/compatibility.md: what becomes of every argument of the names that Lamella shares with PyTorch and Keras.

    PYTHONPATH=python:tests python -m parity.compatibility

An argument is the same (name, default, position), it differs, for a reason that `cases.NOTES` gives, or it is refused:
then it is tried here, and must raise. An argument that is taken and used nowhere must have a note, too.
"""
