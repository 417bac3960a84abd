"""The outbox as a table: every statement, for SQLite and PostgreSQL, whoever holds the connection.

Rows are claimed by a lease that is written into them, so that no transaction stays open while Cloudflare is
asked. ``due_at`` is when a waiting row may be claimed (0 for now), and when a row that has ended did so;
the one index serves claiming, settling and pruning. Every moment is taken by the database, in the statement.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.outbox._stores.entries import (
    Claim,
    End,
    Entry,
    Intent,
    Listed,
    Settlement,
    State,
    Status,
    Who,
    current_who,
    payload_of,
)
from origin_sdk.outbox._stores.ports import HORIZON_SECONDS

__all__ = ["TABLE", "Dialect", "Run", "SqlOutbox", "Statements", "dialect_of", "recorded_rows", "waits_for"]

TABLE = "edge_outbox"

_PRUNED_AT_ONCE = 10_000

Rows: TypeAlias = Sequence[Sequence[Any]]
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Run(Protocol):
    """Runs a statement with ``:name`` parameters in the transaction that is open, and returns its rows.

    With a list of parameters it runs once for each, and returns nothing.
    """

    def __call__(self, statement: str, parameters: Parameters = ..., /) -> Rows:
        """Run it."""
        ...


def recorded_rows(intents: Iterable[Intent], who: Who | None = None) -> list[dict[str, Any]]:
    """Return the parameters of :attr:`Dialect.insert` for intents, the same one once."""
    who = who or current_who()
    return [
        {
            "payload": payload,
            "actor": _storable(who.actor),
            "reason": _storable(getattr(intent, "reason", "") or who.reason),
        }
        for payload, intent in {payload_of(intent): intent for intent in intents}.items()
    ]


def _storable(text: str) -> str:
    """Return a text that every database takes: PostgreSQL has no NUL, and nobody half a character."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Dialect:
    """What databases say differently: what the time is, and which rows that are due an update takes."""

    now: str
    picked: str

    @property
    def insert(self) -> str:
        """The statement that records, with the parameters of :func:`recorded_rows`."""
        columns = "payload, actor, reason, recorded_at, due_at, state, attempts, claim, result"
        values = f":payload, :actor, :reason, {self.now}, 0, 'waiting', 0, '', ''"
        return f"INSERT INTO {TABLE} ({columns}) VALUES ({values})"

    @property
    def due(self) -> str:
        """The ids of what is due."""
        is_due = f"(due_at <= {self.now} OR due_at > {self.now} + {HORIZON_SECONDS})"
        return f"SELECT id FROM {TABLE} WHERE state = 'waiting' AND {is_due} ORDER BY due_at LIMIT :limit"


SQLITE = Dialect("((julianday('now') - 2440587.5) * 86400.0)", "IN ({due})")
# The moment of the statement, not of the transaction, which may have been open for long. As an array the ids
# are evaluated once; as a subquery a join might evaluate them again, and lock more rows.
POSTGRESQL = Dialect(
    "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)",
    "= ANY (ARRAY({due} FOR UPDATE SKIP LOCKED))",
)
DIALECTS: Mapping[str, Dialect] = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


def dialect_of(database: str) -> Dialect:
    """Return what a database of that name speaks; raises :class:`InvalidSettings`."""
    if database not in DIALECTS:
        raise InvalidSettings(
            f"an outbox in {database} isn't supported: use {' or '.join(DIALECTS)}, or a SqliteOutbox"
        )
    return DIALECTS[database]


_SECONDS = "CAST(:seconds AS double precision)"
_HELD = "state = 'waiting' AND due_at = :until AND claim = :claim"
_LISTED = "id, state, payload, actor, reason, recorded_at, due_at, attempts, result"


