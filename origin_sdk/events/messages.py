"""What other services say, as intents: the same JSON from every source.

``{"purge": {"groups": ["product-17"]}}`` or ``{"republish": {"url": "https://…"}}``, or whatever a function
of the service's own understands.
"""

import logging
from collections.abc import Callable, Iterable

from origin_sdk.errors import InvalidRequest
from origin_sdk.outbox.entries import Intent, read_payload

__all__ = ["Reads", "intents_of", "read_message"]

_log = logging.getLogger("origin_sdk.events")

Reads = Callable[[str], Iterable[Intent]]
"""Turns a message into intents; raises :class:`InvalidRequest` for one that it doesn't understand."""


def read_message(message: str) -> list[Intent]:
    """Read a message in the form above; raises :class:`InvalidRequest`."""
    return [read_payload(message)]


def intents_of(read: Reads, message: str, source: str) -> list[Intent]:
    """Read a message; one that can't be read is logged and passed over, so that it holds nothing up."""
    try:
        return list(read(message))
    except InvalidRequest as error:
        _log.error("a message from %s isn't understood: %s", source, error)
        return []
