"""What docs/frameworks.md says to set makes addresses public; that logins work is shown behind the Worker."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
FIELDS = {"host": "127.0.0.1:8000", "x-forwarded-host": "api.example.com", "x-forwarded-proto": "https"}

DJANGO = """
import json
from django.conf import settings
settings.configure(**{name: value for name, value in globals().copy().items() if name.isupper()})
from django.middleware.csrf import CsrfViewMiddleware
from django.test import RequestFactory
fields = {"HTTP_HOST": "127.0.0.1:8000", "HTTP_X_FORWARDED_HOST": "api.example.com"}
fields |= {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_ORIGIN": "https://api.example.com"}
request = RequestFactory().post("/products?page=2", **fields)
is_verified = CsrfViewMiddleware(lambda _: None)._origin_verified(request)
print(json.dumps([request.build_absolute_uri(), is_verified]))
"""


def snippet(heading: str, number: int = 0) -> str:
    section = PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    found: str = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[number]
    return found


def app_of(heading: str) -> Any:
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(snippet(heading), "docs/frameworks.md", "exec"), names)  # noqa: S102 - the page's own
    return names["app"]


def test_fastapi_names_the_public_host() -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app_of("FastAPI"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/products", headers=FIELDS)

    assert asyncio.run(ask()).json() == {"next": "https://api.example.com/products?page=2"}


def test_flask_names_the_public_host() -> None:
    transport = httpx.WSGITransport(app_of("Flask"))
    with httpx.Client(transport=transport, base_url="http://127.0.0.1") as client:
        answer = client.get("/products", headers=FIELDS)
        assert answer.json() == {"next": "https://api.example.com/products?page=2"}
        assert (
            client.get("/products", headers={**FIELDS, "x-forwarded-host": "evil.example"}).status_code == 400
        )


def test_django_names_the_public_host_and_takes_its_forms() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", snippet("Django") + DJANGO], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == ["https://api.example.com/products?page=2", True]


VIEWSET = """
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=["origin_sdk.django.CacheFields"],
    ROOT_URLCONF="__main__",
    ALLOWED_HOSTS=["*"],
)
django.setup()
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.urls import path
from rest_framework.serializers import ModelSerializer
{viewset}
class GroupSerializer(ModelSerializer):
    class Meta:
        model = Group
        fields = ["name"]
given = {"queryset": Group.objects.all(), "serializer_class": GroupSerializer}
urlpatterns = [path("products", ProductViewSet.as_view({"get": "list"}, **given))]
call_command("migrate", verbosity=0)
from django.test import Client
answer = Client().get("/products", headers={"cookie": "sessionid=alice"})
print(answer.status_code, answer["CDN-Cache-Control"], answer["Cache-Groups"])
"""


def test_the_list_of_the_viewset_is_for_everyone() -> None:
    code = VIEWSET.replace("{viewset}", snippet("Django", 1))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r'200 public, max-age=300.* "products"\n', ran.stdout)


def test_who_goes_around_the_edge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORIGIN_SECRET", "0123456789abcdef0123456789abcdef")
    app = app_of("Refusing")

    async def ask(path: str) -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get(path)).status_code

    assert [asyncio.run(ask(path)) for path in ("/products", "/health")] == [403, 404]


@pytest.mark.parametrize(
    ("sent", "public"),
    [
        pytest.param(
            {"x-forwarded-host": "api.example.com:8443"}, "http://api.example.com:8443", id="a port"
        ),
        pytest.param({"x-forwarded-proto": "https"}, "https://127.0.0.1", id="the scheme alone"),
        pytest.param(
            {"x-forwarded-host": "a.example, b.example"}, "http://127.0.0.1", id="a list is nobody's"
        ),
        *(
            pytest.param({"x-forwarded-host": host}, "http://127.0.0.1", id=f"{host} is no host")
            for host in ("a.example/..//x", "user@a.example", "a b", "a.example:x")
        ),
        pytest.param({"x-forwarded-host": "[::1]:80"}, "http://[::1]:80", id="an address"),
        pytest.param({"x-forwarded-proto": "gopher"}, "http://127.0.0.1", id="no scheme of HTTP"),
        pytest.param({}, "http://127.0.0.1", id="nothing"),
    ],
)
def test_what_was_forwarded_is_believed_where_it_is_clear(sent: dict[str, str], public: str) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app_of("FastAPI"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/products", headers=sent)

    assert asyncio.run(ask()).json() == {"next": f"{public}/products?page=2"}
