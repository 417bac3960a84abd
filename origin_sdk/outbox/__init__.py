"""Purges that are never lost: recorded with the change, delivered after its commit, at least once.

::

    with Session(engine) as session:
        product.price = 17
        record(session, Purge.of(groups="product-17"))     # origin_sdk.outbox.sqlalchemy, or .django
        session.commit()

    with Drainer(SqlAlchemyOutbox(engine), PurgeClient()):
        ...

What to record can follow from the change itself: see :mod:`origin_sdk.events`. Stores are modules of their
own: ``sqlalchemy``, ``django``, ``sqlite`` and ``redis``.
"""

from typing import TYPE_CHECKING, Any

from origin_sdk.outbox._stores.entries import (
    Claim,
    End,
    Entry,
    Intent,
    Listed,
    Republish,
    Settlement,
    State,
    Status,
    acting,
)
from origin_sdk.outbox._stores.ports import AsyncOutbox, Outbox

if TYPE_CHECKING:
    from origin_sdk.outbox._delivery.drainer import AsyncDrainer, Drainer
    from origin_sdk.outbox._delivery.layers import AsyncLayer, Layer, LayerOutcome
    from origin_sdk.outbox._delivery.renderers import CanRender, OriginRenderer, Renderers, Rendition
    from origin_sdk.outbox._delivery.rounds import Pace, Round
    from origin_sdk.outbox._delivery.threads import InThreads
    from origin_sdk.outbox._stores.sql import Run

__all__ = [
    "AsyncDrainer",
    "AsyncLayer",
    "AsyncOutbox",
    "CanRender",
    "Claim",
    "Drainer",
    "End",
    "Entry",
    "InThreads",
    "Intent",
    "Layer",
    "LayerOutcome",
    "Listed",
    "OriginRenderer",
    "Outbox",
    "Pace",
    "Renderers",
    "Rendition",
    "Republish",
    "Round",
    "Run",
    "Settlement",
    "State",
    "Status",
    "acting",
]

# Imported when first asked for: recording needs no httpx.
_HOMES = {
    "AsyncLayer": "_delivery.layers",
    "CanRender": "_delivery.renderers",
    "Layer": "_delivery.layers",
    "Run": "_stores.sql",
    "LayerOutcome": "_delivery.layers",
    "AsyncDrainer": "_delivery.drainer",
    "Drainer": "_delivery.drainer",
    "InThreads": "_delivery.threads",
    "OriginRenderer": "_delivery.renderers",
    "Pace": "_delivery.rounds",
    "Renderers": "_delivery.renderers",
    "Rendition": "_delivery.renderers",
    "Round": "_delivery.rounds",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    return getattr(import_module(f"origin_sdk.outbox.{_HOMES[name]}"), name)
