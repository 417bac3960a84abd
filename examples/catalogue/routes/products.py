"""Products: list, search, detail, image, and the writes."""

from http import HTTPStatus
from math import ceil
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from examples.catalogue import groups, reading, writing
from examples.catalogue.caching import (
    IMAGE,
    MOVED,
    PRODUCT,
    PRODUCT_LIST,
    SEARCH,
    UNSTORED,
    Representation,
    cache_fields,
    conditional_response,
    is_match_failed,
    settled,
    strong_etag,
)
from examples.catalogue.context import DatabaseSession, Now, ProductId
from examples.catalogue.errors import PreconditionFailedError
from examples.catalogue.images import product_png
from examples.catalogue.models import Product
from examples.catalogue.schemas import (
    Paging,
    ProductChange,
    ProductDetail,
    ProductDraft,
    ProductPage,
    ProductQuery,
    SearchQuery,
)
from origin_sdk.asgi import add_groups, invalidate

router = APIRouter(tags=["products"])


@router.get("/products", response_model=ProductPage)
def list_products(
    request: Request, session: DatabaseSession, query: Annotated[ProductQuery, Query()]
) -> Response:
    """List products, page by page."""
    found = reading.list_products(session, query)
    group = groups.PRODUCTS
    if query.category is not None:
        group = groups.category(reading.category_by_slug(session, query.category).id)
    page = _page(found, query)
    representation = Representation(
        body=_json(page), lifetimes=PRODUCT_LIST, groups=(group,), fields=_links(request, page)
    )
    return conditional_response(request, representation)


@router.get("/search", response_model=ProductPage)
def search(request: Request, session: DatabaseSession, query: Annotated[SearchQuery, Query()]) -> Response:
    """Find the products in whose name, description or tags every word occurs."""
    page = _page(reading.search_products(session, query), query)
    representation = Representation(
        body=_json(page), lifetimes=SEARCH, groups=(groups.PRODUCTS,), fields=_links(request, page)
    )
    return conditional_response(request, representation)


@router.get("/products/{product_id:int}", response_model=ProductDetail)
def read_product(request: Request, session: DatabaseSession, now: Now, product_id: ProductId) -> Response:
    """Show one product."""
    product = reading.product_by_id(session, product_id)
    representation = Representation(
        body=_body(product),
        lifetimes=PRODUCT,
        groups=_groups(product),
        last_modified=settled(product.updated_at, now),
    )
    return conditional_response(request, representation)


@router.get("/products/by-slug/{slug}", response_model=ProductDetail)
def read_product_by_slug(
    request: Request, session: DatabaseSession, now: Now, slug: Annotated[str, Path(max_length=140)]
) -> Response:
    """Show the product with this slug, or redirect to the slug that it has now."""
    product = reading.product_by_slug(session, slug)
    if product.slug != slug:
        add_groups(*_groups(product))
        fields = cache_fields(MOVED) | {"Location": f"/products/by-slug/{product.slug}"}
        return Response(status_code=HTTPStatus.MOVED_PERMANENTLY, headers=fields)
    representation = Representation(
        body=_body(product),
        lifetimes=PRODUCT,
        groups=_groups(product),
        last_modified=settled(product.updated_at, now),
        fields={"Content-Location": _path(product)},
    )
    return conditional_response(request, representation)


@router.get("/products/{product_id:int}/image.png", response_class=Response)
def read_image(request: Request, session: DatabaseSession, product_id: ProductId) -> Response:
    """Show the product's picture."""
    product = reading.product_by_id(session, product_id)
    representation = Representation(
        body=product_png(product.id, product.category_id),
        lifetimes=IMAGE,
        media_type="image/png",
        groups=(groups.product(product.id),),
    )
    return conditional_response(request, representation)


@router.post("/products", status_code=HTTPStatus.CREATED, response_model=ProductDetail)
def create_product(session: DatabaseSession, now: Now, draft: ProductDraft) -> Response:
    """Add a product."""
    written = writing.create_product(session, draft, now)
    return _written(written, HTTPStatus.CREATED, {"Location": _path(written.product)})


@router.put("/products/{product_id:int}", response_model=ProductDetail)
def replace_product(
    request: Request, session: DatabaseSession, now: Now, product_id: ProductId, draft: ProductDraft
) -> Response:
    """Replace a product; honours If-Match."""
    product = _for_writing(request, session, product_id)
    return _written(writing.replace_product(session, product, draft, now), HTTPStatus.OK)


@router.patch("/products/{product_id:int}", response_model=ProductDetail)
def change_product(
    request: Request, session: DatabaseSession, now: Now, product_id: ProductId, change: ProductChange
) -> Response:
    """Change some values of a product; honours If-Match."""
    product = _for_writing(request, session, product_id)
    return _written(writing.change_product(session, product, change, now), HTTPStatus.OK)


@router.delete("/products/{product_id:int}", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
def delete_product(request: Request, session: DatabaseSession, now: Now, product_id: ProductId) -> Response:
    """Remove a product; honours If-Match."""
    written = writing.delete_product(session, _for_writing(request, session, product_id), now)
    invalidate(*written.groups)
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=cache_fields(UNSTORED))


def _for_writing(request: Request, session: DatabaseSession, product_id: int) -> Product:
    product = reading.product_by_id(session, product_id)
    etag = strong_etag(_body(product))
    if is_match_failed(request.headers, etag):
        raise PreconditionFailedError(
            f"the product's ETag is now {etag}; read it again and repeat the change"
        )
    return product


def _written(written: writing.Written, status: HTTPStatus, fields: dict[str, str] | None = None) -> Response:
    body = _body(written.product)
    validator = {"Content-Location": _path(written.product), "ETag": strong_etag(body)}
    invalidate(*written.groups)
    headers = cache_fields(UNSTORED) | validator | (fields or {})
    return Response(body, status, headers, media_type="application/json")


def _page(found: reading.Slice, paging: Paging) -> ProductPage:
    return ProductPage(
        total=found.total,
        page=paging.page,
        pages=ceil(found.total / paging.per_page),
        per_page=paging.per_page,
        items=[ProductDetail.of(product) for product in found.products],
    )


def _links(request: Request, page: ProductPage) -> dict[str, str]:
    """Return the Link field (RFC 8288) to the pages before and after this one."""
    links = []
    for relation, number in (("prev", page.page - 1), ("next", page.page + 1)):
        if 1 <= number <= page.pages:
            query = urlencode(dict(request.query_params) | {"page": str(number)})
            links.append(f'<{request.url.path}?{query}>; rel="{relation}"')
    return {"Link": ", ".join(links)} if links else {}


def _groups(product: Product) -> tuple[str, ...]:
    return (groups.product(product.id), groups.category(product.category_id))


def _path(product: Product) -> str:
    return f"/products/{product.id}"


def _body(product: Product) -> bytes:
    return _json(ProductDetail.of(product))


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()
