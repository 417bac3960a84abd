"""The first two of RFC 9111's questions: may the cache look, and may it reuse? :mod:`.outcome` has the third.

::

    request ──> on_request ──> Forward                       the cache takes no part, at least for now
                     └───────> Lookup ──> on_stored ──> Use         answer from what is stored
                                              ├───────> Refuse      only-if-cached, and nothing is usable
                                              └───────> Ask ──> the origin ──> on_origin ──> Plan

Every decision is a frozen value, and each carries its :class:`.facts.Reason`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from origin_sdk_edge.policy.answer import answers_range
from origin_sdk_edge.policy.codings import accepted_codings
from origin_sdk_edge.policy.credentials import bearer_token, has_undeclared_credential
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.identity import Parts, has_cookie, identity_of
from origin_sdk_edge.policy.invalidation import SAFE_METHODS
from origin_sdk_edge.policy.ranges import completing_fields, range_fields
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.storability import is_for_everyone
from origin_sdk_edge.policy.unkeyed import sent_fields, undisclosed_fields, unkeyed_names
from origin_sdk_edge.policy.validation import PRECONDITIONS, conditional_fields
from origin_sdk_edge.policy.wishes import (
    knows_better,
    refused_by_client,
    request_stale_if_error_ms,
    takes_stale,
    wishes_of,
)
from origin_sdk_wire.directives import Directives, response_directives, split_list
from origin_sdk_wire.disguise import strictest_rule
from origin_sdk_wire.facts import Fields, Reason
from origin_sdk_wire.freshness import Freshness, current_age_ms, freshness_of
from origin_sdk_wire.key import Target, record_key
from origin_sdk_wire.record import Record
from origin_sdk_wire.rules import (
    PREFLIGHT_FIELDS,
    asked_target,
    first_match,
    key_target,
    known_query,
    search_parts,
)
from origin_sdk_wire.search_variance import QUERY
from origin_sdk_wire.settings import DataClass, Rule, Settings
from origin_sdk_wire.storability import content_length
from origin_sdk_wire.succession import is_good

__all__ = [
    "DEFAULT_RULE",
    "VALID",
    "Ask",
    "Awaited",
    "Forward",
    "Invalidity",
    "Lookup",
    "Refuse",
    "Use",
    "on_bare_request",
    "on_request",
    "on_stored",
    "while_fresh",
]

DEFAULT_RULE = Rule()


class Awaited(Enum):
    """What a decision needs of a request and takes waiting."""

    TOKEN = auto()
    """Its bearer token, verified."""
    REVOCATION = auto()
    """Whether its token or API key, which is valid, was revoked."""
    CONTENT = auto()
    """Its content, which belongs in the key."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the request to the origin and its response to the client, whole."""

    request: RequestFacts
    rule: Rule
    reason: Reason
    forwarded: FwdReason = FwdReason.BYPASS
    awaits: Awaited | None = None
    """What the decision hangs on: who can have that does, and decides again."""


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
    parts: Parts
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


_MISSES = {
    Reason.ABSENT: Ask(FwdReason.URI_MISS, Reason.ABSENT),
    Reason.OTHER_VARIANT: Ask(FwdReason.VARY_MISS, Reason.OTHER_VARIANT),
    Reason.BROKEN_SEAL: Ask(FwdReason.URI_MISS, Reason.BROKEN_SEAL),
}
"""What is done where there is nothing that may be used, by why that is so."""


# May the cache look?


