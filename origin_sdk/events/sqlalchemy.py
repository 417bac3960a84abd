"""Purges that follow from what a SQLAlchemy session writes, recorded in the same transaction.

::

    edge = EdgeEvents()

    @edge.purges(groups=lambda product: [f"product-{product.id}", f"category-{product.category_id}"])
    class Product(Base): ...

    edge.listen(sessions)      # a sessionmaker or async_sessionmaker

What the ORM doesn't see, this doesn't either: statements on a connection, other services, triggers. For
statements through the session, and what the database deletes along, there is ``bulk``.
"""

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from weakref import WeakSet

from sqlalchemy import Delete, Insert, TextClause, Update, event, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import (
    InstanceState,
    Mapper,
    ORMExecuteState,
    Session,
    SessionTransaction,
    scoped_session,
    sessionmaker,
)
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE
from sqlalchemy.orm.relationships import RelationshipProperty

from origin_sdk.events.mapping import Before, EdgeRule, Registry, UnseenChangeWarning, gathered, groups_of
from origin_sdk.outbox.entries import Intent
from origin_sdk.outbox.sqlalchemy import record

__all__ = ["EdgeEvents", "UnseenChangeWarning"]

Sessions: TypeAlias = (
    sessionmaker[Any] | async_sessionmaker[Any] | scoped_session[Any] | type[Session] | Session | AsyncSession
)

_DELETED = "origin_sdk.deleted"


class EdgeEvents(Registry):
    """Rules for mapped classes, and the sessions that they are applied to."""

    def __init__(self) -> None:
        super().__init__()
        self._listened: WeakSet[Any] = WeakSet()

    def listen(self, sessions: Sessions) -> None:
        """Record for all sessions that come of ``sessions``."""
        target = _synchronous(sessions)
        if target in self._listened:
            return
        self._listened.add(target)
        event.listen(target, "before_flush", _forget_deleted)
        event.listen(target, "after_flush", self._after_flush)
        event.listen(target, "do_orm_execute", self._on_execute)
        event.listen(target, "after_commit", self._after_commit)
        event.listen(target, "after_soft_rollback", self._after_rollback)

    def added(self, rule: EdgeRule, /) -> None:
        """Have old values at hand in time, and hear of orphans, which a session doesn't list as deleted."""
        event.listen(rule.model, "after_delete", _note_deleted, propagate=True)
        if _mapper(rule.model).configured:
            _watch(rule)
        else:
            event.listen(rule.model, "mapper_configured", lambda *_: _watch(rule))

    def _after_flush(self, session: Session, _: object) -> None:
        found: dict[Any, list[Intent]] = {}
        for instance, is_there in _changed(session):
            intents = list(self._of_object(instance, is_there=is_there))
            if intents:
                bind = session.get_bind(_state(instance).mapper)
                found.setdefault(bind, []).extend(intents)
        for bind, intents in found.items():
            self._record(session, intents, {"bind": bind})

    def _of_object(self, instance: Any, *, is_there: bool) -> Iterator[Intent]:
        if rules := self.rules_of(type(instance)):
            yield from _intents(instance, rules, is_there=is_there)
        if is_there:
            return
        for relation in _state(instance).mapper.relationships:
            if relation.passive_deletes:
                what = f"a delete of a {type(instance).__name__}, by ON DELETE CASCADE,"
                for rule in self.rules_of(relation.mapper.class_):
                    yield from _unseen(rule, what)

    def _record(self, session: Session, intents: Iterable[Intent], bind_arguments: Any) -> None:
        if merged := gathered(intents):
            record(session.connection(bind_arguments=bind_arguments), *merged)
            session.info.setdefault(self, {}).update(dict.fromkeys(groups_of(merged)))

    def _after_commit(self, session: Session) -> None:
        if not session.in_nested_transaction() and self in session.info:
            self.committed(session.info.pop(self))

    def _after_rollback(self, session: Session, ended: SessionTransaction) -> None:
        # What a savepoint undoes counts as recorded, which costs a look and a load.
        if ended.parent is None:
            session.info.pop(self, None)

    def _on_execute(self, state: ORMExecuteState) -> Any:
        statement = state.statement
        if isinstance(statement, Update | Delete | Insert):
            return self._on_bulk(state, statement)
        if isinstance(statement, TextClause):
            written = _written_tables(statement.text)
            for rule in self._all_rules():
                if not written.isdisjoint(table.name for table in _tables(rule)):
                    self._record(state.session, _unseen(rule, "a textual statement"), state.bind_arguments)
        return None

    def _on_bulk(self, state: ORMExecuteState, statement: Update | Delete | Insert) -> Any:
        rules = [rule for rule in self._all_rules() if statement.table in _tables(rule)]
        by_rows: list[EdgeRule] = []
        if can_look_up := isinstance(statement, Update | Delete):
            by_rows = [
                rule
                for rule in rules
                if rule.bulk == "rows" and statement.table == _mapper(rule.model).local_table
            ]
        what = f"a bulk {statement.__visit_name__} on {statement.table}"
        for rule in rules:
            if rule not in by_rows:
                unseen = _unseen(rule, what, can_look_up=can_look_up)
                self._record(state.session, unseen, state.bind_arguments)
        if isinstance(statement, Insert) or not by_rows:
            return None
        return self._looked_up(state, statement, by_rows)

    def _looked_up(self, state: ORMExecuteState, statement: Update | Delete, rules: list[EdgeRule]) -> Any:
        """Run the statement between two looks at its rows."""
        model: type[Any] = rules[0].model
        rows = select(model)
        if statement.whereclause is not None:
            rows = rows.where(statement.whereclause)
        session = state.session
        # Held until the commit, so that no row comes under the condition meanwhile.
        before = session.scalars(rows.with_for_update()).all()
        identities = [tuple(_state(row).identity or ()) for row in before]
        intents = [intent for row in before for rule in rules for intent in rule.on_change(row)]
        result = state.invoke_statement()
        if isinstance(statement, Update) and identities:
            keys = _mapper(model).primary_key
            again = select(model).where(tuple_(*keys).in_(identities))
            after = session.scalars(again.execution_options(populate_existing=True)).all()
            intents += [intent for row in after for rule in rules for intent in rule.on_change(row, now=row)]
        self._record(session, intents, state.bind_arguments)
        return result

    def _all_rules(self) -> Iterator[EdgeRule]:
        for rules in self._rules.values():
            yield from rules


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


