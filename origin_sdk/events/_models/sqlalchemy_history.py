"""What a flush of SQLAlchemy's changes of an object, and what that was before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ClauseElement, Column
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE, LoaderCallableStatus
from sqlalchemy.orm.relationships import RelationshipProperty

from origin_sdk.events._models.rules import EdgeRule

__all__ = ["WithoutHistory", "old_values"]


@dataclass(frozen=True, slots=True)
class WithoutHistory:
    """What attributes were that a flush changes and keeps no history of."""

    set_to_sql: dict[str, Any] = field(default_factory=dict)
    with_any_change: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, state: InstanceState[Any], rules: Iterable[EdgeRule]) -> "WithoutHistory":
        made = cls()
        watched = frozenset().union(*(rule.watch or () for rule in rules))
        for attribute in state.mapper.column_attrs:
            name, value = attribute.key, state.dict.get(attribute.key)
            if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
                made.set_to_sql[name] = _known(state.committed_state.get(name))
            elif name in watched and _sets_itself(state.mapper, attribute.columns[0]):
                made.with_any_change[name] = value
        return made


def _known(value: Any) -> Any:
    return None if isinstance(value, LoaderCallableStatus) else value


def _sets_itself(mapper: Mapper[Any], column: Any) -> bool:
    """Whether an update changes a column without being told to."""
    if not isinstance(column, Column):
        return False
    return (
        column is mapper.version_id_col or column.onupdate is not None or column.server_onupdate is not None
    )


def old_values(
    state: InstanceState[Any], rules: Iterable[EdgeRule], unseen: WithoutHistory
) -> dict[str, Any]:
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
    old |= unseen.set_to_sql
    if not old:
        return old
    old = {**unseen.with_any_change, **old}
    return old | _derived(mapper, state.object, old)


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
