"""Which tables rules of Django's models are about, and the rows in them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps

from origin_sdk.events._models.django_relations import relation_name
from origin_sdk.events._models.rules import EdgeRule

__all__ = ["Hit", "Tables", "by_key", "concrete", "generic_keys", "is_generated", "is_proxy", "seen_as"]

_MOST_KEYS = 500
"""Keys in one query: databases bound the parameters of a statement."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that a table is about; ``owner`` is the table's model, ``None`` for an association's."""

    rule: EdgeRule
    owner: Any

    def is_watched(self, columns: frozenset[str] | None) -> bool:
        """Return whether an update of these columns, or of some that aren't known, matters."""
        if not columns or self.rule.watch is None or self.owner is None:
            return True
        fields = self.owner._meta.local_concrete_fields
        names = {
            name
            for each in fields
            if each.column.lower() in columns or is_generated(each)
            for name in (each.name, each.attname)
        }
        names.update(generic_keys(self.owner, names))
        return not names.isdisjoint(self.rule.watch)

    @property
    def model(self) -> Any:
        """The model whose objects the rule is asked with for rows of this table."""
        return self.rule.model if issubclass(self.rule.model, self.owner) else self.owner


@dataclass
class Tables:
    """The tables of rules, by name in lower case, and the models of associations with their fields."""

    by_name: dict[str, list[Hit]] = field(default_factory=dict)
    associations: dict[type, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Iterable[EdgeRule]) -> "Tables":
        """Gather them, once all models are loaded."""
        made = cls()
        for rule in rules:
            model = concrete(rule.model)
            for owner in dict.fromkeys((model, *_related_by_inheritance(model))):
                made._add(owner, Hit(rule, owner))
            for association in model._meta.get_fields(include_hidden=True):
                if association.many_to_many and hasattr(association, "related_model"):
                    made._add_association(rule, model, association)
        return made

    def _add(self, model: Any, hit: Hit) -> None:
        self.by_name.setdefault(model._meta.db_table.rpartition(".")[2].strip('"').lower(), []).append(hit)

    def _add_association(self, rule: EdgeRule, model: Any, association: Any) -> None:
        through = association.through if association.auto_created else association.remote_field.through
        if rule.watch is None or relation_name(through, model) in rule.watch:
            self._add(through, Hit(rule, None))
            self.associations[through] = association.field if association.auto_created else association


def is_generated(field: Any) -> bool:
    """Return whether the database computes a field from others."""
    return bool(getattr(field, "generated", False))


def generic_keys(model: Any, names: Collection[str]) -> Iterator[str]:
    """Yield the generic foreign keys that are made of some of the fields named."""
    for each in model._meta.private_fields:
        if not {getattr(each, "ct_field", ""), getattr(each, "fk_field", "")}.isdisjoint(names):
            yield each.name


def is_proxy(model: Any) -> bool:
    """Return whether a model is another view of another one's rows."""
    return bool(model._meta.proxy)


def seen_as(model: Any, row: Any) -> Any:
    """Return a row as an object of ``model``, where that is a proxy of its class."""
    if isinstance(row, model) or not is_proxy(model):
        return row
    made = copy(row)
    made.__class__ = model
    return made


def by_key(model: Any, keys: Sequence[Any], using: str) -> Iterator[Any]:
    """Yield the rows with these keys that are there."""
    for start in range(0, len(keys), _MOST_KEYS):
        yield from model._base_manager.using(using).filter(pk__in=keys[start : start + _MOST_KEYS])


def concrete(model: Any) -> Any:
    """Return the model whose table a proxy uses; any other model itself."""
    return model._meta.concrete_model or model


def _related_by_inheritance(model: Any) -> Iterator[Any]:
    """Yield the models above and below whose tables hold a part of the same object."""
    for other in apps.get_models():
        if (
            other is not model
            and not other._meta.proxy
            and (issubclass(other, model) or issubclass(model, other))
        ):
            yield other
