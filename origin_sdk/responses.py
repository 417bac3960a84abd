"""Say how a response may be cached, while it is built; the same verbs in every framework.

    cache_for(300, browser=60, stale_while_revalidate=60)     # the edge, browsers, and RFC 5861's windows
    add_groups("products", f"product-{product.id}")           # by what it can be purged
    belongs_to_user("shows the basket")                       # never for anyone else
    invalidate(f"product-{product.id}")                       # after a write: what changed

A middleware (:mod:`origin_sdk.asgi`, :mod:`origin_sdk.django`, :mod:`origin_sdk.flask`) opens a
:class:`Draft` for each request and turns it into header fields with :func:`finish`. What layered caches
answer meanwhile counts: a cacheable response has the groups of all values that it is made of, and isn't
cacheable if one of them must not reach the edge. This module knows no framework.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import islice

from cachewire.bounds import KV_PROPAGATION_SECONDS
from cachewire.errors import WireError
from cachewire.fields import CACHE_GROUP_INVALIDATION, CACHE_GROUPS, CDN_CACHE_CONTROL
from cachewire.marks import group_mark
from cachewire.structured import parse_strings, serialise_strings
from origin_sdk.cacheability import MAX_GROUPS, obstacles
from origin_sdk.errors import DataClassViolation, InvalidRequest, NotCacheable
from origin_sdk.reading import Reads, reading

__all__ = [
    "Draft",
    "Exchanged",
    "Finished",
    "add_groups",
    "aside",
    "belongs_to_user",
    "cache_for",
    "drafting",
    "finish",
    "invalidate",
]

_log = logging.getLogger("origin_sdk")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_NEGATIVE = frozenset({404, 410})
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')
_KEPT_BY_304 = frozenset(
    # RFC 9110 section 15.4.5, and what RFC 9213 and RFC 9875 add to what guides a cache
    {
        "cache-control",
        CDN_CACHE_CONTROL,
        CACHE_GROUPS,
        "content-location",
        "date",
        "etag",
        "expires",
        "last-modified",
        "vary",
    }
)
_PRIVATE = "private, no-store"


@dataclass(frozen=True, slots=True)
class _Lifetimes:
    edge: int
    browser: int
    stale_while_revalidate: int | None
    stale_if_error: int | None
    negative: int
    for_everyone: bool
    read_groups: bool
    must_revalidate: bool = False

    def fields(self, status: int) -> dict[str, str]:
        edge = self.negative if status in _NEGATIVE else self.edge
        targeted = [f"max-age={edge}"]
        if self.stale_while_revalidate is not None:
            targeted.append(f"stale-while-revalidate={self.stale_while_revalidate}")
        if self.stale_if_error is not None:
            targeted.append(f"stale-if-error={self.stale_if_error}")
        if self.must_revalidate:
            targeted.append("must-revalidate")
        # RFC 9213 section 2.2: at the edge the targeted field stands alone. No purge reaches browsers.
        return {
            "cache-control": f"public, max-age={min(self.browser, edge)}",
            CDN_CACHE_CONTROL: ", ".join(targeted),
        }

    def unpurged(self) -> "_Lifetimes":
        """Return what may be had without purges: no longer than a purge may take to be seen everywhere."""
        return replace(
            self,
            edge=min(self.edge, KV_PROPAGATION_SECONDS),
            negative=min(self.negative, KV_PROPAGATION_SECONDS),
            stale_while_revalidate=None,
            stale_if_error=None,
            must_revalidate=True,
        )


@dataclass(slots=True)
class Draft:
    """What the code that builds a response has said about it so far."""

    lifetimes: _Lifetimes | None = None
    groups: dict[str, None] = field(default_factory=dict)
    invalidated: dict[str, None] = field(default_factory=dict)
    owner: str = ""
    """Why the response belongs to one user, if it does."""
    reads: Reads = field(default_factory=Reads)
    """What layered caches have answered."""


_draft: ContextVar[Draft] = ContextVar("origin_sdk_draft")


@contextmanager
def drafting() -> Iterator[Draft]:
    """Collect what is said in the ``with`` block.

    For middleware, and for tests of functions that use the verbs.
    """
    draft = Draft()
    token = _draft.set(draft)
    try:
        with reading(draft.reads):
            yield draft
    finally:
        _draft.reset(token)


@contextmanager
def aside() -> Iterator[None]:
    """Read from caches, in the ``with`` block, what the response isn't made of: who may see it, for example.

    What is read there neither tags the response nor keeps it from the edge.
    """
    with reading(Reads()):
        yield


def _current() -> Draft:
    try:
        return _draft.get()
    except LookupError as error:
        raise InvalidRequest(
            "no response is being built here: add origin_sdk's middleware to the application, or wrap the "
            "call in origin_sdk.responses.drafting()"
        ) from error


def cache_for(
    seconds: int,
    *,
    browser: int = 0,
    stale_while_revalidate: int | None = None,
    stale_if_error: int | None = None,
    negative: int = 0,
    for_everyone: bool = False,
    read_groups: bool = True,
) -> None:
    """Let the edge keep the response fresh for ``seconds``; all arguments are seconds.

    ``browser`` is for browsers, which no purge reaches. ``negative`` is for 404 and 410, which aren't kept
    without it; other errors never are. ``for_everyone`` says that a response to a request with Authorization
    or a session is the same for all. ``read_groups=False`` leaves out the groups of values that layered
    caches have answered: the response is then purged by those of :func:`add_groups` alone.
    """
    _current().lifetimes = _Lifetimes(
        seconds, browser, stale_while_revalidate, stale_if_error, negative, for_everyone, read_groups
    )


def add_groups(*groups: str) -> None:
    """Add groups by which the response can be purged.

    Raises :class:`InvalidRequest` for a name that can't be sent.
    """
    _current().groups |= dict.fromkeys(map(_checked, groups))


def belongs_to_user(why: str = "it belongs to one user") -> None:
    """Keep the response from every shared cache, whatever else is said."""
    _current().owner = why


def invalidate(*groups: str) -> None:
    """Let a successful response to a write purge groups on its way through the Worker (RFC 9875).

    No API call is needed.

    It is for clients that reach the origin through the Worker; for other writes there is
    :class:`origin_sdk.PurgeClient`.
    """
    _current().invalidated |= dict.fromkeys(map(_checked, groups))


def _checked(group: str) -> str:
    try:
        group_mark(group)
        serialise_strings((group,))
    except (WireError, ValueError) as error:
        raise InvalidRequest(str(error)) from error
    return group


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A request and the response to it, as far as caching goes.

    Fields by name in lower case; ``body`` if it is at hand; ``route`` as logs are to name it.
    """

    method: str
    request: Mapping[str, str]
    status: int
    response: Mapping[str, str]
    body: bytes | None = None
    sets_cookies: bool = False
    uses_session: bool = False
    route: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The fields to set on the response, names in lower case.

    ``not_modified`` if it becomes a 304 without a body.
    """

    fields: Mapping[str, str]
    not_modified: bool = False

    @staticmethod
    def kept_by_304(name: str) -> bool:
        """Whether a field stays on a 304."""
        return name.lower() in _KEPT_BY_304


def finish(draft: Draft, exchanged: Exchanged, *, strict: bool) -> Finished:
    """Turn what was said into fields.

    A response that was declared cacheable and must not be shared raises :class:`NotCacheable` if ``strict``,
    for development; else it is sent as private, and the log says why.
    """
    if problem := _write_problem(draft, exchanged):
        _complain(problem, strict=strict)
    fields = _invalidation(draft, exchanged)
    if not (draft.lifetimes or draft.owner or draft.groups):
        return Finished(fields)
    if draft.owner and not draft.lifetimes:
        return Finished({**fields, "cache-control": _PRIVATE})
    return _cacheable(draft, exchanged, fields, strict=strict)


def _cacheable(draft: Draft, exchanged: Exchanged, fields: dict[str, str], *, strict: bool) -> Finished:
    groups, is_shared = draft.groups, False
    if draft.lifetimes and _is_storable(exchanged, draft.lifetimes):
        fields |= draft.lifetimes.fields(exchanged.status)
        if reasons := _reasons(draft, draft.lifetimes, exchanged, fields):
            what = f"{exchanged.route}: cache_for() on a response that must not be shared"
            error = DataClassViolation if draft.reads.confined else NotCacheable
            _complain(f"{what}: {'; '.join(reasons)}", strict=strict, error=error)
            return Finished({"cache-control": _PRIVATE, CDN_CACHE_CONTROL: _PRIVATE})
        is_shared = True
        if draft.lifetimes.read_groups:
            groups, problem = _with_those_read(draft, exchanged)
            if problem:
                _complain(f"{exchanged.route}: {problem}", strict=strict)
                fields |= draft.lifetimes.unpurged().fields(exchanged.status)
    if merged := _merged(exchanged.response.get(CACHE_GROUPS, ""), groups):
        fields[CACHE_GROUPS] = merged
    if is_shared and exchanged.body is None:
        draft.reads.shared_as = f"{exchanged.route}, which streams to the edge,"
    if draft.lifetimes is None or exchanged.method not in {"GET", "HEAD"} or exchanged.status != 200:
        return Finished(fields)
    etag = exchanged.response.get("etag") or _etag(exchanged)
    if etag and "etag" not in exchanged.response:
        fields["etag"] = etag
    return Finished(fields, not_modified=_matches(exchanged.request.get("if-none-match", ""), etag))


def _with_those_read(draft: Draft, exchanged: Exchanged) -> tuple[dict[str, None], str]:
    """Return the response's groups, those that were named first, and why not all can be sent."""
    groups, problem = dict(draft.groups), ""
    for group in draft.reads.groups:
        try:
            groups[_checked(group)] = None
        except InvalidRequest as error:
            problem = f"what it is made of has a group that can't be sent: {error}"
    room = MAX_GROUPS - len(_strings(exchanged.response.get(CACHE_GROUPS, "")))
    if len(groups) > room:
        problem = f"what it is made of has more groups than the {MAX_GROUPS} of a response"
        groups = dict.fromkeys(islice(groups, max(room, len(draft.groups))))
    if problem:
        problem += (
            f"; no purge by the rest reaches it, so the edge keeps it for {KV_PROPAGATION_SECONDS} s "
            "at most: let add_groups() name a group for all, and say cache_for(…, read_groups=False)"
        )
    return groups, problem


