"""Purges that follow from what Django's models write, recorded in the same transaction.

::

    edge = EdgeEvents()

    @edge.purges(groups=lambda product: [f"product-{product.pk}", f"category-{product.category_id}"])
    class Product(models.Model): ...

``save``, ``delete``, ``create``, forms, the admin and many-to-many relations are seen by their signals.
``QuerySet.update`` and ``bulk_*`` send none: wrap them, ``with edge.bulk(queryset): ...``. An admin action
that calls ``queryset.update`` needs that too.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connections, router, transaction
from django.db.models import signals

from origin_sdk.events.mapping import EdgeRule, Registry, gathered, groups_of
from origin_sdk.outbox.django.store import record
from origin_sdk.outbox.entries import Intent

__all__ = ["EdgeEvents", "NotAtomicWarning"]

_BEFORE = "_origin_sdk_before"
_ADVICE = (
    "a change outside of a transaction is committed before its purge is recorded, and a crash between "
    "the two loses the purge: set ATOMIC_REQUESTS, or use transaction.atomic()"
)


class NotAtomicWarning(UserWarning):
    """A model is saved in autocommit mode."""


class EdgeEvents(Registry):
    """Rules for models, listening from the moment that they are registered."""

    def added(self, _: EdgeRule, /) -> None:
        """Listen to the model's signals. Those of its many-to-many relations are found by their sender."""
        self._connect(signals.pre_save, self._pre_save)
        self._connect(signals.post_save, self._post_save)
        self._connect(signals.pre_delete, self._pre_delete)
        self._connect(signals.m2m_changed, self._m2m_changed)

    def _connect(self, signal: Any, receiver: Callable[..., None]) -> None:
        signal.connect(receiver, dispatch_uid=(id(self), receiver.__name__))

    @contextmanager
    def bulk(self, queryset: Any) -> Iterator[None]:
        """Record for the rows of ``queryset``, before and after what the ``with`` block does to them.

        For ``QuerySet.update``, ``bulk_update`` and raw SQL. It runs in a transaction, and the rows are
        locked. Rows that ``bulk_create`` makes are given to :meth:`changed` instead.
        """
        model = queryset.model
        using = queryset._db or router.db_for_write(model)  # noqa: SLF001 - where `using` put it
        with transaction.atomic(using=using):
            before = list(_locked(queryset, using))
            intents = [intent for row in before for intent in self._intents(row)]
            keys = [row.pk for row in before]
            yield
            # By key: what was changed may be what the query asked for.
            after = model._base_manager.using(using).filter(pk__in=keys)  # noqa: SLF001 - documented
            intents += [intent for row in after for intent in self._intents(row, now=row)]
            self._record(intents, using)

    def changed(self, objects: Iterable[Any], using: str = "default") -> None:
        """Record for objects as they are, such as what ``bulk_create`` has made."""
        self._record([intent for row in objects for intent in self._intents(row, now=row)], using)

    def _intents(self, *versions: Any, now: Any = None) -> Iterator[Intent]:
        model = type(now if now is not None else versions[-1])
        for rule in self.rules_of(model):
            yield from rule.on_change(*versions, now=now)

    def _record(self, intents: Iterable[Intent], using: str) -> None:
        if merged := gathered(intents):
            if not connections[using].in_atomic_block:
                warnings.warn(NotAtomicWarning(_ADVICE), stacklevel=2)
            record(*merged, using=using)
            transaction.on_commit(partial(self.committed, groups_of(merged)), using=using)

    # The signals

    def _pre_save(self, sender: Any, instance: Any, raw: bool = False, using: str = "", **_: Any) -> None:  # noqa: FBT001, FBT002 - Django's
        if raw or not self.rules_of(sender) or _is_surely_new(instance):
            return
        # The row as it is: the object may have been loaded long ago, or made with a key.
        old = sender._base_manager.using(using).filter(pk=instance.pk).first()  # noqa: SLF001 - as above
        setattr(instance, _BEFORE, old)

    def _post_save(
        self,
        sender: Any,
        instance: Any,
        raw: bool = False,  # noqa: FBT001, FBT002 - Django's
        using: str = "",
        update_fields: Iterable[str] | None = None,
        **_: Any,
    ) -> None:
        rules = self.rules_of(sender)
        if raw or not rules:
            return
        before = instance.__dict__.pop(_BEFORE, None)
        if before is None:
            self._record(self._intents(instance, now=instance), using)
            return
        changed = _changed(before, instance, update_fields)
        counted = [rule for rule in rules if rule.counts(changed)]
        self._record(
            [intent for rule in counted for intent in rule.on_change(before, instance, now=instance)], using
        )

    def _pre_delete(self, sender: Any, instance: Any, using: str = "", **_: Any) -> None:
        # Before, while its relations are still there. What the database itself cascades isn't seen.
        if self.rules_of(sender):
            self._record(self._intents(instance), using)

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
        relation = _relation(sender, type(instance))
        if pk_set is not None:
            others = list(model._base_manager.using(using).filter(pk__in=pk_set))  # noqa: SLF001 - as above
        else:
            # Of a clear, only those that are still related are known, before it.
            others = list(getattr(instance, relation).all()) if relation else []
        intents: list[Intent] = []
        for end in (instance, *others):
            name = relation if end is instance else _relation(sender, model)
            for rule in self.rules_of(type(end)):
                if rule.watch is None or name in rule.watch:
                    intents += rule.on_change(end, now=end if is_over else None)
        self._record(intents, using)


def _is_surely_new(instance: Any) -> bool:
    # As `save` itself decides whether to try an UPDATE first.
    key = instance._meta.pk  # noqa: SLF001 - Django's documented API
    return instance.pk is None or (instance._state.adding and key.has_default())  # noqa: SLF001


def _locked(queryset: Any, using: str) -> Any:
    rows = queryset.using(using)
    return rows.select_for_update() if connections[using].features.has_select_for_update else rows


def _changed(before: Any, after: Any, update_fields: Iterable[str] | None) -> set[str]:
    """Return the fields that a save changes, by their names and the names of their columns."""
    written = None if update_fields is None else set(update_fields)
    changed: set[str] = set()
    for field in after._meta.concrete_fields:  # noqa: SLF001 - Django's documented API
        if written is not None and not written & {field.name, field.attname}:
            continue
        if field.attname in after.__dict__ and getattr(before, field.attname) != getattr(
            after, field.attname
        ):
            changed |= {field.name, field.attname}
    return changed


def _relation(through: Any, model: Any) -> str:
    """Return what a model calls the relation that lies in a table; empty if it has no name for it."""
    for field in model._meta.get_fields():  # noqa: SLF001 - Django's documented API
        if getattr(getattr(field, "remote_field", None), "through", None) is through and field.concrete:
            return str(field.name)
        if getattr(field, "through", None) is through:
            return str(field.get_accessor_name() or "")
    return ""
