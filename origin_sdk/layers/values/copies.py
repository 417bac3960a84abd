"""Values that are handed out as copies, so that what one caller does to its own, no other sees."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from origin_sdk.layers.errors import UnsupportedValue
from origin_sdk.layers.values.serialization import FORMATS, Typed

__all__ = ["Original", "kept"]

_UNCHANGEABLE = frozenset({type(None), bool, int, float, str, bytes})


class Original:
    """Stands in memory for a value, of which each caller gets a copy."""

    __slots__ = ("_copy", "_kept")

    def __init__(self, value: object, typed: Typed) -> None:
        self._kept: object
        self._copy: Callable[[Any], object]
        try:
            # Reading it again takes a tenth of the time of a deepcopy.
            number, self._kept = typed.encode(value, FORMATS["msgpack"])
            self._copy = typed.forms[number].decode
        except UnsupportedValue:
            self._kept, self._copy = deepcopy(value), deepcopy

    def copy(self) -> object:
        """Return a copy of the caller's own."""
        return self._copy(self._kept)


def kept(value: object, typed: Typed) -> object:
    """Return what stands in memory for a value: itself if nobody can change it."""
    return value if type(value) in _UNCHANGEABLE else Original(value, typed)
