"""Statements that Django executes without signals: looked up, purged by declared groups, or warned of."""

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from django.db import DatabaseError, connections, transaction

from origin_sdk.events._models.django_sql import Condition, Initiator, condition_of, initiator_of, set_columns
from origin_sdk.events._models.django_tables import Hit, Tables, by_key, concrete
from origin_sdk.events._models.rules import EdgeRule, UnseenChangeWarning
from origin_sdk.events._models.sql_text import TextualWrite, textual_writes
from origin_sdk.outbox._stores.entries import Intent
from origin_sdk.outbox._stores.sql import TABLE

__all__ = ["StatementWatch"]


class Rulebook(Protocol):
    """The rules, and how to record."""

    def all_rules(self) -> Iterator[EdgeRule]:
        """Yield every rule."""
        ...

    def intents(self, *versions: Any, now: Any = None, rules: Iterable[EdgeRule]) -> Iterator[Intent]:
        """Yield what to do about an object."""
        ...

    def record(self, intents: Iterable[Intent], using: str) -> None:
        """Record in the transaction that is open."""
        ...


@dataclass(eq=False)
class _Unseen:
    """Rows that came without their objects: warned of at the commit, unless they are given until then."""

    rule: EdgeRule
    what: str
    where: tuple[str, int]
    is_given: bool = False

    def warn(self) -> None:
        if not self.is_given:
            name = self.rule.model.__name__
            advice = (
                f"{self.what} changes {name} and sends no signal, so nothing is purged for it: wrap it in "
                f"edge.bulk(queryset), give its rows to edge.changed(rows), or register {name} with "
                'bulk=[groups] that hold all its rows, or bulk="rows" to look up those of an update or delete'
            )
            warnings.warn_explicit(UnseenChangeWarning(advice), None, *self.where)


@dataclass(frozen=True, slots=True)
class _LookedUp:
    hit: Hit
    keys: list[Any]
    intents: list[Intent]


