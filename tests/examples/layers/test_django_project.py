"""The project's cache, sessions, pages and fragments hold within a process, and among several."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.runtime import paths
from tests.layers.servers import RedisServer

VISITOR = """
import sys
import django
from examples.layers import django_project as shop

django.setup()
from django.core.cache import caches
from django.template import Context, Engine
from django.test import Client

client = Client()
if session := sys.argv[1]:
    client.cookies["sessionid"] = session
is_first = not session

assert client.get("/products/17").json()["name"] == ("lamp" if is_first else "desk")
if is_first:
    shop.NAMES[17] = "changed behind the cache's back"
    assert client.get("/products/17").json()["name"] == "lamp"
    assert client.get("/products/17/desk").status_code == 204
    assert client.get("/products/17").json()["name"] == "desk"

pages = [client.get("/page") for _ in range(2)]
assert pages[0].content == pages[1].content == b"rendered 0 times before"
assert pages[0]["Expires"] == pages[1]["Expires"]
assert len(shop.RENDERED) == is_first

engine = Engine(libraries={"cache": "django.templatetags.cache"})
template = engine.from_string("{% load cache %}{% cache 60 part %}<b>{{ text }}</b>{% endcache %}")
for text in ("a&b", "another"):
    assert template.render(Context({"text": text})) == "<b>a&amp;b</b>"

visits = [client.get("/visits").json()["visits"] for _ in range(3)]
session = client.cookies["sessionid"].value
for alias in ("default", "sessions"):
    caches[alias].layers.close()
print(visits, session)
"""


def visit(url: str, session: str) -> tuple[str, str]:
    """Return the counts of three visits, and the session, of a process of its own."""
    done = subprocess.run(
        (sys.executable, "-W", "error", "-c", VISITOR, session),
        cwd=paths.ROOT,
        env={**os.environ, "REDIS_URL": url},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    visits, _, name = done.stdout.strip().rpartition(" ")
    return visits, name


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as own:
        yield own


def test_a_second_process_goes_on_where_the_first_ended(server: RedisServer) -> None:
    visits, session = visit(server.url, "")
    assert visits == "[1, 2, 3]"
    assert visit(server.url, session) == ("[4, 5, 6]", session)


def test_without_redis_memory_does_for_one_process() -> None:
    assert visit("", "")[0] == "[1, 2, 3]"


AWAY = """
import django
from examples.layers import django_project as shop

django.setup()
from django.core.cache import caches
from django.test import Client

client = Client()
for _ in range(3):
    assert client.get("/products/17").json()["name"] == "lamp"
    assert client.get("/visits").json() == {"visits": 1}
    assert client.get("/page").status_code == 200
for alias in ("default", "sessions"):
    caches[alias].layers.close()
"""


def test_with_a_redis_that_is_away_requests_are_answered() -> None:
    environment = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1"}
    subprocess.run((sys.executable, "-c", AWAY), cwd=paths.ROOT, env=environment, check=True, timeout=100)
