"""Traffic through the Worker, and then every tool shows the numbers that its client counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import pytest
from playwright.sync_api import Page, expect

from origin_sdk._process.clock import SystemClock
from origin_sdk.cli import main
from origin_sdk.dashboard.history import History
from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.dashboard.route import MetricsRoute
from origin_sdk.dashboard.services import parsed
from origin_sdk.dashboard.sources import Recorded
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.dashboard.conftest import browser, page, served
from tests.runtime.edge import HOST, detail, get, is_hit, running
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply

__all__ = ["browser", "page"]  # fixtures of tests/dashboard

SECRET = "a secret for tests, of 32 bytes and more"  # noqa: S105 - for tests
_SETTINGS: Mapping[str, Json] = {
    "DEBUG_SECRET": SECRET,
    "METRICS_URLS": "full",
    "RULES": [{"name": "products", "path": "/products/**"}, {"name": "pages", "path": "/pages/**"}],
}


@dataclass
class Client:
    """Asks, and counts what it was told."""

    url: str
    requests: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    urls: Counter[str] = field(default_factory=Counter)

    def ask(self, path: str, times: int = 1) -> None:
        rule = path.split("/")[1] if path.startswith(("/products/", "/pages/")) else "default"
        for _ in range(times):
            response = get(self.url, path)
            self.requests[rule] += 1
            self.urls[f"http://{HOST}{path}"] += 1
            if is_hit(response):
                self.hits[rule] += 1
            else:
                self.missed[detail(response)] += 1


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    with running(tmp_path_factory.mktemp("watched"), running_origin, {"edge": _SETTINGS}) as workerd:
        yield workerd


@pytest.fixture(scope="module")
def asked(edge: Workerd, running_origin: ScriptedOrigin) -> Client:
    """A client that has asked for all that can happen: kept, passing, failing, gone."""
    running_origin.forget()
    for number in range(4):
        fresh = reply(200, [("Cache-Control", "max-age=600")], b"p" * 500)
        running_origin.on(f"/products/{number}", fresh)
    running_origin.on("/pages/1", reply(200, [("Cache-Control", "no-store")], b"n"))
    running_origin.on("/pages/2", reply(200, [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")], b"c"))
    running_origin.on("/broken", reply(500, [], b"e"))
    client = Client(edge.url("edge"))
    for number in range(4):
        client.ask(f"/products/{number}", 20 - 4 * number)
    client.ask("/pages/1", 3)
    client.ask("/pages/2", 2)
    client.ask("/broken", 4)
    return client


@pytest.fixture
def watched(edge: Workerd) -> Iterator[Observatory]:
    with httpx.Client() as client, History(":memory:") as history:
        route = MetricsRoute(edge.url("edge"), client, SECRET)
        yield Observatory(SystemClock(), [Recorded(history, route.read, SystemClock(), "edge")])


def test_the_page_shows_what_the_client_counted(
    watched: Observatory, asked: Client, running_origin: ScriptedOrigin, page: Page
) -> None:
    requests, hits = asked.requests.total(), asked.hits.total()
    with watched, served(watched) as url:
        page.goto(url)
        hero = page.locator(".tile.hero")
        expect(hero.locator(".sub")).to_contain_text(f"{hits} of {requests} answered")
        expect(hero.locator(".value")).to_contain_text(f"{hits / requests * 100:.1f} %")
        rows = {
            row.locator("td").nth(0).inner_text(): row.locator("td").nth(1).inner_text()
            for row in page.locator("#rules tbody tr").all()
        }
        assert rows == {rule: str(count) for rule, count in asked.requests.items()}
        reasons = {
            each.locator(".head code").inner_text(): int(each.locator(".head .note").last.inner_text())
            for each in page.locator(".reason").all()
        }
        assert reasons == dict(asked.missed)
        legend = page.locator("#origin-legend").inner_text()
        shown = re.search(r"requests\s*(\d+).*errors\s*(\d+)", legend, re.DOTALL)
        assert shown
        assert (int(shown[1]), int(shown[2])) == (len(running_origin.requests()), 4)
        urls = {
            row.locator("button").get_attribute("data-url"): int(row.locator("td").nth(1).inner_text())
            for row in page.locator("#urls tbody tr").all()
        }
        assert urls == dict(asked.urls)


def test_more_traffic_shows_within_seconds(watched: Observatory, asked: Client, page: Page) -> None:
    with watched, served(watched) as url:
        page.goto(url)
        sub = page.locator(".tile.hero .sub")
        expect(sub).to_contain_text(f"of {asked.requests.total()} answered")
        asked.ask("/products/0", 5)
        expect(sub).to_contain_text(f"of {asked.requests.total()} answered")


def test_the_terminal_shows_the_same(
    edge: Workerd, asked: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_CACHE_DEBUG_SECRET", SECRET)
    monkeypatch.setenv("COLUMNS", "80")
    _run("top", "--edge", edge.url("edge"), "--json")
    board = json.loads(capsys.readouterr().out)
    assert (board["totals"]["requests"], board["totals"]["hits"]) == (
        asked.requests.total(),
        asked.hits.total(),
    )
    _run("top", "--edge", edge.url("edge"))
    told = capsys.readouterr().out
    assert all(len(line) <= 80 for line in told.splitlines())
    for rule, count in asked.requests.items():
        assert re.search(rf"^{rule} +{count} ", told, re.MULTILINE)


def test_prometheus_is_told_the_same(
    edge: Workerd, asked: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_CACHE_DEBUG_SECRET", SECRET)
    _run("metrics", "--edge", edge.url("edge"), "--once")
    samples = parsed(capsys.readouterr().out, "text/plain")
    by_rule: Counter[str] = Counter()
    for sample in samples:
        if sample.name == "edge_cache_requests_total":
            by_rule[sample.label("rule")] += round(sample.value)
    assert by_rule == asked.requests


@pytest.mark.parametrize("secret", ["", "another secret, of 32 bytes and more"])
def test_without_the_secret_it_says_which_to_set(
    edge: Workerd, secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_CACHE_DEBUG_SECRET", secret)
    assert _run("top", "--edge", edge.url("edge")) == 4
    assert "set EDGE_CACHE_DEBUG_SECRET" in capsys.readouterr().err


def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code
