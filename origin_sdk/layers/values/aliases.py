"""Types behind their other names: ``type X = …`` of Python 3.12 and later, and ``NewType``."""

import typing
from typing import Any, Final

__all__ = ["unaliased"]

_MOST: Final = 32
"""Names of names: who has more of them has a circle."""


def unaliased(kind: Any) -> object:
    """Return what a name of a type stands for; parts of a type keep their names."""
    for _ in range(_MOST):
        if hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif _is_alias(kind):
            kind = kind.__value__
        elif _is_alias(origin := typing.get_origin(kind)):
            value = origin.__value__
            kind = value[typing.get_args(kind)] if getattr(value, "__parameters__", ()) else value
        else:
            break
    return kind


def _is_alias(kind: object) -> bool:
    return type(kind).__name__ == "TypeAliasType"
