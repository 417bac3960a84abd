"""What the policy sees of requests, and how an origin fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.key import KeyParts, Target

__all__ = ["WITHOUT_CONTENT", "CheckedToken", "Content", "OriginFailure", "RequestFacts"]

WITHOUT_CONTENT = frozenset({101, 204, 205, 304})
"""Status codes of responses that never have content (RFC 9112 section 6.3, RFC 9110 section 15.3.6)."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a request, as it was read to become a part of the key."""

    body: Any = field(compare=False, repr=False)
    """The bytes that the origin gets, opaque as all bodies are."""
    parts: KeyParts | None
    """What it adds to the key; ``None`` if it can't be told to be a query."""
    is_write: bool = False
    """Whether it says itself that it changes something, or can't be read."""


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """What became of a request's token or API key: its claims if it is valid, now and here, else ``None``."""

    claims: Mapping[str, object] | None
    is_checked: bool = False
    """Whether it is known if it was revoked."""
    refusal: Reason | None = None
    """Why it has no claims, where that is known."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request: ``fields`` by name in lower case, repeated ones combined as RFC 9110 section 5.3 says."""

    method: str
    target: Target
    fields: Fields
    own: frozenset[str] = frozenset()
    """Names of the fields that a hook has set, and not the client."""
    content: Content | None = None
    """What came with it, once it has been read."""
    token: CheckedToken | None = None
    """Its token or API key, once it has been verified."""
    asked: Target | None = None
    """The target as the origin sees it, where that has what no key may show."""
    is_from_edge: bool = False
    """Whether an edge asks this Worker as its shield."""


class OriginFailure(StrEnum):
    """How the origin failed to give a response."""

    UNREACHABLE = "origin-unreachable"
    TIMEOUT = "origin-timeout"
    TRUNCATED = "origin-truncated"