def on_request(request: RequestFacts, settings: Settings, now_ms: int) -> Forward | Lookup:
    """Decide whether to look for a stored response, and under which key (RFC 9111 section 4)."""
    spelt = first_match(settings.rules, request.method, request.target) or DEFAULT_RULE
    rule = strictest_rule(spelt, request.method, request.target, settings)
    if rule is not spelt:
        rule = replace(rule, origins=spelt.origins, weights=spelt.weights)
    is_further = request.method not in _READING
    if is_further and not _is_looked_up(request, rule):
        forwarded = FwdReason.BYPASS if request.method in SAFE_METHODS else FwdReason.METHOD
        return Forward(request, rule, Reason.METHOD, forwarded)
    if reason := _passes(request, rule, settings):
        return Forward(request, rule, reason)
    if rule.negotiates:
        request = _negotiating(request, rule)
    if (is_further or rule.claims) and (awaited := _awaited(request, rule, settings)):
        return Forward(request, rule, _WITHOUT[awaited], awaits=awaited)
    parts = _key_parts(request, rule, settings, now_ms)
    if isinstance(parts, Reason):
        return Forward(request, rule, parts)
    if request.content:
        request = _whole(request)
    target = key_target(rule, request.target)
    sent = _sent(request, target, rule, settings)
    undisclosed = undisclosed_fields(request, sent.fields, settings)
    unkeyed = unkeyed_names(sent, rule, settings)
    return Lookup(sent, request, rule, record_key(target), parts, unkeyed, undisclosed)


def on_bare_request(target: Target, settings: Settings) -> Lookup | None:
    """Decide as :func:`on_request` does on a bare GET; ``None`` where that is for it to say."""
    rule = first_match(settings.rules, "GET", target) or DEFAULT_RULE
    is_plain = not (rule.never_stores or rule.declares_identity or rule.negotiates or rule.edits_query)
    if not is_plain or rule.reads_answers or strictest_rule(rule, "GET", target, settings) is not rule:
        return None
    request = RequestFacts("GET", target, {})
    if has_undeclared_credential(request, rule, settings):
        return None
    return Lookup(request, request, rule, record_key(target), settings.version_parts)


_ORIGIN, _ASKED_METHOD, _ASKED_FIELDS, _ASKED_NETWORK = PREFLIGHT_FIELDS
_PREFLIGHT = {_ORIGIN, _ASKED_METHOD}
"""The request fields that make OPTIONS a preflight."""

_READING = frozenset({"GET", "HEAD"})
"""The methods that are looked up whatever the rules say."""

_WITHOUT = {
    Awaited.TOKEN: Reason.IDENTITY_MISSING,
    Awaited.REVOCATION: Reason.IDENTITY_MISSING,
    Awaited.CONTENT: Reason.BODY,
}
"""Why the cache takes no part, should what is awaited not be had."""


def _is_looked_up(request: RequestFacts, rule: Rule) -> bool:
    """Whether a request that is neither GET nor HEAD is looked up by its rule."""
    if request.method == "OPTIONS" and not request.fields.keys() >= _PREFLIGHT:
        return False
    return rule.looks_up_further(request.method)


def _negotiating(request: RequestFacts, rule: Rule) -> RequestFacts:
    """Return a request whose negotiated fields have one of the few values that the rule knows."""
    from origin_sdk_wire.negotiation import negotiated  # noqa: PLC0415 - only such rules pay for it

    return replace(request, fields={**request.fields, **negotiated(rule, request.fields)})


def _awaited(request: RequestFacts, rule: Rule, settings: Settings) -> Awaited | None:
    if rule.claims:
        may_be_signed = settings.token_issuers and not rule.takes_api_keys
        if may_be_signed and not request.token and bearer_token(request.fields):
            return Awaited.TOKEN
        if rule.revoked_by and not (request.token and request.token.is_checked):
            return Awaited.REVOCATION
    return Awaited.CONTENT if rule.keys_content(request.method) and not request.content else None


def _key_parts(request: RequestFacts, rule: Rule, settings: Settings, now_ms: int) -> Parts | Reason:
    """Return what the key holds beyond the target, or why there can be none."""
    identity = identity_of(request, rule, settings, now_ms)
    if isinstance(identity, Reason):
        return identity
    identity = settings.key_identity(rule, identity)
    if request.method in _READING and not (settings.key_version or rule.no_vary_search):
        return identity
    further: Parts | None = request.content.parts if request.content else _preflight_parts(request)
    if further is None or (request.content and _may_do_otherwise(request, rule)):
        return Reason.NOT_A_QUERY
    return (*identity, *search_parts(rule), *further, *settings.version_parts)


