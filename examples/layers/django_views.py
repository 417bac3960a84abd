"""Django: put `urlpatterns` into your URLs. Without REDIS_URL the cache has memory alone."""

import os
from dataclasses import asdict, dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from origin_sdk.layers import LayeredCache, Policy

cache = LayeredCache(os.environ.get("REDIS_URL"))
NAMES = {17: "lamp"}


@dataclass
class Product:
    """What the API returns."""

    id: int
    name: str


@cache.cached("{number}", groups=("product-{number}",), policy=Policy(lifetime=60, stale=300, fail_safe=3600))
def product(number: int) -> Product | None:
    """Stands for a query that takes its time."""
    return Product(number, NAMES[number]) if number in NAMES else None


def read(_: HttpRequest, number: int) -> HttpResponse:
    """Answer from the cache; None is kept as well."""
    found = product(number)
    return JsonResponse(asdict(found)) if found else HttpResponse(status=404)


def rename(_: HttpRequest, number: int, name: str) -> HttpResponse:
    """Write, then invalidate; with a database, do so in `transaction.on_commit`."""
    NAMES[number] = name
    cache.invalidate(groups=[f"product-{number}"])
    return HttpResponse(status=204)


urlpatterns = [path("products/<int:number>", read), path("products/<int:number>/<name>", rename)]
