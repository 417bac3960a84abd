"""Invalidate what a transaction of Django changes, once it is committed: memory, Redis and the edge.

::

    with transaction.atomic():
        product.save()
        invalidate_with(cache, groups=[f"product-{product.pk}"])

The purge is recorded in the outbox in the same transaction, and delivered by
``Drainer(DjangoOutbox(), client, layers=[cache])`` whatever dies meanwhile. In this process the layers forget
with the commit already. Before it nothing is forgotten: the old row would be read and kept again.
"""

from collections.abc import Iterable
from functools import partial

from django.db import DEFAULT_DB_ALIAS, transaction

from origin_sdk._values.targets import Purge
from origin_sdk._values.texts import texts
from origin_sdk.layers.cache import LayeredCache
from origin_sdk.layers.commits import invalidate_committed
from origin_sdk.outbox.django.store import record

__all__ = ["invalidate_with"]


def invalidate_with(
    cache: LayeredCache, *, groups: Iterable[str], urls: Iterable[str] = (), using: str = DEFAULT_DB_ALIAS
) -> None:
    """Invalidate groups in all layers once the open transaction is committed; ``urls`` at the edge.

    Outside of any, at once. Raises InvalidRequest for what can't be purged.
    """
    names = texts(groups)
    record(Purge.of(groups=names, urls=texts(urls)), using=using)
    transaction.on_commit(partial(invalidate_committed, cache, names), using=using)
