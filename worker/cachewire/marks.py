"""Purge marks: what a purge writes, and what the Worker compares a stored response with.

A stored response falls under a handful of *mark names*: everything, its host, its URL, its groups, and, once
a prefix of the host was purged, its path's prefixes. For each name there are two keys, a *lane* each::

    m1/s/group/product-17    "1795744800000 01JD…"    soft: older responses are stale
    m1/h/group/product-17    "1795744800000 01JD…"    hard: older responses are as if they weren't stored

The value is the *moment* in milliseconds since the epoch, and the id of the purge. A stored response is
invalid if its *birth*, the time at which the origin request that produced it was sent, is not after the
moment. Two lanes, because KV has no compare-and-set: in one, a later soft purge would take back an earlier
hard one.

Prefix purges are rare, so that the Worker doesn't read a mark for each of a path's prefixes: a purge of a
prefix also writes ``prefixes/{host}``, and only responses that are not younger than that look further.

The groups that a service names in its answer to a write are purged on the host of that request alone:
``host-group/{host}/{group}``, of which ``host-groups/{host}`` tells in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain

from cachewire.errors import InvalidGroup, InvalidTarget
from cachewire.key import MAX_KEY_BYTES, Target, fit

__all__ = [
    "EVERYTHING",
    "MARK_PREFIX",
    "MAX_GROUP_CHARACTERS",
    "MAX_PREFIX_SEGMENTS",
    "Lane",
    "Mark",
    "covering_marks",
    "group_mark",
    "host_group_mark",
    "host_groups_mark",
    "host_mark",
    "indexed_marks",
    "mark_key",
    "marked_as",
    "marks_at",
    "marks_of_groups",
    "parse_mark",
    "path_prefix",
    "prefix_index_mark",
    "prefix_mark",
    "prefix_marks",
    "url_mark",
]

MARK_PREFIX = "m1/"
MAX_GROUP_CHARACTERS = 256
MAX_PREFIX_SEGMENTS = 16
"""Prefixes of more segments can't be purged: it bounds the marks that one look-up reads."""

EVERYTHING = "everything"


class Lane(StrEnum):
    """How a mark acts on what is older."""

    SOFT = "s"
    HARD = "h"


@dataclass(frozen=True, slots=True)
class Mark:
    """One purge: ``moment_ms`` since the epoch, and an id for audit."""

    moment_ms: int
    purge_id: str = ""

    def __str__(self) -> str:
        return f"{self.moment_ms} {self.purge_id}".rstrip()


def parse_mark(value: str) -> Mark:
    """Read a mark's value; raises :class:`ValueError` if it isn't one."""
    moment, _, purge_id = value.partition(" ")
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 16):
        raise ValueError(f"not a mark: {value[:80]!r}")
    return Mark(int(moment), purge_id)


def mark_key(name: str, lane: Lane) -> str:
    """Return the KV key of a mark."""
    return fit(f"{MARK_PREFIX}{lane.value}/{name}", MAX_KEY_BYTES)


def host_mark(host: str) -> str:
    """Name the mark of everything on ``host``, an authority in lower case."""
    return f"host/{host}"


def url_mark(target: Target) -> str:
    """Name the mark of one URL with all its variants, under http and https."""
    return f"url/{target.location}"


@lru_cache(maxsize=4096)
def group_mark(group: str) -> str:
    """Name the mark of a group; raises :class:`InvalidGroup` for a name that no response can carry."""
    if not 0 < len(group) <= MAX_GROUP_CHARACTERS or not group.isprintable() or group != group.strip():
        raise InvalidGroup(
            f"{group[:80]!r} isn't a group name: give 1 to {MAX_GROUP_CHARACTERS} printable characters, "
            "no space at either end"
        )
    return f"group/{group}"


def host_group_mark(host: str, group: str) -> str:
    """Name the mark of a group's responses of one host; raises :class:`InvalidGroup`."""
    return f"host-{group_mark(group).replace('/', f'/{host}/', 1)}"


def host_groups_mark(host: str) -> str:
    """Name the mark that moves with each purge of a group of ``host`` alone."""
    return f"host-groups/{host}"


def marked_as(target: Target) -> tuple[Target, ...]:
    """Return the targets whose marks cover ``target``: itself, and the one whose host is without a port.

    Origins mostly answer for a host whatever the port, and so a purge of the host is meant for all.
    """
    hostname = target.hostname
    if hostname == target.host:
        return (target,)
    return target, Target(target.scheme, hostname, target.path, target.query)


def marks_at(target: Target) -> tuple[str, ...]:
    """Name the marks that cover every response of ``target``, and the indexes that tell of further ones."""
    names = [EVERYTHING]
    for marked in marked_as(target):
        names += (host_mark(marked.host), prefix_index_mark(marked.host), url_mark(marked))
    return tuple(names)


def marks_of_groups(target: Target, groups: Sequence[str]) -> tuple[str, ...]:
    """Name the marks that cover a response of ``groups``, and the indexes that tell of further ones."""
    if not groups:
        return ()
    indexes = (host_groups_mark(marked.host) for marked in marked_as(target))
    return *indexes, *map(group_mark, groups)


def indexed_marks(target: Target, groups: Sequence[str]) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield each index with the names that are to be looked at once it is not older than a response.

    An index covers what a response has no part in, too: it only says where to look.
    """
    for marked in marked_as(target):
        yield prefix_index_mark(marked.host), prefix_marks(marked)
        if groups:
            yield host_groups_mark(marked.host), _host_group_marks(marked.host, groups)


def _host_group_marks(host: str, groups: Iterable[str]) -> Iterator[str]:
    for group in groups:
        yield host_group_mark(host, group)


def covering_marks(target: Target, groups: Sequence[str]) -> tuple[str, ...]:
    """Name all marks under which a stored response is purged, without the indexes."""
    indexed = dict(indexed_marks(target, groups))
    direct = (name for name in (*marks_at(target), *marks_of_groups(target, groups)) if name not in indexed)
    return *direct, *chain.from_iterable(indexed.values())


def prefix_index_mark(host: str) -> str:
    """Name the mark that moves with each purge of a prefix of ``host``."""
    return f"prefixes/{host}"


def prefix_mark(target: Target) -> str:
    """Name the mark of everything at or below ``target``'s path: ``/a`` covers ``/a/b``, but not ``/ab``."""
    prefix = path_prefix(target.path)
    if prefix.count("/") > MAX_PREFIX_SEGMENTS:
        raise InvalidTarget(
            f"the prefix {target.path!r} has more than {MAX_PREFIX_SEGMENTS} segments; "
            "purge a shorter one, or a group"
        )
    return f"prefix/{target.host}{prefix}"


def path_prefix(path: str) -> str:
    """Return ``path`` as a prefix: without its trailing slashes, so that ``/`` is the empty prefix."""
    return path.rstrip("/")


def prefix_marks(target: Target) -> Iterable[str]:
    """Name the marks of all prefixes that cover ``target``, the shortest first."""
    path, at = path_prefix(target.path), 0
    yield f"prefix/{target.host}"
    for _ in range(MAX_PREFIX_SEGMENTS):
        if at >= len(path):
            return
        at = path.find("/", at + 1)
        at = len(path) if at < 0 else at
        yield f"prefix/{target.host}{path_prefix(path[:at])}"
