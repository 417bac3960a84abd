"""What the policy sees of requests, and how an origin fails."""

from dataclasses import dataclass
from enum import StrEnum

from origin_sdk_wire.facts import Fields
from origin_sdk_wire.key import Target

__all__ = ["OriginFailure", "RequestFacts"]


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request: ``fields`` by name in lower case, repeated ones combined as RFC 9110 section 5.3 says."""

    method: str
    target: Target
    fields: Fields
    own: frozenset[str] = frozenset()
    """Names of the fields that a hook has set, and not the client."""


class OriginFailure(StrEnum):
    """How the origin failed to give a response."""

    UNREACHABLE = "origin-unreachable"
    TIMEOUT = "origin-timeout"
    TRUNCATED = "origin-truncated"
