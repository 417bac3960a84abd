"""What the cache did with one request, in sentences: what, why, and what to change in the API or in a rule.

All of it follows from the response: Cache-Status (RFC 9211) says what was done and its detail why.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from origin_sdk._values.reasons import REASONS, plain

__all__ = ["FIXES", "Asked", "Fix", "Given", "Verdict", "verdict_on"]

_MEMBER = re.compile(r'\s*([^;,"\s]+|"(?:[^"\\]|\\.)*")((?:\s*;\s*[^;,"]+(?:"(?:[^"\\]|\\.)*")?)*)\s*(?:,|$)')
_PARAMETER = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)(?:=("(?:[^"\\]|\\.)*"|[^;"]*))?')


@dataclass(frozen=True, slots=True)
class Fix:
    """What would change the outcome: a sentence for the API, and the settings of a rule, as TOML."""

    api: str = ""
    rule: str = ""
    setting: str = ""
    """Settings of the Worker beside its rules, as TOML."""


FIXES: Mapping[str, Fix] = {
    "method": Fix("Offer read-only requests by GET."),
    "bypass-rule": Fix(rule="bypass = false"),
    "bypass-cookie": Fix(rule='bypass_cookies = ["sessionid"]  # fewer names'),
    "bypass-switch": Fix(),
    "class-never": Fix(rule='data_class = "public"'),
    "precondition": Fix(),
    "upgrade": Fix(),
    "hook-failed": Fix(),
    "hook-timeout": Fix(setting='HOOK_TIMEOUT = "2s"'),
    "identity-missing": Fix(
        rule='data_class = "private"\nkey_cookies = ["session"]  # or key_fields, key_claims'
    ),
    "revoked": Fix("Give the client a new token or key, if it is to be let in again."),
    "key-unread": Fix("Refuse a flood of unknown keys before the Worker, by a rate limit."),
    "undeclared-credential": Fix(rule="ignore_cookies = true  # if no response depends on them"),
    "malformed-cookie": Fix(rule='key_cookies = ["session"]  # each once, without spaces around its name'),
    "request-body": Fix("Take what selects the response from the query, and no body with GET."),
    "not-a-query": Fix("Send persisted queries by GET or QUERY."),
    "cache-fault": Fix(),
    "bad-url": Fix(),
    "fresh": Fix(),
    "stale-while-revalidate": Fix("Send a longer lifetime, if it shouldn't be stale so soon."),
    "stale-if-error": Fix("Fix the origin: it failed just now."),
    "max-stale": Fix(setting="HONOUR_REQUEST_DIRECTIVES = false"),
    "validated": Fix("Send Cache-Control: max-age, so that not every request has to ask the origin."),
    "slow-origin": Fix("Make the origin faster.", setting='SOFT_TIMEOUT = "5s"'),
    "throttled": Fix(setting='REFRESH_THROTTLE = "5s"'),
    "breaker-open": Fix(
        "Fix the origin: it was unreachable several times in a row.", setting="BREAKER_FAILURES = 10"
    ),
    "absent": Fix(),
    "broken-seal": Fix("Give everybody who writes to the namespace the keys of STORE_KEYS."),
    "other-variant": Fix("Name fewer fields in Vary, or fields with fewer values."),
    "stale": Fix(
        "Send stale-while-revalidate in Cache-Control, if a stale response is better than waiting.",
        'stale_while_revalidate = "1m"',
    ),
    "no-cache": Fix(
        "Send Cache-Control: max-age in place of no-cache, or an ETag, so that it can be validated."
    ),
    "request-no-cache": Fix(setting="HONOUR_REQUEST_DIRECTIVES = false"),
    "request-max-age": Fix(setting="HONOUR_REQUEST_DIRECTIVES = false"),
    "request-min-fresh": Fix(setting="HONOUR_REQUEST_DIRECTIVES = false"),
    "purged-soft": Fix(),
    "purged-hard": Fix("Purge softly, or by narrower groups, if it happens too often."),
    "marks-unknown": Fix(setting='KV_TIMEOUT = "2s"'),
    "shield-refused": Fix("Deploy edge and shield with the same settings."),
    "credentials": Fix("Send Cache-Control: public or s-maxage, if the response is the same for everyone."),
    "partial": Fix(),
    "only-if-cached": Fix(),
    "stored": Fix(),
    "request-no-store": Fix(),
    "no-store": Fix("Don't send no-store, if the response may be kept."),
    "private": Fix(
        "Don't send private, if the response is the same for everyone.",
        'data_class = "private"\nkey_cookies = ["session"]  # or key_fields, key_claims',
    ),
    "authorization": Fix(
        "Send Cache-Control: public or s-maxage, if the response is the same for everyone.",
        'data_class = "private"\nkey_claims = ["sub"]  # of a token that TOKEN_SECRET verifies',
    ),
    "cookie": Fix(
        "Send Cache-Control: public or s-maxage, or Vary: Cookie.",
        "ignore_cookies = true  # if the response doesn't depend on them",
    ),
    "set-cookie": Fix("Set cookies in a separate response."),
    "vary-any": Fix("Name each field in Vary, not *."),
    "unkeyed-field": Fix(
        "Name the field in Vary, if the response depends on it.",
        'key_fields = ["X-Api-Key"]  # the field that it depends on',
        'PASSED_FIELDS = ["X-Api-Key"]  # or a field that it does not depend on',
    ),
    "shown-parameter": Fix("Leave the parameter out of Location and Link, or send the key in a field."),
    "status": Fix("Send Cache-Control: max-age with it.", 'negative_lifetimes = { 404 = "10s" }'),
    "no-freshness": Fix(
        "Send Cache-Control: max-age, or CDN-Cache-Control for the edge alone.", 'default_lifetime = "1m"'
    ),
    "expired": Fix("Send a correct Age and Date, or a longer lifetime."),
    "body-awaited": Fix("Send Content-Length, so that a small body is stored immediately."),
    "too-large": Fix("Make the response smaller, or split it into pages."),
    "stream": Fix(),
    "too-many-groups": Fix("Put the response into fewer, coarser groups."),
    "graphql-errors": Fix("Answer without errors."),
    "answer-unread": Fix("Name the groups in Cache-Groups."),
    "not-understood": Fix(),
    "client-error": Fix(
        "Send Cache-Control: public, max-age with it, if it is the same for everyone.",
        'negative_lifetimes = { 400 = "10s" }',
    ),
    "server-error": Fix("Mend the origin.", 'negative_lifetimes = { 503 = "5s" }'),
    "bad-field": Fix("Send fields in ASCII or UTF-8."),
    "dictionary": Fix(),
    "origin-unreachable": Fix("Start the origin, or correct ORIGIN.", 'stale_if_error = "1d"'),
    "origin-timeout": Fix("Make the origin faster.", 'stale_if_error = "1d"', 'ORIGIN_TIMEOUT = "60s"'),
    "origin-truncated": Fix("See the origin's log: its response broke off.", 'stale_if_error = "1d"'),
}
"""By the detail of Cache-Status; empty where there is nothing to change."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was sent; ``rule`` is the one that matched, by the project's wrangler.toml."""

    method: str
    url: str
    fields: Mapping[str, str]
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """The response that came, its field names in lower case, and how long it took."""

    status: int
    fields: Mapping[str, str]
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the cache did, why, and what would change it; ``reason`` is empty where no cache answered."""

    reason: str
    is_hit: bool
    what: tuple[str, ...]
    why: str
    remedy: str
    evidence: tuple[str, ...] = ()
    """What of request and response led to it."""
    api: str = ""
    rule: str = ""
    setting: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)


def verdict_on(asked: Asked, given: Given) -> Verdict:
    """Tell what the cache did with a request."""
    size = f"{given.size_bytes:,} byte{'' if given.size_bytes == 1 else 's'}"
    milliseconds = f"{given.seconds * 1000:.0f} ms"
    outcome = f"{asked.method} {asked.url} was answered with {given.status} and {size}, after {milliseconds}."
    cache = _ours(given.fields.get("cache-status", ""))
    if cache is None:
        return Verdict("", False, (outcome, _NO_CACHE), _why_no_cache(given), _REMEDY_NO_CACHE)
    name, parameters = cache
    reason = parameters.get("detail", "")
    unkeyed = parameters.get("unkeyed", "").split()
    explained, fix = REASONS.get(reason), _fix(reason, unkeyed)
    what = (outcome, *_done(name, parameters))
    return Verdict(
        reason,
        "hit" in parameters,
        what,
        plain(explained.what)
        if explained
        else f"It says {reason or 'no reason'}, which this version doesn't know.",
        plain(explained.remedy) if explained else "Update the SDK, or see the documentation of that cache.",
        tuple(_evidence(reason, asked, given, unkeyed)),
        fix.api,
        _rule_table(asked, fix.rule) if fix.rule else "",
        fix.setting,
    )


def _fix(reason: str, unkeyed: Sequence[str]) -> Fix:
    fix = FIXES.get(reason, Fix())
    if not unkeyed:
        return fix
    names = json.dumps([name.title() for name in unkeyed])
    return replace(
        fix, rule=_NAMES.sub(lambda _: names, fix.rule), setting=_NAMES.sub(lambda _: names, fix.setting)
    )


_NAMES = re.compile(r"\[.*?\]")
_NO_CACHE = "No cache says what it did: the response has no Cache-Status."
_REMEDY_NO_CACHE = "Ask the Worker's own address, by its route; or set CACHE_STATUS = true, if it is off."


def _why_no_cache(given: Given) -> str:
    server = given.fields.get("server")
    return (
        f"The answer came from {server!r}, perhaps not through the Worker."
        if server
        else ("The request didn't reach the Worker, or CACHE_STATUS is off there.")
    )


def _ours(cache_status: str) -> tuple[str, dict[str, str]] | None:
    """Return the member of Cache-Status that is this cache's: the nearest with a detail that it writes."""
    members = [(match[1].strip('"'), _parameters(match[2])) for match in _MEMBER.finditer(cache_status)]
    known = [member for member in members if member[1].get("detail") in REASONS]
    return (known or members or [None])[-1]  # type: ignore[list-item] # the last resort is that there is none


