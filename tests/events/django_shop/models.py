"""Models with what a mapping has to deal with in Django."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from origin_sdk.events.django import EdgeEvents
from origin_sdk.outbox import Republish

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
