"""Rows of `scripts/bench purge` for the outbox: what recording, draining and waiting cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from origin_sdk import AuditEvent, Purge, PurgeClient
from origin_sdk.events.sqlalchemy import EdgeEvents
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, outbox_table, record
from origin_sdk.outbox.sqlite import SqliteOutbox
from scripts.benches.rows import AtMost, Row, row
from scripts.runtime.servers import Postgres

__all__ = ["draining_rows", "idle_row", "recording_rows"]

_PRODUCTS = 100
_AT_ONCE = 50
_IDLE_SECONDS = 5.0
edge = EdgeEvents()


class Base(DeclarativeBase):
    """Root of the mapped classes."""


outbox_table(Base.metadata)


@edge.purges(groups=lambda product: [f"product-{product.id}", f"category-{product.category_id}"])
class Product(Base):
    """As a service has it: some columns, and changes that touch one or two."""

    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    category_id: Mapped[int]
    price: Mapped[int]
    stock: Mapped[int]


def recording_rows(rounds: int, folder: Path) -> Iterator[Row]:
    """Measure a transaction that changes a row, with its purge and without; commits reach the disk."""
    with Postgres(fsync="on") as postgres:
        for name, url in (("PostgreSQL", postgres.url()), ("SQLite", f"sqlite:///{folder}/service.db")):
            engine = create_engine(url)
            try:
                yield from _recording_rows(name, engine, rounds)
            finally:
                engine.dispose()


def _recording_rows(name: str, engine: Engine, rounds: int) -> Iterator[Row]:
    Base.metadata.create_all(engine)
    bare, recording, mapped = (sessionmaker(engine) for _ in range(3))
    event.listen(recording, "after_flush", _record_by_hand)
    edge.listen(mapped)
    with bare() as session:
        session.add_all(
            [
                Product(name=f"p{number}", description="d" * 500, category_id=number % 20, price=1, stock=1)
                for number in range(_PRODUCTS)
            ]
        )
        session.commit()
    ways = {"bare": bare, "records a purge": recording, "records what ORM events find": mapped}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for sessions in ways.values():
        _timed_changes(sessions)
    # Short rounds: whatever else the machine does then falls on all.
    for _ in range(rounds * 5):
        for way, sessions in ways.items():
            times[way].append(_timed_changes(sessions))
    for way in list(ways)[1:]:
        yield row(
            "purge",
            f"transaction that {way}, {name}",
            "ms",
            times[way],
            against="bare transaction",
            baseline=times["bare"],
            aim=AtMost(1.2),
        )


def _record_by_hand(session: Session, _: object) -> None:
    for product in session.dirty:
        record(session, Purge.of(groups=[f"product-{product.id}", f"category-{product.category_id}"]))


def _timed_changes(sessions: sessionmaker[Session]) -> float:
    started = time.perf_counter()
    for number in range(_AT_ONCE):
        with sessions() as session:
            product = session.get_one(Product, number % _PRODUCTS + 1)
            product.price += 1
            session.commit()
    return (time.perf_counter() - started) * 1000 / _AT_ONCE


def draining_rows(entries: int, groups: int, folder: Path, client: PurgeClient) -> Iterator[Row]:
    """Measure the delivery of many recorded purges of fewer groups."""
    receipts: list[AuditEvent] = []
    options = replace(client.options, audit=receipts.append)
    with (
        closing(SqliteOutbox(folder / "outbox.db")) as outbox,
        PurgeClient(client.settings, options=options) as counting,
    ):
        for start in range(0, entries, groups):
            outbox.record(
                *[Purge.of(groups=f"group-{(start + number) % groups}") for number in range(groups)]
            )
        started = time.perf_counter()
        made = Drainer(outbox, counting).drain()
        seconds = time.perf_counter() - started
        if sum(each.done for each in made) != entries:
            raise RuntimeError(f"not everything is delivered: {made}")
        name = f"{entries:,} recorded purges of {groups:,} groups, drained"
        requests = sum(event.details["requests"] for event in receipts)
        yield row("purge", name, "requests", [requests], aim=AtMost(1200))
        yield row("purge", name, "s", [seconds])


def idle_row(folder: Path, client: PurgeClient) -> Row:
    """Measure the processor time of a drainer that has nothing to do."""
    engine = create_engine(f"sqlite:///{folder}/idle.db")
    Base.metadata.create_all(engine)
    with Drainer(SqlAlchemyOutbox(engine), client):
        time.sleep(0.5)
        before = time.process_time()
        time.sleep(_IDLE_SECONDS)
        share = (time.process_time() - before) / _IDLE_SECONDS
    engine.dispose()
    return row("purge", "an idle drainer, of one judge", "%", [share * 100], aim=AtMost(0.5))
