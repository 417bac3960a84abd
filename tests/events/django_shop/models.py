"""Models with what a mapping has to deal with in Django."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from origin_sdk.events.django import EdgeEvents
from origin_sdk.outbox import Republish

HAS_GENERATED_FIELDS = hasattr(models, "GeneratedField")  # since Django 5.0
woken: list[str] = []
edge = EdgeEvents()
edge.on_commit = lambda: woken.append("now")


def offers(product: Any) -> list[Republish]:
    return [Republish(f"https://shop.example/{product.pk}", "page")] if product.category == 9 else []


@edge.purges(groups=lambda tag: f"tag-{tag.name}")
class Tag(models.Model):
    name = models.CharField(max_length=300)

    class Meta:
        app_label = "django_shop"


@edge.purges(
    groups=lambda product: [
        f"product-{product.pk}",
        f"category-{product.category}",
        *(f"tagged-{tag.name}" for tag in product.tags.all()),
    ],
    publish=lambda product: (
        [Republish(f"https://shop.example/{product.pk}", "page")] if product.category == 9 else []
    ),
    watch=["name", "category", "tags"],
)
class Product(models.Model):
    name = models.CharField(max_length=50)
    category = models.IntegerField(default=1)
    views = models.IntegerField(default=0)
    tags: ClassVar[Any] = models.ManyToManyField(Tag, related_name="products")

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda review: f"reviews-{review.product_id}")
class Review(models.Model):
    text = models.CharField(max_length=50)
    product = models.ForeignKey(Product, on_delete=models.CASCADE)

    class Meta:
        app_label = "django_shop"


class Shelf(models.Model):
    name = models.CharField(max_length=50)
    notes: ClassVar[Any] = GenericRelation("Note")

    class Meta:
        app_label = "django_shop"


def first_shelf() -> int:
    return 2


@edge.purges(groups=lambda item: [f"item-{item.pk}", f"shelf-{item.shelf_id}", f"spare-{item.spare_id}"])
class Item(models.Model):
    shelf = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True, related_name="items")
    spare = models.ForeignKey(
        Shelf, on_delete=models.SET_DEFAULT, default=first_shelf, null=True, related_name="spares"
    )

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda note: [f"note-{note.pk}", f"on-{note.object_id}"])
class Note(models.Model):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True)
    object_id = models.IntegerField(null=True)
    about = GenericForeignKey()

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda label: f"label-{label.pk}-on-{label.object_id}", watch=["about"])
class Label(models.Model):
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE, null=True)
    object_id = models.IntegerField(null=True)
    about = GenericForeignKey()
    text = models.CharField(max_length=50, default="")

    class Meta:
        app_label = "django_shop"


class Square(models.Model):
    side = models.IntegerField(default=1)
    if HAS_GENERATED_FIELDS:
        area = models.GeneratedField(
            expression=models.F("side") * models.F("side"),
            output_field=models.IntegerField(),
            db_persist=True,
        )

    class Meta:
        app_label = "django_shop"


if HAS_GENERATED_FIELDS:
    edge.register(Square, groups=lambda square: f"area-{square.area}", watch="area")


class Place(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda cafe: f"cafe-{cafe.name}", watch=["name"], bulk="rows")
class Cafe(Place):
    seats = models.IntegerField(default=1)

    class Meta:
        app_label = "django_shop"


class Book(models.Model):
    title = models.CharField(max_length=50)

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda novel: novel.group(), bulk="rows")
class Novel(Book):
    class Meta:
        app_label = "django_shop"
        proxy = True

    def group(self) -> str:
        return f"novel-{self.title}"


class Person(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "django_shop"


@edge.purges(groups=lambda team: f"team-{team.name}", watch=["name", "members"], bulk=["teams"])
class Team(models.Model):
    name = models.CharField(max_length=50)
    members: ClassVar[Any] = models.ManyToManyField(Person, through="Membership")

    class Meta:
        app_label = "django_shop"


class Membership(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE)
    person = models.ForeignKey(Person, on_delete=models.CASCADE)

    class Meta:
        app_label = "django_shop"
