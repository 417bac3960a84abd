"""About how many bytes a value takes in memory, found in microseconds however large it is."""

import sys
from collections.abc import Collection
from itertools import islice
from typing import Any

from origin_sdk.layers.values.equality import fields_of

__all__ = ["ENTRY_BYTES", "weight"]

ENTRY_BYTES = 400
"""What a table, a queue, the name and the entry take beside a value, about."""
_SAMPLES = 16
_DEPTH = 6
_PARTS = frozenset({list, tuple, set, frozenset, dict})


def weight(value: Any, depth: int = _DEPTH) -> int:
    """Estimate; of long lists and dicts, from some of their items."""
    kind = type(value)
    size = sys.getsizeof(value, 64)
    if not depth or kind in _PLAIN:
        return size
    if kind in _PARTS:
        return size + _weight_of_parts(value, depth)
    if (attributes := getattr(value, "__dict__", None)) is not None:
        return size + sys.getsizeof(attributes) + sum(weight(each, depth - 1) for each in attributes.values())
    names = fields_of(kind)
    return size + sum(weight(getattr(value, name, None), depth - 1) for name in names or ())


_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def _weight_of_parts(value: Collection[object], depth: int) -> int:
    """Weigh some of what is in a container, and take the others for alike."""
    match value:
        case list() | tuple():
            samples = list(value[:: max(1, len(value) // _SAMPLES)])
        case dict():
            samples = [each for pair in islice(value.items(), _SAMPLES) for each in pair]
        case _:
            samples = list(islice(value, _SAMPLES))
    parts = len(value) * (2 if isinstance(value, dict) else 1)
    return sum(weight(each, depth - 1) for each in samples) * parts // max(1, len(samples))
