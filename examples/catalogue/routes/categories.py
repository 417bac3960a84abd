"""Categories: the list, in the client's language, and everything that is in one of them."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from examples.catalogue import groups, reading
from examples.catalogue.caching import CATEGORIES, PRODUCT_LIST, Representation, conditional_response, settled
from examples.catalogue.context import DatabaseSession, Now
from examples.catalogue.languages import preferred_language
from examples.catalogue.schemas import CategoryDetail, CategoryList, CategoryProducts, ProductDetail

router = APIRouter(prefix="/categories", tags=["categories"])


@router.get("", response_model=CategoryList)
def list_categories(
    request: Request, session: DatabaseSession, accept_language: Annotated[str | None, Header()] = None
) -> Response:
    """List the categories in English, German or French."""
    language = preferred_language(accept_language)
    items = [
        CategoryDetail(id=category.id, slug=category.slug, name=category.names[language], products=count)
        for category, count in reading.categories_with_counts(session)
    ]
    representation = Representation(
        body=CategoryList(language=language, items=items).model_dump_json().encode(),
        lifetimes=CATEGORIES,
        groups=(groups.CATEGORIES,),
        fields={"Content-Language": language, "Vary": "Accept-Language"},
    )
    return conditional_response(request, representation)


@router.get("/{slug}/products", response_model=CategoryProducts)
def list_category(request: Request, session: DatabaseSession, now: Now, slug: str) -> Response:
    """List all products of a category at once: hundreds of kilobytes for the largest."""
    category = reading.category_by_slug(session, slug)
    items = [ProductDetail.of(product) for product in reading.products_of(session, category)]
    representation = Representation(
        body=CategoryProducts(category=slug, total=len(items), items=items).model_dump_json().encode(),
        lifetimes=PRODUCT_LIST,
        groups=(groups.category(category.id),),
        last_modified=settled(category.updated_at, now),
    )
    return conditional_response(request, representation)
