# The extension module; its docstrings are the reference. Everything in it is for the package's own use.
from typing import Any

def __getattr__(name: str) -> Any: ...
