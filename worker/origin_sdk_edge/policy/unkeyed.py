"""What the origin gets to see of a request whose response may be shared.

What a client may choose either belongs to the key, or doesn't reach the origin, or keeps the response from
being shared::

    keyed by a rule, let pass by PASSED_FIELDS, set by a hook             sent
    UNKEYED_FIELDS, and names with _ , which WSGI takes for those with -  never sent
    what describes the client (User-Agent, Referer, Client Hints …)       sent where Vary nominates it
    what is negotiated (Accept, Accept-Language, Origin …)                sent, and selects
    Authorization, Cookie                                                 sent; `storability` has their rules
    directives, Fetch Metadata and traces as standards have them          sent
    anything else                                                         sent; shared only if Vary names it

A rule of the class ``private`` keeps responses for one identity only, so that nothing but the second line
concerns it. ``PROFILE = "rfc9111"`` leaves all to Vary.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.trace import TRACEPARENT, TRACESTATE
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.fields import HOP_BY_HOP
from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.rules import CONTENT_FIELDS, PLAIN_METHODS, PREFLIGHT_FIELDS
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.unkeyed import DESCRIPTIVE_FIELDS, NEGOTIATED_FIELDS, is_among
from origin_sdk_wire.vary import selecting_names, selecting_values

__all__ = [
    "address_of",
    "disclosing",
    "neutral",
    "sent_fields",
    "undisclosed_fields",
    "unkeyed_names",
    "unposing",
    "with_implied_vary",
]

_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_DIRECTIVE = (
    "(?:no-cache|no-store|no-transform|only-if-cached|"
    "(?:max-age|max-stale|min-fresh|stale-if-error)(?:=[0-9]+)?)"
)
_KNOWN_WORDS: Mapping[str, re.Pattern[str]] = {
    "cache-control": re.compile(rf"{_DIRECTIVE}(?:[ \t]*,[ \t]*{_DIRECTIVE})*", re.IGNORECASE),
    "if-modified-since": re.compile(r"[A-Z][a-z]{2,8},? [0-9A-Za-z: -]{15,25}"),
    "pragma": re.compile("no-cache", re.IGNORECASE),
    "range": re.compile(r"bytes=[0-9]*-[0-9]*(?:[ \t]*,[ \t]*[0-9]*-[0-9]*)*"),
    "sec-fetch-dest": re.compile(
        "audio|audioworklet|document|embed|empty|fencedframe|font|frame|iframe|image|json|manifest|object|"
        "paintworklet|report|script|serviceworker|sharedworker|style|text|track|video|webidentity|worker|xslt"
    ),
    "sec-fetch-mode": re.compile("cors|no-cors|navigate|same-origin|websocket"),
    "sec-fetch-site": re.compile("cross-site|same-origin|same-site|none"),
    "sec-fetch-user": re.compile(r"\?1"),
    "traceparent": TRACEPARENT,
    "tracestate": TRACESTATE,
}
"""Fields whose few words, dates and numbers leave a client nothing to choose that matters to another."""

_POSING = re.compile(r"forwarded|x[-_]forwarded[-_](?!for$).*")
"""What proxies tell of the URL that a client asked for; WSGI takes ``_`` for ``-``."""

_PLACED = HOP_BY_HOP | {
    "accept-encoding",
    "authorization",
    "content-length",
    "cookie",
    "host",
    "x-forwarded-for",
}
"""Set or reduced by this cache, under rules of their own, or not sent on."""


def sent_fields(request: RequestFacts, rule: Rule, settings: Settings) -> dict[str, str]:
    """Return the fields of a cacheable request that the origin gets to see."""
    fields = {
        name: value
        for name, value in request.fields.items()
        if _may_pass(name, value, request, rule, settings)
    }
    if settings.is_safe and "x-forwarded-for" not in fields and (address := address_of(request.fields)):
        fields["x-forwarded-for"] = address
    return fields


def unposing(request: RequestFacts, rule: Rule, settings: Settings) -> RequestFacts:
    """Return a request that isn't cacheable without what tells an origin of a proxy that there isn't.

    The client's addresses stay, as Cloudflare has them.
    """
    if not settings.is_safe:
        return request
    fields = {
        name: value
        for name, value in request.fields.items()
        if not _POSING.fullmatch(name) or _is_vouched(name, request, rule, settings)
    }
    return request if len(fields) == len(request.fields) else replace(request, fields=fields)


def undisclosed_fields(request: RequestFacts, sent: Fields, settings: Settings) -> dict[str, str]:
    """Return the fields that the origin gets to see only where its responses nominate them."""
    if not settings.is_safe:
        return {}
    return {
        name: value
        for name, value in request.fields.items()
        if name not in sent
        and is_among(name, DESCRIPTIVE_FIELDS)
        and not is_among(name, settings.unkeyed_fields)
        and "_" not in name
    }


def _may_pass(name: str, value: str, request: RequestFacts, rule: Rule, settings: Settings) -> bool:
    if _is_vouched(name, request, rule, settings):
        return True
    if is_among(name, settings.unkeyed_fields):
        return False
    if not settings.is_safe:
        return True
    if "_" in name:
        return False
    is_private = rule.data_class is DataClass.PRIVATE
    return is_private or not is_among(name, DESCRIPTIVE_FIELDS) or _is_of_known_words(name, value)


def _is_vouched(name: str, request: RequestFacts, rule: Rule, settings: Settings) -> bool:
    if name in rule.fields or name in request.own or is_among(name, settings.passed_fields):
        return True
    return request.method not in PLAIN_METHODS and name in _keyed_fields(request)


def _keyed_fields(request: RequestFacts) -> Collection[str]:
    """Return the fields that the key of a request other than GET and HEAD holds."""
    return PREFLIGHT_FIELDS if request.method == "OPTIONS" else CONTENT_FIELDS if request.content else ()


@remember_short(256)
def _is_of_known_words(name: str, value: str) -> bool:
    pattern = _KNOWN_WORDS.get(name)
    return pattern is not None and pattern.fullmatch(value) is not None


def address_of(fields: Fields) -> str:
    """Return the client's address as Cloudflare knows it; empty where it doesn't run."""
    address = fields.get("cf-connecting-ip", "").strip()
    return address if _ADDRESS.fullmatch(address) else ""


def unkeyed_names(request: RequestFacts, rule: Rule, settings: Settings) -> tuple[str, ...]:
    """Return the names of the fields that a request, as it is sent, shows and no key holds."""
    if not settings.is_safe or rule.data_class is DataClass.PRIVATE:
        return ()
    return tuple(
        name
        for name, value in request.fields.items()
        if name not in _PLACED
        and name not in NEGOTIATED_FIELDS
        and not _is_of_known_words(name, value)
        and not _is_vouched(name, request, rule, settings)
    )


def with_implied_vary(
    request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings
) -> ResponseFacts:
    """Return a response to ``request``, as it was sent, that nominates what was negotiated.

    All such fields, if the origin saw one that it doesn't nominate itself: few sets of names for a URL.
    """
    if not settings.is_safe or rule.data_class is DataClass.PRIVATE:
        return response
    known = selecting_names(response.fields)
    implied = {
        name
        for name in NEGOTIATED_FIELDS.difference(known)
        if not (is_among(name, settings.unkeyed_fields) or _is_vouched(name, request, rule, settings))
    }
    if response.fields.get("access-control-allow-origin", "").strip() == "*":
        implied.discard("origin")  # it says itself that it is for every origin
    seen = selecting_values(tuple(implied & request.fields.keys()), request.fields)
    if all(value is None for _, value in seen):
        return response
    vary = ", ".join([*filter(None, [response.fields.get("vary", "")]), *sorted(implied)])
    return replace(response, fields={**response.fields, "vary": vary})


def neutral(request: RequestFacts, stored: Fields, rule: Rule, settings: Settings) -> RequestFacts:
    """Return the request that renews a stored response: of what is negotiated, only what selected it."""
    if not settings.is_safe or rule.data_class is DataClass.PRIVATE:
        return request
    others = {
        name
        for name in NEGOTIATED_FIELDS.difference(selecting_names(stored))
        if not _is_vouched(name, request, rule, settings)
    }
    fields = {name: value for name, value in request.fields.items() if name not in others}
    return replace(request, fields=fields)


def disclosing(request: RequestFacts, undisclosed: Fields, names: Iterable[str]) -> RequestFacts:
    """Return a request with those of its undisclosed fields that responses nominate."""
    nominated = {name: undisclosed[name] for name in names if name in undisclosed}
    return replace(request, fields={**request.fields, **nominated}) if nominated else request