def _may_do_otherwise(request: RequestFacts, rule: Rule) -> bool:
    from origin_sdk_wire.content import may_do_otherwise  # noqa: PLC0415 - only such rules pay for it

    return may_do_otherwise(request.method, rule.body, request.target)


def _preflight_parts(request: RequestFacts) -> Parts:
    """Return what a preflight is looked up by: CORS (Fetch section 3.3) knows no more of it."""
    if request.method != "OPTIONS":
        return ()
    asked = split_list(request.fields.get(_ASKED_FIELDS, "").lower())
    network = request.fields.get(_ASKED_NETWORK)
    return (
        ("method", "OPTIONS"),
        (_ORIGIN, request.fields.get(_ORIGIN)),
        (_ASKED_METHOD, request.fields.get(_ASKED_METHOD)),
        (_ASKED_FIELDS, ",".join(sorted(asked))),
        *([] if network is None else [(_ASKED_NETWORK, network)]),
    )


def _kept_out(request: RequestFacts, rule: Rule, settings: Settings) -> Reason | None:
    """Return why the rule itself keeps a request out of the cache, if it does."""
    if rule.never_stores:
        return Reason.BYPASS_RULE if rule.bypass else Reason.CLASS_NEVER
    if rule.bypass_cookies and has_cookie(request.fields.get("cookie", ""), rule.bypass_cookies):
        return Reason.BYPASS_COOKIE
    return Reason.UNDECLARED_CREDENTIAL if has_undeclared_credential(request, rule, settings) else None


def _passes(request: RequestFacts, rule: Rule, settings: Settings) -> Reason | None:
    if reason := _kept_out(request, rule, settings):
        return reason
    if "upgrade" in request.fields:
        return Reason.UPGRADE
    if request.method in _READING:
        if not settings.is_safe and not PRECONDITIONS.isdisjoint(request.fields):
            return Reason.PRECONDITION
        has_content = request.fields.get("content-length", "0") != "0"
        return Reason.BODY if has_content or "transfer-encoding" in request.fields else None
    return _passes_further(request, settings)


def _passes_further(request: RequestFacts, settings: Settings) -> Reason | None:
    """Return why a request isn't looked up that is neither GET nor HEAD, and otherwise would be."""
    # RFC 9110 section 13.1: of POST they are about what it would change.
    unmet = _CONDITIONAL if request.method != "QUERY" else () if settings.is_safe else PRECONDITIONS
    if not request.fields.keys().isdisjoint(unmet):
        return Reason.PRECONDITION
    return Reason.BODY if _may_exceed(request, settings.key_body_bytes) else None


def _may_exceed(request: RequestFacts, most_bytes: int) -> bool:
    """Whether a request has a content that may be larger than ``most_bytes``, since it doesn't say."""
    if "transfer-encoding" in request.fields:
        return True
    if request.method == "OPTIONS":
        return request.fields.get("content-length", "0") != "0"
    length = content_length(request.fields)
    return length is None or length > most_bytes


_CONDITIONAL = PRECONDITIONS | {"if-none-match", "if-modified-since", "if-range", "range"}


def _whole(request: RequestFacts) -> RequestFacts:
    """Return a request without what asks for a part: that is GET's (RFC 9110 section 14.2)."""
    fields = {name: value for name, value in request.fields.items() if name not in {"range", "if-range"}}
    return replace(request, fields=fields)


def _sent(request: RequestFacts, target: Target, rule: Rule, settings: Settings) -> RequestFacts:
    """Return the request as the origin sees it, without preconditions of the client's."""
    left_out = _CONDITIONAL | {"cookie"} if rule.ignore_cookies else _CONDITIONAL
    if rule.ignore_origin:
        left_out |= {"origin"}
    sent = sent_fields(request, rule, settings)
    fields = {name: value for name, value in sent.items() if name not in left_out}
    if "accept-encoding" in fields:
        fields["accept-encoding"] = _codings(fields["accept-encoding"], settings.codings)
    if rule.reads_plainly:
        fields["accept-encoding"] = "identity"
    asked = asked_target(rule, request.target) if rule.hidden_parameters or rule.no_vary_search else None
    return RequestFacts(request.method, target, fields, request.own, request.content, request.token, asked)


