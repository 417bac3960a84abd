"""Assertions about what was purged, and about what may be cached."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from origin_sdk._responses.cacheability import obstacles
from origin_sdk._values.header_fields import combined
from origin_sdk._values.targets import parse_host, parse_url
from origin_sdk_wire.marks import (
    EVERYTHING,
    Lane,
    Mark,
    covering_marks,
    group_mark,
    host_mark,
    mark_key,
    marked_as,
    url_mark,
)

__all__ = ["HasMarks", "assert_cacheable", "assert_not_cacheable", "assert_not_purged", "assert_purged"]


class HasMarks(Protocol):
    """Where purges went: :class:`origin_sdk.testing.FakeKV`, or one of the null clients."""

    def marks_in_force(self) -> Mapping[str, Mark]:
        """Return the marks by key."""
        ...


def assert_purged(
    edge: HasMarks,
    *,
    url: str = "",
    group: str = "",
    prefix: str = "",
    host: str = "",
    everything: bool = False,
    hard: bool | None = None,
) -> None:
    """Assert that stored responses of the target are purged.

    By a purge of it, or of something that holds it.

    ``hard`` asks for that kind alone.
    """
    covering = _covering(url, group, prefix, host, everything=everything)
    if not _in_force(edge, covering, hard):
        raise AssertionError(f"not purged: {covering[-1]}; in force are: {_listed(edge)}")


def assert_not_purged(
    edge: HasMarks,
    *,
    url: str = "",
    group: str = "",
    prefix: str = "",
    host: str = "",
    everything: bool = False,
    hard: bool | None = None,
) -> None:
    """Assert that nothing has purged the target."""
    found = _in_force(edge, _covering(url, group, prefix, host, everything=everything), hard)
    if found:
        raise AssertionError(f"purged, by {', '.join(found)}")


def _covering(url: str, group: str, prefix: str, host: str, *, everything: bool) -> list[str]:
    """Name the marks that cover the target, the narrowest last."""
    names = [EVERYTHING]
    if url or prefix:
        target = parse_url(url or prefix)
        own = frozenset(() if url else map(url_mark, marked_as(target)))  # a prefix isn't the URL
        names = [name for name in covering_marks(target, ()) if name not in own]
    elif host:
        names.append(host_mark(parse_host(host)))
    elif group:
        names.append(group_mark(group))
    elif not everything:
        raise TypeError("say what: url, group, prefix, host or everything=True")
    return names


def _in_force(edge: HasMarks, names: Iterable[str], hard: bool | None) -> list[str]:  # noqa: FBT001 - as the caller's
    marks = edge.marks_in_force()
    found: list[str] = []
    for name in names:
        soft_key, hard_key = mark_key(name, Lane.SOFT), mark_key(name, Lane.HARD)
        # A hard purge writes both lanes.
        is_soft = soft_key in marks and marks[soft_key] != marks.get(hard_key)
        found += [soft_key] if is_soft and not hard else []
        found += [hard_key] if hard_key in marks and hard is not False else []
    return found


def _listed(edge: HasMarks) -> str:
    return ", ".join(sorted(edge.marks_in_force())) or "no marks"


class _Response(Protocol):
    """A response of httpx, Starlette, Django, Flask or requests."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...


def assert_cacheable(response: _Response) -> None:
    """Assert that the edge may keep the response and give it to everyone."""
    if reasons := _reasons(response):
        raise AssertionError(f"not cacheable: {'; '.join(reasons)}")


def assert_not_cacheable(response: _Response) -> None:
    """Assert that the edge will not keep the response."""
    if not _reasons(response):
        raise AssertionError(f"cacheable: {dict(response.headers.items())}")


def _reasons(response: _Response) -> list[str]:
    fields = combined(tuple(response.headers.items()))
    # Django keeps cookies apart from the fields until the response is sent.
    cookies = vars(response).get("cookies")
    return list(obstacles(response.status_code, fields, sets_cookies=bool(cookies)))