def _is_storable(exchanged: Exchanged, lifetimes: _Lifetimes) -> bool:
    is_success = 200 <= exchanged.status < 400
    return exchanged.method in {"GET", "HEAD"} and (
        is_success or (exchanged.status in _NEGATIVE and lifetimes.negative > 0)
    )


def _reasons(
    draft: Draft, lifetimes: _Lifetimes, exchanged: Exchanged, fields: Mapping[str, str]
) -> list[str]:
    own = exchanged.response.get("cache-control", "")
    if not ({"private", "no-store", "no-cache"} & {part.strip().lower() for part in own.split(",")}):
        own = ""
    judged = {
        **exchanged.response,
        **fields,
        **({"cache-control": own, CDN_CACHE_CONTROL: own} if own else {}),
    }
    status = 200 if exchanged.status in {206, 304} else exchanged.status
    reasons = list(obstacles(status, judged, sets_cookies=exchanged.sets_cookies))
    if problem := draft.reads.refuse(exchanged.route):
        reasons.append(problem)
    if draft.owner:
        reasons.append(draft.owner)
    if "authorization" in exchanged.request and not lifetimes.for_everyone:
        reasons.append(
            "the request carries Authorization: say for_everyone=True if the response is the same for all"
        )
    if exchanged.uses_session and not lifetimes.for_everyone:
        reasons.append("the session was used: say for_everyone=True if the response is the same for all")
    return reasons


