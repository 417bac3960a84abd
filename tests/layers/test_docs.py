"""The snippets of docs/layers.md run, in order, in one namespace."""

import re
import subprocess
import sys
from typing import Any

from origin_sdk.layers.django.setup import OPTIONS
from origin_sdk.layers.values.policy import Policy
from scripts.runtime import paths
from tests.layers.servers import RedisServer

DOCS = paths.ROOT / "docs" / "layers.md"
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Edge:
    def __init__(self) -> None:
        self.groups: list[str] = []

    def purge(self, *, groups: list[str], urls: list[str]) -> None:
        del urls
        self.groups += groups


def test_the_snippets_run(redis_server: RedisServer) -> None:
    edge = Edge()
    names: dict[str, Any] = {"REDIS_URL": redis_server.url, "EDGE": edge}
    names["load_from_database"] = lambda number: names["Product"](number, "lamp")
    for snippet in FENCE.findall(DOCS.read_text()):
        exec(compile(snippet, str(DOCS), "exec"), names)  # noqa: S102 - our own text
    names["cache"].close()
    assert edge.groups == ["product-17"]


def test_the_snippets_for_django_run(redis_server: RedisServer) -> None:
    snippets = FENCE.findall((DOCS.parent / "layers-django.md").read_text())
    project = (
        "from decimal import Decimal\nimport sys\nfrom django.conf import settings\nload_lamps = list\n"
        "class EDGE:\n    groups = []\n    def purge(self, *, groups, urls): self.groups += groups\n"
        f"REDIS_URL = {redis_server.url!r}\n{snippets[0]}\nsettings.configure(CACHES=CACHES)\n{snippets[1]}\n"
        "assert EDGE.groups == ['product-17']\nassert cache.get('lamps') is None"
    )
    subprocess.run((sys.executable, "-c", project), cwd=paths.ROOT, check=True, timeout=100)


def test_every_option_for_django_is_documented() -> None:
    text = (DOCS.parent / "layers-django.md").read_text()
    assert {name for name in OPTIONS if f"`{name}`" not in text} == set()


def test_every_field_of_a_policy_is_documented() -> None:
    text = DOCS.read_text()
    missing = {name for name in Policy.__slots__ if f"`{name}`" not in text}
    assert missing <= {"lock", "wait"}
