"""What a statement of SQLAlchemy's writes, as names of tables, and what the database does along with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Delete, ForeignKey, Insert, Table, TextClause, Update
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Mapper

from origin_sdk.events._models.sql_text import textual_writes

__all__ = ["Reach", "WrittenTables", "written_by"]


@dataclass(frozen=True, slots=True)
class WrittenTables:
    """Tables that a statement writes to, by their names in lower case; ``what`` says it in a warning."""

    what: str
    tables: frozenset[str]
    may_delete: bool = False
    can_look_up: bool = False


def written_by(context: Any, statement: str) -> Iterator[WrittenTables]:
    """Yield what the statement of an execution context writes: itself, and what stands in its CTEs."""
    compiled = context.compiled
    if compiled is None:
        yield from _textual(statement)
        return
    for element in (compiled.statement, *(getattr(compiled, "ctes", None) or ())):
        yield from _compiled(element, statement)


def _compiled(element: Any, statement: str) -> Iterator[WrittenTables]:
    # `select(Model).from_statement(…)`, a CTE and `text(…).columns(…)` hold the statement in `element`.
    while not isinstance(element, Update | Delete | Insert | TextClause):
        element = getattr(element, "element", None)
        if element is None:
            return
    if isinstance(element, TextClause):
        yield from _textual(statement)
        return
    verb = element.__visit_name__
    is_lookable = isinstance(element, Update | Delete)
    tables = table_names([element.table])
    what = f"a bulk {verb} on {', '.join(sorted(tables))}"
    yield WrittenTables(what, tables, isinstance(element, Delete), is_lookable)


def _textual(statement: str) -> Iterator[WrittenTables]:
    for write in textual_writes(statement):
        yield WrittenTables("a textual statement", write.tables, write.may_delete)


def table_names(tables: Iterable[Any]) -> frozenset[str]:
    """Return names of tables without their schemas; of joins and aliases, those of the tables below."""
    return frozenset(
        table.name.lower() for each in tables for table in _tables_below(each) if isinstance(table.name, str)
    )


def _tables_below(table: Any) -> Iterator[Any]:
    if isinstance(table, Table):
        yield table
        return
    yield from (each for each in getattr(table, "_from_objects", ()) if isinstance(each, Table))
    if isinstance(inner := getattr(table, "element", None), Table):
        yield inner


@dataclass(frozen=True, slots=True)
class Reach:
    """The tables of a model: ``own`` with those of its associations; those whose deletes reach them."""

    own: frozenset[str]
    local: str
    deleted_with: frozenset[str]

    @classmethod
    def of(cls, mapper: Mapper[Any]) -> "Reach":
        """Gather them from the model's metadata."""
        secondary = [each.secondary for each in mapper.relationships if each.secondary is not None]
        own = [*(table for each in mapper.self_and_descendants for table in each.tables), *secondary]
        [*local] = table_names([mapper.local_table])
        names = table_names(own)
        return cls(names, local[0] if local else "", _referred_to(own) - names)


def _referred_to(tables: Iterable[Any]) -> frozenset[str]:
    """Return the tables whose deletes the database carries on into ``tables``: to rows, or to a column."""
    found: set[str] = set()
    looking = [(table, _ACTIONS) for each in tables for table in _tables_below(each)]
    while looking:
        table, actions = looking.pop()
        for key in table.foreign_keys:
            parent = _parent(key)
            if (
                parent is not None
                and (key.ondelete or "").upper() in actions
                and parent.name.lower() not in found
            ):
                found.add(parent.name.lower())
                # A row that only has a column cleared takes nothing further along.
                looking.append((parent, ("CASCADE",)))
    return frozenset(found)


_ACTIONS: tuple[str, ...] = ("CASCADE", "SET NULL", "SET DEFAULT")


def _parent(key: ForeignKey) -> Table | None:
    try:
        return key.column.table
    except NoReferenceError:
        return None
