"""What a change makes out of date at the edge: said once for the models, and nowhere in the handlers.

The purges are recorded in the transaction of the change. `EDGE_CACHE_NAMESPACE_ID` and the other variables
of `origin-sdk` say where they go; without them nothing is recorded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from examples.catalogue import groups
from examples.catalogue.database import Database
from examples.catalogue.models import Category, Product
from origin_sdk import PurgeClient
from origin_sdk.events.sqlalchemy import EdgeEvents
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox

edge = EdgeEvents()

# Asked before and after a change, so that a product that moves refreshes both of its categories.
edge.register(
    Product,
    groups=lambda product: (
        groups.product(product.id),
        groups.category(product.category_id),
        groups.PRODUCTS,
    ),
    bulk="rows",
)
# The list of categories counts their products: it changes when one comes, goes or moves.
edge.register(Product, groups=lambda _: groups.CATEGORIES, watch=["category_id"], bulk="rows")
edge.register(
    Category,
    groups=lambda category: (groups.category(category.id), groups.CATEGORIES),
    watch=["slug", "names"],
    bulk="rows",
)


@contextmanager
def purging(database: Database, *, drains: bool = True) -> Iterator[None]:
    """Record what changes and, if the service `drains` itself, deliver it while the block runs."""
    if "EDGE_CACHE_NAMESPACE_ID" not in os.environ:
        yield
        return
    edge.listen(database.sessions)
    if not drains:
        yield
        return
    with PurgeClient() as client, Drainer(SqlAlchemyOutbox(database.engine), client) as drainer:
        edge.on_commit = drainer.wake
        yield
