"""Purges with no mock on the way: client or command, REST API of `wrangler dev`, Worker, HTTP client.

Locally KV propagates at once, so that what is left of the bound is the Worker's mark interval.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import AsyncPurgeClient, PurgeClient, Settings
from origin_sdk._edge.options import Targets
from scripts.runtime import snapshot
from scripts.runtime.wrangler import Wrangler
from tests.runtime.client import Response, ask
from tests.runtime.edge import eventually
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Reply, reply

MARK_INTERVAL = 1.0
SLACK = 2.0
"""What the machine that runs the tests may take on top of a bound."""

COMMAND = Path(sys.executable).parent / "origin-sdk"

_numbers = count(1)


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrangler]:
    variables = {"ORIGIN": running_origin.url, "MARK_INTERVAL": str(MARK_INTERVAL), "BREAKER_FAILURES": "0"}
    with Wrangler(
        tmp_path_factory.mktemp("purge"), variables=variables, snapshots=snapshot.deployed()
    ) as wrangler:
        yield wrangler


@pytest.fixture(scope="module")
def client(edge: Wrangler) -> Iterator[PurgeClient]:
    base, _, namespace = edge.kv_url().partition("/storage/kv/namespaces/")
    settings = Settings(base_url=base, namespace_id=namespace, mark_interval=MARK_INTERVAL)
    with PurgeClient(settings) as client:
        yield client


@dataclass(frozen=True)
class Page:
    """A URL of its own for each test, with what the origin says under it."""

    edge: Wrangler
    origin: ScriptedOrigin
    path: str

    @property
    def url(self) -> str:
        return self.edge.url + self.path

    @property
    def host(self) -> str:
        return self.edge.url.removeprefix("http://")

    def says(self, text: str, *fields: tuple[str, str], **options: str) -> None:
        lifetime = options.get("cache_control", "max-age=600, stale-if-error=600")
        self.origin.on(self.path.partition("?")[0], page(text, ("Cache-Control", lifetime), *fields))

    def get(self, *fields: tuple[str, str]) -> Response:
        return ask(self.edge.url, self.path, fields=fields)

    def becomes_cached(self, *fields: tuple[str, str]) -> None:
        """Ask until the answer is a hit: the write to KV comes after the first response."""
        eventually(lambda: is_hit(self.get(*fields)), seconds=5, what="a hit")


def page(text: str, *fields: tuple[str, str]) -> Reply:
    return reply(200, [("Content-Type", "text/plain"), *fields], text.encode())


def is_hit(response: Response) -> bool:
    return "; hit" in (response.value("cache-status") or "")


@pytest.fixture
def cached(edge: Wrangler, origin: ScriptedOrigin) -> Page:
    """A page whose old version is cached, and whose origin says something new."""
    made = Page(edge, origin, f"/shop/{next(_numbers)}/page")
    made.says("old", ("Cache-Groups", f'"group-of-{made.path}"'))
    made.becomes_cached()
    made.says("new", ("Cache-Groups", f'"group-of-{made.path}"'))
    return made


KINDS: dict[str, Callable[[Page], Targets]] = {
    "a URL": lambda page: {"urls": [page.url]},
    "a URL under https": lambda page: {"urls": [f"https://{page.host}{page.path}"]},
    "a group": lambda page: {"groups": [f"group-of-{page.path}"]},
    "a path prefix": lambda page: {"prefixes": [page.url.removesuffix("/page")]},
    "a host": lambda page: {"hosts": [page.host]},
    "everything": lambda _: {"everything": True},
}


def by_client(client: PurgeClient, targets: Targets) -> None:
    client.purge(**targets)


def by_asynchronous_client(client: PurgeClient, targets: Targets) -> None:
    async def purge() -> None:
        async with AsyncPurgeClient(client.settings) as asynchronous:
            await asynchronous.purge(**targets)

    asyncio.run(purge())


def by_command(client: PurgeClient, targets: Targets) -> None:
    names = {"urls": "--url", "groups": "--group", "prefixes": "--prefix", "hosts": "--host"}
    values: dict[str, Any] = dict(targets)
    options: list[str] = [
        f"{option}={value}" for name, option in names.items() for value in values.get(name, ())
    ]
    options += [f"--{name}" for name in ("everything", "hard") if targets.get(name)]
    options.append("--yes")
    settings = {
        "CLOUDFLARE_API_BASE_URL": client.settings.base_url,
        "EDGE_CACHE_NAMESPACE_ID": client.settings.namespace_id,
    }
    command: list[str | Path] = [COMMAND, "purge", *options, "--json"]
    done = subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["marks"]


WAYS = {"client": by_client, "asynchronous client": by_asynchronous_client, "command": by_command}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_old_response_is_gone_within_the_bound(
    client: PurgeClient, cached: Page, kind: str, hard: bool, way: str
) -> None:
    assert cached.get().body == b"old"
    WAYS[way](client, KINDS[kind](cached) | Targets(hard=hard))
    eventually(lambda: cached.get().body == b"new", seconds=MARK_INTERVAL + SLACK, what="new response")
    eventually(lambda: is_hit(cached.get()), seconds=5, what="hit on the new response")
    assert cached.get().body == b"new"


@pytest.mark.parametrize("kind", ["a URL", "a group", "a path prefix"])
def test_what_a_purge_does_not_name_stays_cached(client: PurgeClient, cached: Page, kind: str) -> None:
    other = Page(cached.edge, cached.origin, f"{cached.path.removesuffix('/page')}x/page")
    other.says("other", ("Cache-Groups", '"another"'))
    other.becomes_cached()
    client.purge(**KINDS[kind](cached) | Targets(hard=True))
    eventually(lambda: cached.get().body == b"new", seconds=MARK_INTERVAL + SLACK, what="new response")
    assert is_hit(other.get())
    assert len(other.origin.requests(other.path)) == 1


def test_a_url_is_purged_with_all_its_variants(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    page = Page(edge, origin, f"/shop/{next(_numbers)}/page")
    languages = [("Accept-Language", "de"), ("Accept-Language", "fr")]
    page.says("old", ("Vary", "Accept-Language"))
    for language in languages:
        page.becomes_cached(language)
    page.says("new", ("Vary", "Accept-Language"))
    client.purge(urls=page.url)
    eventually(
        lambda: all(page.get(language).body == b"new" for language in languages),
        seconds=MARK_INTERVAL + SLACK,
        what="new variants",
    )


def test_a_soft_purge_leaves_a_response_for_an_origin_that_is_down(client: PurgeClient, cached: Page) -> None:
    client.purge(urls=cached.url)
    cached.origin.on(cached.path, reply(503))
    eventually(
        lambda: "stale-if-error" in (cached.get().value("cache-status") or ""),
        seconds=MARK_INTERVAL + SLACK,
        what="stale answer",
    )
    assert cached.get().body == b"old"


def test_a_hard_purge_leaves_nothing_even_if_the_origin_is_down(client: PurgeClient, cached: Page) -> None:
    client.purge(urls=cached.url, hard=True)
    cached.origin.on(cached.path, reply(503))
    eventually(lambda: cached.get().status == 503, seconds=MARK_INTERVAL + SLACK, what="error of the origin")


def test_a_soft_purge_keeps_no_client_waiting_while_revalidating(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    page = Page(edge, origin, f"/shop/{next(_numbers)}/page")
    lifetime = "max-age=600, stale-while-revalidate=600"
    page.says("old", cache_control=lifetime)
    page.becomes_cached()
    page.says("new", cache_control=lifetime)
    client.purge(urls=page.url)
    answers: list[tuple[bytes, bool]] = []

    def is_new() -> bool:
        response = page.get()
        answers.append((response.body, is_hit(response)))
        return response.body == b"new"

    eventually(is_new, seconds=MARK_INTERVAL + SLACK, what="new response")
    assert all(hit for _, hit in answers), "a client waited for the origin"


@pytest.mark.parametrize("kind", KINDS)
def test_deleting_leaves_nothing_of_it_in_kv(client: PurgeClient, cached: Page, kind: str) -> None:
    eventually(lambda: bool(list(client.list(urls=cached.url))), seconds=5, what="record in KV")
    receipt = client.purge(**KINDS[kind](cached) | Targets(hard=True, delete=True))
    assert receipt.deleted >= 1
    assert list(client.list(urls=cached.url)) == []


@dataclass(frozen=True)
class Publishing:
    """What is published, and how the Worker has to serve it."""

    body: object
    headers: dict[str, str]
    expected: bytes


LARGE = json.dumps([f"{number:08}" for number in range(200_000)]).encode()
PUBLISHED = {
    "JSON": Publishing({"a": 1}, {}, b'{"a":1}'),
    "an empty body": Publishing(b"", {}, b""),
    "text that is stored compressed": Publishing("text " * 4000, {}, b"text " * 4000),
    "bytes above the in-line limit": Publishing(LARGE, {"content-type": "application/octet-stream"}, LARGE),
    "text above the in-line limit": Publishing(LARGE.decode(), {}, LARGE),
    "a head too long for metadata": Publishing(b"body", {"x-long": "é" * 900}, b"body"),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_the_worker_serves_what_was_published_and_asks_no_origin(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin, case: str
) -> None:
    page, publishing = Page(edge, origin, f"/published/{next(_numbers)}"), PUBLISHED[case]
    headers = {"cache-control": "max-age=600", "etag": '"v1"', **publishing.headers}
    client.publish(page.url, lambda: publishing.body, headers=headers)  # type: ignore[arg-type, return-value]  # any body
    for coding in ("identity", "gzip"):
        response = page.get(("Accept-Encoding", coding))
        is_coded = response.value("content-encoding") == "gzip"
        assert (response.status, is_hit(response)) == (200, True)
        assert (gzip.decompress(response.body) if is_coded else response.body) == publishing.expected
        assert not is_coded or coding == "gzip"
    assert origin.requests(page.path) == []


def test_each_published_variant_reaches_the_requests_that_select_it(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    page = Page(edge, origin, f"/published/{next(_numbers)}")
    page.says("from the origin")
    headers = {"cache-control": "max-age=600", "vary": "Accept-Language"}
    for language in ("de", "fr"):
        selecting = {"Accept-Language": language}
        client.publish(page.url, language, born=client.now(), headers=headers, request_headers=selecting)
    assert page.get(("Accept-Language", "de")).body == b"de"
    assert page.get(("Accept-Language", "fr")).body == b"fr"
    assert page.get(("Accept-Language", "it")).body == b"from the origin"


def test_a_purge_that_came_while_rendering_wins_over_what_is_published(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    page = Page(edge, origin, f"/published/{next(_numbers)}")
    page.says("new")

    def render() -> str:
        client.purge(groups=f"group-of-{page.path}", hard=True)
        return "old"

    client.publish(page.url, render, headers={"cache-control": "max-age=600"}, groups=f"group-of-{page.path}")
    eventually(lambda: page.get().body == b"new", seconds=MARK_INTERVAL + SLACK, what="new response")


def test_what_is_published_after_a_purge_is_not_purged_by_it(
    client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin
) -> None:
    page = Page(edge, origin, f"/published/{next(_numbers)}")
    receipt = client.purge(urls=page.url, hard=True)
    client.publish(page.url, lambda: "new", headers={"cache-control": "max-age=600"}, after=receipt)
    assert is_hit(page.get())


def test_what_was_warmed_is_a_hit(client: PurgeClient, edge: Wrangler, origin: ScriptedOrigin) -> None:
    pages = [Page(edge, origin, f"/warmed/{next(_numbers)}") for _ in range(5)]
    for page in pages:
        page.says("warm")
    results = client.warm(page.url for page in pages)
    assert [(result.status, result.cached) for result in results] == [(200, True)] * len(pages)
    assert all(is_hit(page.get()) for page in pages)


def test_inspecting_tells_what_the_worker_does_next(client: PurgeClient, cached: Page) -> None:
    eventually(lambda: bool(client.inspect(cached.url).stored), seconds=5, what="record in KV")
    [stored] = client.inspect(cached.url).stored
    assert (stored.status, stored.body_bytes, stored.groups) == (200, 3, (f"group-of-{cached.path}",))
    assert stored.outcome.value == "hit: fresh"
    client.purge(urls=cached.url, hard=True)
    [stored] = client.inspect(cached.url).stored
    assert stored.outcome.value == "miss: purged"
    eventually(lambda: cached.get().body == b"new", seconds=MARK_INTERVAL + SLACK, what="new response")


def test_the_doctor_tries_a_worker_through_its_address(edge: Wrangler, cached: Page) -> None:
    arguments = ["doctor", "--base-url", edge.kv_url(), "--namespace", edge.namespace(), "--live", cached.url]
    done = subprocess.run(
        [COMMAND, *arguments, "--json"], capture_output=True, text=True, check=False, timeout=100
    )
    found = {each["check"]: each["message"] for each in json.loads(done.stdout)}
    assert found["latency"].startswith("20 hits")
    assert found["purge"].startswith("seen here after")
    assert found["store"].startswith("stored again after")
    assert found.keys() >= {"address", "counts", "left behind"}
    assert cached.get().body == b"new"
