"""What KV holds, by its REST API: stored bytes, purge marks and who wrote them, one URL, a purge.

Lists of KV cost money and requests, so that they are made now and then, while somebody watches.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.explanation import explain
from origin_sdk._edge.marks import MarkEntry
from origin_sdk._process.audit import AuditFile
from origin_sdk._process.clock import Clock
from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk._values.targets import NAMES, Purge
from origin_sdk.dashboard.sources import SourceHealth
from origin_sdk_wire.exposition import SeenPurge
from origin_sdk_wire.marks import BY_EDGE, Lane

__all__ = ["Holdings", "Stored"]

MOST_KEYS = 200_000
"""How many stored responses are counted; 200 lists of KV, 0.1 cents."""
_MOST_MARKS = 5_000
_MOST_SHOWN = 100
_INTENT_SECONDS = 300.0
_MOST_INTENTS = 100
_LONGEST_WRITE_MS = 60_000
"""For how long the Worker may try to write a mark of its own, and how far it dates it ahead."""
_Sight: TypeAlias = tuple[str, str, int]
"""A purge that the Worker saw: its target, whether it is soft or hard, and its moment."""
_LANES = {Lane.SOFT.value: "soft", Lane.HARD.value: "hard"}


@dataclass(frozen=True, slots=True)
class Stored:
    """How much KV holds, counted at ``at``; ``is_whole`` unless there was more than is counted."""

    at: float
    responses: int
    bytes: int
    is_whole: bool

    def as_json(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class Holdings:
    """One namespace, through a client that ``open_client`` opens for each task."""

    open_client: Callable[[], AbstractContextManager[PurgeClient]]
    clock: Clock
    may_purge: bool = False
    audit_file: str = ""
    health: SourceHealth = field(default_factory=SourceHealth)
    stored: Stored | None = None
    _marks: Sequence[MarkEntry] = ()
    _intents: dict[str, tuple[float, Purge]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def count(self) -> None:
        """Count what is stored; a failure is for :attr:`health` to tell."""
        self._try(self._count)

    def list_marks(self) -> None:
        """List the marks; a failure is for :attr:`health` to tell."""
        self._try(self._list_marks)

    def _try(self, task: Callable[[PurgeClient], None]) -> None:
        try:
            with self.open_client() as client:
                task(client)
        except OriginSdkError as error:
            self.health = self.health.failed(error)
        else:
            self.health = self.health.worked(self.clock.now())

    def _count(self, client: PurgeClient) -> None:
        responses, total, seen = 0, 0, 0
        for each in client.list():
            seen += 1
            if seen > MOST_KEYS:
                break
            responses += each.record is not None
            total += each.body_bytes
        self.stored = Stored(self.clock.now(), responses, total, seen <= MOST_KEYS)

    def _list_marks(self, client: PurgeClient) -> None:
        self._marks = list(islice(client.marks(), _MOST_MARKS))

    def purges(self, seen: Sequence[SeenPurge], since: float) -> list[dict[str, Any]]:
        """Return the purges since a moment, the latest first: who, what, why, and how soon it was seen."""
        unmatched = {(each.name, _LANES.get(each.lane, each.lane), each.moment_ms): each for each in seen}
        rows = [
            _purge_of_mark(mark, unmatched.pop(_sight_of(mark, unmatched), None))
            for mark in self._marks
            if mark.moment is not None
        ]
        rows += [_purge_of_sight(each, kind) for (_, kind, _), each in unmatched.items()]
        recent = [row for row in _grouped(rows) if row["at"] >= since]
        recent.extend(row for row in self._audited(since) if row["id"] not in {each["id"] for each in recent})
        return sorted(recent, key=lambda row: -float(row["at"]))[:_MOST_SHOWN]

    def _audited(self, since: float) -> list[dict[str, Any]]:
        """Return the purges that this machine's audit file has; earlier marks of a target are there alone."""
        if not self.audit_file:
            return []
        try:
            rows = [_purge_of_event(event) for event in AuditFile(Path(self.audit_file)).read()]
        except (OriginSdkError, OSError, UnicodeDecodeError):
            return []
        return [row for row in rows if row and row["at"] >= since]

    def look_up(self, url: str) -> dict[str, Any]:
        """Return what ``inspect`` and ``explain`` know of a URL; raises :class:`OriginSdkError`."""
        with self.open_client() as client:
            explanation = explain(url, client.project)
            return {"explain": explanation.as_json(), "inspect": client.inspect(url).as_json()}

    def preview(self, targets: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a purge would hit, and an intent by which :meth:`purge` makes it."""
        self._refuse_unless_allowed()
        with self.open_client() as client:
            radius = client.preview(**targets)
            purge = Purge.of(**targets)
        intent = secrets.token_urlsafe(24)
        with self._lock:
            now = self.clock.now()
            alive = {each: known for each, known in self._intents.items() if known[0] > now}
            self._intents = dict(list(alive.items())[-_MOST_INTENTS + 1 :])
            self._intents[intent] = now + _INTENT_SECONDS, purge
        return {"intent": intent, "radius": radius.as_json()}

    def purge(self, intent: str) -> dict[str, Any]:
        """Make a purge whose blast radius was shown; each intent once, within five minutes."""
        self._refuse_unless_allowed()
        with self._lock:
            until, purge = self._intents.pop(intent, (0.0, None))
        if purge is None or until <= self.clock.now():
            raise InvalidRequest("what this purge would hit was shown too long ago, or never: look again")
        with self.open_client() as client:
            receipt = client.send(purge)
        self.list_marks()
        return receipt.as_json()

    def _refuse_unless_allowed(self) -> None:
        if not self.may_purge:
            raise InvalidRequest("this dashboard only looks: start it with --allow-purge to purge from it")


def _sight_of(mark: MarkEntry, seen: Mapping[_Sight, SeenPurge]) -> _Sight:
    """Return the sight of a mark. The Worker counts its own before it writes them, and dates them ahead."""
    assert mark.moment is not None  # noqa: S101 - the caller left those without out
    exact = mark.target, mark.kind, round(mark.moment.timestamp() * 1000)
    if mark.by != BY_EDGE:
        return exact
    own = [
        sight
        for sight, each in seen.items()
        if each.by == mark.purge_id
        and sight[:2] == exact[:2]
        and 0 <= exact[2] - sight[2] <= _LONGEST_WRITE_MS
    ]
    return max(own, default=exact)


def _purge_of_mark(mark: MarkEntry, seen: SeenPurge | None) -> dict[str, Any]:
    assert mark.moment is not None  # noqa: S101 - the caller left those without out
    return {
        "at": mark.moment.timestamp(),
        "target": mark.target,
        "kind": mark.kind,
        "id": mark.purge_id,
        "by": "the Worker" if mark.by == BY_EDGE else mark.by,
        "why": mark.purge_id if mark.by == BY_EDGE else mark.why,
        "lag": _lag(seen),
        "targets": 1,
    }


def _purge_of_sight(seen: SeenPurge, kind: str) -> dict[str, Any]:
    is_own = seen.by != "elsewhere"
    return {
        "at": seen.moment_ms / 1000,
        "target": seen.name,
        "kind": kind,
        "id": seen.purge_id,
        "by": "the Worker" if is_own else "",
        "why": seen.by if is_own else "",
        "lag": _lag(seen),
        "targets": 1,
    }


def _lag(seen: SeenPurge | None) -> float | None:
    return max(0.0, (seen.seen_ms - seen.moment_ms) / 1000) if seen is not None else None


def _purge_of_event(event: Mapping[str, Any]) -> dict[str, Any] | None:
    if event.get("action") != "purge":
        return None
    try:
        at = datetime.fromisoformat(str(event.get("at"))).timestamp()
    except ValueError:
        return None
    named = [each for name in NAMES for each in event.get(name) or ()]
    return {
        "at": at,
        "target": named[0] if named else "everything",
        "kind": "hard" if event.get("hard") else "soft",
        "id": str(event.get("id", "")),
        "by": str(event.get("actor", "")),
        "why": str(event.get("reason", "")),
        "lag": None,
        "targets": max(1, len(named)),
    }


def _grouped(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the marks of one purge, which have their moment in common; any of them may tell who made it."""
    joined: dict[object, dict[str, Any]] = {}
    for row in rows:
        known = joined.setdefault((round(row["at"] * 1000), row["kind"]), dict(row, targets=0))
        known["targets"] += 1
        known["lag"] = max((lag for lag in (known["lag"], row["lag"]) if lag is not None), default=None)
        for name in ("id", "by", "why"):
            known[name] = known[name] or row[name]
    return list(joined.values())
