"""The three questions of RFC 9111, and their answers.

::

    request ──> on_request ──> Forward                       the cache takes no part
                     └───────> Lookup ──> on_stored ──> Use         answer from what is stored
                                              ├───────> Refuse      only-if-cached, and there is nothing to use
                                              └───────> Ask ──> the origin ──> on_origin ──> Plan

Every decision is a frozen value, and each carries its :class:`.facts.Reason`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cachewire.directives import Directives, parse_cache_control, request_directives, response_directives
from cachewire.key import Target, record_key
from cachewire.marks import EVERYTHING, group_mark, host_mark, prefix_index_mark, url_mark
from cachewire.record import Record
from cachewire.rules import first_match, key_target
from edgecache.claims import verified_claims
from edgecache.policy.answer import answers_range
from edgecache.policy.disguise import forbids, forbids_disguised
from edgecache.policy.facts import Fields, OriginFailure, Reason, RequestFacts, ResponseFacts
from edgecache.policy.freshness import Freshness, current_age_ms, freshness_of, request_stale_if_error_ms
from edgecache.policy.invalidation import SAFE_METHODS, invalidated
from edgecache.policy.ranges import Join, Part, completing_fields, content_part, join_of, range_fields
from edgecache.policy.status import Forwarded, Status
from edgecache.policy.storing import is_for_everyone, may_store, record_of
from edgecache.policy.validation import can_freshen, conditional_fields, freshened, head_agrees
from edgecache.settings import DataClass, Rule, Settings

__all__ = [
    "VALID",
    "Ask",
    "Fail",
    "Forward",
    "Invalidity",
    "Lookup",
    "Plan",
    "Refuse",
    "Relay",
    "Reuse",
    "Use",
    "on_forwarded",
    "on_origin",
    "on_request",
    "on_stored",
]

DEFAULT_RULE = Rule()
_ERRORS = frozenset({500, 502, 503, 504})
"""The status codes that stale-if-error stands in for (RFC 5861 section 4)."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the request to the origin and its response to the client, whole."""

    request: RequestFacts
    rule: Rule
    reason: Reason
    forwarded: Forwarded = Forwarded.BYPASS