def _synchronous(sessions: Any) -> Any:
    if isinstance(sessions, AsyncSession):
        return sessions.sync_session
    if isinstance(sessions, scoped_session):
        return sessions.session_factory
    if isinstance(sessions, async_sessionmaker):
        base = sessions.kw.get("sync_session_class", sessions.class_.sync_session_class)
        made: type[Session] = type("EdgeSession", (base,), {})
        sessions.configure(sync_session_class=made)
        return made
    return sessions


def _forget_deleted(session: Session, *_: object) -> None:
    session.info.pop(_DELETED, None)


def _note_deleted(_mapper: object, _connection: object, target: object) -> None:
    state = _state(target)
    if state.session:
        state.session.info.setdefault(_DELETED, []).append(target)


def _watch(rule: EdgeRule) -> None:
    mapper = _mapper(rule.model)
    below = [(each.key, [part.key for part in each.props]) for each in mapper.composites]
    below += [(each.key, [each.name]) for each in mapper.synonyms]
    watch = (rule.watch or frozenset()).union(
        *(names for key, names in below if rule.watch and key in rule.watch)
    )
    for attribute in mapper.column_attrs:
        if rule.watch is None or attribute.key in watch:
            watched = getattr(rule.model, attribute.key)
            event.listen(watched, "set", _load_old, active_history=True, propagate=True)


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


def _intents(instance: Any, rules: Iterable[EdgeRule], *, is_there: bool) -> Iterator[Intent]:
    state = _state(instance)
    if is_there and state.pending:
        for rule in rules:
            yield from rule.on_change(instance, now=instance)
        return
    old = _old_values(state, rules)
    for rule in rules:
        if not is_there:
            yield from rule.on_change(Before(instance, old), instance)
        elif rule.counts(old):
            yield from rule.on_change(Before(instance, old), instance, now=instance)


def _old_values(state: InstanceState[Any], rules: Iterable[EdgeRule]) -> dict[str, Any]:
    """Return the attributes with a net change, and what they were."""
    watched = frozenset().union(*(rule.watch or () for rule in rules))
    mapper, relationships = state.mapper, state.mapper.relationships
    # A column that was set is named there; a collection may have changed without being loaded.
    names = [name for name in state.committed_state if name not in relationships]
    names += [each.key for each in relationships if each.key in watched or _refers(each)]
    old: dict[str, Any] = {}
    for name in names:
        history = state.get_history(name, PASSIVE_NO_INITIALIZE)
        if not history.has_changes():
            continue
        if name in relationships and relationships[name].uselist:
            old[name] = [*history.unchanged, *history.deleted]
        else:
            old[name] = history.deleted[0] if history.deleted else None
    return old | _derived(mapper, state.object, old) if old else old


def _derived(mapper: Mapper[Any], instance: Any, old: Mapping[str, Any]) -> dict[str, Any]:
    """Return what composites and synonyms were, which have no history of their own."""
    found = {each.key: old[each.name] for each in mapper.synonyms if each.name in old}
    for composite in mapper.composites:
        names = [each.key for each in composite.props]
        if not old.keys().isdisjoint(names):
            values = [old[name] if name in old else getattr(instance, name) for name in names]
            found[composite.key] = composite.composite_class(*values)
    return found


def _refers(attribute: RelationshipProperty[Any]) -> bool:
    """Whether a relationship counts as the object's own: what it refers to, not what refers to it."""
    return attribute.secondary is not None or not attribute.uselist


def _tables(rule: EdgeRule) -> list[Any]:
    """Return the model's tables: its own, and those that its many-to-many relationships lie in."""
    mapper = _mapper(rule.model)
    secondary = [relation.secondary for relation in mapper.relationships if relation.secondary is not None]
    return [*mapper.tables, *secondary]


_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WRITTEN = re.compile(
    r"\b(?:update(?:\s+only)?|into|delete\s+from(?:\s+only)?|truncate(?:\s+table)?)\s+([\w.\"`\[\]]+)",
    re.IGNORECASE,
)


def _written_tables(statement: str) -> set[str]:
    """Return the names of the tables that a textual statement seems to write to, without their schemas."""
    names = _WRITTEN.findall(_LITERAL.sub("''", statement))
    return {name.rpartition(".")[2].strip('"`[]') for name in names}


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
