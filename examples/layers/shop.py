"""Rows, memory, Redis and the edge as one: a row changes, and every layer forgets. No handler purges.

`uvicorn examples.layers.shop:app` needs DATABASE_URL, REDIS_URL, and what PurgeClient reads (docs/sdk.md).
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, HTTPException
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from origin_sdk import PurgeClient
from origin_sdk.asgi import CacheFields, cache_for
from origin_sdk.events.sqlalchemy import EdgeEvents
from origin_sdk.layers import DataClass, LayeredCache, Policy, RedisOptions
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, outbox_table

engine = create_engine(os.environ["DATABASE_URL"])
sessions = sessionmaker(engine)
cache = LayeredCache(RedisOptions(url=os.environ["REDIS_URL"], prefix="shop"), policy=Policy(lifetime=3600))
edge = EdgeEvents()


class Base(DeclarativeBase):
    """The tables, the outbox's among them."""


outbox_table(Base.metadata)


@edge.purges(groups=lambda product: f"product-{product.id}")
class Product(Base):
    """A row. What a change of it makes out of date is said here, once."""

    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]
    cost: Mapped[int]


@dataclass
class Price:
    """What everybody may see."""

    id: int
    price: int


@cache.cached("{number}", groups=("product-{number}",), data_class=DataClass.PUBLIC)
def price(number: int) -> Price | None:
    """Load a price; its data class lets it go to the edge."""
    with sessions() as session:
        found = session.get(Product, number)
        return Price(found.id, found.price) if found else None


@cache.cached("{number}", groups=("product-{number}",))
def margin(number: int) -> int:
    """Load what stays in memory and Redis, as values do unless they are declared PUBLIC."""
    with sessions() as session:
        found = session.get_one(Product, number)
        return found.price - found.cost


@asynccontextmanager
async def draining(_: FastAPI) -> AsyncIterator[None]:
    """Deliver what commits have recorded: to memory and Redis first, then to the edge."""
    Base.metadata.create_all(engine)
    edge.listen(sessions)
    with PurgeClient() as client, Drainer(SqlAlchemyOutbox(engine), client, layers=[cache]) as drainer:
        edge.on_commit, edge.layers = drainer.wake, [cache]
        yield
    cache.close()


app = FastAPI(lifespan=draining)
app.add_middleware(CacheFields)


@app.get("/products/{number}")
def read(number: int) -> Price:
    """Answer for the edge; the group comes with the value."""
    cache_for(600)
    if (found := price(number)) is None:
        raise HTTPException(404)
    return found


@app.get("/products/{number}/margin")
def read_margin(number: int) -> int:
    """Answer with what must not reach the edge: the response is private, and the log says why."""
    cache_for(600)
    return margin(number)


@app.put("/products/{number}")
def change(number: int, price: int) -> None:
    """Write a row, and nothing else."""
    with sessions.begin() as session:
        session.merge(Product(id=number, price=price, cost=1))
