"""Who may ask the dashboard for what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from origin_sdk import PurgeClient
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.dashboard.holdings import Holdings
from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.exposition import SeenPurge
from tests.dashboard.conftest import served
from tests.dashboard.worlds import Made, nothing
from tests.sdk.records import store

MARK = {"x-edge-dashboard": "1"}
URL = "https://api.shop.example/products/17"


class Opened:
    """A client as a context that stays open."""

    def __init__(self, client: PurgeClient) -> None:
        self.client = client

    def __enter__(self) -> PurgeClient:
        return self.client

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def holdings(purge_client: PurgeClient, kv_clock: ManualClock) -> Holdings:
    return Holdings(lambda: Opened(purge_client), kv_clock, may_purge=True)


@pytest.fixture(scope="module")
def home() -> Iterator[httpx.Client]:
    """A dashboard that only looks, without KV."""
    with (
        served(Observatory(SystemClock(), [Made(nothing)])) as url,
        httpx.Client(base_url=url) as opened,
    ):
        yield opened


@pytest.fixture
def client(holdings: Holdings) -> Iterator[httpx.Client]:
    watched = Observatory(SystemClock(), [Made(nothing)], holdings=holdings)
    with served(watched) as url, httpx.Client(base_url=url) as opened:
        yield opened


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"host": "127.0.0.1:PORT"}, 200, id="the address that was printed"),
        pytest.param({"host": "localhost:PORT"}, 200, id="localhost"),
        pytest.param({"host": "[::1]:PORT"}, 200, id="IPv6's loopback"),
        pytest.param({"host": "evil.example:PORT"}, 403, id="a name that points here: DNS rebinding"),
        pytest.param({"host": "127.0.0.1.evil.example:PORT"}, 403, id="a name that looks like here"),
        pytest.param({"host": "127.0.0.1"}, 403, id="another port"),
        pytest.param({"host": "127.0.0.1:1PORT"}, 403, id="a port near by"),
        pytest.param({"sec-fetch-site": "none"}, 200, id="typed by the user"),
        pytest.param({"sec-fetch-site": "same-origin"}, 200, id="the page's own"),
        pytest.param({"sec-fetch-site": "same-site"}, 403, id="another port's page"),
        pytest.param({"sec-fetch-site": "cross-site"}, 403, id="another site's page"),
        pytest.param({"origin": "http://127.0.0.1:PORT"}, 200, id="the page's origin"),
        pytest.param({"origin": "https://evil.example"}, 403, id="another origin"),
        pytest.param({"origin": "null"}, 403, id="a sandbox"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/board", "/app.js"])
def test_only_its_own_page_on_this_machine_is_answered(
    home: httpx.Client, fields: dict[str, str], status: int, path: str
) -> None:
    port = str(home.base_url.port)
    given = {name: value.replace("PORT", port) for name, value in fields.items()}
    assert home.get(path, headers=given).status_code == status


@pytest.mark.parametrize("path", ["/api/preview", "/api/purge"])
@pytest.mark.parametrize("fields", [{}, {"content-type": "application/json"}, {"content-type": "text/plain"}])
def test_what_a_form_of_another_site_can_send_changes_nothing(
    client: httpx.Client, path: str, fields: dict[str, str], fake_kv: FakeKV
) -> None:
    sent = client.post(path, content=json.dumps({"urls": [URL]}), headers=fields)
    assert sent.status_code == 403
    assert fake_kv.requests == []


@pytest.mark.parametrize("path", ["/api/preview", "/api/purge"])
def test_a_purge_is_no_get(home: httpx.Client, path: str) -> None:
    assert home.get(path, headers=MARK).status_code == 405


def test_every_answer_says_what_the_page_may_do(home: httpx.Client) -> None:
    for path in ("/", "/api/board", "/nothing", "/api/board?range=x"):
        fields = home.get(path).headers
        policy = fields["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"https?:|\*", policy)
        assert (fields["x-content-type-options"], fields["cache-control"]) == ("nosniff", "no-store")
        assert "access-control-allow-origin" not in fields


def test_no_secret_is_in_what_is_served(client: httpx.Client, fake_kv: FakeKV) -> None:
    for path in ("/", "/api/board", f"/api/url?url={URL}", "/app.js"):
        assert fake_kv.token not in client.get(path).text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/board?range=2h", "range = '2h': choose one of 10m, 1h, 6h, 24h, 7d, 30d, 90d"),
        ("/api/board?source=x", "source = 'x': choose one of route"),
        ("/api/url?url=nothing", "nothing"),
    ],
)
def test_a_mistake_is_told(client: httpx.Client, path: str, message: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '"x"', '{"everything": true}', '{"delete": true}', "x" * 200_000]
)
def test_a_body_that_is_no_purge_of_this_page_is_refused(
    client: httpx.Client, body: str, fake_kv: FakeKV
) -> None:
    assert client.post("/api/preview", content=body, headers=MARK).status_code == 400
    assert fake_kv.stored_keys("m2/") == []


@pytest.mark.parametrize(
    ("by", "purge_id", "seen_by", "ahead_ms", "rows"),
    [
        pytest.param("edge", "unsafe-request", "unsafe-request", 1000, 1, id="the Worker's own, dated ahead"),
        pytest.param("edge", "origin-response", "origin-response", 1400, 1, id="written a little later"),
        pytest.param(
            "edge", "unsafe-request", "unsafe-request", -1, 2, id="made since the marks were listed"
        ),
        pytest.param("edge", "unsafe-request", "origin-response", 1000, 2, id="by something else"),
        pytest.param("shop", "p1", "elsewhere", 0, 1, id="a service's"),
        pytest.param("shop", "p1", "elsewhere", 1000, 2, id="an earlier one of a service's"),
    ],
)
def test_a_purge_that_the_worker_counted_and_wrote_is_told_once(
    holdings: Holdings, fake_kv: FakeKV, by: str, purge_id: str, seen_by: str, ahead_ms: int, rows: int
) -> None:
    at = round(holdings.clock.now() * 1000)
    about = {"at": at + ahead_ms, "id": purge_id, "by": by}
    fake_kv.put("m2/s/group/g", f"{at + ahead_ms} {purge_id}", about)
    holdings.list_marks()
    told = holdings.purges([SeenPurge(at, at + 5, seen_by, "s", "group/g")], 0.0)
    assert len(told) == rows
    marked = next(each for each in told if each["at"] == (at + ahead_ms) / 1000)
    assert (marked["by"], marked["why"]) == (("the Worker", purge_id) if by == "edge" else (by, ""))


def test_a_url_tells_what_inspect_and_explain_know(client: httpx.Client, fake_kv: FakeKV) -> None:
    store(fake_kv, URL)
    told = client.get("/api/url", params={"url": URL}).json()
    assert told["inspect"]["stored"][0]["status"] == 200
    assert told["explain"]["key"] == "r1/https/api.shop.example/products/17"


def test_a_purge_is_made_once_after_its_blast_radius_was_shown(client: httpx.Client, fake_kv: FakeKV) -> None:
    store(fake_kv, URL)
    shown = client.post("/api/preview", json={"urls": [URL]}, headers=MARK).json()
    assert shown["radius"]["responses"] == 1
    assert fake_kv.stored_keys("m2/") == []

    made = client.post("/api/purge", json={"intent": shown["intent"]}, headers=MARK)
    assert made.status_code == 200
    assert sorted(fake_kv.stored_keys("m2/")) == sorted(made.json()["marks"])
    again = client.post("/api/purge", json={"intent": shown["intent"]}, headers=MARK)
    assert (again.status_code, "look again" in again.json()["error"]) == (400, True)


def test_an_intent_is_old_after_five_minutes(holdings: Holdings, kv_clock: ManualClock) -> None:
    intent = holdings.preview({"urls": [URL]})["intent"]
    kv_clock.advance(301)
    with pytest.raises(InvalidRequest, match="look again"):
        holdings.purge(intent)


def test_without_allow_purge_nothing_is_purged(
    client: httpx.Client, holdings: Holdings, fake_kv: FakeKV
) -> None:
    intent = holdings.preview({"urls": [URL]})["intent"]
    holdings.may_purge = False
    for path, body in (("/api/preview", {"urls": [URL]}), ("/api/purge", {"intent": intent})):
        answer = client.post(path, json=body, headers=MARK)
        assert (answer.status_code, "--allow-purge" in answer.json()["error"]) == (400, True)
    assert fake_kv.stored_keys("m2/") == []
