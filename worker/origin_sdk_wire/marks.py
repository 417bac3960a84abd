"""Purge marks: what a purge writes, and what the Worker compares a stored response with.

A stored response falls under a handful of *mark names*: everything, its host, its URL, its path's prefixes
and its groups. For each name there are two keys, a *lane* each::

    m2/s/group/product-17    "1795744800000 01JD…"    soft: older responses are stale, if not gone
    m2/h/group/product-17    "1795744800000 01JD…"    hard: older responses are as if they weren't stored

The value is the *moment* in milliseconds since the epoch, and the id of the purge. A stored response is
invalid if its *birth*, the time at which the origin request that produced it was sent, is not after the
moment. Two lanes, because KV has no compare-and-set: in one, a later soft purge would take back an earlier
hard one. A hard purge writes both, so that the soft lane says when a name was last purged at all: a reader
reads that one first, and the hard lane only where the soft one covers a response.

Most names are seldom purged, so that what they share tells of them. One mark, ``shared``, covers whatever may
fall under any name but a group's; only where it does are the names that it tells of read: ``everything``, the
host, the URL, and two indexes of the host that tell of more. ``prefixes/{host}`` moves with each purge of a
prefix of the host, and ``host-groups/{host}`` with each purge of ``host-group/{host}/{group}``, by which an
answer to a write purges a group of its own host alone.

Every purge of a URL would write ``shared``, and KV takes one write a second for each key. So its moment lies
an hour ahead, and who knows that it still lies half of that ahead needn't write it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain

from origin_sdk_wire.errors import InvalidGroup, InvalidTarget
from origin_sdk_wire.key import MAX_KEY_BYTES, Target, fit
from origin_sdk_wire.seals import without_seal

__all__ = [
    "BY_EDGE",
    "EVERYTHING",
    "MARK_PREFIX",
    "MAX_GROUP_CHARACTERS",
    "MAX_PREFIX_SEGMENTS",
    "PURGE_LOG_PREFIX",
    "SHARED",
    "SHARED_AHEAD_MS",
    "SHARED_RENEWAL_MS",
    "Lane",
    "Mark",
    "MarkScope",
    "covering_marks",
    "group_mark",
    "host_group_mark",
    "host_groups_mark",
    "host_mark",
    "index_of",
    "indexed_names",
    "is_group",
    "is_index",
    "is_shared",
    "lane_key",
    "lane_name",
    "mark_key",
    "marked_as",
    "parse_mark",
    "path_prefix",
    "prefix_index_mark",
    "prefix_mark",
    "prefix_marks",
    "scope_of",
    "shared_names",
    "url_mark",
    "value_of",
    "written_keys",
]

MARK_PREFIX = "m2/"
PURGE_LOG_PREFIX = "p2/"
"""Entries of the purge log: a key for each, which no other write can take back."""
MAX_GROUP_CHARACTERS = 256
MAX_PREFIX_SEGMENTS = 16
"""Prefixes of more segments can't be purged: it bounds the marks that one look-up reads."""

BY_EDGE = "edge"
"""Who purges, where the Worker does."""
EVERYTHING = "everything"
SHARED = "shared"
"""The mark that tells of all purges but those of a group alone."""

SHARED_AHEAD_MS = 3_600_000
"""How far the moment of the shared mark lies ahead of the time at which it is written."""
SHARED_RENEWAL_MS = 1_800_000
"""Who knows that it lies this far ahead needn't write it: what may come in between is written for longer."""

_INDEXES = ("prefixes/", "host-groups/")


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
    """Read a mark's value, whatever its seal; raises :class:`ValueError` if it isn't one."""
    moment, _, purge_id = without_seal(value).partition(" ")
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 16):
        raise ValueError(f"not a mark: {value[:80]!r}")
    return Mark(int(moment), purge_id)


def mark_key(name: str, lane: Lane) -> str:
    """Return the KV key of a mark."""
    return lane_key(lane_name(name, lane))


def lane_name(name: str, lane: Lane) -> str:
    """Name one lane of a mark: its key without the version, however long that is."""
    return f"{lane.value}/{name}"


