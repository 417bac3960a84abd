"""The outbox as a table: every statement, for SQLite and PostgreSQL, whoever holds the connection.

Rows are claimed by a lease that is written into them, so that no transaction stays open while Cloudflare is
asked. ``due_at`` is when a waiting row may be claimed (0 for at once, so that a recorder's clock doesn't
matter), and when a row that has ended did so; the one index serves claiming, settling and pruning.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

from origin_sdk.outbox._stores.entries import (
    Claim,
    Entry,
    Intent,
    Listed,
    Settlement,
    State,
    Status,
    Verdict,
    Who,
    current_who,
    payload_of,
)

__all__ = ["INSERT", "TABLE", "Dialect", "Run", "SqlOutbox", "Statements", "recorded_rows"]

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


INSERT = (
    f"INSERT INTO {TABLE} (payload, actor, reason, recorded_at, due_at, state, attempts, claim, result) "
    "VALUES (:payload, :actor, :reason, :recorded_at, 0, 'waiting', 0, '', '')"
)


def recorded_rows(intents: Iterable[Intent], now: float, who: Who | None = None) -> list[dict[str, Any]]:
    """Return the parameters of :data:`INSERT` for intents, the same one once."""
    who = who or current_who()
    return [
        {
            "payload": payload,
            "actor": _storable(who.actor),
            "reason": _storable(getattr(intent, "reason", "") or who.reason),
            "recorded_at": now,
        }
        for payload, intent in {payload_of(intent): intent for intent in intents}.items()
    ]


def _storable(text: str) -> str:
    """Return a text that every database takes: PostgreSQL has no NUL, and nobody half a character."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Dialect:
    """What databases say differently: which rows that are due an update takes."""

    picked: str


_DUE = f"SELECT id FROM {TABLE} WHERE state = 'waiting' AND due_at <= :now ORDER BY due_at LIMIT :limit"
SQLITE = Dialect(f"IN ({_DUE})")
# As an array it is evaluated once; as a subquery a join might evaluate it again, and lock more rows.
POSTGRESQL = Dialect(f"= ANY (ARRAY({_DUE} FOR UPDATE SKIP LOCKED))")
DIALECTS: Mapping[str, Dialect] = {"sqlite": SQLITE, "postgresql": POSTGRESQL}

_HELD = "state = 'waiting' AND due_at = :until AND claim = :claim"
_LISTED = "id, state, payload, actor, reason, recorded_at, due_at, attempts, result"


@dataclass(frozen=True, slots=True)
class Statements:
    """The outbox's verbs over a :class:`Run`; each is one short transaction of the caller's."""

    dialect: Dialect

    def claim(self, run: Run, limit: int, now: float, until: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        token = uuid4().hex
        rows = run(
            f"UPDATE {TABLE} SET claim = :claim, due_at = :until, attempts = attempts + 1 "
            f"WHERE id {self.dialect.picked} "
            "RETURNING id, payload, actor, reason, recorded_at, attempts",
            {"claim": token, "until": until, "now": now, "limit": limit},
        )
        entries = sorted(rows, key=lambda row: int(row[0]))
        return Claim(token, until, tuple(Entry(str(id_), *values) for id_, *values in entries))

    def settle(self, run: Run, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        verdict = "SET state = :state, due_at = :at, result = :result, claim = ''"
        held = {"until": claim.until, "claim": claim.token}
        if settlement.others:
            run(
                f"UPDATE {TABLE} {verdict} WHERE id = :id AND {_HELD}",
                [{"id": int(id_), **held, **_parameters(other)} for id_, other in settlement.others.items()],
            )
        run(f"UPDATE {TABLE} {verdict} WHERE {_HELD}", {**held, **_parameters(settlement.rest)})

    def next_due(self, run: Run) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        [[due]] = run(f"SELECT MIN(due_at) FROM {TABLE} WHERE state = 'waiting'")
        return due if due is None else float(due)

    def prune(self, run: Run, before: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`; at most 10,000 at once."""
        ended = f"SELECT id FROM {TABLE} WHERE state IN ('done', 'dropped') AND due_at < :before LIMIT :limit"
        return len(
            run(
                f"DELETE FROM {TABLE} WHERE id IN ({ended}) RETURNING id",
                {"before": before, "limit": _PRUNED_AT_ONCE},
            )
        )

    def status(self, run: Run) -> Status:
        """See :class:`origin_sdk.outbox.Outbox`."""
        rows = run(f"SELECT state, COUNT(*), MIN(recorded_at) FROM {TABLE} GROUP BY state")
        oldest = {State(state): float(at) for state, _, at in rows}
        return Status({State(state): count for state, count, _ in rows}, oldest.get(State.WAITING))

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

    def drop(self, run: Run, ids: Iterable[str], now: float, result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        dropped = (
            f"UPDATE {TABLE} SET state = 'dropped', due_at = :now, claim = '', result = :result "
            "WHERE id = :id AND state IN ('waiting', 'dead') RETURNING id"
        )
        return sum(len(run(dropped, {"id": int(id_), "now": now, "result": result})) for id_ in ids)


def _parameters(verdict: Verdict) -> dict[str, Any]:
    return {"state": verdict.state.value, "at": verdict.at, "result": verdict.result}


class SqlOutbox(ABC):
    """Implements :class:`origin_sdk.outbox.Outbox` over whatever opens a transaction."""

    statements: Statements

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Run]:
        """Open a transaction of its own; it is committed at the end of the block."""

    def claim(self, limit: int, now: float, until: float) -> Claim:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.claim(run, limit, now, until)

    def settle(self, claim: Claim, settlement: Settlement) -> None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            self.statements.settle(run, claim, settlement)

    def next_due(self) -> float | None:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.next_due(run)

    def prune(self, before: float) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.prune(run, before)

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

    def drop(self, ids: Iterable[str], now: float, result: str) -> int:
        """See :class:`origin_sdk.outbox.Outbox`."""
        with self.transaction() as run:
            return self.statements.drop(run, ids, now, result)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections that are its own."""
