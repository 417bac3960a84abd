"""The catalogue's first contents: the same 3,000 products, word for word, on every machine."""

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy.orm import Session

from examples.catalogue.models import BasketItem, Category, FormerSlug, Product
from examples.catalogue.slugs import slugify

_OPENED = datetime(2025, 1, 1, tzinfo=UTC)
# Prime, and larger than any list of words: steps of this size meet every combination once.
_STRIDE = 7919
_RENAMED_EVERY = 50


class CategoryWords(BaseModel):
    """One table of categories.toml."""

    slug: str
    names: dict[str, str]
    products: int
    price_cents: tuple[int, int]
    nouns: list[str]
    qualities: list[str]
    uses: list[str]
    details: list[str]
    tags: list[str]


class Words(BaseModel):
    """The whole of categories.toml."""

    makers: list[str]
    closings: list[str]
    category: list[CategoryWords]


@dataclass(frozen=True, slots=True)
class Dice:
    """Numbers that look random and depend on nothing but the product's id and what they are for."""

    product_id: int

    def below(self, limit: int, purpose: str) -> int:
        """Return a number from 0 to `limit` - 1."""
        digest = hashlib.blake2b(f"{self.product_id}/{purpose}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % limit

    def pick(self, words: list[str], purpose: str) -> str:
        """Return one of the words."""
        return words[self.below(len(words), purpose)]


def read_words() -> Words:
    """Return the words from which products are made."""
    return Words.model_validate(tomllib.loads(Path(__file__).with_name("categories.toml").read_text("utf-8")))


def seed(session: Session) -> None:
    """Fill the empty tables; the caller commits."""
    words = read_words()
    next_id = 1
    for category_id, category_words in enumerate(words.category, start=1):
        products = list(_products(words, category_words, category_id, next_id))
        next_id += len(products)
        updated_at = max(product.updated_at for product in products)
        slug, names = category_words.slug, category_words.names
        session.add(Category(id=category_id, slug=slug, names=names, updated_at=updated_at))
        session.flush()
        session.add_all(products)
    session.flush()
    session.add_all(_former_slugs(range(_RENAMED_EVERY, next_id, _RENAMED_EVERY)))
    session.add_all(
        [
            BasketItem(user_name="alice", product_id=17, quantity=1),
            BasketItem(user_name="alice", product_id=1203, quantity=2),
            BasketItem(user_name="bob", product_id=2048, quantity=1),
        ]
    )


def _products(words: Words, category: CategoryWords, category_id: int, first_id: int) -> Iterator[Product]:
    combinations = len(words.makers) * len(category.qualities) * len(category.nouns)
    for index in range(category.products):
        maker_and_quality, noun = divmod(index * _STRIDE % combinations, len(category.nouns))
        maker, quality = divmod(maker_and_quality, len(category.qualities))
        name = f"{words.makers[maker]} {category.qualities[quality]} {category.nouns[noun]}"
        dice = Dice(first_id + index)
        created_at = _OPENED + timedelta(minutes=dice.below(250 * 24 * 60, "created"))
        yield Product(
            id=dice.product_id,
            slug=slugify(name),
            name=name,
            description=_description(words, category, dice, name),
            category_id=category_id,
            price_cents=_price_cents(category, dice),
            stock=0 if dice.below(12, "sold out") == 0 else dice.below(240, "stock") + 1,
            tags=sorted({dice.pick(category.tags, "first tag"), dice.pick(category.tags, "second tag")}),
            created_at=created_at,
            updated_at=created_at + timedelta(minutes=dice.below(60 * 24 * 60, "updated")),
        )


def _description(words: Words, category: CategoryWords, dice: Dice, name: str) -> str:
    first = dice.below(len(category.details), "detail")
    second = (first + 1 + dice.below(len(category.details) - 1, "other detail")) % len(category.details)
    return (
        f"The {name} is made for {dice.pick(category.uses, 'use')}. "
        f"{category.details[first]} {category.details[second]} {dice.pick(words.closings, 'closing')}"
    )


def _price_cents(category: CategoryWords, dice: Dice) -> int:
    cheapest, dearest = category.price_cents
    # Squared, because most things are nearer to the cheapest than to the dearest.
    share = (dice.below(1000, "price") / 1000) ** 2
    return int(cheapest + (dearest - cheapest) * share) // 100 * 100 + 90


def _former_slugs(product_ids: range) -> Iterator[FormerSlug]:
    for product_id in product_ids:
        yield FormerSlug(slug=f"article-{product_id}", product_id=product_id)
