"""The header fields of a response: what was said about it and read for it, as caches are told.

What layered caches answered meanwhile counts: a cacheable response has the groups of all values that it is
made of, and isn't cacheable if one of them must not reach the edge. So does what was read of the request.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from origin_sdk._responses.cacheability import obstacles
from origin_sdk._responses.draft import NEGATIVE, Draft, Lifetimes, checked_group
from origin_sdk._responses.entity_tags import etag_of, matches
from origin_sdk._responses.observed import OBSERVERS, SESSION, Declared, Reading
from origin_sdk._values.errors import DataClassViolation, InvalidRequest, NotCacheable
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS, MAX_GROUPS
from origin_sdk_wire.directives import response_directives
from origin_sdk_wire.fields import CACHE_GROUP_INVALIDATION, CACHE_GROUPS, CDN_CACHE_CONTROL
from origin_sdk_wire.structured import parse_strings, serialise_strings

__all__ = ["Exchanged", "Finished", "finish", "revise"]

_log = logging.getLogger("origin_sdk")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
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
_CREDENTIALS = frozenset({"authorization", "cookie"})
_TARGETED = (CDN_CACHE_CONTROL, "cloudflare-cdn-cache-control", "surrogate-control")


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


class _Headers(Protocol):
    """The fields of a framework's response."""

    def __setitem__(self, name: str, value: str, /) -> None: ...

    def __delitem__(self, name: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """The fields to set on the response, names in lower case; an empty one is to be removed.

    ``not_modified`` if it becomes a 304 without a body.
    """

    fields: Mapping[str, str]
    not_modified: bool = False

    @staticmethod
    def kept_by_304(name: str) -> bool:
        """Whether a field stays on a 304."""
        return name.lower() in _KEPT_BY_304

    def set_on(self, headers: _Headers) -> None:
        """Set the fields among those of a framework's response."""
        for name, value in self.fields.items():
            if value:
                headers[name] = value
            else:
                del headers[name]  # no framework minds if there is none


def finish(
    draft: Draft, exchanged: Exchanged, *, strict: bool, observers: tuple[str, ...] = OBSERVERS
) -> Finished:
    """Turn what was said into fields.

    A response that was declared cacheable and must not be shared raises :class:`NotCacheable` if ``strict``,
    for development; else it is sent as private, and the log says why. ``observers`` are packages whose
    reading of the request doesn't count.
    """
    draft.observed.decided()
    if problem := _write_problem(draft, exchanged):
        _complain(problem, strict=strict)
    if draft.left_out:
        _log.error(
            "%s: left out, so that no purge by it has an effect: %s",
            exchanged.route,
            "; ".join(draft.left_out),
        )
    fields = _invalidation(draft, exchanged)
    declared = _declared(draft, exchanged, observers)
    if draft.lifetimes and _is_storable(exchanged, draft.lifetimes):
        return _cacheable(draft, exchanged, declared, fields, strict=strict)
    if draft.owner or _is_for_its_client(draft, exchanged, declared, strict=strict):
        return Finished(fields | _private_fields(draft, exchanged))
    return Finished(fields | _group_fields(exchanged, draft.groups))


def revise(
    draft: Draft, exchanged: Exchanged, *, strict: bool, observers: tuple[str, ...] = OBSERVERS
) -> Finished:
    """Return the fields that make a response private after all, if what was read since it was finished does.

    That is what a middleware reads that stands further out, on the response's way to the client.
    """
    draft.observed.decided()
    directives = response_directives(exchanged.response)
    if "no-store" in directives or directives.unqualified("private"):
        return Finished({})
    declared = _declared(draft, exchanged, observers)
    if draft.lifetimes and _is_storable(exchanged, draft.lifetimes):
        if not (reasons := _personal_reasons(draft, exchanged, declared)):
            return Finished({})
        _complain(f"{_unshareable(exchanged)}: {'; '.join(reasons)}", strict=strict)
    elif not _is_for_its_client(draft, exchanged, declared, strict=strict):
        return Finished({})
    draft.reads.shared_as = ""
    draft.observed.over()
    return Finished(_private_fields(draft, exchanged))


def _unshareable(exchanged: Exchanged) -> str:
    return f"{exchanged.route}: cache_for() on a response that must not be shared"


def _declared(draft: Draft, exchanged: Exchanged, observers: tuple[str, ...]) -> Declared:
    named = exchanged.response.get("vary", "").lower().split(",")
    vary = frozenset(name.strip() for name in named)
    if not draft.lifetimes:
        return Declared(vary, observers=observers)
    vary |= {name.lower() for name in draft.lifetimes.vary}
    return Declared(vary, draft.lifetimes.for_everyone, observers)


def _is_for_its_client(draft: Draft, exchanged: Exchanged, declared: Declared, *, strict: bool) -> bool:
    """Whether a response that cache_for() isn't for might be kept all the same, and isn't for everyone."""
    if draft.lifetimes:
        return bool(_personal_reasons(draft, exchanged, declared))
    readings = draft.observed.undeclared(declared)
    directives = response_directives(exchanged.response)
    if (
        not readings
        or exchanged.status == 304
        or "no-store" in directives
        or directives.unqualified("private")
    ):
        return False
    if exchanged.status >= 300:
        return (
            True  # an error comes before a handler has said anything, and a rule may have a lifetime for it
        )
    if any(obstacles(exchanged.status, exchanged.response, sets_cookies=exchanged.sets_cookies)):
        return False
    what = f"{exchanged.route}: fields that let a response be shared which must not be"
    _complain("; ".join([what, *map(_remedy, readings)]), strict=strict)
    return True


def _private_fields(draft: Draft, exchanged: Exchanged) -> dict[str, str]:
    """Return the fields that keep a response from every shared cache, whatever it says itself."""
    targeted = {name for name in _TARGETED if name in exchanged.response}
    if draft.lifetimes:
        targeted.add(CDN_CACHE_CONTROL)
    return {"cache-control": _PRIVATE} | dict.fromkeys(sorted(targeted), _PRIVATE)


def _group_fields(exchanged: Exchanged, groups: Mapping[str, None]) -> dict[str, str]:
    merged = _merged(exchanged.response.get(CACHE_GROUPS, ""), groups) if groups else ""
    return {CACHE_GROUPS: merged} if merged else {}


def _cacheable(
    draft: Draft, exchanged: Exchanged, declared: Declared, fields: dict[str, str], *, strict: bool
) -> Finished:
    lifetimes = draft.lifetimes
    if not lifetimes:
        return Finished(fields)
    fields |= lifetimes.fields(exchanged.status) | _vary_fields(exchanged, lifetimes)
    if reasons := _reasons(draft, declared, exchanged, fields):
        error = DataClassViolation if draft.reads.confined else NotCacheable
        _complain(f"{_unshareable(exchanged)}: {'; '.join(reasons)}", strict=strict, error=error)
        return Finished(_private_fields(draft, exchanged))
    if draft.reads.is_stale:
        # Stored as fresh it would outlive the purge for which the edge asks.
        lifetimes = lifetimes.ended()
        fields |= lifetimes.fields(exchanged.status)
    groups, problem = _sent_groups(draft, exchanged, lifetimes)
    if problem:
        _complain(f"{exchanged.route}: {problem}", strict=strict)
    if problem or draft.left_out:
        fields |= lifetimes.unpurged().fields(exchanged.status)
    fields |= _group_fields(exchanged, groups)
    draft.observed.account(declared)
    if exchanged.body is None:
        draft.reads.shared_as = f"{exchanged.route}, which streams to the edge,"
        draft.observed.sent(exchanged.route, declared, draft.reads)
    if exchanged.status != 200:
        return Finished(fields)
    etag = exchanged.response.get("etag") or _new_etag(exchanged)
    if etag and "etag" not in exchanged.response:
        fields["etag"] = etag
    return Finished(fields, not_modified=matches(exchanged.request.get("if-none-match", ""), etag))


def _new_etag(exchanged: Exchanged) -> str:
    if exchanged.body is None or exchanged.method == "HEAD":
        return ""
    return etag_of(exchanged.body, exchanged.response.get("content-encoding", ""))


def _vary_fields(exchanged: Exchanged, lifetimes: Lifetimes) -> dict[str, str]:
    """Return Vary if it changes.

    Frameworks name the cookie wherever a session was looked at. For what is the same for everyone that would
    only make a stored response for each of them.
    """
    present = {name.strip().lower(): name.strip() for name in exchanged.response.get("vary", "").split(",")}
    present.pop("", None)
    dropped = _CREDENTIALS if lifetimes.for_everyone else frozenset()
    named = {name.lower(): name for name in lifetimes.vary}
    wanted = {key: name for key, name in present.items() if key not in dropped} | named
    return {"vary": ", ".join(wanted.values())} if wanted.keys() != present.keys() else {}


def _sent_groups(draft: Draft, exchanged: Exchanged, lifetimes: Lifetimes) -> tuple[dict[str, None], str]:
    """Return the response's groups, those that were named first, and why not all can be sent."""
    groups, problem = dict(draft.groups), ""
    for group in draft.reads.groups if lifetimes.read_groups else ():
        try:
            groups[checked_group(group)] = None
        except InvalidRequest as error:
            problem = f"what it is made of has a group that can't be sent: {error}"
    room = MAX_GROUPS - len(_strings(exchanged.response.get(CACHE_GROUPS, "")))
    if len(groups) > room:
        problem = f"it has, with what it is made of, more groups than the {MAX_GROUPS} of a response"
        groups = dict.fromkeys(islice(groups, max(room, 0)))
    if problem:
        problem += (
            f"; no purge by the rest reaches it, so the edge keeps it for {KV_PROPAGATION_SECONDS} s "
            "at most: let add_groups() name a coarser group that stands for all, such as the list's own, "
            "and say cache_for(…, read_groups=False)"
        )
    return groups, problem


def _is_storable(exchanged: Exchanged, lifetimes: Lifetimes) -> bool:
    is_success = 200 <= exchanged.status < 400
    return exchanged.method in {"GET", "HEAD"} and (
        is_success or (exchanged.status in NEGATIVE and lifetimes.negative > 0)
    )


def _reasons(draft: Draft, declared: Declared, exchanged: Exchanged, fields: Mapping[str, str]) -> list[str]:
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
    return reasons + _personal_reasons(draft, exchanged, declared)


def _personal_reasons(draft: Draft, exchanged: Exchanged, declared: Declared) -> list[str]:
    """Say what makes a response one client's own."""
    reasons = []
    if problem := draft.reads.refuse(exchanged.route):
        reasons.append(problem)
    if draft.owner:
        reasons.append(draft.owner)
    if declared.for_everyone:
        return reasons
    readings = draft.observed.undeclared(declared)
    what_was_read = {reading.what for reading in readings}
    if "authorization" in exchanged.request and not ({"authorization"} & (declared.vary | what_was_read)):
        reasons.append(
            "the request carries Authorization: say for_everyone=True if the response is the same for all"
        )
    if exchanged.uses_session and SESSION not in what_was_read:
        reasons.append("the session was used: say for_everyone=True if the response is the same for all")
    return reasons + [_remedy(reading) for reading in readings]


def _remedy(reading: Reading) -> str:
    can_vary = reading.is_field and reading.what != "authorization"
    vary = f'cache_for(…, vary=["{reading.what.title()}"]) if few values occur, ' if can_vary else ""
    return (
        f"{reading}: say {vary}belongs_to_user() if the response shows what is one user's, "
        "cache_for(…, for_everyone=True) if it is the same for all, or read it in `with aside():` if that is "
        "for a log"
    )


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