class StatementWatch:
    """Watches what the connections of a process execute."""

    def __init__(self, edge: Rulebook) -> None:
        self._edge = edge
        self._tables: Tables | None = None
        self._covered: ContextVar[tuple[type, ...]] = ContextVar("origin_sdk_covered", default=())
        self._unseen: WeakKeyDictionary[Any, WeakSet[_Unseen]] = WeakKeyDictionary()
        self._postponed: dict[str, list[Intent]] = {}

    def watch(self, connection: Any, **_: Any) -> None:
        """Watch a connection."""
        if self._on_statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._on_statement)

    def forget_tables(self) -> None:
        """Gather the tables again: there is a new rule."""
        self._tables = None

    @property
    def tables(self) -> Tables:
        """The tables of all rules."""
        if self._tables is None:
            self._tables = Tables.of(self._edge.all_rules())
        return self._tables

    @contextmanager
    def covered(self, model: type) -> Iterator[None]:
        """Look away from a model's rows in the ``with`` block: who opens it records for them."""
        token = self._covered.set((*self._covered.get(), model))
        try:
            yield
        finally:
            self._covered.reset(token)

    def given(self, models: Collection[type], using: str) -> None:
        """Take notice that rows of these models have been given."""
        for unseen in self._unseen.get(connections[using], ()):
            if concrete(unseen.rule.model) in models:
                unseen.is_given = True

    def begin_migrations(self, using: str, **_: Any) -> None:
        """Postpone what is to be recorded: the outbox, and columns of the models, may not be there yet."""
        self._postponed.setdefault(using, [])

    def end_migrations(self, using: str, **_: Any) -> None:
        """Record what the migrations of a database have changed, if it has an outbox by now."""
        intents = self._postponed.get(using)
        if not intents or TABLE not in connections[using].introspection.table_names():
            return
        self._postponed[using] = []
        with transaction.atomic(using=using):
            self._edge.record(intents, using)

    def _on_statement(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's
        text = sql if isinstance(sql, str) else str(sql)
        if text[:7].upper() == "SELECT " and ";" not in text:
            return execute(sql, params, many, context)
        statement = _Statement(text, params, many, context["connection"], context["cursor"], sys._getframe(1))
        postponed = self._postponed.get(statement.connection.alias)
        if postponed is not None and statement.is_of_migration():
            return self._postpone(statement, postponed, partial(execute, sql, params, many, context))
        looked_up = [
            found
            for write in textual_writes(text)
            for hit in self._hits(statement, write)
            if (found := self._before(statement, write, hit))
        ]
        result = execute(sql, params, many, context)
        for each in looked_up:
            self._after(statement, each)
        return result

    def _postpone(self, statement: "_Statement", postponed: list[Intent], execute: Callable[[], Any]) -> Any:
        """Execute what a migration changes: of that groups are purged, and no row is looked up."""
        writes = textual_writes(statement.sql)
        hits = [(write, hit) for write in writes for hit in self._hits(statement, write)]
        result = execute()
        if statement.cursor.rowcount != 0:
            for write, hit in hits:
                if isinstance(hit.rule.bulk, str):
                    self._warn(statement, write, hit.rule)
                else:
                    postponed += hit.rule.on_bulk()
        return result

    def _hits(self, statement: "_Statement", write: TextualWrite) -> Iterator[Hit]:
        """Yield the rules whose rows a statement changes without a signal."""
        for name in write.tables:
            for hit in self.tables.by_name.get(name, ()):
                columns = set_columns(statement.sql) if write.verb == "update" else None
                if hit.is_watched(columns) and not self._is_seen(statement, hit):
                    yield hit

    def _is_seen(self, statement: "_Statement", hit: Hit) -> bool:
        if any(issubclass(concrete(hit.rule.model), model) for model in self._covered.get()):
            return True
        return statement.initiator(hit) is Initiator.SIGNALLED

    def _before(self, statement: "_Statement", write: TextualWrite, hit: Hit) -> _LookedUp | None:
        """Look rows up where that can be done and is asked for; else purge groups, or warn."""
        rule = hit.rule
        may_look = rule.bulk == "rows" or (
            rule.bulk == "warn" and statement.initiator(hit) is Initiator.RELATION
        )
        is_lookable = may_look and hit.owner is not None and write.verb in {"update", "delete"}
        if is_lookable and (keys := statement.keys(hit)) is not None:
            rows = by_key(hit.model, keys, statement.connection.alias)
            intents = [intent for row in rows for intent in self._edge.intents(row, rules=[rule])]
            return _LookedUp(hit, keys, intents)
        if isinstance(rule.bulk, str):
            self._warn(statement, write, rule)
        else:
            self._edge.record(rule.on_bulk(), statement.connection.alias)
        return None

    def _after(self, statement: "_Statement", looked_up: _LookedUp) -> None:
        using, hit = statement.connection.alias, looked_up.hit
        intents = list(looked_up.intents)
        for row in by_key(hit.model, looked_up.keys, using):
            intents += self._edge.intents(row, now=row, rules=[hit.rule])
        self._edge.record(intents, using)

    def _warn(self, statement: "_Statement", write: TextualWrite, rule: EdgeRule) -> None:
        unseen = _Unseen(
            rule, f"{write.verb.upper()} of {', '.join(sorted(write.tables))}", statement.where()
        )
        if write.verb == "insert":
            self._unseen.setdefault(statement.connection, WeakSet()).add(unseen)
            transaction.on_commit(unseen.warn, using=statement.connection.alias)
        else:
            unseen.warn()


@dataclass(frozen=True)
class _Statement:
    """A statement that is about to be executed."""

    sql: str
    params: Any
    many: bool
    connection: Any
    cursor: Any
    frame: FrameType

    def initiator(self, hit: Hit) -> Initiator:
        return initiator_of(self.frame, is_association=hit.owner is None)

    def is_of_migration(self) -> bool:
        frame: FrameType | None = self.frame
        while frame and frame.f_globals.get("__name__") != "django.db.migrations.executor":
            frame = frame.f_back
        return frame is not None

    def where(self) -> tuple[str, int]:
        """Return file and line of whoever executes it, past Django's frames and these."""
        frame = self.frame
        while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
            frame = frame.f_back
        return frame.f_code.co_filename, frame.f_lineno

    def keys(self, hit: Hit) -> list[Any] | None:
        """Return the primary keys of the rows that it hits; ``None`` if it can't be read."""
        found: dict[Any, None] = {}
        sets = self.params if self.many else [self.params or ()]
        if not isinstance(sets, list | tuple):
            return None  # to be read once alone, by the statement
        try:
            # In a savepoint: what can't be looked up must not spoil the transaction.
            with transaction.atomic(using=self.connection.alias):
                for parameters in sets:
                    if (condition := condition_of(self.sql, parameters)) is None:
                        return None
                    found |= dict.fromkeys(self._keys(hit, condition))
        except DatabaseError:
            return None
        return list(found)

    def _keys(self, hit: Hit, condition: Condition) -> Iterator[Any]:
        options, quote = hit.owner._meta, self.connection.ops.quote_name
        lock = " FOR UPDATE" if self.connection.features.has_select_for_update else ""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {quote(options.pk.column)} FROM {quote(options.db_table)} "  # noqa: S608 - names of Django's
                f"WHERE {condition.sql}{lock}",
                condition.parameters,
            )
            rows = cursor.fetchall()
        for (key,) in rows:
            yield options.pk.to_python(key)


_OURS = {"django", "origin_sdk", "contextlib", "asgiref"}
