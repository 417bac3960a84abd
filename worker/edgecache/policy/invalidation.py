"""What an unsafe request invalidates (RFC 9111 section 4.4, RFC 9875 section 3)."""

import re
from collections.abc import Iterable

from cachewire.errors import InvalidGroup, InvalidTarget
from cachewire.fields import CACHE_GROUP_INVALIDATION
from cachewire.key import Target, parse_target
from cachewire.marks import group_mark, url_mark
from cachewire.rules import KeyRule, first_match, key_target
from cachewire.structured import parse_strings
from edgecache.policy.facts import RequestFacts, ResponseFacts

__all__ = ["SAFE_METHODS", "invalidated", "resolve"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"})
"""The methods that the IANA registry calls safe; all others, unknown ones too, are unsafe (section 4.4)."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def invalidated(request: RequestFacts, response: ResponseFacts, rules: Iterable[KeyRule]) -> tuple[str, ...]:
    """Return the names of the marks that a response to ``request`` writes; none for a safe method.

    By ``rules`` stored responses may go under another query than was asked for.
    """
    if request.method in SAFE_METHODS:
        return ()
    # RFC 9875 section 3: what the origin names is invalid, whatever became of the request.
    names = _groups(response.fields.get(CACHE_GROUP_INVALIDATION, ""))
    if 200 <= response.status < 400:
        names += [url_mark(_as_stored(target, rules)) for target in _targets(request, response)]
    return tuple(dict.fromkeys(names))


def _as_stored(target: Target, rules: Iterable[KeyRule]) -> Target:
    rule = first_match(rules, "GET", target)
    return key_target(rule, target) if rule else target


def _targets(request: RequestFacts, response: ResponseFacts) -> list[Target]:
    targets = [request.target]
    for name in ("location", "content-location"):
        if reference := response.fields.get(name):
            target = resolve(request.target, reference)
            if target and target.origin == request.target.origin:
                targets.append(target)
    return targets


def resolve(base: Target, reference: str) -> Target | None:
    """Resolve a URI reference against ``base`` (RFC 3986 section 5.2).

    ``None`` if it is no http or https URL.
    """
    try:
        return parse_target(_absolute(base, reference.strip()))
    except InvalidTarget:
        return None


def _absolute(base: Target, reference: str) -> str:
    if _SCHEME.match(reference):
        return reference
    if reference.startswith("//"):
        return f"{base.scheme}:{reference}"
    authority = f"{base.scheme}://{base.host}"
    if reference.startswith("/"):
        return authority + reference
    if not reference or reference.startswith("#"):
        return str(base)
    if reference.startswith("?"):
        return authority + base.path + reference
    return authority + base.path[: base.path.rfind("/") + 1] + reference


def _groups(value: str) -> list[str]:
    try:
        return [group_mark(group) for group in parse_strings(value)]
    except (ValueError, InvalidGroup):
        return []  # RFC 9651 section 4.2: a field that doesn't parse is ignored