@dataclass(frozen=True, slots=True)
class Lookup:
    """Look for a stored response under ``key``.

    ``request`` is as the origin will see it: nothing in it that can change the response is outside the
    key. ``parts`` are the declared identity.
    """

    request: RequestFacts
    client: RequestFacts
    rule: Rule
    key: str
    parts: tuple[tuple[str, str | None], ...]
    mark_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Invalidity:
    """What the purge marks say of a stored response: since when it is stale or gone, in milliseconds.

    0 if it isn't.
    """

    soft_ms: int = 0
    hard_ms: int = 0
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


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the origin.

    ``stored`` may be validated with ``conditional``, and may stand in for a failure as far as
    ``fallback`` says.
    """

    forwarded: Forwarded
    reason: Reason
    stored: Record | None = None
    conditional: Mapping[str, str] = field(default_factory=dict)
    fallback: bool = False
    """Whether the stored response may be used now, should the origin fail."""
    when_disconnected: bool = False
    """Whether it may be used now, should there be no answer from the origin at all."""

    @property
    def is_for_part(self) -> bool:
        """Whether the origin is asked for a part only."""
        return "range" in self.conditional


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer 504: the client wants only what is stored (RFC 9111 section 5.2.1.7)."""

    reason: Reason = Reason.ONLY_IF_CACHED


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
    asks the origin once more without the precondition, since its 304 spoke of another response.
    """

    answer: Relay | Reuse | Fail
    status: Status
    store: Record | None = None
    freshen: Record | None = None
    marks: tuple[str, ...] = ()
    again: bool = False
    join: Join | None = None
    """How the body that comes is joined with the stored one."""
    may_share: bool = True
    """Whether requests that waited for this outcome may have it too."""


# May the cache look?


def on_request(request: RequestFacts, settings: Settings, now_ms: int) -> Forward | Lookup:
    """Decide whether to look for a stored response, and under which key (RFC 9111 section 4)."""
    found = first_match(settings.rules, request.method, request.target)
    rule = found if isinstance(found, Rule) else DEFAULT_RULE
    if settings.is_safe and not forbids(rule):
        rule = forbids_disguised(request.method, request.target, settings) or rule
    if request.method not in {"GET", "HEAD"}:
        forwarded = Forwarded.BYPASS if request.method in SAFE_METHODS else Forwarded.METHOD
        return Forward(request, rule, Reason.METHOD, forwarded)
    if reason := _passes(request, rule):
        return Forward(request, rule, reason)
    parts = _identity(request, rule, settings, now_ms)
    if parts is None:
        return Forward(request, rule, Reason.IDENTITY_MISSING)
    target = key_target(rule, request.target)
    sent = RequestFacts(request.method, target, _sent_fields(request.fields, rule, settings))
    return Lookup(sent, request, rule, record_key(target), parts, _mark_names(target))


def _passes(request: RequestFacts, rule: Rule) -> Reason | None:
    if rule.bypass:
        return Reason.BYPASS_RULE
    if rule.data_class is DataClass.NEVER:
        return Reason.CLASS_NEVER
    if "upgrade" in request.fields:
        return Reason.UPGRADE
    # RFC 9110 section 13.1.1 and 13.1.4: these are for the origin to evaluate.
    if "if-match" in request.fields or "if-unmodified-since" in request.fields:
        return Reason.PRECONDITION
    if request.fields.get("content-length", "0") != "0" or "transfer-encoding" in request.fields:
        return Reason.BODY
    return None


def _identity(
    request: RequestFacts, rule: Rule, settings: Settings, now_ms: int
) -> tuple[tuple[str, str | None], ...] | None:
    if not rule.declares_identity:
        return ()
    parts: list[tuple[str, str | None]] = [
        (f"field:{name}", request.fields.get(name)) for name in rule.fields
    ]
    if rule.cookies:
        cookies = _cookies(request.fields.get("cookie", ""))
        parts += [(f"cookie:{name}", cookies.get(name)) for name in rule.cookies]
    if rule.claims:
        scheme, _, token = request.fields.get("authorization", "").partition(" ")
        claims = (
            verified_claims(token.strip(), settings.token_secret, now_ms // 1000)
            if scheme.lower() == "bearer"
            else None
        )
        if claims is None:
            return None
        parts += [
            (f"claim:{name}", None if name not in claims else str(claims[name])) for name in rule.claims
        ]
    if rule.data_class is DataClass.PRIVATE and any(value is None for _, value in parts):
        return None
    return tuple(parts)


def _cookies(value: str) -> dict[str, str]:
    """Return cookies by name; of repeated ones all values, since it can't be known which the origin takes."""
    cookies: dict[str, str] = {}
    for pair in value.split(";"):
        name, _, content = pair.strip().partition("=")
        cookies[name] = f"{cookies[name]};{content}" if name in cookies else content
    return cookies


_CONDITIONAL = frozenset({"if-none-match", "if-modified-since", "if-range", "range"})


def _sent_fields(fields: Fields, rule: Rule, settings: Settings) -> Fields:
    """Return the fields that the origin sees.

    No preconditions of the client's, and nothing known to change responses unkeyed.
    """
    left_out = (settings.unkeyed_fields - set(rule.fields)) | _CONDITIONAL
    if rule.ignore_cookies:
        left_out |= {"cookie"}
    sent = {name: value for name, value in fields.items() if name not in left_out}
    if "accept-encoding" in sent:
        sent["accept-encoding"] = _codings(sent["accept-encoding"])
    return sent


def _codings(value: str) -> str:
    # A few values instead of one for each kind of client: fewer variants where the origin varies by it.
    members = [member.split(";") for member in value.lower().replace(" ", "").split(",")]
    accepted = {member[0] for member in members if not (len(member) > 1 and member[1].strip("0.") == "q=")}
    return (
        ", ".join(coding for coding in ("br", "gzip") if coding in accepted or "*" in accepted) or "identity"
    )


def _mark_names(target: Target) -> tuple[str, ...]:
    return EVERYTHING, host_mark(target.host), prefix_index_mark(target.host), url_mark(target)


