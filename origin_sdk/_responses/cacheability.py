"""Why the edge wouldn't keep a response for everyone: the Worker's own rules, as sentences."""

from collections.abc import Iterator, Mapping

from origin_sdk._values.project import DEFAULT_PROJECT
from origin_sdk._values.reasons import REASONS, plain
from origin_sdk_wire import storability
from origin_sdk_wire.directives import response_directives
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.fields import CACHE_GROUPS
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.settings import DEFAULT_RULE
from origin_sdk_wire.structured import parse_strings

__all__ = ["obstacles", "sentence"]

_SENTENCES: Mapping[Reason, str] = {
    Reason.NO_STORE: "it says no-store",
    Reason.PRIVATE: "it says private",
    Reason.VARY_ANY: "it says Vary: *, so that no request matches it",
    Reason.NO_CACHE: "it says no-cache, so that every request asks the origin",
    Reason.NO_FRESHNESS: "it has no freshness lifetime: give max-age, s-maxage or CDN-Cache-Control",
    Reason.SET_COOKIE: "it carries Set-Cookie, which would reach everyone: set cookies in a separate "
    "response",
    **dict.fromkeys((Reason.STATUS, Reason.CLIENT_ERROR, Reason.SERVER_ERROR), "its status is {status}"),
}
"""For a response that is being made; the table of reasons speaks of one that came."""


def sentence(reason: Reason, status: int) -> str:
    """Say why a response of this status isn't stored."""
    return _SENTENCES.get(reason, plain(REASONS[reason].what).rstrip(".")).format(status=status)


def obstacles(status: int, fields: Mapping[str, str], *, sets_cookies: bool = False) -> Iterator[str]:
    """Yield each reason why a response isn't cacheable for everyone; ``fields`` by name in lower case."""
    response = ResponseFacts(status, fields, birth_ms=0, response_ms=0)
    found = dict.fromkeys([Reason.SET_COOKIE] if sets_cookies or "set-cookie" in fields else [])
    found |= dict.fromkeys(storability.obstacles(response, DEFAULT_RULE, DEFAULT_PROJECT))
    # The Worker stores what can be validated: it is no error, and of no use to anyone who wants a hit.
    if response_directives(fields).unqualified("no-cache"):
        found[Reason.NO_CACHE] = None
    record = storability.record_of(response, DEFAULT_RULE, DEFAULT_PROJECT)
    if not freshness_of(record, fields, DEFAULT_RULE, DEFAULT_PROJECT).lifetime_ms:
        found[Reason.NO_FRESHNESS] = None
    yield from (sentence(reason, status) for reason in found)
    try:
        parse_strings(fields.get(CACHE_GROUPS, ""))
    except ValueError as error:
        yield f"its Cache-Groups can't be read: {error}"
