"""Say how a response may be cached, while it is built; the same verbs in every framework.

    cache_for(300, browser=60, stale_while_revalidate=60)     # the edge, browsers, and RFC 5861's windows
    add_groups("products", f"product-{product.id}")           # by what it can be purged
    belongs_to_user("shows the basket")                       # never for anyone else
    invalidate(f"product-{product.id}")                       # after a write: what changed

A middleware (:mod:`origin_sdk.asgi`, :mod:`origin_sdk.django`, :mod:`origin_sdk.flask`) opens a
:class:`Draft` for each request and turns it into header fields with :func:`finish`. What layered caches
answer meanwhile counts: a cacheable response has the groups of all values that it is made of, and isn't
cacheable if one of them must not reach the edge. So does what is read of the request: that must be named in
Vary or be declared to change nothing, or the response is private. This module knows no framework.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from origin_sdk._process.reads import HasClass, Reads, reading
from origin_sdk._responses.draft import Draft, Lifetimes, checked_group
from origin_sdk._responses.finished import Exchanged, Finished, finish, revise
from origin_sdk._responses.observed import Observed, Reading, unobserved
from origin_sdk._values.errors import InvalidRequest

__all__ = [
    "Draft",
    "Exchanged",
    "Finished",
    "HasClass",
    "Lifetimes",
    "Observed",
    "Reading",
    "Reads",
    "add_groups",
    "aside",
    "belongs_to_user",
    "cache_for",
    "drafting",
    "finish",
    "invalidate",
    "revise",
]

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_draft: ContextVar[Draft] = ContextVar("origin_sdk_draft")


@contextmanager
def drafting(observed: Observed | None = None, *, strict: bool = True) -> Iterator[Draft]:
    """Collect what is said in the ``with`` block.

    For middleware, and for tests of functions that use the verbs. What can't be said is an error if
    ``strict``; else it is left out.
    """
    draft = Draft(observed=observed or Observed(()), is_strict=strict)
    token = _draft.set(draft)
    try:
        with reading(draft.reads):
            yield draft
    finally:
        _draft.reset(token)


@contextmanager
def aside() -> Iterator[None]:
    """Read from caches and of the request, in the ``with`` block, what the response isn't made of: for a log.

    What is read there neither tags the response nor keeps it from the edge.
    """
    with reading(Reads()), unobserved():
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
    vary: Collection[str] = (),
    for_everyone: bool = False,
    read_groups: bool = True,
) -> None:
    """Let the edge keep the response fresh for ``seconds``; all lifetimes are seconds.

    ``browser`` is for browsers, which no purge reaches. ``negative`` is for 404 and 410, which aren't kept
    without it; other errors never are. ``vary`` adds to Vary the request's fields that the response depends
    on. ``for_everyone`` says that whatever was read of the request, a session or Authorization too, the
    response is the same for all. ``read_groups=False`` leaves out the groups of values that layered
    caches have answered: the response is then purged by those of :func:`add_groups` alone.

    Raises :class:`InvalidRequest` for a name in ``vary`` that no field can have.
    """
    for name in vary if not isinstance(vary, str) else (f"vary={vary!r}",):
        if not _FIELD_NAME.fullmatch(name):
            raise InvalidRequest(f'{name!r} names no field: write vary=["Accept-Language"]')
    _current().lifetimes = Lifetimes(
        edge=seconds,
        browser=browser,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
        negative=negative,
        for_everyone=for_everyone,
        read_groups=read_groups,
        vary=tuple(vary),
    )


def add_groups(*groups: str) -> None:
    """Add groups by which the response can be purged.

    A name that can't be sent raises :class:`InvalidRequest` in development. In production it is left out, the
    log says so, and the edge keeps the response no longer than a purge takes to be seen.
    """
    draft = _current()
    draft.groups |= dict.fromkeys(_sendable(draft, groups, "add_groups"))


def belongs_to_user(why: str = "it belongs to one user") -> None:
    """Keep the response from every shared cache, whatever else is said."""
    _current().owner = why


def invalidate(*groups: str) -> None:
    """Let a successful response to a write purge groups on its way through the Worker (RFC 9875).

    No API call is needed.

    It is for clients that reach the origin through the Worker; for other writes there is
    :class:`origin_sdk.PurgeClient`. A name that can't be sent is treated as by :func:`add_groups`.
    """
    draft = _current()
    draft.invalidated |= dict.fromkeys(_sendable(draft, groups, "invalidate"))


def _sendable(draft: Draft, groups: Iterable[str], verb: str) -> Iterator[str]:
    for group in groups:
        try:
            yield checked_group(group)
        except InvalidRequest as error:
            if draft.is_strict:
                raise
            draft.left_out.append(f"{verb}(): {error}")
