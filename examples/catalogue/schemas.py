"""What the API takes and gives, as JSON."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from examples.catalogue.models import BasketItem, Product

LARGEST_ID = 2**31 - 1

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=120)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=140)]
PriceCents = Annotated[int, Field(ge=0, le=10_000_000, description="Price in euro cents")]
Stock = Annotated[int, Field(ge=0, le=1_000_000)]
Tags = Annotated[list[Slug], Field(max_length=10)]


class Sort(StrEnum):
    """Orders of a list of products; a minus means descending."""

    ID = "id"
    NAME = "name"
    CHEAPEST = "price"
    DEAREST = "-price"
    NEWEST = "-created"


class Paging(BaseModel):
    """Which slice of a list is asked for; parameters that are not known are ignored."""

    page: int = Field(default=1, ge=1, le=10_000)
    per_page: int = Field(default=20, ge=1, le=100)


class ProductQuery(Paging):
    """Parameters of the list of products."""

    category: Slug | None = None
    in_stock: bool | None = None
    sort: Sort = Sort.ID


class SearchQuery(Paging):
    """Parameters of the search."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=80)]


class ProductDraft(BaseModel):
    """All that a client decides about a product."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    category: Slug
    price_cents: PriceCents
    description: Description = ""
    stock: Stock = 0
    tags: Tags = Field(default_factory=list)


class ProductChange(BaseModel):
    """The members of a draft that change; those left out keep their values."""

    model_config = ConfigDict(extra="forbid")

    # The defaults are never read: only what the client set is applied, and null is no value for any of these.
    name: Name = ""
    category: Slug = ""
    price_cents: PriceCents = 0
    description: Description = ""
    stock: Stock = 0
    tags: Tags = Field(default_factory=list)


class ProductDetail(BaseModel):
    """A product as everyone sees it."""

    id: int
    slug: str
    name: str
    description: str
    category: str
    price_cents: int
    currency: str = "EUR"
    stock: int
    tags: list[str]
    image: str
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def of(cls, product: Product) -> "ProductDetail":
        """Return the product's public form."""
        return cls(
            id=product.id,
            slug=product.slug,
            name=product.name,
            description=product.description,
            category=product.category.slug,
            price_cents=product.price_cents,
            stock=product.stock,
            tags=product.tags,
            image=f"/products/{product.id}/image.png",
            created_at=product.created_at,
            updated_at=product.updated_at,
            revision=product.revision,
        )


class ProductPage(BaseModel):
    """One slice of a list of products."""

    total: int
    page: int
    pages: int
    per_page: int
    items: list[ProductDetail]


class CategoryDetail(BaseModel):
    """A category in the client's language, with the number of its products."""

    id: int
    slug: str
    name: str
    products: int


class CategoryList(BaseModel):
    """All categories."""

    language: str
    items: list[CategoryDetail]


class CategoryProducts(BaseModel):
    """Every product of one category, unpaged."""

    category: str
    total: int
    items: list[ProductDetail]


class ReportRow(BaseModel):
    """What one category has in stock, and what that is worth."""

    category: str
    products: int
    sold_out: int
    units: int
    value_cents: int


class StockReport(BaseModel):
    """The stock of all categories at one moment."""

    generated_at: datetime
    took_seconds: float
    rows: list[ReportRow]


class Profile(BaseModel):
    """The user whose token came with the request."""

    user: str
    name: str
    email: str
    language: str


class Quantity(BaseModel):
    """How many of a product a basket shall hold."""

    model_config = ConfigDict(extra="forbid")

    quantity: int = Field(ge=1, le=99)


class BasketLine(BaseModel):
    """So many of one product."""

    product_id: int
    name: str
    quantity: int
    price_cents: int


class Basket(BaseModel):
    """What one user is about to buy."""

    user: str
    total_cents: int
    lines: list[BasketLine]

    @classmethod
    def of(cls, user: str, items: list[BasketItem]) -> "Basket":
        """Return the items at today's prices, with their sum."""
        lines = [
            BasketLine(
                product_id=item.product_id,
                name=item.product.name,
                quantity=item.quantity,
                price_cents=item.product.price_cents,
            )
            for item in items
        ]
        return cls(
            user=user, total_cents=sum(line.quantity * line.price_cents for line in lines), lines=lines
        )