def lane_key(lane: str) -> str:
    """Return the KV key of what :func:`lane_name` names."""
    return fit(MARK_PREFIX + lane, MAX_KEY_BYTES)


def is_shared(key: str) -> bool:
    """Whether a key is that of the shared mark."""
    return key == f"{MARK_PREFIX}{Lane.SOFT.value}/{SHARED}"


def is_index(name: str) -> bool:
    """Whether a mark only tells of others, and has no hard lane."""
    return name == SHARED or name.startswith(_INDEXES)


def index_of(name: str) -> str:
    """Return the mark that tells of a mark: an index of its host, :data:`SHARED`, or none for a group's."""
    kind, _, rest = name.partition("/")
    if kind == "group":
        return ""
    host = rest.partition("/")[0]
    return {"prefix": f"prefixes/{host}", "host-group": f"host-groups/{host}"}.get(kind, SHARED)


@dataclass(frozen=True, slots=True)
class MarkScope:
    """What a mark covers: all of a ``host``, or of it only a ``location`` (host and path) or a ``group``.

    What is empty isn't narrowed by that.
    """

    host: str = ""
    location: str = ""
    group: str = ""


def scope_of(name: str) -> MarkScope | None:
    """Return what the mark of this name covers; ``None`` for an index, and a kind that isn't known."""
    kind, _, rest = name.partition("/")
    host, _, within = rest.partition("/")
    match kind:
        case "url" | "prefix":
            return MarkScope(host, location=rest)
        case "host":
            return MarkScope(rest)
        case "group":
            return MarkScope(group=rest)
        case "host-group":
            return MarkScope(host, group=within)
    return MarkScope() if name == EVERYTHING else None


def written_keys(names: Iterable[str], lane: Lane) -> dict[str, None]:
    """Return the keys that a purge of ``names`` writes, in order and each once.

    An index comes after what it tells of, so that whoever sees it can find that. The shared mark, which is
    looked behind for an hour, comes first: of a list that breaks off in the middle what is written counts.
    """
    names = list(names)
    keys = [] if all(name.startswith("group/") for name in names) else [mark_key(SHARED, Lane.SOFT)]
    keys += [mark_key(name, Lane.HARD) for name in names if lane is Lane.HARD and not is_index(name)]
    keys += [mark_key(name, Lane.SOFT) for name in names]
    return dict.fromkeys(keys)


def value_of(key: str, mark: Mark) -> str:
    """Return the value that a purge of the moment and id of ``mark`` writes under ``key``."""
    if is_shared(key):
        mark = Mark(mark.moment_ms + SHARED_AHEAD_MS, mark.purge_id)
    return str(mark)


def shared_names(target: Target, *, has_groups: bool) -> Iterator[str]:
    """Name the marks that :data:`SHARED` tells of, of a stored response of ``target``."""
    yield EVERYTHING
    for marked in marked_as(target):
        yield from (host_mark(marked.host), url_mark(marked), prefix_index_mark(marked.host))
        if has_groups:
            yield host_groups_mark(marked.host)


def indexed_names(index: str, target: Target, groups: Iterable[str]) -> Iterator[str]:
    """Name the marks that the index of a host tells of, of a stored response of ``target``."""
    for marked in marked_as(target):
        if index == prefix_index_mark(marked.host):
            yield from prefix_marks(marked)
        elif index == host_groups_mark(marked.host):
            yield from (host_group_mark(marked.host, group) for group in groups)


def covering_marks(target: Target, groups: Sequence[str]) -> tuple[str, ...]:
    """Name all marks under which a stored response is purged, without the indexes."""
    told = tuple(shared_names(target, has_groups=bool(groups)))
    direct = (name for name in told if not is_index(name))
    indexed = chain.from_iterable(indexed_names(name, target, groups) for name in told if is_index(name))
    return *direct, *map(group_mark, groups), *indexed


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


def is_group(name: str) -> bool:
    """Whether a response can carry a group of this name, and a purge name it."""
    try:
        group_mark(name)
    except InvalidGroup:
        return False
    return True


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
