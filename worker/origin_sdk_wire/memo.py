"""Remembering results of functions of short texts.

Much of what is parsed repeats from request to request, but clients choose some of it: a cache that counts
entries and not their size would let them fill an isolate's memory.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

__all__ = ["LONGEST_CHARACTERS", "remember_short"]

LONGEST_CHARACTERS = 512
"""Calls with a longer argument are not remembered."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def remember_short(entries: int) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Remember the results of the last ``entries`` calls whose arguments, all texts, are short."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        remembered = lru_cache(entries)(function)

        @wraps(function)
        def call(*texts: _P.args, **named: _P.kwargs) -> _R:
            for text in texts:
                if len(text) > LONGEST_CHARACTERS:  # type: ignore[arg-type]  # they are texts
                    return function(*texts, **named)
            return remembered(*texts, **named)  # type: ignore[arg-type]  # and so can be hashed

        return call

    return decorate
