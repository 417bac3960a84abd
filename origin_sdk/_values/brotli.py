"""The Brotli package that is installed: an extra."""

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["INSTALL", "brotli_module"]

INSTALL = "pip install 'origin-sdk[brotli]'"
_PACKAGES = ("brotli", "brotlicffi")
"""The one for CPython, and the one for PyPy, with the same functions."""


@cache
def brotli_module() -> Any | None:
    """Return the package, or ``None`` where there is none."""
    for name in _PACKAGES:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