def mark_names(lookup: Lookup, record: Record) -> tuple[str, ...]:
    """Return the names of all marks that a stored response falls under, but for those of prefixes."""
    return (
        (*lookup.mark_names, *(group_mark(group) for group in record.groups))
        if record.groups
        else lookup.mark_names
    )


# May it reuse?


def on_stored(
    lookup: Lookup,
    record: Record | None,
    fields: Fields,
    invalidity: Invalidity,
    now_ms: int,
    settings: Settings,
    *,
    other_variant: bool = False,
) -> Use | Ask | Refuse:
    """Decide whether the stored response answers the request (RFC 9111 section 4)."""
    wishes = (
        request_directives(lookup.client.fields)
        if settings.honour_request_directives
        else parse_cache_control("")
    )
    decision = _use_or_ask(lookup, record, fields, invalidity, now_ms, settings, wishes, other_variant)
    if record is not None and record.status == 206:
        decision = _by_part(decision, lookup.client, record, fields, now_ms)
    if isinstance(decision, Ask) and "only-if-cached" in wishes:
        return Refuse()
    if isinstance(decision, Ask) and decision.stored is None and lookup.client.method == "GET":
        return replace(decision, conditional=range_fields(lookup.client.fields))
    return decision


def _by_part(
    decision: Use | Ask, client: RequestFacts, record: Record, fields: Fields, now_ms: int
) -> Use | Ask:
    """Turn what would be decided on a whole response into what it means for a part of one."""
    if isinstance(decision, Ask):
        return Ask(decision.forwarded, decision.reason)
    if answers_range(record, fields, client, now_ms):
        return decision
    asked = range_fields(client.fields) or completing_fields(fields)
    if client.method != "GET" or not asked or record.body_key:
        return Ask(Forwarded.PARTIAL, Reason.PARTIAL)
    return Ask(Forwarded.PARTIAL, Reason.PARTIAL, record, asked)


