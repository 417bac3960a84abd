"""A stored response: what lies under a record key in KV.

The *head* is text: a line of facts, then one line for each header field and group::

    1 200 1795744800000 1795744800120 3000 5120 gzip -
    content-type:application/json
    etag:"v17"
    >product-17

The facts are version, status, birth_ms, response_ms, initial_age_ms, body_bytes, coding and body key; ``>``
begins a group, and ``-`` stands for nothing.

In the usual case the head is the KV metadata ``{"h": head}`` and the value is the body alone, so that the
Worker can hand the body on without a look into it. A head that would pass Cloudflare's 1,024 bytes lies in
front of the body instead, and the metadata says how many bytes of the value it takes: ``{"o": 1894}``. A body
above the Worker's in-line limit lies under a key of its own, ``b1/…``, and the record's value is empty but
for such a head.

Beside either lies what was worked out when the record was stored, where there is room for that: the line
``"p"`` of :mod:`origin_sdk_wire.prepared`.

A URL whose responses vary has an *index* at its record key: the sets of selecting header fields that its
responses nominated, the latest first, as metadata ``{"v": [["accept-language"], …]}``. While there is one, a
response that nominates none lies beside the others: in the safe profile as if it varied by all the names of
the index, in the strict one under the set ``[""]``. An index without sets says that nothing is stored.

Anything else raises :class:`UnreadableRecord` and counts as absent.
"""

import json
import re
from dataclasses import dataclass
from itertools import chain

from origin_sdk_wire.errors import InvalidGroup, UnreadableRecord
from origin_sdk_wire.marks import group_mark

__all__ = [
    "MAX_INDEX_SETS",
    "MAX_METADATA_BYTES",
    "STORED_CODINGS",
    "Index",
    "Record",
    "Stored",
    "head_of",
    "metadata_for",
    "parse_head",
    "prepared_in",
    "read_metadata",
]

MAX_METADATA_BYTES = 1024
"""Cloudflare's limit for a key's metadata, serialised as JSON."""

MAX_INDEX_SETS = 4
"""How many different sets of selecting header fields are remembered for a URL."""

STORED_CODINGS = ("gzip", "br")
"""The content codings that a cache or ``publish`` gives a body, and that the Worker can take off again."""

_VERSION = "1"
_NO_VALUE = "-"
_CODING = "|".join((_NO_VALUE, *STORED_CODINGS))
_NUMBER = r"(\d{1,15})"
_FACTS = re.compile(
    rf"{_VERSION} {_NUMBER} {_NUMBER} {_NUMBER} {_NUMBER} {_NUMBER} ({_CODING}) ([^ ]*)",
    re.ASCII | re.DOTALL,
)
"""The first line of a head. In one step: each hit from KV reads one."""


