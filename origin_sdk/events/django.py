"""Purges that follow from what Django's models write, recorded in the same transaction.

::

    edge = EdgeEvents()

    @edge.purges(groups=lambda product: [f"product-{product.pk}", f"category-{product.category_id}"])
    class Product(models.Model): ...

``save``, ``delete``, ``create``, forms, the admin, related managers and what a delete clears elsewhere are
seen row by row. For ``QuerySet.update``, ``bulk_*`` and SQL of one's own, which send no signals, there is the
rule's ``bulk``; or wrap them, ``with edge.bulk(queryset): ...``.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core import checks
from django.db import connections, router, transaction
from django.db.backends.signals import connection_created
from django.db.models import signals

from origin_sdk.events._models.django_relations import Dependent, left_by, relation_name
from origin_sdk.events._models.django_statements import StatementWatch
from origin_sdk.events._models.django_tables import (
    by_key,
    concrete,
    generic_keys,
    is_generated,
    is_proxy,
    seen_as,
)
from origin_sdk.events._models.rules import (
    EdgeRule,
    Registry,
    UnseenChangeWarning,
    gathered,
    groups_of,
    unknown_watch,
)
from origin_sdk.outbox._stores.entries import Intent
from origin_sdk.outbox.django.store import record as recorded

__all__ = [
    "EdgeEvents",
    "EdgeRule",
    "NotAtomicWarning",
    "UnseenChangeWarning",
]

_BEFORE = "_origin_sdk_before"
_LEFT = "_origin_sdk_left"
_ADVICE = (
    "a change outside of a transaction is committed before its purge is recorded, and a crash between "
    "the two loses the purge: set ATOMIC_REQUESTS, or use transaction.atomic()"
)


def _attributes(model: Any) -> set[str]:
    """Return the names of what changes with an object: its fields, and its many-to-many relations."""
    names = {name for each in model._meta.concrete_fields for name in (each.name, each.attname)}
    names.update(generic_keys(model, names))
    for field in model._meta.get_fields(include_hidden=True):
        if field.many_to_many and not isinstance(field.related_model, str):
            through = field.through if field.auto_created else field.remote_field.through
            names.add(relation_name(through, model))
    return names - {""}


class NotAtomicWarning(UserWarning):
    """A model is saved in autocommit mode."""


class EdgeEvents(Registry):
    """Rules for models, listening from the moment that they are registered."""

    def __init__(self) -> None:
        super().__init__()
        self._statements = StatementWatch(self)
        self._is_checked = False

    def added(self, _: EdgeRule, /) -> None:
        """Listen to the signals of all models, and to what connections execute."""
        self._statements.forget_tables()
        if not self._is_checked:
            # Relations from other models are known once all are loaded: then Django runs its system checks.
            checks.register(lambda **_: self._unknown_watches())
            self._is_checked = True
        self._connect(signals.pre_save, self._pre_save)
        self._connect(signals.post_save, self._post_save)
        self._connect(signals.pre_delete, self._pre_delete)
        self._connect(signals.post_delete, self._post_delete)
        self._connect(signals.m2m_changed, self._m2m_changed)
        self._connect(signals.pre_migrate, self._statements.begin_migrations)
        self._connect(signals.post_migrate, self._statements.end_migrations)
        self._connect(connection_created, self._statements.watch)
        for connection in connections.all(initialized_only=True):
            self._statements.watch(connection)

    def _unknown_watches(self) -> list[checks.CheckMessage]:
        problems = (unknown_watch(rule, _attributes(rule.model)) for rule in self.all_rules())
        return [checks.Error(problem, id="origin_sdk.E001") for problem in problems if problem]

    def _connect(self, signal: Any, receiver: Callable[..., None]) -> None:
        signal.connect(receiver, dispatch_uid=(id(self), receiver.__name__))

    @contextmanager
    def bulk(self, queryset: Any) -> Iterator[None]:
        """Record for the rows of ``queryset``, before and after what the ``with`` block does to them.

        For ``QuerySet.update``, ``bulk_update`` and raw SQL. It runs in a transaction, and the rows are
        locked. Rows that ``bulk_create`` makes are given to :meth:`changed` instead.
        """
        model = queryset.model
        using = queryset._db or router.db_for_write(model)
        with transaction.atomic(using=using):
            before = list(_locked(queryset, using))
            intents = [intent for row in before for intent in self.intents(row)]
            keys = [row.pk for row in before]
            with self._statements.covered(concrete(model)):
                yield
            # By key: what was changed may be what the query asked for.
            after = by_key(model, keys, using)
            intents += [intent for row in after for intent in self.intents(row, now=row)]
            self.record(intents, using)

    def changed(self, objects: Iterable[Any], using: str = "default") -> None:
        """Record for objects as they are, such as what ``bulk_create`` has made."""
        rows = list(objects)
        self._statements.given({concrete(type(row)) for row in rows}, using)
        self.record([intent for row in rows for intent in self.intents(row, now=row)], using)

    def rules_of(self, model: type) -> list[EdgeRule]:
        """Return the rules for a model, its bases' and its proxies' included."""
        if model not in self._rules_of:
            bases = {
                concrete(base) for base in model.__mro__ if hasattr(base, "_meta") and not base._meta.abstract
            }
            proxied = [
                rule
                for kind, rules in self._rules.items()
                if is_proxy(kind) and kind not in model.__mro__ and concrete(kind) in bases
                for rule in rules
            ]
            self._rules_of[model] = [*super().rules_of(model), *proxied]
        return self._rules_of[model]

    def intents(
        self, *versions: Any, now: Any = None, rules: Iterable[EdgeRule] | None = None
    ) -> Iterator[Intent]:
        """Yield what to do about an object in these versions, by its rules or some of them."""
        if rules is None:
            rules = self.rules_of(type(now if now is not None else versions[-1]))
        for rule in rules:
            seen = [seen_as(rule.model, version) for version in versions]
            yield from rule.on_change(*seen, now=None if now is None else seen_as(rule.model, now))

    def record(self, intents: Iterable[Intent], using: str) -> None:
        """Record in the transaction that is open."""
        if merged := gathered(intents):
            if not connections[using].in_atomic_block:
                warnings.warn(NotAtomicWarning(_ADVICE), stacklevel=2)
            recorded(*merged, using=using)
            transaction.on_commit(partial(self.committed, groups_of(merged)), using=using)

    # The signals

    def _pre_save(self, sender: Any, instance: Any, raw: bool = False, using: str = "", **_: Any) -> None:  # noqa: FBT001, FBT002 - Django's
        if raw or _is_surely_new(instance):
            return
        # The rows as they are: the object may have been loaded long ago, or made with a key.
        before = {
            model: old
            for model in self._saved_with(sender)
            if (old := model._base_manager.using(using).filter(pk=instance.pk).first())
        }
        if before:
            setattr(instance, _BEFORE, before)

    def _saved_with(self, sender: Any) -> list[Any]:
        """Return the models of which a save may change an object: its own, and those that inherit its row."""
        own = [sender] if self.rules_of(sender) else []
        base = concrete(sender)
        below = {rule.model for rule in self.all_rules() if _inherits(rule.model, base)}
        return [*own, *(model for model in below if not is_proxy(model))]

    def _post_save(
        self,
        sender: Any,
        instance: Any,
        raw: bool = False,  # noqa: FBT001, FBT002 - Django's
        using: str = "",
        update_fields: Iterable[str] | None = None,
        **_: Any,
    ) -> None:
        if raw:
            return
        before = instance.__dict__.pop(_BEFORE, {})
        intents: list[Intent] = []
        if rules := self.rules_of(sender):
            now = _evaluated(instance, using)
            intents += self._of_save(before.pop(sender, None), now, rules, update_fields)
        for model, old in before.items():
            if model is not sender and (now := model._base_manager.using(using).filter(pk=old.pk).first()):
                rules = [rule for rule in self.rules_of(model) if rule not in self.rules_of(sender)]
                intents += self._of_save(old, now, rules, None)
        intents += self._of_association(instance, is_there=True)
        self.record(intents, using)

    def _of_save(
        self, before: Any, now: Any, rules: Iterable[EdgeRule], update_fields: Iterable[str] | None
    ) -> Iterator[Intent]:
        if before is None:
            return self.intents(now, now=now, rules=rules)
        changed = _changed(before, now, update_fields)
        return self.intents(before, now, now=now, rules=[rule for rule in rules if rule.counts(changed)])

    def _pre_delete(self, sender: Any, instance: Any, using: str = "", **_: Any) -> None:
        # Before, while its relations are still there.
        intents = list(self.intents(instance, rules=self.rules_of(sender)))
        intents += self._of_association(instance, is_there=False)
        left = [each for each in left_by(instance, using, self._wants) if self._counting(each)]
        intents += [intent for each in left for intent in self.intents(each.row, rules=self._counting(each))]
        if left:
            setattr(instance, _LEFT, left)
        self.record(intents, using)

    def _post_delete(self, instance: Any, using: str = "", **_: Any) -> None:
        intents: list[Intent] = []
        for each in instance.__dict__.pop(_LEFT, ()):
            for row in by_key(type(each.row), [each.row.pk], using):
                intents += self.intents(row, now=row, rules=self._counting(each))
        self.record(intents, using)

    def _wants(self, model: type) -> bool:
        return bool(self.rules_of(model))

    def _counting(self, dependent: Dependent) -> list[EdgeRule]:
        return [rule for rule in self.rules_of(type(dependent.row)) if rule.counts(dependent.names)]

    def _of_association(self, instance: Any, *, is_there: bool) -> Iterator[Intent]:
        """Yield what follows for both ends where the object connects two, in a model of one's own."""
        through = type(instance)
        if not (relation := self._statements.tables.associations.get(through)):
            return
        for name in (relation.m2m_field_name(), relation.m2m_reverse_field_name()):
            end = getattr(instance, name)
            yield from self._of_end(end, relation_name(through, concrete(type(end))), is_there=is_there)

    def _of_end(self, end: Any, relation: str, *, is_there: bool) -> Iterator[Intent]:
        rules = [rule for rule in self.rules_of(type(end)) if rule.watch is None or relation in rule.watch]
        return self.intents(end, now=end if is_there else None, rules=rules)

    def _m2m_changed(
        self,
        sender: Any,
        instance: Any,
        action: str,
        model: Any,
        pk_set: set[Any] | None,
        using: str,
        **_: Any,
    ) -> None:
        is_over = action.startswith("post_")
        relation = relation_name(sender, concrete(type(instance)))
        if pk_set is not None:
            others = list(by_key(model, list(pk_set), using))
        else:
            # Of a clear, only those that are still related are known, before it.
            others = list(getattr(instance, relation).all()) if relation else []
        intents: list[Intent] = []
        for end in (instance, *others):
            name = relation if end is instance else relation_name(sender, concrete(model))
            intents += self._of_end(end, name, is_there=is_over)
        self.record(intents, using)


