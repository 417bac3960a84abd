"""One text or several, wherever a caller may give either: groups, URLs, names."""

from collections.abc import Iterable
from typing import TypeAlias

from origin_sdk._values.errors import InvalidRequest

__all__ = ["Texts", "text", "texts"]

Texts: TypeAlias = str | Iterable[str]
"""One text or several: a lone ``str`` is one, not its letters."""


def text(given: object) -> str:
    """Return a text as it is. Raises InvalidRequest for what is none."""
    if not isinstance(given, str):
        raise InvalidRequest(f"{given!r}: a text is needed")
    return given


def texts(given: Texts) -> tuple[str, ...]:
    """Return the texts, each once. Raises InvalidRequest for what is neither a text nor several."""
    if isinstance(given, str):
        return (given,)
    try:
        return tuple(dict.fromkeys(given))
    except TypeError as error:
        raise InvalidRequest(f"{given!r}: a text is needed, or several of them in a list") from error
