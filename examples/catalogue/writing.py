"""Changes: what the write endpoints do to the database.

Each function commits before it returns, so that no cache is told of a change that may yet be lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from examples.catalogue import groups
from examples.catalogue.errors import ConflictError, InvalidRequestError
from examples.catalogue.models import BasketItem, Category, FormerSlug, Product
from examples.catalogue.schemas import ProductChange, ProductDraft
from examples.catalogue.slugs import slugify


@dataclass(frozen=True, slots=True)
class Written:
    """The product as it is now, and the cache groups that its change invalidates."""

    product: Product
    groups: tuple[str, ...]


def create_product(session: Session, draft: ProductDraft, now: datetime) -> Written:
    """Add a product.

    Raises InvalidRequestError for an unknown category, and ConflictError if another product has the name.
    """
    category = _category(session, draft)
    product = Product(
        slug=_free_slug(session, draft.name, None),
        name=draft.name,
        description=draft.description,
        category=category,
        price_cents=draft.price_cents,
        stock=draft.stock,
        tags=draft.tags,
        created_at=now,
        updated_at=now,
    )
    category.updated_at = now
    with _committed(session):
        _take_from_former_owner(session, product.slug)
        session.add(product)
    return Written(product, groups.changed_by_write(product.id, [category.id], counts_changed=True))


def replace_product(session: Session, product: Product, draft: ProductDraft, now: datetime) -> Written:
    """Give the product all values of the draft; a new name leaves the old slug behind as a redirect.

    Raises InvalidRequestError for an unknown category, and ConflictError if another product has the name or
    another writer was faster.
    """
    former_category, category = product.category, _category(session, draft)
    slug = _free_slug(session, draft.name, product.id)
    with _committed(session):
        if slug != product.slug:
            _take_from_former_owner(session, slug)
            session.add(FormerSlug(slug=product.slug, product_id=product.id))
        product.slug, product.name, product.description = slug, draft.name, draft.description
        product.category, product.price_cents = category, draft.price_cents
        product.stock, product.tags = draft.stock, draft.tags
        product.updated_at = former_category.updated_at = category.updated_at = now
    moved = former_category.id != category.id
    changed = groups.changed_by_write(product.id, [former_category.id, category.id], counts_changed=moved)
    return Written(product, changed)


def change_product(session: Session, product: Product, change: ProductChange, now: datetime) -> Written:
    """Give the product those values that the client set; raises what replace_product raises."""
    current = ProductDraft(
        name=product.name,
        category=product.category.slug,
        price_cents=product.price_cents,
        description=product.description,
        stock=product.stock,
        tags=product.tags,
    )
    draft = current.model_copy(update=change.model_dump(exclude_unset=True))
    return replace_product(session, product, draft, now)


def delete_product(session: Session, product: Product, now: datetime) -> Written:
    """Remove the product, from baskets too; raises ConflictError if another writer was faster."""
    with _committed(session):
        product.category.updated_at = now
        session.delete(product)
    changed = groups.changed_by_write(product.id, [product.category_id], counts_changed=True)
    return Written(product, changed)


def put_into_basket(session: Session, user_name: str, product: Product, quantity: int) -> None:
    """Make the basket hold so many of the product; raises ConflictError if there are not as many."""
    if quantity > product.stock:
        raise ConflictError(
            f"{quantity} of product {product.id} were asked for, {product.stock} are in stock"
        )
    with _committed(session):
        session.merge(BasketItem(user_name=user_name, product_id=product.id, quantity=quantity))


def take_from_basket(session: Session, user_name: str, product_id: int) -> None:
    """Remove the product from the basket, if it is there."""
    with _committed(session):
        session.execute(
            delete(BasketItem).where(BasketItem.user_name == user_name, BasketItem.product_id == product_id)
        )


def _category(session: Session, draft: ProductDraft) -> Category:
    category = session.scalar(select(Category).where(Category.slug == draft.category))
    if category is None:
        raise InvalidRequestError(
            f"body.category: there is no category {draft.category!r}; GET /categories lists them"
        )
    return category


def _free_slug(session: Session, name: str, product_id: int | None) -> str:
    slug = slugify(name)
    if not slug:
        raise InvalidRequestError(
            f"body.name: {name!r} has no letter or digit from which a slug could be made"
        )
    owner = session.scalar(select(Product.id).where(Product.slug == slug))
    if owner not in (None, product_id):
        raise ConflictError(f"product {owner} has the slug {slug!r} already; choose another name")
    return slug


def _take_from_former_owner(session: Session, slug: str) -> None:
    session.execute(delete(FormerSlug).where(FormerSlug.slug == slug))


@contextmanager
def _committed(session: Session) -> Iterator[None]:
    try:
        yield
        session.commit()
    except StaleDataError as error:
        raise ConflictError(
            "another writer changed the product first; read it again and repeat the change"
        ) from error
    except IntegrityError as error:
        raise ConflictError("another writer used the same name, or deleted the product, just now") from error
