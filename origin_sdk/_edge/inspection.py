"""What is stored for a URL, which purge marks apply to it, and what the Worker would do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from origin_sdk._edge.marks import moment_of
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.stored_responses import StoredResponse, base_of, both_schemes, with_head
from origin_sdk._values.header_fields import combined
from origin_sdk._values.project import Project
from origin_sdk._values.targets import parse_url
from origin_sdk_wire.disguise import applied_rule
from origin_sdk_wire.freshness import Freshness, current_age_ms, freshness_of
from origin_sdk_wire.key import Target, record_key
from origin_sdk_wire.marks import Lane, Mark, covering_marks, mark_key, parse_mark
from origin_sdk_wire.record import Record
from origin_sdk_wire.rules import FURTHER_METHODS
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import DEFAULT_RULE, Rule

__all__ = ["AppliedMark", "Inspected", "Inspection", "Outcome", "inspect"]

_MAX_VARIANTS = 1000


class Outcome(StrEnum):
    """What the next request would get, if it sets no conditions of its own."""

    FRESH = "hit: fresh"
    STALE_WHILE_REVALIDATE = "hit: stale, refreshed in the background"
    VALIDATED = "asks the origin; the stored response stands in if that fails"
    EXPIRED = "asks the origin; nothing can stand in"
    PURGED = "miss: purged"
    UNREADABLE = "miss: not a record of this version"
    BROKEN_SEAL = "miss: it isn't sealed by any of the keys"
    SEALED = "encrypted: EDGE_CACHE_STORE_KEYS shows what it is"


@dataclass(frozen=True, slots=True)
class AppliedMark:
    """A purge mark that lies over a stored response; ``applies`` if the response is not younger than it."""

    name: str
    lane: Lane
    moment: datetime
    purge_id: str
    applies: bool


@dataclass(frozen=True, slots=True)
class Inspected:
    """One stored response; seconds. ``fresh_for`` is negative once it is stale."""

    key: str
    url: str
    is_variant: bool
    outcome: Outcome
    status: int = 0
    body_bytes: int = 0
    groups: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    born: datetime | None = None
    age: int = 0
    fresh_for: int = 0
    expires_at: datetime | None = None
    marks: tuple[AppliedMark, ...] = ()
    seal: Seal = Seal.NONE

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {
            "seal": self.seal.value,
            "groups": list(self.groups),
            "fields": [list(field) for field in self.fields],
            "born": self.born.isoformat() if self.born else None,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "marks": [
                {
                    "name": mark.name,
                    "lane": mark.lane.name.lower(),
                    "moment": mark.moment.isoformat(),
                    "id": mark.purge_id,
                    "applies": mark.applies,
                }
                for mark in self.marks
            ],
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What lies under a URL, by http and by https; nothing if the next request is a miss."""

    url: str
    stored: tuple[Inspected, ...]
    varies_by: tuple[str, ...]
    requests: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "url": self.url,
            "stored": [stored.as_json() for stored in self.stored],
            "varies_by": list(self.varies_by),
            "requests": self.requests,
        }


async def inspect(operation: Operation, url: str, project: Project) -> Inspection:
    """Look a URL up as the Worker would, with all variants. Lists of KV may be a minute old."""
    found: list[tuple[Target, StoredResponse]] = []
    for target in both_schemes((url,), project.rules):
        stored = await _under(operation, record_key(target))
        found += [(target, each) for each in stored]
    names = {
        name
        for target, stored in found
        if stored.record
        for name in covering_marks(target, stored.record.groups)
    }
    now_ms = round(operation.cloudflare_now() * 1000)
    marks = await _read_marks(operation, sorted(names), now_ms)
    inspected = [
        _inspected(target, stored, marks, project, now_ms) for target, stored in found if stored.index is None
    ]
    sets = [names for _, stored in found if stored.index for names in stored.index.sets]
    varies_by = tuple(dict.fromkeys(name for names in sets for name in names))
    return Inspection(str(parse_url(url)), tuple(inspected), varies_by, operation.exchange.requests)


async def _under(operation: Operation, base: str) -> list[StoredResponse]:
    listed, _ = await operation.namespace.page(operation.exchange, base, "", _MAX_VARIANTS)
    found: list[StoredResponse] = []
    for key in listed:
        if base_of(key.name) == base:
            stored = await with_head(
                operation.exchange, operation.namespace, key, operation.seals, verify=True
            )
            found.append(stored)
    return found


