"""Queries: what the read endpoints need from the database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, String, case, cast, func, or_, select
from sqlalchemy.orm import Session

from examples.catalogue import groups
from examples.catalogue.errors import NotFoundError
from examples.catalogue.models import BasketItem, Category, FormerSlug, Product
from examples.catalogue.schemas import Paging, ProductQuery, ReportRow, SearchQuery, Sort

_ROWS_PER_FETCH = 200

_ORDERS: dict[Sort, ColumnElement[Any]] = {
    Sort.ID: Product.id.asc(),
    Sort.NAME: Product.name.asc(),
    Sort.CHEAPEST: Product.price_cents.asc(),
    Sort.DEAREST: Product.price_cents.desc(),
    Sort.NEWEST: Product.created_at.desc(),
}


@dataclass(frozen=True, slots=True)
class Slice:
    """Some products of a list, and the length of the whole list."""

    products: list[Product]
    total: int


def product_by_id(session: Session, product_id: int) -> Product:
    """Return the product or raise NotFoundError."""
    product = session.get(Product, product_id)
    if product is None:
        raise NotFoundError(f"there is no product {product_id}", (groups.product(product_id),))
    return product


def product_by_slug(session: Session, slug: str) -> Product:
    """Return the product that has the slug, or had it; raise NotFoundError if none ever had."""
    product = session.scalar(select(Product).where(Product.slug == slug))
    if product is None:
        product = session.scalar(
            select(Product)
            .join(FormerSlug, FormerSlug.product_id == Product.id)
            .where(FormerSlug.slug == slug)
        )
    if product is None:
        # A write to any product may give it this slug.
        raise NotFoundError(f"there is no product with the slug {slug!r}", (groups.PRODUCTS,))
    return product


def category_by_slug(session: Session, slug: str) -> Category:
    """Return the category or raise NotFoundError."""
    category = session.scalar(select(Category).where(Category.slug == slug))
    if category is None:
        raise NotFoundError(
            f"there is no category {slug!r}; GET /categories lists them", (groups.CATEGORIES,)
        )
    return category


def list_products(session: Session, query: ProductQuery) -> Slice:
    """Return one page of the products that pass the filters."""
    statement = select(Product)
    if query.category is not None:
        statement = statement.where(Product.category_id == category_by_slug(session, query.category).id)
    if query.in_stock is not None:
        statement = statement.where(Product.stock > 0 if query.in_stock else Product.stock == 0)
    return _slice(session, statement.order_by(_ORDERS[query.sort], Product.id), query)


def search_products(session: Session, query: SearchQuery) -> Slice:
    """Return one page of the products in which every word occurs, those with the words in the name first."""
    words = query.q.split()
    in_name = [Product.name.icontains(word, autoescape=True) for word in words]
    statement = select(Product).order_by(
        *(condition.desc() for condition in in_name), Product.name, Product.id
    )
    for word, named in zip(words, in_name, strict=True):
        described = Product.description.icontains(word, autoescape=True)
        tagged = cast(Product.tags, String).icontains(word, autoescape=True)
        statement = statement.where(or_(named, described, tagged))
    return _slice(session, statement, query)


def _slice(session: Session, statement: Select[Product], paging: Paging) -> Slice:
    total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    window = statement.limit(paging.per_page).offset((paging.page - 1) * paging.per_page)
    return Slice(list(session.scalars(window)), total)


def products_of(session: Session, category: Category) -> list[Product]:
    """Return all products of the category."""
    statement = select(Product).where(Product.category_id == category.id).order_by(Product.id)
    return list(session.scalars(statement))


def all_products(session: Session) -> Iterator[Sequence[Product]]:
    """Yield every product, a few hundred at a time."""
    statement = select(Product).order_by(Product.id).execution_options(yield_per=_ROWS_PER_FETCH)
    yield from session.scalars(statement).partitions()


def categories_with_counts(session: Session) -> list[tuple[Category, int]]:
    """Return every category and how many products it has."""
    statement = (
        select(Category, func.count(Product.id))
        .outerjoin(Product, Product.category_id == Category.id)
        .group_by(Category.id)
        .order_by(Category.id)
    )
    return [(category, count) for category, count in session.execute(statement)]


def last_change(session: Session) -> datetime:
    """Return the moment of the last write to any product."""
    return session.scalars(select(Category.updated_at).order_by(Category.updated_at.desc()).limit(1)).one()


def stock_by_category(session: Session) -> list[ReportRow]:
    """Return the stock and its worth, category by category."""
    statement = (
        select(
            Category.slug,
            func.count(Product.id),
            func.coalesce(func.sum(case((Product.stock == 0, 1), else_=0)), 0),
            func.coalesce(func.sum(Product.stock), 0),
            func.coalesce(func.sum(Product.stock * Product.price_cents), 0),
        )
        .join(Product, Product.category_id == Category.id)
        .group_by(Category.id)
        .order_by(Category.id)
    )
    return [
        ReportRow(category=slug, products=products, sold_out=sold_out, units=units, value_cents=value_cents)
        for slug, products, sold_out, units, value_cents in session.execute(statement)
    ]


def basket_of(session: Session, user_name: str) -> list[BasketItem]:
    """Return what the user's basket holds."""
    statement = select(BasketItem).where(BasketItem.user_name == user_name).order_by(BasketItem.product_id)
    return list(session.scalars(statement))