def _is_surely_new(instance: Any) -> bool:
    # As `save` itself decides whether to try an UPDATE first.
    key = instance._meta.pk
    return instance.pk is None or (instance._state.adding and key.has_default())


def _locked(queryset: Any, using: str) -> Any:
    rows = queryset.using(using)
    return rows.select_for_update() if connections[using].features.has_select_for_update else rows


def _changed(before: Any, after: Any, update_fields: Iterable[str] | None) -> set[str]:
    """Return the fields that a save changes, by their names and the names of their columns."""
    written = None if update_fields is None else set(update_fields)
    changed: set[str] = set()
    for each in after._meta.concrete_fields:
        if written is not None and not (written & {each.name, each.attname} or is_generated(each)):
            continue
        if each.attname in after.__dict__ and getattr(before, each.attname) != getattr(after, each.attname):
            changed |= {each.name, each.attname}
    return changed.union(generic_keys(after, changed))


def _evaluated(instance: Any, using: str) -> Any:
    """Return an object with what the database made of expressions, such as ``F("price") + 1``: read again."""
    values = instance.__dict__.values()
    is_computed = any(map(is_generated, instance._meta.concrete_fields))
    if not is_computed and not any(hasattr(value, "resolve_expression") for value in values):
        return instance
    return next(by_key(type(instance), [instance.pk], using), instance)


def _inherits(model: Any, base: Any) -> bool:
    return concrete(model) is not base and issubclass(concrete(model), base)
