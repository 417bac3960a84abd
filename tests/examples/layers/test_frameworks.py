"""Each example answers from its cache, and with the new name after a write."""

import subprocess
import sys

import httpx
import pytest

from examples.layers import fastapi_app, flask_app
from scripts.runtime import paths


@pytest.fixture(autouse=True)
def _names() -> None:
    for module in (fastapi_app, flask_app):
        module.NAMES.clear()
        module.NAMES[17] = "lamp"


async def test_fastapi() -> None:
    transport = httpx.ASGITransport(fastapi_app.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.get("/products/17")).json() == {"id": 17, "name": "lamp"}
        fastapi_app.NAMES[17] = "changed behind the cache's back"
        assert (await client.get("/products/17")).json()["name"] == "lamp"
        await client.put("/products/17", params={"name": "desk"})
        assert (await client.get("/products/17")).json()["name"] == "desk"
        assert (await client.get("/products/18")).status_code == 404


def test_flask() -> None:
    client = flask_app.app.test_client()
    assert client.get("/products/17").get_json() == {"id": 17, "name": "lamp"}
    flask_app.NAMES[17] = "changed behind the cache's back"
    assert client.get("/products/17").get_json()["name"] == "lamp"
    client.put("/products/17/desk")
    assert client.get("/products/17").get_json()["name"] == "desk"
    assert client.get("/products/18").status_code == 404


DJANGO = """
from django.conf import settings
from django.test import RequestFactory

settings.configure()
from examples.layers import django_views as views

request = RequestFactory().get("/")
assert b"lamp" in views.read(request, 17).content
views.NAMES[17] = "changed behind the cache's back"
assert b"lamp" in views.read(request, 17).content
views.rename(request, 17, "desk")
assert b"desk" in views.read(request, 17).content
assert views.read(request, 18).status_code == 404
views.cache.close()
"""


def test_django() -> None:
    """In a process of its own: Django's settings are configured once in each."""
    subprocess.run((sys.executable, "-c", DJANGO), cwd=paths.ROOT, check=True, timeout=100)
