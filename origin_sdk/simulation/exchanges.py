"""What an access log says of one request and its response."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LoggedRequest", "UnreadableLine"]


class UnreadableLine(ValueError):
    """A line that isn't of the log's format; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request, and how it was answered.

    ``target`` is an absolute URL, or a path where the log names no host. ``size_bytes`` is of the body.
    Field names are in lower case; logs hold few of the fields, or none.
    """

    time_ms: int
    client: str
    method: str
    target: str
    status: int
    size_bytes: int = 0
    duration_ms: float | None = None
    request_fields: Mapping[str, str] = field(default_factory=dict)
    response_fields: Mapping[str, str] = field(default_factory=dict)