@dataclass(frozen=True, slots=True)
class Record:
    """A stored response without its body.

    ``birth_ms`` and ``response_ms`` are RFC 9111's request_time and response_time, ``initial_age_ms`` its
    corrected_initial_age (section 4.2.3). ``body_bytes`` is the length of the representation's data as
    clients receive it, before the cache's own ``coding``, "" or one of :data:`STORED_CODINGS`. ``body_key``
    is set where the body has a key of its own. ``fields`` are name and value, names in lower case, repeated
    where the response repeated them.
    """

    status: int
    birth_ms: int
    response_ms: int
    initial_age_ms: int
    fields: tuple[tuple[str, str], ...]
    groups: tuple[str, ...] = ()
    body_bytes: int = 0
    coding: str = ""
    body_key: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """The sets of selecting header fields of a URL's responses, latest first; names in lower case, sorted."""

    sets: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all sets together, sorted."""
        return self.sets[0] if len(self.sets) == 1 else tuple(sorted({*chain(*self.sets)}))

    def including(self, names: tuple[str, ...]) -> "Index":
        """Return the index with ``names`` as its latest set."""
        return Index((names, *(known for known in self.sets if known != names))[:MAX_INDEX_SETS])

    def metadata(self) -> str:
        """Return the KV metadata as JSON."""
        return _json({"v": self.sets})


Stored = Record | Index
"""What can lie at a record key."""


def head_of(record: Record) -> str:
    """Write the head of a record; raises :class:`ValueError` for what would break its lines."""
    facts = (
        _VERSION,
        record.status,
        record.birth_ms,
        record.response_ms,
        record.initial_age_ms,
        record.body_bytes,
        record.coding or _NO_VALUE,
        record.body_key or _NO_VALUE,
    )
    lines = [" ".join(map(str, facts))]
    lines += [f"{name}:{value}" for name, value in record.fields]
    lines += [f">{group}" for group in record.groups]
    head = "\n".join(lines)
    if head.count("\n") != len(record.fields) + len(record.groups):
        raise ValueError("a field or a group has a line break in it")
    if any(not name or name[0] == ">" or ":" in name for name, _ in record.fields):
        raise ValueError("a field has a name that HTTP doesn't allow")
    return head


def parse_head(head: str) -> Record:
    """Read a head; raises :class:`UnreadableRecord`."""
    first, *lines = head.split("\n")
    facts = _FACTS.fullmatch(first)
    if facts is None:
        raise UnreadableRecord(f"not a record of version {_VERSION}, or a broken one: {first[:80]!r}")
    groups = tuple([line[1:] for line in lines if line[:1] == ">"])
    try:
        for group in groups:
            group_mark(group)
    except InvalidGroup as error:
        raise UnreadableRecord(f"a broken record: {error}") from error
    parted = [line.partition(":") for line in lines if line[:1] != ">"]
    fields = tuple([(name, value) for name, colon, value in parted if colon and name])
    status, birth_ms, response_ms, initial_age, body_bytes = map(int, facts.group(1, 2, 3, 4, 5))
    if len(fields) != len(parted) or not 200 <= status <= 599:
        raise UnreadableRecord(f"a broken record: {first[:80]!r}")
    coding, body_key = facts.group(6, 7)
    coding, body_key = "" if coding == _NO_VALUE else coding, "" if body_key == _NO_VALUE else body_key
    return Record(status, birth_ms, response_ms, initial_age, fields, groups, body_bytes, coding, body_key)


def metadata_for(head: str, prepared: str = "", *, reserved_bytes: int = 0) -> tuple[str, bool]:
    """Return a record's KV metadata as JSON, and whether ``head`` goes before the body instead.

    What was ``prepared`` goes along where there is room. ``reserved_bytes`` are left for a seal.
    """
    most_bytes = MAX_METADATA_BYTES - reserved_bytes
    metadata, is_in_front = _json({"h": head}), False
    if len(metadata.encode()) > most_bytes:
        metadata, is_in_front = _json({"o": len(head.encode())}), True
    if prepared:
        both = f'{metadata[:-1]},"p":{json.dumps(prepared)}}}'
        metadata = both if len(both.encode()) <= most_bytes else metadata
    return metadata, is_in_front


def prepared_in(metadata: object) -> str:
    """Return what was prepared when a record was stored, of its metadata; nothing if nothing was."""
    prepared = metadata.get("p") if isinstance(metadata, dict) else None
    return prepared if isinstance(prepared, str) else ""


def read_metadata(metadata: object) -> str | int | Index:
    """Read KV metadata: the head itself, the number of bytes that it takes in front of the body, or an index.

    ``metadata`` is the decoded JSON. Raises :class:`UnreadableRecord`.
    """
    match metadata:
        case {"h": str(head)}:
            return head
        case {"o": int(size)} if size > 0 and size is not True:
            return size
        case {"v": [*sets]}:
            return Index(tuple(_names(names) for names in sets))
    raise UnreadableRecord(f"metadata that this version didn't write, of type {type(metadata).__name__}")


def _names(names: object) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UnreadableRecord("an index with something else in it than sets of field names")
    return tuple(names)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
