"""Purges that follow from what a SQLAlchemy session writes, recorded in the same transaction.

::

    edge = EdgeEvents()

    @edge.purges(groups=lambda product: [f"product-{product.id}", f"category-{product.category_id}"])
    class Product(Base): ...

    edge.listen(sessions)      # a sessionmaker or async_sessionmaker

Flushes are seen object by object. Whatever else is executed over the sessions' engine, such as bulk and
textual statements, ``bulk_save_objects`` and what the database deletes along, is for ``bulk``. Other
services, triggers and engines aren't seen.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import (
    Column,
    Connection,
    Delete,
    Engine,
    Select,
    Update,
    event,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.orm import (
    InstanceState,
    Mapper,
    ORMExecuteState,
    Session,
    SessionTransaction,
)

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.events._models.rules import (
    Before,
    EdgeRule,
    Registry,
    UnseenChangeWarning,
    gathered,
    groups_of,
    unknown_watch,
)
from origin_sdk.events._models.sqlalchemy_history import WithoutHistory, old_values
from origin_sdk.events._models.sqlalchemy_sessions import Sessions, synchronous
from origin_sdk.events._models.sqlalchemy_statements import Reach, WrittenTables, table_names, written_by
from origin_sdk.outbox._stores.entries import Intent
from origin_sdk.outbox.sqlalchemy import record

__all__ = [
    "EdgeEvents",
    "EdgeRule",
    "UnseenChangeWarning",
]

_DELETED = "origin_sdk.deleted"
_MOST_KEYS = 500
"""Keys in one look at rows: databases bound the parameters of a statement."""


class EdgeEvents(Registry):
    """Rules for mapped classes, and the sessions that they are applied to."""

    def __init__(self) -> None:
        super().__init__()
        self._listened: WeakSet[Any] = WeakSet()
        self._engines: WeakSet[Any] = WeakSet()
        self._sessions: WeakKeyDictionary[Connection, Session] = WeakKeyDictionary()
        self._reaches: dict[type, Reach] = {}

    def listen(self, sessions: Sessions) -> None:
        """Record for all sessions that come of ``sessions``: what makes them, their class, or one of them.

        Raises :class:`InvalidSettings` for what isn't of SQLAlchemy's sessions.
        """
        target = synchronous(sessions)
        if target in self._listened:
            return
        self._listened.add(target)
        bind = getattr(target, "bind", None) or getattr(target, "kw", {}).get("bind")
        if isinstance(bind, Engine):
            self._watch_engine(bind)
        event.listen(target, "before_flush", self._before_flush)
        event.listen(target, "after_flush", self._after_flush)
        event.listen(target, "do_orm_execute", self._on_execute)
        event.listen(target, "after_begin", self._after_begin)
        event.listen(target, "after_commit", self._after_commit)
        event.listen(target, "after_soft_rollback", self._after_rollback)

    def added(self, rule: EdgeRule, /) -> None:
        """Have old values at hand in time, and hear of orphans, which a session doesn't list as deleted."""
        event.listen(rule.model, "after_delete", _note_deleted, propagate=True)
        if _mapper(rule.model).configured:
            _watch(rule)
        else:
            event.listen(rule.model, "mapper_configured", lambda *_: _watch(rule))

    def _before_flush(self, session: Session, flush: object, _: object) -> None:
        session.info.pop(_DELETED, None)
        session.info[self, "flush"] = flush
        session.info[self, "old"] = {
            _state(instance): WithoutHistory.of(_state(instance), rules)
            for instance in session.dirty
            if (rules := self.rules_of(type(instance)))
        }

    def _after_flush(self, session: Session, _: object) -> None:
        session.info.pop((self, "flush"), None)
        found: dict[Any, list[Intent]] = {}
        for instance, is_there in _changed(session):
            intents = list(self._of_object(session, instance, is_there=is_there))
            if intents:
                bind = session.get_bind(_state(instance).mapper)
                found.setdefault(bind, []).extend(intents)
        session.info.pop((self, "old"), None)
        for bind, intents in found.items():
            self._record(session, intents, {"bind": bind})

    def _of_object(self, session: Session, instance: Any, *, is_there: bool) -> Iterator[Intent]:
        if rules := self.rules_of(type(instance)):
            unseen = session.info.get((self, "old"), {}).get(_state(instance), WithoutHistory())
            yield from _intents(instance, rules, unseen, is_there=is_there)
        if not is_there:
            what = f"a delete of a {type(instance).__name__}, by ON DELETE CASCADE or SET NULL,"
            for rule in self._left_to_the_database(_state(instance).mapper):
                yield from _unseen(rule, what)

    def _left_to_the_database(self, deleted: Mapper[Any]) -> Iterator[EdgeRule]:
        """Yield the rules whose rows the database deletes, or clears, with a row of this class."""
        tables = table_names(deleted.tables)
        is_passive = {each.mapper.class_: bool(each.passive_deletes) for each in deleted.relationships}
        for rule in self.all_rules():
            passive = [each for model, each in is_passive.items() if issubclass(model, rule.model)]
            if any(passive) or (not passive and tables & self._reach(rule).deleted_with):
                yield rule

    def _record(self, session: Session, intents: Iterable[Intent], bind_arguments: Any) -> None:
        if merged := gathered(intents):
            record(session.connection(bind_arguments=bind_arguments), *merged)
            self._note(session, merged)

    def _note(self, session: Session, recorded: Iterable[Intent]) -> None:
        session.info.setdefault(self, {}).update(dict.fromkeys(groups_of(recorded)))

    def _after_commit(self, session: Session) -> None:
        if not session.in_nested_transaction() and self in session.info:
            self.committed(session.info.pop(self))

    def _after_rollback(self, session: Session, ended: SessionTransaction) -> None:
        session.info.pop((self, "flush"), None)
        # What a savepoint undoes counts as recorded, which costs a look and a load.
        if ended.parent is None:
            session.info.pop(self, None)

    # Statements

    def _after_begin(self, session: Session, _: object, connection: Connection) -> None:
        self._sessions[connection] = session
        self._watch_engine(connection.engine)

    def _watch_engine(self, engine: Any) -> None:
        """See what is executed over an engine, by sessions and by connections of one's own."""
        if engine not in self._engines:
            self._engines.add(engine)
            event.listen(engine, "after_cursor_execute", self._after_statement)

    def _after_statement(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        _parameters: object,
        context: Any,
        _: object,
    ) -> None:
        session = self._sessions.get(connection)
        info: dict[Any, Any] = connection.info if session is None else session.info
        if info.get((self, "statement")) is context:
            return  # one batch more of the same
        for written in written_by(context, statement):
            info[self, "statement"] = context
            if session is None or not self._is_of_flush(session, context, written):
                self._on_written(session, connection, written)

    def _is_of_flush(self, session: Session, context: Any, written: WrittenTables) -> bool:
        flush = session.info.get((self, "flush"))
        if flush is None or getattr(flush, "transaction", None) is None:
            return False  # a flush that found nothing to do has no transaction, and no end
        # What others execute during a flush, such as listeners of mappers, hasn't the mapper's own cache.
        return "compiled_cache" in context.execution_options or any(
            written.tables <= self._reach(rule).own and self._reach(rule).local not in written.tables
            for rule in self.all_rules()
        )

    def _on_written(self, session: Session | None, connection: Connection, written: WrittenTables) -> None:
        looked_up = () if session is None else session.info.get((self, "looked up"), ())
        for rule in self.all_rules():
            reach = self._reach(rule)
            is_hit = not written.tables.isdisjoint(reach.own) and rule not in looked_up
            if is_hit or (written.may_delete and not written.tables.isdisjoint(reach.deleted_with)):
                unseen = _unseen(rule, written.what, can_look_up=written.can_look_up)
                if merged := gathered(unseen):
                    record(connection, *merged)
                    if session is not None:
                        self._note(session, merged)

    def _on_execute(self, state: ORMExecuteState) -> Any:
        """Look rows up before and after a statement, where a rule says so."""
        statement = state.statement
        if not isinstance(statement, Update | Delete):
            return None
        by_rows = [rule for rule in self.all_rules() if rule.bulk == "rows"]
        if state.bind_mapper and state.is_orm_statement:
            model = state.bind_mapper.class_
            rules = [
                each for each in by_rows if issubclass(model, each.model) or issubclass(each.model, model)
            ]
        else:
            written = table_names([statement.table])
            rules = [rule for rule in by_rows if self._reach(rule).local in written]
            model = min((rule.model for rule in rules), key=lambda each: len(each.__mro__), default=object)
        return self._looked_up(state, statement, model, rules) if rules else None

    def _looked_up(
        self, state: ORMExecuteState, statement: Update | Delete, model: type[Any], rules: list[EdgeRule]
    ) -> Any:
        """Run the statement between two looks at its rows."""
        session = state.session
        # Held until the commit, so that no row comes under the condition meanwhile.
        before = [
            row
            for rows, parameters in _looks(model, statement, state.parameters)
            for row in session.scalars(rows.with_for_update(), parameters)
        ]
        identities = [tuple(_state(row).identity or ()) for row in before]
        intents = [intent for row in before for intent in _of_row(row, rules)]
        session.info[self, "looked up"] = rules
        try:
            result = state.invoke_statement()
        finally:
            session.info.pop((self, "looked up"))
        if isinstance(statement, Update):
            for rows in _by_key(model, identities):
                after = session.scalars(rows.execution_options(populate_existing=True))
                intents += [intent for row in after for intent in _of_row(row, rules, now=row)]
        self._record(session, intents, state.bind_arguments)
        return result

    def _reach(self, rule: EdgeRule) -> Reach:
        if rule.model not in self._reaches:
            self._reaches[rule.model] = Reach.of(_mapper(rule.model))
        return self._reaches[rule.model]


