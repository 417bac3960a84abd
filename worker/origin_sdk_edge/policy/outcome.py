"""The third of RFC 9111's questions: may the cache store? And what the client gets of what came."""

from dataclasses import dataclass, replace

from origin_sdk_edge.policy.decision import Ask, Forward, Lookup
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.invalidation import invalidated, resolve
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.ranges import Join, join_of, with_part
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.policy.storability import may_store, speaks_for_others, unnominated_names
from origin_sdk_edge.policy.unkeyed import with_implied_vary
from origin_sdk_edge.policy.validation import can_freshen, freshened, head_agrees
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Fields, Reason, ResponseFacts
from origin_sdk_wire.fields import CACHE_STATUS, combined
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.marks import url_mark
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.storability import record_of, withdrawal
from origin_sdk_wire.succession import BEARINGS, AnswerKind, Bearing, Ends, is_good, kind_of
from origin_sdk_wire.vary import selecting_names

__all__ = ["Fail", "Plan", "Relay", "Reuse", "answers_cache_alone", "on_forwarded", "on_origin", "unstored"]

_OF_A_RANGE = frozenset({206, 304, 416})
"""The status codes that answer a request for a further part, and no other."""

_BY_USER = frozenset({"authorization", "cookie"})
"""Selecting fields whose variants are each one user's."""