def _codings(value: str, asked_for: tuple[str, ...]) -> str:
    # A few values in place of one for each kind of client: fewer variants where the origin varies. Codings by
    # a dictionary of the client's (RFC 9842) are in none of them.
    accepted = accepted_codings(value)
    return ", ".join(each for each in asked_for if accepted.takes(each)) or "identity"


# May it reuse?


def on_stored(
    lookup: Lookup,
    record: Record | None,
    fields: Fields,
    invalidity: Invalidity,
    now_ms: int,
    settings: Settings,
    *,
    freshness: Freshness | None = None,
    missing: Reason = Reason.ABSENT,
) -> Use | Ask | Refuse:
    """Decide whether the stored response answers the request (RFC 9111 section 4).

    Its ``freshness`` is worked out unless somebody has; ``missing`` says why there is no response.
    """
    decision: Use | Ask
    if record is None:
        decision = _MISSES[missing]
    else:
        freshness = freshness or freshness_of(record, fields, lookup.rule, settings)
        decision = _use_or_ask(lookup, record, fields, invalidity, freshness, now_ms, settings)
        if record.status == 206:
            decision = _by_part(decision, lookup.client, record, fields, now_ms)
    if isinstance(decision, Use):
        return decision
    if "only-if-cached" in wishes_of(lookup.client, record, now_ms, settings):
        return Refuse()
    if decision.stored is None and lookup.client.method == "GET" and "range" in lookup.client.fields:
        return replace(decision, conditional=range_fields(lookup.client.fields))
    return decision