def _mapper(model: type[Any]) -> Mapper[Any]:
    mapper: Mapper[Any] = inspect(model)
    return mapper


def _state(instance: Any) -> InstanceState[Any]:
    state: InstanceState[Any] = inspect(instance)
    return state


def _callers_level() -> int:
    """Return the ``stacklevel`` of whoever executed the statement, past SQLAlchemy's frames and these."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - what `warnings` itself does
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in {
        "sqlalchemy",
        "origin_sdk",
    }:
        level, frame = level + 1, frame.f_back
    return level


def _note_deleted(_mapper: object, _connection: object, target: object) -> None:
    state = _state(target)
    if state.session:
        state.session.info.setdefault(_DELETED, []).append(target)


def _watch(rule: EdgeRule) -> None:
    mapper = _mapper(rule.model)
    # A rule may watch what only subclasses of its model have.
    known = {key for each in mapper.self_and_descendants for key in _written(each)}
    if problem := unknown_watch(rule, known):
        raise InvalidSettings(problem)
    below = [(each.key, [part.key for part in each.props]) for each in mapper.composites]
    below += [(each.key, [each.name]) for each in mapper.synonyms]
    watch = (rule.watch or frozenset()).union(
        *(names for key, names in below if rule.watch and key in rule.watch)
    )
    for attribute in mapper.column_attrs:
        if rule.watch is None or attribute.key in watch:
            watched = getattr(rule.model, attribute.key)
            event.listen(watched, "set", _load_old, active_history=True, propagate=True)


def _written(mapper: Mapper[Any]) -> Iterator[str]:
    """Yield the attributes that a flush may change; not a hybrid, an expression, or another's view."""
    columns = {each.key for each in mapper.column_attrs if isinstance(each.columns[0], Column)}
    yield from columns
    yield from (each.key for each in mapper.relationships if not each.viewonly)
    yield from (each.key for each in mapper.composites)
    yield from (each.key for each in mapper.synonyms if each.name in columns)


