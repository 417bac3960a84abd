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


def test_the_viewset_is_python() -> None:
    compile(snippet("Django", 1), "docs/frameworks.md", "exec")


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