_OF_CONTENT = frozenset({"content-length", "content-type", "content-encoding", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Relay:
    """Send the origin's response."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Send a stored response."""

    record: Record


@dataclass(frozen=True, slots=True)
class Fail:
    """Send an error of the cache's own."""

    failure: OriginFailure


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and what to do after.

    Store the response as ``store``, keep the stored body under ``freshen``, write ``marks``; ``again``
    asks the origin once more without the precondition, since its answer is none to this request.
    ``ends`` the stored response where a mark would end those of others, too.
    """

    answer: Relay | Reuse | Fail
    status: Status
    store: Record | None = None
    freshen: Record | None = None
    marks: tuple[str, ...] = ()
    again: bool = False
    join: Join | None = None
    """How the body that comes is joined with the stored one."""
    lookup: Lookup | None = None
    """Which requests the response to be stored answers, if not those like the one that brought it."""
    may_share: bool = True
    """Whether requests that waited for this outcome may have it too."""
    ends: bool = False
    own_fields: tuple[tuple[str, str], ...] = ()
    """What came with a 304 for this client alone."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the origin said to what it was asked."""

    lookup: Lookup
    ask: Ask
    response: ResponseFacts
    stored_fields: Fields
    settings: Settings

    @property
    def status(self) -> Status:
        return self._status(is_stored=False)

    @property
    def stored_status(self) -> Status:
        """What is said of an answer that is stored."""
        return self._status(is_stored=True)

    def _status(self, *, is_stored: bool) -> Status:
        ask = self.ask
        return Status(
            ask.reason,
            forwarded=ask.forwarded,
            forwarded_status=self.response.status,
            stored=is_stored,
            hit_for_miss=ask.hit_for_miss,
        )

    @property
    def bearing(self) -> Bearing:
        return BEARINGS[kind_of(self.response.status)]

    def reason(self, response: ResponseFacts) -> Reason:
        return may_store(self.lookup.request, response, self.lookup.rule, self.settings)

    def refused(self, reason: Reason) -> Status:
        """Return what is said of an answer that isn't stored."""
        if reason is not Reason.UNKEYED_FIELD:
            return replace(self.status, detail=reason)
        names = unnominated_names(self.lookup.request, self.response, self.lookup.rule, self.settings)
        return replace(self.status, detail=reason, unkeyed=names)

    def freshened(self, stored: Record) -> Record:
        return freshened(stored, self.response, self.lookup.rule, self.settings)


def on_origin(
    lookup: Lookup,
    ask: Ask,
    outcome: ResponseFacts | OriginFailure,
    stored_fields: Fields,
    settings: Settings,
) -> Plan:
    """Decide what the client gets and what is stored, by the outcome of asking the origin."""
    if isinstance(outcome, OriginFailure):
        return _on_failure(ask, outcome)
    outcome = with_implied_vary(lookup.request, outcome, lookup.rule, settings)
    reply = _Reply(lookup, ask, outcome, stored_fields, settings)
    return (ask.stored and _on_reply_about(ask.stored, reply)) or _on_response(reply)


def on_forwarded(forward: Forward, response: ResponseFacts, settings: Settings) -> Plan:
    """Decide what a response that the cache only passed on invalidates (RFC 9111 section 4.4), or answers."""
    status = Status(forward.reason, forwarded=forward.forwarded, forwarded_status=response.status)
    marks = invalidated(forward.request, response, forward.rule, settings)
    lookup = _answered_by_post(forward.request, response, settings)
    if lookup is None or may_store(lookup.request, response, lookup.rule, settings) is not Reason.STORED:
        return Plan(Relay(), status, marks=marks, may_share=False)
    # It is what the request that invalidates its URL left behind, and so comes right after the mark.
    record = replace(record_of(response, lookup.rule, settings), birth_ms=response.response_ms + 1)
    return Plan(Relay(), replace(status, stored=True), store=record, marks=marks, lookup=lookup)


def _answered_by_post(request: RequestFacts, response: ResponseFacts, settings: Settings) -> Lookup | None:
    """Return the look-up of the GET requests that a response to POST answers (RFC 9110 section 9.3.3)."""
    # The safe profile refrains: a purge that came while the request was under way would be missed.
    location = response.fields.get("content-location", "")
    if settings.is_safe or request.method != "POST" or not location:
        return None
    if resolve(request.target, location) != request.target:
        return None
    fields = {name: value for name, value in request.fields.items() if name not in _OF_CONTENT}
    lookup = on_request(RequestFacts("GET", request.target, fields), settings, response.response_ms)
    if not isinstance(lookup, Lookup):
        return None
    record = record_of(response, lookup.rule, settings)
    return lookup if freshness_of(record, response.fields, lookup.rule, settings).is_explicit else None


def answers_cache_alone(ask: Ask, status: int) -> bool:
    """Whether a response with this status answers what the cache added to the request, and no client."""
    return bool(ask.conditional) and (status == 304 or (ask.completes and status in _OF_A_RANGE))


def unstored(plan: Plan, reason: Reason) -> Plan:
    """Return the plan for a response that by its body turned out not to be stored."""
    status = replace(plan.status, detail=reason, stored=False)
    return replace(plan, status=status, store=None, may_share=False)


def _on_failure(ask: Ask, failure: OriginFailure) -> Plan:
    if ask.stored and ask.when_disconnected:
        return Plan(Reuse(ask.stored), Status(Reason.STALE_IF_ERROR, forwarded=ask.forwarded))
    return Plan(Fail(failure), Status(failure.value, forwarded=ask.forwarded))


def _on_reply_about(stored: Record, reply: _Reply) -> Plan | None:
    """Return the plan for what speaks of the stored response; ``None`` if it stands for itself."""
    status, ask = reply.response.status, reply.ask
    if ask.reason is Reason.PARTIAL:
        return _on_more(stored, reply) if status in _OF_A_RANGE else None
    if status == 304 and ask.conditional:
        return _on_not_modified(stored, reply)
    if _gives_way(reply):
        return Plan(Reuse(stored), replace(reply.status, detail=Reason.STALE_IF_ERROR))
    if status == 200 and reply.lookup.request.method == "HEAD":
        return _on_head(stored, reply)
    return None


def _gives_way(reply: _Reply) -> bool:
    """Whether the stored response is sent in place of the answer."""
    if not reply.bearing.gives_way:
        return False
    if kind_of(reply.response.status) is AnswerKind.LIMITED:
        # RFC 5861 section 4 knows server errors alone.
        return reply.ask.fallback and reply.settings.is_safe
    return reply.ask.when_disconnected


def _ended(plan: Plan, stored: Record | None, reply: _Reply, response: ResponseFacts) -> Plan:
    """Return the plan for an answer that isn't stored, with what it ends.

    What that is says :mod:`origin_sdk_wire.succession`. ``response`` is the answer as it would have
    been stored.
    """
    lookup, ends = reply.lookup, reply.bearing.ends
    if stored is None or ends is Ends.NEVER:
        return plan
    if ends is Ends.IF_WITHDRAWN and withdrawal(response, lookup.rule, reply.settings) is None:
        return plan
    if not speaks_for_others(lookup.request, response, lookup.rule, reply.settings):
        return plan
    # A mark reaches all that is stored for the URL: an answer to one user, or to one content, isn't to end
    # what others have.
    is_of_url = lookup.request.method in {"GET", "HEAD"} and lookup.rule.data_class is not DataClass.PRIVATE
    is_of_url = is_of_url and not lookup.rule.no_vary_search  # nor what other queries have
    if not is_of_url or _BY_USER & set(selecting_names(reply.stored_fields)):
        return replace(plan, ends=True)
    return replace(plan, marks=(url_mark(lookup.request.target),))


def _on_not_modified(stored: Record, reply: _Reply) -> Plan:
    if not can_freshen(reply.stored_fields, reply.response):
        return Plan(Relay(), reply.status, again=True)
    record = reply.freshened(stored)
    if len(record.groups) > MAX_GROUPS:
        return Plan(Relay(), reply.status, again=True)
    kept = _kept(record, reply)
    reason = reply.reason(kept)
    is_stored = reason is Reason.STORED
    status = replace(reply.status, detail=Reason.VALIDATED if is_stored else reason, stored=is_stored)
    # In the strict profile cookies are stored, and so among the record's fields.
    own = tuple(("set-cookie", value) for value in reply.response.set_cookies if reply.settings.is_safe)
    if by_others := reply.response.fields.get(CACHE_STATUS):
        own = (*own, (CACHE_STATUS, by_others))
    plan = Plan(
        Reuse(record), status, freshen=record if is_stored else None, may_share=is_stored, own_fields=own
    )
    return plan if is_stored else _ended(plan, stored, reply, kept)


def _kept(freshened: Record, reply: _Reply) -> ResponseFacts:
    """Return the stored response as it would be kept with the fields of the answer, but for its cookies."""
    return replace(reply.response, status=freshened.status, fields=combined(freshened.fields), set_cookies=())


def _on_head(stored: Record, reply: _Reply) -> Plan:
    # Section 4.3.5
    if not head_agrees(stored, reply.stored_fields, reply.response):
        marks = (url_mark(reply.lookup.request.target),)
        return Plan(Relay(), reply.status, marks=marks, may_share=False)
    record = reply.freshened(stored)
    kept = _kept(record, reply)
    if reply.reason(kept) is not Reason.STORED:
        return _ended(Plan(Relay(), reply.status, may_share=False), stored, reply, kept)
    return Plan(Relay(), reply.stored_status, freshen=record)


def _on_more(stored: Record, reply: _Reply) -> Plan:
    """Decide on a further part of what is stored in part (section 3.4)."""
    is_part = reply.response.status == 206
    reason = reply.reason(reply.response) if is_part else Reason.PARTIAL
    join = join_of(reply.stored_fields, reply.response.fields) if reason is Reason.STORED else None
    record = with_part(reply.freshened(stored), join.part) if join else None
    if reply.ask.completes and (record is None or record.status != 200):
        return Plan(Relay(), reply.status, again=True)  # the client asked for the whole
    if reason is not Reason.STORED:
        plan = Plan(Relay(), reply.refused(reason), may_share=False)
        return _ended(plan, stored, reply, reply.response) if is_part else plan
    record = record or record_of(reply.response, reply.lookup.rule, reply.settings)
    return Plan(Relay(), reply.stored_status, store=record, join=join)


def _on_response(reply: _Reply) -> Plan:
    """Decide on a response that stands for itself (section 3)."""
    response, stored = reply.response, reply.ask.stored
    if reply.lookup.request.method == "HEAD":
        return _ended(Plan(Relay(), reply.status, may_share=False), stored, reply, response)
    reason = _reason_to_store(reply)
    if reason is not Reason.STORED:
        return _ended(Plan(Relay(), reply.refused(reason), may_share=False), stored, reply, response)
    record = record_of(response, reply.lookup.rule, reply.settings)
    return Plan(Relay(), reply.stored_status, store=record)


def _reason_to_store(reply: _Reply) -> Reason:
    status, stored = reply.response.status, reply.ask.stored
    has_range = "range" in (reply.ask.conditional.keys() | reply.lookup.request.fields.keys())
    if status == (416 if has_range else 206):
        return Reason.PARTIAL  # it answers this request's range, or none
    # One that the client's credentials keep from it is as good as before.
    is_good_stored = stored is not None and is_good(stored.status)
    if not reply.bearing.may_replace and (is_good_stored or reply.ask.reason is Reason.CREDENTIALS):
        return Reason.SERVER_ERROR if status >= 500 else Reason.CLIENT_ERROR
    return reply.reason(reply.response)
