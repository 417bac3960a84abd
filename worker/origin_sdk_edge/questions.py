"""What the origin is asked, and what came of it: the values that the rooms around it hand each other."""

from dataclasses import dataclass
from functools import cached_property

from origin_sdk_edge.fills import Fill
from origin_sdk_edge.flights import Flight
from origin_sdk_edge.policy.decision import Ask, Lookup
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.outcome import Fail, Plan
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.trouble import Trouble
from origin_sdk_edge.policy.voice import voice_of
from origin_sdk_edge.ports import OriginResponse
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.succession import speaks_of_resource

__all__ = ["Arrival", "Outcome", "Question"]


@dataclass(frozen=True)
class Question:
    """What the origin is asked.

    ``entry`` is the stored response that is validated or may stand in, and ``key`` the key of the response
    that is expected: under it requests for the same response are known to each other.
    """

    lookup: Lookup
    ask: Ask
    entry: Entry | None
    key: str
    flight: Flight | None = None
    """What others wait for meanwhile."""

    def leading(self, flight: Flight) -> "Question":
        """Return the question for which others wait."""
        return Question(self.lookup, self.ask, self.entry, self.key, flight)

    @cached_property
    def voice(self) -> str:
        """On whose behalf the origin is asked."""
        return voice_of(self.lookup)

    @property
    def is_wish(self) -> bool:
        """Whether what is stored would do, if this client didn't want another."""
        return self.ask.fallback and self.ask.forwarded is FwdReason.REQUEST

    @property
    def stored_fields(self) -> Fields:
        """The header fields of the stored response."""
        return self.entry.fields if self.entry else {}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A response, and what the policy sees of it."""

    response: OriginResponse
    facts: ResponseFacts
    is_shielded: bool = False
    may_store: bool = True
    is_without_shield: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of asking the origin.

    ``entry`` is what was stored of it, ``ended`` what is stored no longer, ``fill`` a body that is stored
    once it is complete.
    """

    plan: Plan
    response: OriginResponse | None = None
    facts: ResponseFacts | None = None
    entry: Entry | None = None
    ended: Entry | None = None
    fill: Fill | None = None
    trouble: Trouble | None = None
    """What the answer says of the origin's state."""
    is_shielded: bool = False
    """Whether it came from the shield, which writes to KV what is stored."""

    @property
    def answered_ms(self) -> int:
        """When the origin answered; 0 if it didn't."""
        return self.facts.response_ms if self.facts else 0

    @property
    def failure(self) -> OriginFailure | None:
        """How the origin failed, if that is what the client gets to know."""
        return self.plan.answer.failure if isinstance(self.plan.answer, Fail) else None

    @property
    def is_sound(self) -> bool:
        """Whether the origin answered as it should."""
        return self.facts is not None and self.trouble is None

    @property
    def speaks_of_sharing(self) -> bool:
        """Whether the answer is one to the resource, and not to how this client asked for it."""
        if self.facts is None or not self.is_sound:
            return False
        if self.fill and not self.fill.is_oversized:
            return False  # its clients left it, or there was no room
        return speaks_of_resource(self.facts.status)
