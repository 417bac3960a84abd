"""May the cache look for a stored response, and under which key (RFC 9111 section 4)?"""

from dataclasses import replace

from origin_sdk_edge.policy.codings import accepted_codings
from origin_sdk_edge.policy.credentials import bearer_token, has_undeclared_credential
from origin_sdk_edge.policy.decision import Awaited, Forward, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.identity import has_cookie, identity_of
from origin_sdk_edge.policy.invalidation import SAFE_METHODS
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.unkeyed import sent_fields, undisclosed_fields, unkeyed_names
from origin_sdk_edge.policy.validation import PRECONDITIONS
from origin_sdk_wire.directives import split_list
from origin_sdk_wire.disguise import strictest_rule
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key import KeyParts, Target, record_key
from origin_sdk_wire.rules import (
    PLAIN_METHODS,
    PREFLIGHT_FIELDS,
    KeyBody,
    asked_target,
    first_match,
    key_target,
    search_parts,
)
from origin_sdk_wire.settings import DEFAULT_RULE, Rule, Settings
from origin_sdk_wire.storability import content_length

__all__ = ["on_bare_request", "on_request"]

_ORIGIN, _ASKED_METHOD, _ASKED_FIELDS, _ASKED_NETWORK = PREFLIGHT_FIELDS
_PREFLIGHT = {_ORIGIN, _ASKED_METHOD}
"""The request fields that make OPTIONS a preflight."""

_WITHOUT = {
    Awaited.TOKEN: Reason.IDENTITY_MISSING,
    Awaited.API_KEY: Reason.IDENTITY_MISSING,
    Awaited.REVOCATION: Reason.IDENTITY_MISSING,
    Awaited.CONTENT: Reason.BODY,
}
"""Why the cache takes no part, should what is awaited not be had."""

_CONDITIONAL = PRECONDITIONS | {"if-none-match", "if-modified-since", "if-range", "range"}


def on_request(request: RequestFacts, settings: Settings, now_ms: int) -> Forward | Lookup:
    """Decide whether to look for a stored response, and under which key (RFC 9111 section 4)."""
    spelt = first_match(settings.rules, request.method, request.target) or DEFAULT_RULE
    rule = strictest_rule(spelt, request.method, request.target, settings)
    if rule is not spelt:
        rule = replace(rule, origins=spelt.origins, weights=spelt.weights)
    is_further = request.method not in PLAIN_METHODS
    if is_further and not _is_looked_up(request, rule):
        forwarded = FwdReason.BYPASS if request.method in SAFE_METHODS else FwdReason.METHOD
        return Forward(request, rule, Reason.METHOD, forwarded)
    if reason := _passes(request, rule, settings):
        return Forward(request, rule, reason, awaits=_awaited_anyway(request, rule, settings))
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
        if rule.takes_api_keys and settings.api_keys_in_kv and not request.token:
            return Awaited.API_KEY
        if rule.revoked_by and not (request.token and request.token.is_checked):
            return Awaited.REVOCATION
    return Awaited.CONTENT if rule.keys_content(request.method) and not request.content else None


def _awaited_anyway(request: RequestFacts, rule: Rule, settings: Settings) -> Awaited | None:
    """Return what has to be known of a request that the cache takes no part in: whether it is a mutation."""
    if request.method != "POST" or rule.body is not KeyBody.GRAPHQL or request.content:
        return None
    return None if rule.never_stores or _may_exceed(request, settings.key_body_bytes) else Awaited.CONTENT


def _key_parts(request: RequestFacts, rule: Rule, settings: Settings, now_ms: int) -> KeyParts | Reason:
    """Return what the key holds beyond the target, or why there can be none."""
    identity = identity_of(request, rule, settings, now_ms)
    if isinstance(identity, Reason):
        return identity
    identity = settings.key_identity(rule, identity)
    if request.method in PLAIN_METHODS and not (settings.key_version or rule.no_vary_search):
        return identity
    further: KeyParts | None = request.content.parts if request.content else _preflight_parts(request)
    if further is None or (request.content and _may_do_otherwise(request, rule)):
        return Reason.NOT_A_QUERY
    return (*identity, *search_parts(rule), *further, *settings.version_parts)


def _may_do_otherwise(request: RequestFacts, rule: Rule) -> bool:
    from origin_sdk_wire.content import may_do_otherwise  # noqa: PLC0415 - only such rules pay for it

    return may_do_otherwise(request.method, rule.body, request.target)


def _preflight_parts(request: RequestFacts) -> KeyParts:
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
    if request.method in PLAIN_METHODS:
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
