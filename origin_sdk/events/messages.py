"""What other services say, as intents: the same JSON from every source.

``{"purge": {"groups": ["product-17"]}}`` or ``{"republish": {"url": "https://…"}}``, or whatever a function
of the service's own understands.
"""

import logging
from collections.abc import Callable, Iterable

from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.targets import Purge
from origin_sdk.outbox._stores.entries import Intent, payload_of, read_payload

__all__ = ["Reads", "intents_of", "read_intents", "read_message", "read_narrowly"]

_log = logging.getLogger("origin_sdk.events")

Reads = Callable[[str], Iterable[Intent]]
"""Turns a message into intents; raises :class:`InvalidRequest` for one that it doesn't understand."""


def read_message(message: str) -> list[Intent]:
    """Read a message in the form above; raises :class:`InvalidRequest`."""
    return [read_payload(message)]


def read_narrowly(message: str) -> list[Intent]:
    """Read a message from where anyone may write: whole hosts, everything and deletions are refused."""
    intents = read_message(message)
    for intent in intents:
        if isinstance(intent, Purge) and (intent.everything or intent.hosts or intent.delete):
            raise InvalidRequest(
                f"{intent}: any role may send this over NOTIFY; if that is meant, pass read=read_message"
            )
    return intents


def read_intents(read: Reads, message: str) -> list[Intent]:
    """Read a message with a function of anyone's; raises :class:`InvalidRequest` whatever that raises."""
    try:
        intents = list(read(message))
        for intent in intents:
            payload_of(intent).encode()
    except InvalidRequest:
        raise
    except Exception as error:
        raise InvalidRequest(f"{type(error).__name__}: {error}"[:500]) from error
    return intents


def intents_of(
    read: Reads, message: str, source: str, put_aside: Callable[[str], object] = str
) -> list[Intent]:
    """Read a message; one that can't be read is put aside and logged, so that it holds nothing up."""
    try:
        return read_intents(read, message)
    except InvalidRequest as error:
        why = _in_one_line(str(error))
        _log.error("a message from %s can't be read, and is set aside: %s", source, why)
        put_aside(why)
        return []


def _in_one_line(text: str) -> str:
    """Return a text that may quote what strangers wrote as one that no log or terminal takes for more."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
