"""Why the edge would not keep a response for everyone. One place for publishing, middleware and tests."""

from collections.abc import Iterator, Mapping

from cachewire.directives import response_directives
from cachewire.fields import CACHE_GROUPS
from cachewire.structured import parse_strings
from cachewire.vary import varies_on_everything
from origin_sdk._values.freshness import windows_of
from origin_sdk._values.project import DEFAULT_PROJECT

__all__ = ["obstacles"]


def obstacles(status: int, fields: Mapping[str, str], *, sets_cookies: bool = False) -> Iterator[str]:
    """Yield each reason why a response isn't cacheable for everyone; ``fields`` by name in lower case."""
    directives = response_directives(fields)
    if sets_cookies or "set-cookie" in fields:
        yield "it carries Set-Cookie, which would reach everyone: set cookies in a response of their own"
    if "no-store" in directives:
        yield "it says no-store"
    if directives.unqualified("private"):
        yield "it says private"
    if directives.unqualified("no-cache"):
        yield "it says no-cache, so that every request asks the origin"
    if varies_on_everything(fields):
        yield "it says Vary: *, so that no request matches it"
    if not 200 <= status < 500 or status in {206, 304}:
        yield f"its status is {status}"
    if not windows_of(status, fields, 0.0, None, DEFAULT_PROJECT).lifetime:
        yield "it has no freshness lifetime: give max-age, s-maxage or CDN-Cache-Control"
    try:
        parse_strings(fields.get(CACHE_GROUPS, ""))
    except ValueError as error:
        yield f"its Cache-Groups can't be read: {error}"