def _use_or_ask(
    lookup: Lookup,
    record: Record | None,
    fields: Fields,
    invalidity: Invalidity,
    now_ms: int,
    settings: Settings,
    wishes: Directives,
    other_variant: bool,
) -> Use | Ask:
    if record is None:
        return (
            Ask(Forwarded.VARY_MISS, Reason.OTHER_VARIANT)
            if other_variant
            else Ask(Forwarded.URI_MISS, Reason.ABSENT)
        )
    if invalidity.hard_ms:
        return Ask(Forwarded.URI_MISS, Reason.PURGED_HARD)
    if _is_credential_risk(lookup, fields, settings):
        return Ask(Forwarded.BYPASS, Reason.CREDENTIALS)
    freshness = freshness_of(record, fields, lookup.rule, settings)
    age_ms = current_age_ms(record, now_ms)
    # A soft purge makes a response stale at its moment.
    staleness_ms = max(
        age_ms - freshness.lifetime_ms, now_ms - invalidity.soft_ms if invalidity.soft_ms else -(2**53)
    )
    usable = _usable(freshness, age_ms, staleness_ms, invalidity, wishes)
    if isinstance(usable, tuple):
        forwarded, reason = usable
        return _ask(record, fields, freshness, staleness_ms, lookup.client, forwarded, reason, settings)
    refresh = usable is Reason.STALE_WHILE_REVALIDATE
    edge_ms = freshness.stale_while_revalidate_ms if refresh else 0
    return Use(
        record,
        usable,
        refresh,
        -(staleness_ms // 1000) - (staleness_ms % 1000 > 0),
        now_ms - staleness_ms + edge_ms,
    )


def _usable(
    freshness: Freshness, age_ms: int, staleness_ms: int, invalidity: Invalidity, wishes: Directives
) -> Reason | tuple[Forwarded, Reason]:
    """Return why the response may be used without validation, or why not."""
    if invalidity.is_unknown:
        return Forwarded.STALE, Reason.MARKS_UNKNOWN
    if freshness.must_validate:
        return Forwarded.STALE, Reason.NO_CACHE
    if wishes and (refusal := _refused_by_client(age_ms, staleness_ms, wishes)):
        return Forwarded.REQUEST, refusal
    if staleness_ms < 0:
        return Reason.FRESH
    if freshness.forbids_stale:
        return Forwarded.STALE, Reason.STALE
    if staleness_ms < freshness.stale_while_revalidate_ms and "max-age" not in wishes:
        return Reason.STALE_WHILE_REVALIDATE
    if not invalidity.soft_ms and _client_takes_stale(staleness_ms, wishes):
        return Reason.MAX_STALE
    return Forwarded.STALE, Reason.PURGED_SOFT if invalidity.soft_ms else Reason.STALE


def _refused_by_client(age_ms: int, staleness_ms: int, wishes: Directives) -> Reason | None:
    # RFC 9111 section 5.2.1
    if "no-cache" in wishes:
        return Reason.REQUEST_NO_CACHE
    max_age, min_fresh = wishes.window("max-age"), wishes.window("min-fresh")
    if max_age is not None and age_ms > max_age * 1000 - (max_age == 0):
        return Reason.REQUEST_MAX_AGE
    if min_fresh is not None and -staleness_ms < min_fresh * 1000:
        return Reason.REQUEST_MIN_FRESH
    return None


def _client_takes_stale(staleness_ms: int, wishes: Directives) -> bool:
    if "max-stale" not in wishes:
        return False
    limit = wishes.window("max-stale")
    return wishes.arguments["max-stale"] is None or (limit is not None and staleness_ms <= limit * 1000)


def _ask(
    record: Record,
    fields: Fields,
    freshness: Freshness,
    staleness_ms: int,
    client: RequestFacts,
    forwarded: Forwarded,
    reason: Reason,
    settings: Settings,
) -> Ask:
    window_ms = max(freshness.stale_if_error_ms, request_stale_if_error_ms(client.fields))
    may_be_stale = not freshness.forbids_stale and not freshness.must_validate and record.status < 500
    is_fresh = staleness_ms < 0 and not freshness.must_validate
    fallback = is_fresh or (may_be_stale and staleness_ms < window_ms)
    # Section 4.2.4: a cache that is disconnected may use what is stale, unless a directive forbids it.
    disconnected = fallback or (may_be_stale and not settings.is_safe)
    return Ask(forwarded, reason, record, conditional_fields(fields), fallback, disconnected)


def _is_credential_risk(lookup: Lookup, fields: Fields, settings: Settings) -> bool:
    """Whether a request with credentials meets a response that doesn't say by name that it is for everyone."""
    if (
        not settings.is_safe
        or "authorization" not in lookup.client.fields
        or lookup.rule.data_class is DataClass.PRIVATE
    ):
        return False
    return not is_for_everyone(response_directives(fields))


# May it store?


def on_origin(
    lookup: Lookup,
    ask: Ask,
    outcome: ResponseFacts | OriginFailure,
    stored_fields: Fields,
    settings: Settings,
) -> Plan:
    """Decide what the client gets and what is stored, by the outcome of asking the origin (RFC 9111 section 3 and 4.3)."""
    if isinstance(outcome, OriginFailure):
        return _on_failure(ask, outcome)
    sent = Status(ask.reason, forwarded=ask.forwarded, forwarded_status=outcome.status)
    if ask.reason is Reason.PARTIAL and ask.stored and outcome.status in {206, 304, 416}:
        return _on_more(lookup, ask, outcome, stored_fields, settings, sent)
    if outcome.status == 304 and ask.stored and ask.conditional:
        return _on_not_modified(lookup, ask, outcome, stored_fields, settings, sent)
    # Section 4.3.3: a server error may count as no answer at all.
    if outcome.status in _ERRORS and ask.stored and ask.when_disconnected:
        return Plan(Reuse(ask.stored), replace(sent, detail=Reason.STALE_IF_ERROR))
    if lookup.request.method == "HEAD":
        return _on_head(lookup, ask, outcome, stored_fields, settings, sent)
    reason = may_store(lookup.request, outcome, lookup.rule, settings)
    has_range = ask.is_for_part or "range" in lookup.request.fields
    if outcome.status == (416 if has_range else 206):
        reason = Reason.PARTIAL  # it answers this request's range, or none
    if outcome.status >= 500 and ask.stored and ask.stored.status < 500:
        reason = Reason.SERVER_ERROR  # it never replaces a good stored response
    if reason is not Reason.STORED:
        # What is stored of a resource that is gone isn't to be served any more, stale or not.
        marks = (url_mark(lookup.request.target),) if ask.stored and outcome.status in {404, 410} else ()
        return Plan(Relay(), replace(sent, detail=reason), marks=marks, may_share=False)
    record = record_of(lookup.request, outcome, lookup.rule, settings)
    part = content_part(outcome.fields) if outcome.status == 206 else None
    if part and part.is_whole and "content-length" in outcome.fields:
        record = _with_part(record, part)
    return Plan(Relay(), replace(sent, stored=True), store=record)


def _on_failure(ask: Ask, failure: OriginFailure) -> Plan:
    if ask.stored and ask.when_disconnected:
        return Plan(Reuse(ask.stored), Status(Reason.STALE_IF_ERROR, forwarded=ask.forwarded))
    return Plan(Fail(failure), Status(failure.value, forwarded=ask.forwarded))


def _on_not_modified(
    lookup: Lookup, ask: Ask, response: ResponseFacts, stored_fields: Fields, settings: Settings, sent: Status
) -> Plan:
    assert ask.stored is not None
    if not can_freshen(stored_fields, response):
        return Plan(Relay(), sent, again=True)
    record = freshened(ask.stored, lookup.request, response, lookup.rule, settings)
    merged = replace(response, status=record.status, fields=combined(record.fields))
    reason = may_store(lookup.request, merged, lookup.rule, settings)
    is_stored = reason is Reason.STORED
    status = replace(sent, detail=Reason.VALIDATED if is_stored else reason, stored=is_stored)
    return Plan(Reuse(record), status, freshen=record if is_stored else None, may_share=is_stored)


def _on_more(
    lookup: Lookup, ask: Ask, response: ResponseFacts, stored_fields: Fields, settings: Settings, sent: Status
) -> Plan:
    """Decide on a further part of what is stored in part (section 3.4)."""
    assert ask.stored is not None
    join = join_of(stored_fields, response.fields) if response.status == 206 else None
    reason = may_store(lookup.request, response, lookup.rule, settings)
    record = record_of(lookup.request, response, lookup.rule, settings)
    if join and reason is Reason.STORED:
        record = freshened(ask.stored, lookup.request, response, lookup.rule, settings)
        record = _with_part(record, join.part)
    if record.status != 200 and "range" not in lookup.client.fields:
        return Plan(Relay(), sent, again=True)  # the client asked for the whole
    if reason is not Reason.STORED:
        return Plan(Relay(), replace(sent, detail=reason), may_share=False)
    return Plan(Relay(), replace(sent, stored=True), store=record, join=join)


def _with_part(record: Record, part: Part) -> Record:
    fields = tuple(field for field in record.fields if field[0] != "content-range")
    if part.is_whole:
        return replace(record, status=200, fields=fields)
    return replace(record, fields=(*fields, ("content-range", str(part))))


def _on_head(
    lookup: Lookup, ask: Ask, response: ResponseFacts, stored_fields: Fields, settings: Settings, sent: Status
) -> Plan:
    # Section 4.3.5
    if response.status != 200 or ask.stored is None:
        return Plan(Relay(), sent, may_share=False)
    if not head_agrees(ask.stored, stored_fields, response):
        return Plan(Relay(), sent, marks=(url_mark(lookup.request.target),), may_share=False)
    record = freshened(ask.stored, lookup.request, response, lookup.rule, settings)
    return Plan(Relay(), replace(sent, stored=True), freshen=record, may_share=False)


def combined(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name, repeated ones combined (RFC 9110 section 5.3)."""
    by_name: dict[str, str] = {}
    for name, value in fields:
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    return by_name


def on_forwarded(forward: Forward, response: ResponseFacts) -> Plan:
    """Decide what a response that the cache only passed on invalidates (RFC 9111 section 4.4)."""
    status = Status(forward.reason, forwarded=forward.forwarded, forwarded_status=response.status)
    return Plan(Relay(), status, marks=invalidated(forward.request, response), may_share=False)