def _write_problem(draft: Draft, exchanged: Exchanged) -> str:
    if draft.invalidated and exchanged.method in _SAFE_METHODS:
        return (
            f"invalidate() in a response to {exchanged.method}: caches ignore it there (RFC "
            "9875 section 3); use PurgeClient"
        )
    return ""


def _invalidation(draft: Draft, exchanged: Exchanged) -> dict[str, str]:
    # A failed write changed nothing.
    if not draft.invalidated or exchanged.method in _SAFE_METHODS or exchanged.status >= 400:
        return {}
    return {
        CACHE_GROUP_INVALIDATION: _merged(
            exchanged.response.get(CACHE_GROUP_INVALIDATION, ""), draft.invalidated
        )
    }


def _merged(present: str, groups: Mapping[str, None]) -> str:
    return serialise_strings(tuple(dict.fromkeys((*_strings(present), *groups))))


def _strings(present: str) -> tuple[str, ...]:
    try:
        return parse_strings(present)
    except ValueError:
        return ()


def _complain(problem: str, *, strict: bool, error: type[NotCacheable] = NotCacheable) -> None:
    if strict:
        raise error(problem)
    _log.error("%s", problem)


def _etag(exchanged: Exchanged) -> str:
    if exchanged.body is None or exchanged.method == "HEAD":
        return ""
    return f'"{hashlib.blake2b(exchanged.body, digest_size=12).hexdigest()}"'


def _matches(if_none_match: str, etag: str) -> bool:
    if not if_none_match or not etag:
        return False
    # RFC 9110 section 13.1.2: the comparison is weak.
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in _ENTITY_TAG.findall(if_none_match)