def while_fresh(record: Record, freshness: Freshness, now_ms: int) -> Use | None:
    """Decide as :func:`on_stored` does on what no mark covers, for a request that has no wishes.

    ``None`` where that is for it to say.
    """
    left_ms = freshness.lifetime_ms - current_age_ms(record, now_ms)
    if left_ms <= 0 or freshness.must_validate or record.status == 206:
        return None
    return Use(record, Reason.FRESH, False, left_ms // 1000, now_ms + left_ms, freshness.lifetime_ms)


def _by_part(
    decision: Use | Ask, client: RequestFacts, record: Record, fields: Fields, now_ms: int
) -> Use | Ask:
    """Turn what would be decided on a whole response into what it means for a part of one."""
    if isinstance(decision, Ask):
        return Ask(decision.forwarded, decision.reason)
    if answers_range(record, fields, client, now_ms):
        return decision
    own = range_fields(client.fields)
    asked = own or completing_fields(fields)
    if client.method != "GET" or not asked or record.body_key:
        return Ask(FwdReason.PARTIAL, Reason.PARTIAL)
    return Ask(FwdReason.PARTIAL, Reason.PARTIAL, record, asked, completes=not own)


def _use_or_ask(
    lookup: Lookup,
    record: Record,
    fields: Fields,
    invalidity: Invalidity,
    freshness: Freshness,
    now_ms: int,
    settings: Settings,
) -> Use | Ask:
    if invalidity.hard_ms:
        return Ask(FwdReason.URI_MISS, Reason.PURGED_HARD)
    if _is_credential_risk(lookup, fields, settings):
        return Ask(FwdReason.BYPASS, Reason.CREDENTIALS)
    standing = _standing(lookup, record, invalidity, freshness, now_ms, settings)
    forbidden = _forbidden(standing)
    if not forbidden and knows_better(lookup.client, record, fields, now_ms, settings):
        forbidden = FwdReason.REQUEST, Reason.PRECONDITION
    usable = None if forbidden else _usable(standing)
    if usable is None:
        stale = FwdReason.STALE, Reason.PURGED_SOFT if invalidity.soft_ms else Reason.STALE
        forwarded, reason = forbidden or stale
        fallback, disconnected = _fallback(standing, record, lookup.client, settings)
        return Ask(forwarded, reason, record, conditional_fields(fields), fallback, disconnected)
    refresh = usable is Reason.STALE_WHILE_REVALIDATE
    edge_ms = standing.freshness.stale_while_revalidate_ms if refresh else 0
    until_ms = now_ms - standing.staleness_ms + edge_ms
    return Use(
        record, usable, refresh, -standing.staleness_ms // 1000, until_ms, standing.freshness.lifetime_ms
    )


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a stored response stands towards a request now."""

    freshness: Freshness
    age_ms: int
    staleness_ms: int
    invalidity: Invalidity
    wishes: Directives


def _standing(
    lookup: Lookup,
    record: Record,
    invalidity: Invalidity,
    freshness: Freshness,
    now_ms: int,
    settings: Settings,
) -> _Standing:
    age_ms = current_age_ms(record, now_ms)
    staleness_ms = age_ms - freshness.lifetime_ms
    if invalidity.soft_ms:
        # A soft purge makes it stale, also while the moment of the mark lies ahead.
        staleness_ms = max(staleness_ms, now_ms - invalidity.soft_ms, 0)
    wishes = wishes_of(lookup.client, record, now_ms, settings)
    return _Standing(freshness, age_ms, staleness_ms, invalidity, wishes)


def _forbidden(standing: _Standing) -> tuple[FwdReason, Reason] | None:
    """Return why the response may not be used without validation, fresh or not."""
    if standing.invalidity.is_unknown:
        return FwdReason.STALE, Reason.MARKS_UNKNOWN
    if standing.invalidity.must_validate:
        return FwdReason.STALE, Reason.PURGED_SOFT
    if standing.freshness.must_validate:
        return FwdReason.STALE, Reason.NO_CACHE
    refusal = refused_by_client(standing.wishes, standing.age_ms, standing.staleness_ms)
    return (FwdReason.REQUEST, refusal) if refusal else None


def _usable(standing: _Standing) -> Reason | None:
    """Return why the response may be used, fresh or stale."""
    freshness, wishes = standing.freshness, standing.wishes
    if standing.staleness_ms < 0:
        return Reason.FRESH
    if freshness.forbids_stale:
        return None
    # RFC 9111 section 5.2.1.1: with max-age alone, the client wants nothing stale.
    if standing.staleness_ms < freshness.stale_while_revalidate_ms and "max-age" not in wishes:
        return Reason.STALE_WHILE_REVALIDATE
    if not standing.invalidity.soft_ms and takes_stale(wishes, standing.staleness_ms):
        return Reason.MAX_STALE
    return None


def _fallback(
    standing: _Standing, record: Record, client: RequestFacts, settings: Settings
) -> tuple[bool, bool]:
    """Return whether the response may stand in for a failing origin, and for one that can't be reached."""
    freshness = standing.freshness
    is_fresh = standing.staleness_ms < 0 and not freshness.must_validate
    may_be_stale = not freshness.forbids_stale and not freshness.must_validate and is_good(record.status)
    window_ms = max(freshness.stale_if_error_ms, request_stale_if_error_ms(client.fields))
    fallback = is_fresh or (may_be_stale and standing.staleness_ms < window_ms)
    # Section 4.2.4: a cache that is disconnected may use what is stale, unless a directive forbids it;
    # so does a window that is over (RFC 5861 section 4).
    return fallback, fallback or (may_be_stale and not window_ms and not settings.is_safe)


def _is_credential_risk(lookup: Lookup, fields: Fields, settings: Settings) -> bool:
    """Whether a request with credentials meets a response that isn't for everyone by name."""
    if not settings.is_safe or lookup.rule.data_class is DataClass.PRIVATE:
        return False
    return "authorization" in lookup.client.fields and not is_for_everyone(
        response_directives(fields), settings
    )
