"""Models with what a mapping has to deal with: foreign keys, associations, orphans, subclasses."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ForeignKey, Table, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, composite, mapped_column, relationship, synonym

from origin_sdk.events.sqlalchemy import EdgeEvents
from origin_sdk.outbox import Republish
from origin_sdk.outbox.sqlalchemy import outbox_table


class Base(DeclarativeBase):
    pass


outbox_table(Base.metadata)
edge = EdgeEvents()

product_tag = Table(
    "product_tag",
    Base.metadata,
    Column("product_id", ForeignKey("product.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class Category(Base):
    __tablename__ = "category"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    products: Mapped[list[Product]] = relationship(back_populates="category")


@edge.purges(groups=lambda tag: f"tag-{tag.name}", bulk=["tags"])
class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@edge.purges(
    groups=lambda product: [*product.own_groups(), *(f"tagged-{tag.name}" for tag in product.tags)],
    urls=lambda product: f"https://shop.example/{product.path}",
    watch=["name", "price", "category_id", "tags"],
    bulk="rows",
)
class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int] = mapped_column(default=1)
    views: Mapped[int] = mapped_column(default=0)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("category.id"))
    category: Mapped[Category | None] = relationship(back_populates="products")
    tags: Mapped[list[Tag]] = relationship(secondary=product_tag)
    reviews: Mapped[list[Review]] = relationship(cascade="all, delete-orphan", back_populates="product")

    @property
    def path(self) -> str:
        return f"p/{self.name}"

    def own_groups(self) -> list[str]:
        return [f"product-{self.id}", f"category-{self.category_id}"]


class Review(Base):
    __tablename__ = "review"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))
    product: Mapped[Product] = relationship(back_populates="reviews")


class Page(Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "page"}  # noqa: RUF012 - SQLAlchemy's own


class Offer(Page):
    __mapper_args__ = {"polymorphic_identity": "offer"}  # noqa: RUF012


@dataclass
class Size:
    width: int
    height: int


@edge.purges(
    groups=lambda box: [f"{box.size.width}x{box.size.height}", f"deep-{box.deep}"], watch=["size", "deep"]
)
class Box(Base):
    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True)
    width: Mapped[int]
    height: Mapped[int]
    depth: Mapped[int] = mapped_column(default=1)
    size: Mapped[Size] = composite("width", "height")
    deep: Mapped[int] = synonym("depth")


@edge.purges(groups=lambda note: f"note-{note.id}-v{note.version}", watch=["version"])
class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    version: Mapped[int] = mapped_column(nullable=False)
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    breed: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


edge.register(Animal, groups=lambda animal: f"animal-{animal.id}", bulk=["animals"])


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    jars: Mapped[list[Jar]] = relationship(cascade="all", passive_deletes=True)


@edge.purges(groups=lambda jar: f"jar-{jar.id}")
class Jar(Base):
    __tablename__ = "jar"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id", ondelete="CASCADE"))


edge.register(Review, groups=lambda review: f"reviews-{review.product_id}")
edge.register(
    Page,
    publish=lambda page: [Republish(f"https://shop.example/{page.slug}", "page", {"slug": page.slug})],
    urls=lambda page: f"https://shop.example/{page.slug}",
    hard=True,
    reason="pages",
)


def fill(session: Session) -> None:
    """Write the rows that every scenario starts from."""
    tags = [Tag(name="red"), Tag(name="blue")]
    session.add_all([Category(name="kitchen"), Category(name="garden"), *tags])
    session.flush()
    session.add_all([Product(name="pan", category_id=1, tags=tags[:1]), Product(name="pot", category_id=1)])
    session.flush()
    session.add_all([Review(text="good", product_id=1), Page(slug="about"), Box(size=Size(2, 3)), Shelf()])
    session.add_all([Note(text="a"), Dog(breed="pug")])
    session.commit()
    session.execute(update(Base.metadata.tables["edge_outbox"]).values(state="dropped"))
    session.commit()