async def _read_marks(
    operation: Operation, names: Sequence[str], now_ms: int
) -> dict[tuple[str, Lane], Mark]:
    keys = {mark_key(name, lane): (name, lane) for name in names for lane in Lane}
    values = await operation.namespace.read_texts(operation.exchange, list(keys))
    marks: dict[tuple[str, Lane], Mark] = {}
    for key, value in values.items():
        try:
            if (text := operation.seals.opened_text(key, value)) is not None:
                marks[keys[key]] = parse_mark(text)
        except ValueError:
            # As the Worker does: it can't be told what was purged, so that all that is older is.
            marks[keys[key]] = Mark(now_ms, "unreadable")
    return marks


def _inspected(
    target: Target, stored: StoredResponse, marks: dict[tuple[str, Lane], Mark], project: Project, now_ms: int
) -> Inspected:
    record = stored.record
    outcome = _outcome_of_seal(stored, project, target)
    if record is None or outcome is not Outcome.UNREADABLE:
        return Inspected(
            stored.key,
            stored.url,
            stored.is_variant,
            outcome,
            expires_at=stored.expires_at,
            seal=stored.seal,
        )
    over = _marks_over(target, record, marks)
    age_ms = current_age_ms(record, now_ms)
    freshness = freshness_of(record, combined(record.fields), _rule(project, target), project)
    staleness_ms = _staleness_ms(over, age_ms - freshness.lifetime_ms, now_ms)
    return Inspected(
        key=stored.key,
        url=stored.url,
        is_variant=stored.is_variant,
        outcome=_outcome(over, freshness, staleness_ms),
        status=record.status,
        body_bytes=record.body_bytes,
        groups=record.groups,
        fields=record.fields,
        born=moment_of(record.birth_ms),
        age=age_ms // 1000,
        fresh_for=-(staleness_ms // 1000),
        expires_at=stored.expires_at,
        marks=over,
        seal=stored.seal,
    )


def _marks_over(
    target: Target, record: Record, marks: Mapping[tuple[str, Lane], Mark]
) -> tuple[AppliedMark, ...]:
    """Return the marks that cover a response, each once: a hard purge writes both lanes."""
    return tuple(
        AppliedMark(
            name,
            lane,
            moment_of(mark.moment_ms),
            mark.purge_id,
            applies=record.birth_ms <= mark.moment_ms,
        )
        for name in covering_marks(target, record.groups)
        for lane in Lane
        if (mark := marks.get((name, lane))) and (lane, mark) != (Lane.SOFT, marks.get((name, Lane.HARD)))
    )


def _outcome_of_seal(stored: StoredResponse, project: Project, target: Target) -> Outcome:
    """Return what becomes of a response because of its seal; ``UNREADABLE`` where that has no part in it."""
    is_needed = project.seal_of(_rule(project, target)) is not Seal.NONE
    if stored.is_broken or (is_needed and stored.seal is Seal.NONE):
        return Outcome.BROKEN_SEAL
    is_hidden = stored.record is None and stored.seal is Seal.ENCRYPT
    return Outcome.SEALED if is_hidden else Outcome.UNREADABLE


def _rule(project: Project, target: Target) -> Rule:
    found = (applied_rule(method, target, project) for method in ("GET", *FURTHER_METHODS))
    return next((rule for rule in found if rule), DEFAULT_RULE)


def _staleness_ms(marks: Sequence[AppliedMark], staleness_ms: int, now_ms: int) -> int:
    """Return for how long the response has been stale, a soft purge counted; negative while it is fresh."""
    soft = [mark.moment.timestamp() for mark in marks if mark.applies and mark.lane is Lane.SOFT]
    return max(staleness_ms, now_ms - round(max(soft) * 1000), 0) if soft else staleness_ms


def _outcome(marks: Sequence[AppliedMark], freshness: Freshness, staleness_ms: int) -> Outcome:
    if any(mark.applies and mark.lane is Lane.HARD for mark in marks):
        return Outcome.PURGED
    if freshness.must_validate:
        return Outcome.VALIDATED
    if staleness_ms < 0:
        return Outcome.FRESH
    if staleness_ms < freshness.stale_while_revalidate_ms:
        return Outcome.STALE_WHILE_REVALIDATE
    return Outcome.VALIDATED if staleness_ms < freshness.stale_if_error_ms else Outcome.EXPIRED
