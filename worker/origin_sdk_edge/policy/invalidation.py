"""What an unsafe request invalidates (RFC 9111 section 4.4, RFC 9875 section 3)."""

import re
from fnmatch import fnmatchcase
from urllib.parse import unquote

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.disguise import keyed_targets
from origin_sdk_wire.errors import InvalidGroup, InvalidTarget
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.fields import CACHE_GROUP_INVALIDATION
from origin_sdk_wire.key import Target, parse_target
from origin_sdk_wire.marks import group_mark, host_group_mark, host_groups_mark, url_mark
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.structured import parse_strings

__all__ = ["SAFE_METHODS", "invalidated", "resolve"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"})
"""The methods that the IANA registry calls safe; all others, unknown ones too, are unsafe (section 4.4)."""

_LOGIN = re.compile(
    r"/(?:log-?in|log-?on|sign-?in|auth|authenticate|authorize|oauth2?|sso|saml2?|sessions?/new)(?:[/.]|$)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def invalidated(
    request: RequestFacts, response: ResponseFacts, rule: Rule, settings: Settings
) -> tuple[str, ...]:
    """Return the names of the marks that a response to ``request`` writes; none for a safe method.

    By the rules stored responses may go under another query than was asked for. Where ``rule`` says that the
    content is a query, POST is safe, too; of GraphQL, all but mutations, and what can't be read and may be a
    mutation. As the URL is that of all queries, these invalidate it only if their answers name no groups.
    """
    keys_content = rule.keys_content(request.method)
    if request.method in SAFE_METHODS or (keys_content and rule.body is not KeyBody.GRAPHQL):
        return ()
    is_proof = _proves_change(request, response) if settings.is_safe else 200 <= response.status < 400
    names: list[str] = []
    # RFC 9875 section 3 ties groups to no status code; the safe profile believes no failure.
    if is_proof or not settings.is_safe:
        names += _group_names(request.target.host, response.fields, settings)
    if is_proof and (not keys_content or (not names and _may_mutate(request))):
        names += [
            url_mark(stored)
            for target in _targets(request, response)
            for stored in keyed_targets(target, settings.rules)
        ]
    return tuple(dict.fromkeys(names))


def _may_mutate(request: RequestFacts) -> bool:
    """Whether a POST of GraphQL isn't surely a query, by its content or its URL."""
    from origin_sdk_wire.content import may_do_otherwise  # noqa: PLC0415 - only such rules pay for it

    is_write = request.content is None or request.content.is_write
    return is_write or may_do_otherwise(request.method, KeyBody.GRAPHQL, request.target)


def _proves_change(request: RequestFacts, response: ResponseFacts) -> bool:
    """Whether an answer to an unsafe request means that it did something.

    Anybody may be answered with a redirect to where one logs in, or to where the request is to be sent again.
    """
    if 200 <= response.status < 300:
        return True
    if response.status not in {302, 303}:
        return False
    location = response.fields.get("location", "")
    target = resolve(request.target, location) if location else None
    return target is not None and target.origin == request.target.origin and not _is_login(request, target)


def _is_login(request: RequestFacts, target: Target) -> bool:
    """Whether a redirect leads to a login: by its path, or since it says where to come back to."""
    path = request.target.path
    return bool(_LOGIN.search(target.path)) or (path != "/" and path in unquote(target.query or ""))


def _group_names(host: str, fields: Fields, settings: Settings) -> list[str]:
    """Return the names of the marks of the groups that an answer names.

    RFC 9875 section 2: a group is one origin's; a host has no say over another's.
    """
    try:
        groups = parse_strings(fields.get(CACHE_GROUP_INVALIDATION, ""))
        shared = [group for group in groups if not settings.is_safe or _is_shared(group, settings)]
        own = [host_group_mark(host, group) for group in groups if group not in shared]
        return [*map(group_mark, shared), *own, *([host_groups_mark(host)] if own else [])]
    except (ValueError, InvalidGroup):
        return []  # RFC 9651 section 4.2: a field that doesn't parse is ignored


def _is_shared(group: str, settings: Settings) -> bool:
    return any(fnmatchcase(group, pattern) for pattern in settings.shared_groups)


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
