"""Which other rows a change of one of Django's rows changes along with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Dependent", "left_by", "relation_name"]

_CLEARING = {"SET_NULL", "SET_DEFAULT", "DB_SET_NULL", "DB_SET_DEFAULT", "DB_CASCADE"}


@dataclass(frozen=True, slots=True)
class Dependent:
    """A row that changes because another goes: ``names`` are its attributes that change."""

    row: Any
    names: frozenset[str]


def left_by(instance: Any, using: str, wants: Callable[[type], bool]) -> Iterator[Dependent]:
    """Yield what a delete changes of other rows without a signal of theirs: foreign keys, associations.

    ``wants`` tells for which models to look.
    """
    for field in instance._meta.get_fields(include_hidden=True):
        if field.many_to_many:
            yield from _associated(instance, field, using, wants)
        elif field.auto_created and not field.concrete and (field.one_to_many or field.one_to_one):
            yield from _referring(instance, field, using, wants)


def _referring(
    instance: Any, relation: Any, using: str, wants: Callable[[type], bool]
) -> Iterator[Dependent]:
    action = getattr(relation, "on_delete", None)
    name = getattr(action, "__name__", "") or type(action).__name__
    # What `SET(…)` returns is a function of its own, with the means to be written into a migration.
    if action is None or (name not in _CLEARING and not hasattr(action, "deconstruct")):
        return
    key, model = relation.field, relation.related_model
    cascades = name == "DB_CASCADE"
    if not wants(model) and not cascades:
        return
    for row in model._base_manager.using(using).filter(**{key.name: instance}):
        yield Dependent(row, frozenset({key.name, key.attname}))
        if cascades:
            yield from left_by(row, using, wants)


def _associated(instance: Any, field: Any, using: str, wants: Callable[[type], bool]) -> Iterator[Dependent]:
    model: Any = field.related_model
    through = field.through if field.auto_created else field.remote_field.through
    if isinstance(model, str) or not wants(model):
        return
    own = field.field.m2m_reverse_field_name() if field.auto_created else field.m2m_field_name()
    other = field.field.m2m_field_name() if field.auto_created else field.m2m_reverse_field_name()
    keys = through._base_manager.using(using).filter(**{own: instance}).values(other)
    names = frozenset({relation_name(through, model)})
    for row in model._base_manager.using(using).filter(pk__in=keys):
        yield Dependent(row, names)


def relation_name(through: Any, model: Any) -> str:
    """Return what a model calls the relation that lies in a table; empty if it has no name for it."""
    for field in model._meta.get_fields(include_hidden=True):
        if not field.many_to_many:
            continue
        if not field.auto_created and field.remote_field.through is through:
            return str(field.name)
        if field.auto_created and field.through is through:
            return str(field.get_accessor_name() or "")
    return ""