@dataclass(frozen=True, slots=True)
class Statements:
    """The outbox's verbs over a :class:`Run`; each is one short transaction of the caller's."""

    dialect: Dialect

    def claim(self, run: Run, limit: int, lease_seconds: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        token = uuid4().hex
        picked = self.dialect.picked.format(due=self.dialect.due)
        rows = run(
            f"UPDATE {TABLE} SET claim = :claim, due_at = {self.dialect.now} + {_SECONDS}, "
            f"attempts = attempts + 1 WHERE id {picked} "
            f"RETURNING {self.dialect.now}, due_at, id, payload, actor, reason, recorded_at, attempts",
            {"claim": token, "seconds": lease_seconds, "limit": limit},
        )
        entries = sorted(
            (Entry(str(id_), *values) for _, _, id_, *values in rows), key=lambda each: int(each.id)
        )
        now, until = map(float, rows[0][:2]) if rows else (0.0, 0.0)
        return Claim(token, now, until, tuple(entries))

    def settle(self, run: Run, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        verdict = (
            f"SET state = :state, due_at = {self.dialect.now} + {_SECONDS}, result = :result, claim = ''"
        )
        held = {"until": claim.until, "claim": claim.token}
        if settlement.others:
            run(
                f"UPDATE {TABLE} {verdict} WHERE id = :id AND {_HELD}",
                [{"id": int(id_), **held, **_parameters(other)} for id_, other in settlement.others.items()],
            )
        run(f"UPDATE {TABLE} {verdict} WHERE {_HELD}", {**held, **_parameters(settlement.rest)})

    def due_in(self, run: Run) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        [[now, due]] = run(f"SELECT {self.dialect.now}, MIN(due_at) FROM {TABLE} WHERE state = 'waiting'")
        return due if due is None else waits_for(float(due), float(now))

    def prune(self, run: Run, keep_seconds: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`; at most 10,000 at a time."""
        ended = (
            f"SELECT id FROM {TABLE} WHERE state IN ('done', 'dropped') "
            f"AND due_at < {self.dialect.now} - {_SECONDS} LIMIT :limit"
        )
        return len(
            run(
                f"DELETE FROM {TABLE} WHERE id IN ({ended}) RETURNING id",
                {"seconds": keep_seconds, "limit": _PRUNED_AT_ONCE},
            )
        )

    def status(self, run: Run) -> Status:
        """See :class:`origin_sdk.outbox.Outbox`."""
        age = f"{self.dialect.now} - MIN(recorded_at)"
        rows = run(f"SELECT state, COUNT(*), {age} FROM {TABLE} GROUP BY state")
        ages = {State(state): float(seconds) for state, _, seconds in rows}
        return Status(
            {State(state): count for state, count, _ in rows}, max(0.0, ages.get(State.WAITING, 0.0))
        )

    def list(self, run: Run, states: Sequence[State], limit: int) -> list[Listed]:
        """See :class:`origin_sdk.outbox.Outbox`."""
        found: list[Listed] = []
        for state in states:
            rows = run(
                f"SELECT {_LISTED} FROM {TABLE} WHERE state = :state ORDER BY id DESC LIMIT :limit",
                {"state": state.value, "limit": limit},
            )
            found += [Listed(str(id_), State(state), *values) for id_, state, *values in rows]
        return sorted(found, key=lambda listed: -int(listed.id))[:limit]

    def replay(self, run: Run, ids: Iterable[str] | None) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        again = f"UPDATE {TABLE} SET state = 'waiting', due_at = 0, claim = ''"
        if ids is None:
            return len(run(f"{again} WHERE state IN ('waiting', 'dead') RETURNING id", {}))
        return sum(len(run(f"{again} WHERE id = :id RETURNING id", {"id": int(id_)})) for id_ in ids)

    def drop(self, run: Run, ids: Iterable[str], result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        dropped = (
            f"UPDATE {TABLE} SET state = 'dropped', due_at = {self.dialect.now}, claim = '', "
            "result = :result WHERE id = :id AND state IN ('waiting', 'dead') RETURNING id"
        )
        return sum(len(run(dropped, {"id": int(id_), "result": result})) for id_ in ids)


def _parameters(end: End) -> dict[str, Any]:
    return {"state": end.state.value, "seconds": end.delay_seconds, "result": end.result}


def waits_for(due: float, now: float) -> float:
    """Return how long what is due at ``due`` waits from ``now`` on, both by the store's clock."""
    seconds = due - now
    return 0.0 if seconds > HORIZON_SECONDS else max(0.0, seconds)


class SqlOutbox(ABC):
    """Implements :class:`origin_sdk.outbox.Outbox` over whatever opens a transaction."""

    statements: Statements

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Run]:
        """Open a transaction of its own; it is committed at the end of the block."""

    def claim(self, limit: int, lease_seconds: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.claim(run, limit, lease_seconds)

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            self.statements.settle(run, claim, settlement)

    def due_in(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.due_in(run)

    def prune(self, keep_seconds: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.prune(run, keep_seconds)

    def status(self) -> Status:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.status(run)

    def list(self, states: Sequence[State], limit: int) -> Sequence[Listed]:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.list(run, states, limit)

    def replay(self, ids: Iterable[str] | None) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.replay(run, ids)

    def drop(self, ids: Iterable[str], result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.drop(run, ids, result)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections that are its own."""