def _parameters(text: str) -> dict[str, str]:
    return {match[1]: (match[2] or "").strip().strip('"') for match in _PARAMETER.finditer(text)}


_FORWARDED = {
    "uri-miss": "nothing was stored that it could use",
    "vary-miss": "only other variants of it were stored",
    "stale": "what was stored had to be revalidated or replaced",
    "partial": "only a part was stored, or asked for",
    "request": "the client wanted no stored response",
    "method": "such a method isn't answered from a store",
    "bypass": "it took no part in this request",
}


def _done(name: str, parameters: Mapping[str, str]) -> Iterator[str]:
    ttl = parameters.get("ttl", "")
    if "hit" in parameters:
        yield f"{name} answered from what it has stored, without waiting for the origin{_lasting(ttl)}."
    elif "collapsed" in parameters:
        yield f"{name} had the request wait for the answer to another one like it, and shared that answer."
    elif "fwd" in parameters:
        why = _FORWARDED.get(parameters["fwd"], parameters["fwd"])
        status = parameters.get("fwd-status")
        said = f", which answered {status}" if status else ", which gave no answer"
        yield f"{name} asked the origin{said}: {why}."
    else:
        yield f"{name} answered by itself."
    if "fwd" in parameters and "hit" not in parameters:
        if "stored" in parameters:
            yield f"The response is stored{_lasting(ttl)}: ask again for a hit."
        elif "collapsed" not in parameters:
            yield "The response isn't stored."
    if parameters.get("apart"):
        yield "It didn't wait for another request, as answers to such requests can't be shared."
    if parameters.get("key"):
        yield f"Its key is {parameters['key']}."


