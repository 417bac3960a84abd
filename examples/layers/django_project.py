"""A Django project whose cache, sessions and cached pages lie in Redis, or in memory without REDIS_URL.

Run it: `python -m examples.layers.django_project runserver`.
"""

import os
import sys

from django.conf import settings
from django.core.cache import cache
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import cache_page

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "for this example alone"),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    CACHES={
        "default": {
            "BACKEND": "origin_sdk.layers.django.LayeredBackend",
            "LOCATION": os.environ.get("REDIS_URL", ""),
            "KEY_PREFIX": "shop",
        },
        "sessions": {
            "BACKEND": "origin_sdk.layers.django.LayeredBackend",
            "LOCATION": os.environ.get("REDIS_URL", ""),
            "KEY_PREFIX": "shop-sessions",
            # While Redis is away a login holds for its own request, instead of failing.
            "OPTIONS": {"ADD_WITHOUT_REDIS": True},
        },
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_CACHE_ALIAS="sessions",
)

NAMES = {17: "lamp"}


def read(_: HttpRequest, number: int) -> HttpResponse:
    """Load once among all processes, and keep the value as one of a group."""
    found = cache.get_or_set(
        f"product-{number}",
        lambda: {"name": NAMES.get(number), "loaded": timezone.now()},
        timeout=60,
        groups=[f"product-{number}"],
    )
    return JsonResponse(found)


def rename(_: HttpRequest, number: int, name: str) -> HttpResponse:
    """Write, then invalidate; with a database, do so in `transaction.on_commit`."""
    NAMES[number] = name
    cache.invalidate(groups=[f"product-{number}"])
    return HttpResponse(status=204)


def visit(request: HttpRequest) -> HttpResponse:
    """Count a visitor's visits in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


@cache_page(60)  # type: ignore[untyped-decorator]  # Django has no types
def page(_: HttpRequest) -> HttpResponse:
    """Kept whole by Django's own decorator."""
    response = HttpResponse(f"rendered {len(RENDERED)} times before")
    RENDERED.append(response)
    return response


RENDERED: list[HttpResponse] = []
urlpatterns = [
    path("products/<int:number>", read),
    path("products/<int:number>/<name>", rename),
    path("visits", visit),
    path("page", page),
]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
