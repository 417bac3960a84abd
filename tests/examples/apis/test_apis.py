"""Each example answers behind the real Worker as its README says, at the cost that this names."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn

from examples.apis import ads, feed, graphql, tenants
from examples.apis.__main__ import main
from examples.apis.catalog import APPS, readme_of, settings_of, variables_of
from origin_sdk._values.project import read_configurations
from origin_sdk.cli.check import checked
from origin_sdk_wire.marks import Lane, Mark, group_mark, value_of, written_keys
from scripts.benches.apis import measured
from scripts.runtime.ports import free_port
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker
from tests.runtime.client import Response
from tests.runtime.edge import QUIET, detail, eventually, get, is_hit


@pytest.mark.parametrize("name", sorted(APPS))
def test_the_readme_names_what_was_measured(name: str) -> None:
    [told] = re.findall(r"^    (.*hits, .*)$", readme_of(name), re.MULTILINE)
    assert told == str(measured(name))


@pytest.mark.parametrize("name", sorted(APPS))
def test_a_readme_is_of_one_screen(name: str) -> None:
    assert readme_of(name).count("\n") <= 40


@pytest.mark.parametrize("name", sorted(APPS))
def test_the_settings_pass_the_check(name: str, tmp_path: Path) -> None:
    file = tmp_path / "wrangler.toml"
    bound = '[[kv_namespaces]]\nbinding = "CACHE"\nid = "local"\n'
    file.write_text(f"{settings_of(name)}\n{bound}", encoding="utf-8")
    [found] = [checked(each) for each in read_configurations(file)]
    assert (found.errors, found.warnings) == ((), ())


@contextmanager
def served(name: str) -> Iterator[str]:
    """Serve an example by HTTP, in a thread of its own."""
    port = free_port()
    config = uvicorn.Config(APPS[name], host="127.0.0.1", port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, name)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    with ExitStack() as running:
        workers = []
        for name in APPS:
            url = running.enter_context(served(name))
            variables: dict[str, Json] = json.loads(
                json.dumps(variables_of(name)).replace(tenants.ISSUER, url)
            )
            if name == "tenants":  # the issuer is a name, not a place
                variables["TOKEN_ISSUERS"][0]["issuer"] = tenants.ISSUER  # type: ignore[index]  # a list
            workers.append(
                Worker(name, variables={**QUIET, "ORIGIN": url, "MARK_INTERVAL": "100ms", **variables})
            )
        yield running.enter_context(Workerd(tmp_path_factory.mktemp("apis"), workers))


def ask(edge: Workerd, query: str, **variables: object) -> Response:
    body = json.dumps({"query": query, "variables": variables}).encode()
    fields = ("Content-Type", "application/json")
    return get(edge.url("graphql"), "/graphql", fields, method="POST", body=body)


def test_graphql_queries_hit_until_a_mutation_changes_what_they_show(edge: Workerd) -> None:
    product, listed = "query P($id: Int!) { product(id: $id) { name } }", "{ products(shelf: 0) { name } }"
    told = [ask(edge, query, id=7, shelf=0) for query in (product, product, listed, listed)]
    assert [is_hit(each) for each in told] == [False, True] * 2

    ask(edge, "mutation R($id: Int!) { rename(id: $id) { name } }", id=7, name="kettle")

    for query in (product, listed):
        assert b"kettle" in ask(edge, query, id=7, shelf=0).body
    assert not is_hit(ask(edge, "{ product(id: -1) { name } }", id=-1))
    graphql.NAMES[7] = "product 7"


def test_a_tenant_shares_its_reports_and_loses_who_is_signed_off(edge: Workerd) -> None:
    def report(tenant: str, user: str, token: str = "") -> Response:
        bearer = ("Authorization", f"Bearer {token or tenants.token_of(tenant, user)}")
        return get(edge.url("tenants"), "/reports/1", bearer)

    ann = tenants.token_of("acme", "ann")
    told = [
        report("acme", "ann", ann),
        report("acme", "ann", ann),
        report("acme", "bob"),
        report("globex", "eve"),
    ]
    assert [is_hit(each) for each in told] == [False, True, True, False]
    assert [json.loads(each.body)["tenant"] for each in told] == ["acme"] * 3 + ["globex"]
    assert get(edge.url("tenants"), "/reports/1").status == 401

    moment_ms = int(datetime.now(UTC).timestamp() * 1000)  # noqa: TID251 - marks are dated
    for key in written_keys([group_mark("user-ann")], Lane.SOFT):
        edge.store().put(key, value_of(key, Mark(moment_ms, "test")).encode())
    eventually(lambda: detail(report("acme", "ann", ann)) == "revoked", "signed off")
    assert is_hit(report("acme", "bob"))


def test_a_reading_is_served_again_and_again(edge: Workerd) -> None:
    told = [get(edge.url("telemetry"), "/devices/17/latest") for _ in range(3)]
    assert [is_hit(each) for each in told] == [False, True, True]


def test_a_slow_auction_is_no_slow_answer(edge: Workerd) -> None:
    path = "/decide?slot=top&segment=a&page=1"
    assert get(edge.url("ads"), path).status == 200
    assert is_hit(get(edge.url("ads"), "/decide?page=2&segment=a&slot=top"))
    ads.SLOWNESS["seconds"] = 5.0
    try:
        began = time.monotonic()
        told = get(edge.url("ads"), "/decide?slot=other&segment=a")
        assert (told.status, detail(told)) == (504, "origin-timeout")
        assert time.monotonic() - began < ads.SLOWNESS["seconds"]
    finally:
        ads.SLOWNESS["seconds"] = 0.0


def test_a_feed_is_one_for_all_builds_and_validated(edge: Workerd) -> None:
    url = edge.url("feed")
    told = [get(url, f"/feed?{query}") for query in ("page=1&client=ios&build=1", "build=2&page=1", "page=2")]
    assert [is_hit(each) for each in told] == [False, True, False]
    etag = told[0].value("ETag") or ""

    again = get(url, "/feed?page=1&client=android&build=3", ("If-None-Match", etag))

    assert (again.status, again.body, is_hit(again)) == (304, b"", True)
    assert len(json.loads(told[0].body)["articles"]) == len(feed.ITEMS) // 50


def test_the_variables_can_be_pasted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["apis", "ads", "--vars"])
    main()
    told: Mapping[str, str] = {"out": capsys.readouterr().out}
    assert told["out"].startswith('--var \'RULES:[{"name":"decisions"')
