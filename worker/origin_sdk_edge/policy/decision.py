"""What is decided, as frozen values, each with its :class:`.facts.Reason`.

::

    request ──> on_request ──> Forward                       the cache takes no part, at least for now
                     └───────> Lookup ──> on_stored ──> Use         answer from what is stored
                                              ├───────> Refuse      only-if-cached, and nothing is usable
                                              └───────> Ask ──> the origin ──> on_origin ──> Plan

:mod:`.lookup`, :mod:`.reuse` and :mod:`.outcome` decide, in this order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.key import KeyParts
from origin_sdk_wire.record import Record
from origin_sdk_wire.rules import known_query
from origin_sdk_wire.search_variance import QUERY
from origin_sdk_wire.settings import Rule

__all__ = ["VALID", "Ask", "Awaited", "Forward", "Invalidity", "Lookup", "Refuse", "Use"]


class Awaited(Enum):
    """What a decision needs of a request and takes waiting."""

    TOKEN = auto()
    """Its bearer token, verified."""
    API_KEY = auto()
    """What KV says of its API key."""
    REVOCATION = auto()
    """Whether its token or API key, which is valid, was revoked."""
    CONTENT = auto()
    """Its content, which belongs in the key."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the request on and its response to the client, whole, unless it ``awaits`` something."""

    request: RequestFacts
    rule: Rule
    reason: Reason
    forwarded: FwdReason = FwdReason.BYPASS
    awaits: Awaited | None = None
    """What the decision hangs on: who can have that does, and decides again."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Look for a stored response under ``key``.

    ``client`` is the request as it came, ``request`` as the origin will see it: what in it may change the
    response is in the key, selects among the responses under it, or is named by ``unkeyed``. ``parts`` are
    what the key holds beyond the target: the declared identity, and what a content or a preflight asks.
    """

    request: RequestFacts
    client: RequestFacts
    rule: Rule
    key: str
    parts: KeyParts
    unkeyed: tuple[str, ...] = ()
    """Names of what the origin sees and neither the key holds nor is known to make no difference."""
    undisclosed: Fields = field(default_factory=dict)
    """What the origin sees only where its responses nominate it."""

    @property
    def selecting_fields(self) -> Fields:
        """The fields of which responses may nominate some, and by a rule the query."""
        fields = {**self.request.fields, **self.undisclosed} if self.undisclosed else self.request.fields
        query = known_query(self.rule, self.client.target) if self.rule.no_vary_search else None
        return fields if query is None else {**fields, QUERY: query}


@dataclass(frozen=True, slots=True)
class Invalidity:
    """What the purge marks say of a stored response: since when it is stale or gone, in milliseconds.

    0 if it isn't.
    """

    soft_ms: int = 0
    hard_ms: int = 0
    must_validate: bool = False
    """A write through this isolate made it stale: nobody is to see it again without asking the origin."""
    is_unknown: bool = False


VALID = Invalidity()


@dataclass(frozen=True, slots=True)
class Use:
    """Answer from the stored response; ``refresh`` asks for a new one in the background.

    It holds until ``until_ms``.
    """

    record: Record
    reason: Reason
    refresh: bool
    ttl_seconds: int
    until_ms: int
    lifetime_ms: int
    """Its freshness lifetime."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the origin.

    ``stored`` may be validated with ``conditional``, and may stand in for a failure as far as
    ``fallback`` says.
    """

    forwarded: FwdReason
    reason: Reason
    stored: Record | None = None
    conditional: Mapping[str, str] = field(default_factory=dict)
    fallback: bool = False
    """Whether the stored response may be used now, should the origin fail."""
    when_disconnected: bool = False
    """Whether it may be used now, should there be no answer from the origin at all."""

    hit_for_miss: bool = False
    """Whether the request doesn't wait for another one's answer, as these turned out not to be shared."""

    completes: bool = False
    """Whether what comes makes a whole of a stored part."""

    @property
    def is_for_part(self) -> bool:
        """Whether only a part is expected, which is no answer to other requests."""
        return "range" in self.conditional and not self.completes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer 504: the client wants only what is stored (RFC 9111 section 5.2.1.7)."""

    reason: Reason = Reason.ONLY_IF_CACHED