def _lasting(ttl: str) -> str:
    if not ttl.lstrip("-").isdigit():
        return ""
    seconds = int(ttl)
    return (
        f"; it stays fresh for {seconds:,} s" if seconds >= 0 else f"; it has been stale for {-seconds:,} s"
    )


_SHOWN = {
    "no-freshness": ("cache-control", "cdn-cache-control", "expires"),
    "no-store": ("cache-control", "cdn-cache-control"),
    "private": ("cache-control", "cdn-cache-control"),
    "no-cache": ("cache-control", "cdn-cache-control", "etag", "last-modified"),
    "expired": ("age", "date", "cache-control", "expires"),
    "vary-any": ("vary",),
    "other-variant": ("vary",),
    "authorization": ("cache-control",),
    "cookie": ("cache-control", "vary"),
    "credentials": ("cache-control",),
    "too-large": ("content-length",),
    "stream": ("content-type",),
    "throttled": ("retry-after",),
}
_WISHES = frozenset({"request-no-cache", "request-max-age", "request-min-fresh", "only-if-cached"})
_OF_CLIENTS = frozenset({"accept", "accept-encoding", "connection", "host", "user-agent"})


def _evidence(reason: str, asked: Asked, given: Given, unkeyed: Sequence[str]) -> Iterator[str]:
    for name in _SHOWN.get(reason, ()):
        if name in given.fields:
            yield f"The response has {name}: {given.fields[name]}"
        elif name in {"cache-control", "vary"}:
            yield f"The response has no {name}."
    yield from _evidence_of_request(reason, asked, unkeyed)
    if reason == "set-cookie":
        for cookie in given.fields.get("set-cookie", "").splitlines():
            yield f"The response sets the cookie {cookie.partition('=')[0].strip()}."
    if asked.rule:
        yield f"By wrangler.toml the rule {asked.rule} applies."


def _evidence_of_request(reason: str, asked: Asked, unkeyed: Sequence[str]) -> Iterator[str]:
    if unkeyed:
        yield f"The origin saw {', '.join(unkeyed)}, which neither the key nor Vary names."
    elif reason == "unkeyed-field":
        own = sorted(name for name in asked.fields if name not in _OF_CLIENTS)
        yield f"The request has {', '.join(own) or 'no field of its own'}."
    for name in ("cache-control", "pragma"):
        if reason in _WISHES and name in asked.fields:
            yield f"The request has {name}: {asked.fields[name]}"


def _rule_table(asked: Asked, settings: str) -> str:
    parts = urlsplit(asked.url)
    name = asked.rule if asked.rule and asked.rule != "default" else ""
    head = f"# in the rule {name}:" if name else f"[[vars.RULES]]\npath = {json.dumps(parts.path or '/')}"
    return f"{head}\n{settings}"
