"""Rules, which the SDK reads from wrangler.toml and the Worker from its variables, lead to the same keys."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from origin_sdk import Project, PurgeClient, Settings, read_project
from origin_sdk._edge.explanation import explain
from scripts.runtime import snapshot
from scripts.runtime.wrangler import Wrangler
from tests.runtime.client import Response, ask
from tests.runtime.edge import eventually
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

MARK_INTERVAL = 1.0
SLACK = 2.0

RULES = """
[[vars.RULES]]
name = "search"
path = "/search/**"
query_drop = ["utm_*", "fbclid"]
query_sort = true
groups = ["searches"]

[[vars.RULES]]
name = "tenants"
path = "/tenants/**"
key_fields = ["X-Tenant"]
key_cookies = ["currency"]
ignore_cookies = false

[[vars.RULES]]
name = "pages"
path = "/pages"
query_keep = ["page"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    path: Path = tmp_path_factory.mktemp("rules") / "wrangler.toml"
    path.write_text(RULES)
    return read_project(path)


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrangler]:
    variables = {
        "ORIGIN": running_origin.url,
        "MARK_INTERVAL": str(MARK_INTERVAL),
        "RULES": json.dumps(tomllib.loads(RULES)["vars"]["RULES"]),
        "CACHE_STATUS_KEY": "true",
    }
    with Wrangler(
        tmp_path_factory.mktemp("edge"), variables=variables, snapshots=snapshot.deployed()
    ) as wrangler:
        yield wrangler


@pytest.fixture(scope="module")
def client(edge: Wrangler, project: Project) -> Iterator[PurgeClient]:
    base, _, namespace = edge.kv_url().partition("/storage/kv/namespaces/")
    settings = Settings(base_url=base, namespace_id=namespace, mark_interval=MARK_INTERVAL)
    with PurgeClient(settings, project=project) as client:
        yield client


def counting(origin: ScriptedOrigin) -> None:
    """Let the origin answer everything with the number of the request and what it was asked for."""

    def answer(request: Request) -> Reply:
        count = len(origin.requests())
        return reply(200, [("Cache-Control", "public, max-age=600")], f"{count} {request.target}".encode())

    origin.otherwise(answer)


def key_of(response: Response) -> str:
    found = re.search(r'key="((?:[^"\\]|\\.)*)"', response.value("cache-status") or "")
    assert found, response.value("cache-status")
    return re.sub(r"\\(.)", r"\1", found[1])


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/plain", id="no rule"),
        pytest.param("/plain?b=1&a=2", id="a query without a rule"),
        pytest.param("/search/x?utm_source=mail&b=1&fbclid=2&a=3", id="parameters dropped and sorted"),
        pytest.param("/search/x?utm_source=mail", id="nothing left of the query"),
        pytest.param("/pages?page=2&session=9", id="parameters kept"),
        pytest.param("/a/../plain%2Dpage?x=%7e", id="another spelling"),
        pytest.param("/" + "x" * 600, id="longer than a key"),
    ],
)
def test_the_key_that_is_explained_is_the_workers(
    edge: Wrangler, origin: ScriptedOrigin, project: Project, target: str
) -> None:
    counting(origin)
    assert key_of(ask(edge.url, target)) == explain(edge.url + target, project).key


def test_a_url_is_purged_whatever_the_rule_drops(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    counting(origin)
    old = ask(edge.url, "/search/shoes?utm_source=mail&q=1").body
    assert ask(edge.url, "/search/shoes?q=1&fbclid=3").body == old
    client.purge(urls=f"{edge.url}/search/shoes?utm_campaign=x&q=1", hard=True)
    eventually(lambda: ask(edge.url, "/search/shoes?q=1").body != old, "new shoes", MARK_INTERVAL + SLACK)


def test_a_group_that_a_rule_adds_is_one_to_purge_by(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    counting(origin)
    old = ask(edge.url, "/search/hats").body
    client.purge(groups="searches", hard=True)
    eventually(lambda: ask(edge.url, "/search/hats").body != old, "new hats", MARK_INTERVAL + SLACK)


def test_what_is_published_for_an_identity_reaches_that_identity_alone(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    counting(origin)
    client.publish(
        f"{edge.url}/tenants/menu",
        lambda: b"for acme in euro",
        headers={"Cache-Control": "public, max-age=600"},
        request_headers={"X-Tenant": "acme"},
        identity={"cookie:currency": "eur"},
    )

    def menu(tenant: str, currency: str) -> bytes:
        return ask(
            edge.url, "/tenants/menu", fields=[("X-Tenant", tenant), ("Cookie", f"currency={currency}")]
        ).body

    assert menu("acme", "eur") == b"for acme in euro"
    assert b"/tenants/menu" in menu("acme", "usd")
    assert b"/tenants/menu" in menu("other", "eur")
    client.purge(urls=f"{edge.url}/tenants/menu", hard=True)
    eventually(lambda: b"/tenants/menu" in menu("acme", "eur"), "new menu", MARK_INTERVAL + SLACK)