def _load_old(_target: object, value: object, _old: object, _initiator: object) -> object:
    """Do nothing: that it is there makes SQLAlchemy load the old value before it is overwritten."""
    return value


def _changed(session: Session) -> Iterator[tuple[Any, bool]]:
    """Yield what the flush wrote, and whether it is there now."""
    for instance in (*session.new, *session.dirty):
        yield instance, True
    gone = {id(instance): instance for instance in (*session.deleted, *session.info.pop(_DELETED, ()))}
    for instance in gone.values():
        yield instance, False


def _of_row(row: Any, rules: Iterable[EdgeRule], now: Any = None) -> Iterator[Intent]:
    for rule in rules:
        if isinstance(row, rule.model):
            yield from rule.on_change(row, now=now)


def _intents(
    instance: Any, rules: Iterable[EdgeRule], unseen: WithoutHistory, *, is_there: bool
) -> Iterator[Intent]:
    state = _state(instance)
    if is_there and state.pending:
        for rule in rules:
            yield from rule.on_change(instance, now=instance)
        return
    old = old_values(state, rules, unseen)
    for rule in rules:
        if not is_there:
            yield from rule.on_change(Before(instance, old), instance)
        elif rule.counts(old):
            yield from rule.on_change(Before(instance, old), instance, now=instance)


def _looks(
    model: type[Any], statement: Update | Delete, parameters: Any
) -> Iterator[tuple[Select[Any], Mapping[str, Any]]]:
    """Yield queries for the rows that a statement changes, each with its parameters."""
    rows = select(model) if statement.whereclause is None else select(model).where(statement.whereclause)
    if not isinstance(parameters, Sequence):
        yield rows, parameters or {}
        return
    mapper = _mapper(model)
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    if all(name in each for each in parameters for name in names):
        # An update by primary key: each set of parameters names its row.
        identities = dict.fromkeys(tuple(each[name] for name in names) for each in parameters)
        for query in _by_key(model, list(identities)):
            yield query, {}
        return
    for each in parameters:
        yield rows, each


def _by_key(model: type[Any], identities: Sequence[tuple[Any, ...]]) -> Iterator[Select[Any]]:
    keys = _mapper(model).primary_key
    for start in range(0, len(identities), _MOST_KEYS):
        yield select(model).where(tuple_(*keys).in_(identities[start : start + _MOST_KEYS]))


def _unseen(rule: EdgeRule, what: str, *, can_look_up: bool = False) -> Iterator[Intent]:
    """Yield the groups that a rule declares for changes without objects; warn where it declares none."""
    if isinstance(rule.bulk, str):
        advice = (
            f"{what} changes {rule.model.__name__} in a way that the ORM doesn't show, so nothing is purged "
            "for it: register it with bulk=[groups] that hold all its rows"
            + (', with bulk="rows" to look them up' if can_look_up else "")
            + ", or write objects through the session"
        )
        warnings.warn(UnseenChangeWarning(advice), stacklevel=_callers_level())
    yield from rule.on_bulk()
