"""The rest: index, health, the slow report and the export."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse

from examples.catalogue import groups, reading
from examples.catalogue.caching import (
    CATEGORIES,
    EXPORT,
    REPORT,
    UNSTORED,
    Representation,
    Validators,
    cache_fields,
    conditional_response,
    is_not_modified,
    not_modified,
    settled,
)
from examples.catalogue.context import AppContext, Context, DatabaseSession, Now
from examples.catalogue.database import Database
from examples.catalogue.schemas import ProductDetail, StockReport
from origin_sdk.asgi import add_groups

router = APIRouter(tags=["service"])

_PATHS = (
    "/products",
    "/products/17",
    "/products/17/image.png",
    "/products/by-slug/westerley-compact-casserole",
    "/search?q=kettle",
    "/categories",
    "/categories/kitchen/products",
    "/slow?seconds=2",
    "/export.ndjson",
    "/me",
    "/me/basket",
    "/health",
    "/openapi.json",
)


@router.get("/")
def index() -> Response:
    """Say what there is to ask for."""
    return JSONResponse({"name": "Product catalogue", "paths": _PATHS}, headers=cache_fields(CATEGORIES))


@router.get("/health")
def health(session: DatabaseSession) -> Response:
    """Answer once the database does."""
    reading.last_change(session)
    return JSONResponse({"status": "ok"}, headers=cache_fields(UNSTORED))


@router.get("/slow", response_model=StockReport)
async def slow_report(
    request: Request, context: AppContext, seconds: Annotated[float, Query(ge=0, le=30)] = 2.0
) -> Response:
    """Report the stock of all categories, after as many seconds as a large shop would need for it."""
    await context.sleep(seconds)
    report = await run_in_threadpool(_report, context, seconds)
    representation = Representation(
        body=report.model_dump_json().encode(), lifetimes=REPORT, groups=(groups.PRODUCTS,)
    )
    return conditional_response(request, representation)


def _report(context: Context, took_seconds: float) -> StockReport:
    with context.database.sessions() as session:
        rows = reading.stock_by_category(session)
    return StockReport(generated_at=context.now(), took_seconds=took_seconds, rows=rows)


@router.get("/export.ndjson", response_class=StreamingResponse)
def export(request: Request, context: AppContext, session: DatabaseSession, now: Now) -> Response:
    """Stream the whole catalogue, one product a line."""
    # The length and the hash of a stream are known too late for its header section: a date has to do.
    validators = Validators(last_modified=settled(reading.last_change(session), now))
    add_groups(groups.PRODUCTS)
    fields = cache_fields(EXPORT, validators=validators)
    if is_not_modified(request.headers, validators):
        return not_modified(fields)
    return StreamingResponse(_lines(context.database), headers=fields, media_type="application/x-ndjson")


def _lines(database: Database) -> Iterator[str]:
    with database.sessions() as session:
        for products in reading.all_products(session):
            yield "".join(ProductDetail.of(product).model_dump_json() + "\n" for product in products)
