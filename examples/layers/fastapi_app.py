"""FastAPI: `uvicorn examples.layers.fastapi_app:app`. Without REDIS_URL it has memory alone."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Response

from origin_sdk.layers import AsyncLayeredCache, Policy

cache = AsyncLayeredCache(os.environ.get("REDIS_URL"))
NAMES = {17: "lamp"}


@dataclass
class Product:
    """What the API returns."""

    id: int
    name: str


@cache.cached("{number}", groups=("product-{number}",), policy=Policy(lifetime=60, stale=300, fail_safe=3600))
async def product(number: int) -> Product | None:
    """Stands for a query that takes its time."""
    return Product(number, NAMES[number]) if number in NAMES else None


@asynccontextmanager
async def closing(_: FastAPI) -> AsyncIterator[None]:
    """Close the cache with the application."""
    async with cache:
        yield


app = FastAPI(lifespan=closing)


@app.get("/products/{number}")
async def read(number: int, response: Response) -> Product | None:
    """Answer from the cache; None is kept as well."""
    found = await product(number)
    response.status_code = 200 if found else 404
    return found


@app.put("/products/{number}")
async def rename(number: int, name: str) -> None:
    """Write, then invalidate."""
    NAMES[number] = name
    await cache.invalidate(groups=[f"product-{number}"])
