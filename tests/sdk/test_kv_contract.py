"""One suite over the fake API and that of `wrangler dev`: what holds for both, the SDK may rely on."""

from collections.abc import Iterator
from typing import TypeVar

import httpx
import pytest

from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.drivers import Driver
from origin_sdk._cloudflare.exchange import Exchange
from origin_sdk._cloudflare.kv import ListedKey, Namespace, Pair
from origin_sdk._cloudflare.skew import Skew
from origin_sdk._flow import Flow
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.settings import Settings
from origin_sdk.errors import RequestRejected
from origin_sdk.testing import FakeKV

_Result = TypeVar("_Result")


class Api:
    """One of the two APIs, with the client's own flows over it."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None) -> None:
        headers = {"authorization": f"Bearer {settings.token}"} if settings.token else {}
        self._client = httpx.Client(transport=transport, headers=headers)
        self._driver = Driver(lambda: self._client, SystemClock(), lambda: self._client)
        self.namespace = Namespace(settings.namespace_url)
        self.exchange = Exchange(SystemClock(), RateBudget.unlimited(), Skew())

    def close(self) -> None:
        self._client.close()

    def run(self, flow: Flow[_Result]) -> _Result:
        return self._driver.run(flow)

    def write(self, *pairs: Pair) -> None:
        by_key = {pair.key: pair for pair in pairs}
        self.run(
            self.namespace.write(self.exchange, list(by_key), lambda keys: [by_key[key] for key in keys])
        )

    def read(self, key: str) -> bytes | None:
        return self.run(self.namespace.read(self.exchange, key))

    def list(self, prefix: str, limit: int = 1000) -> tuple[ListedKey, ...]:
        found: list[ListedKey] = []
        cursor, is_first = "", True
        while is_first or cursor:
            page, cursor = self.run(self.namespace.page(self.exchange, prefix, cursor, limit))
            found += page
            is_first = False
        return tuple(found)


@pytest.fixture(params=["fake", "wrangler dev"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    if request.param == "fake":
        fake = FakeKV(SystemClock())
        made = Api(fake.settings, fake.transport)
    else:
        made = Api(request.getfixturevalue("local_settings"), None)
    yield made
    made.close()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("plain", id="letters"),
        pytest.param("r1/https/a.example/p?q=1&r=%2F", id="the key of a record"),
        pytest.param("r1/https/a.example/p#5f0c", id="the key of a variant"),
        pytest.param("m2/s/group/größe, 100 %", id="letters beyond ASCII, a space and a percent sign"),
        pytest.param("k" * 512, id="the longest key"),
    ],
)
def test_a_value_is_read_under_the_key_it_was_written_under(api: Api, key: str) -> None:
    api.write(Pair(key, "value"))
    assert api.read(key) == b"value"
    assert api.run(api.namespace.read_texts(api.exchange, [key])) == {key: "value"}


@pytest.mark.parametrize("value", [b"", b"text", bytes(range(256))], ids=["nothing", "text", "every byte"])
def test_bytes_come_back_as_they_were(api: Api, value: bytes) -> None:
    api.write(Pair("bytes", value, 60))
    assert api.read("bytes") == value


def test_a_list_shows_metadata_and_the_moment_of_expiry(api: Api) -> None:
    api.write(Pair("shown/1", "a", 3600, {"h": "1 200"}), Pair("shown/2", "b"))
    first, second = api.list("shown/")
    assert (first.name, first.metadata) == ("shown/1", {"h": "1 200"})
    assert first.expiration is not None
    assert abs(first.expiration - SystemClock().now() - 3600) < 10
    assert second == ListedKey("shown/2")


def test_a_list_is_in_the_order_of_bytes_and_spans_pages(api: Api) -> None:
    keys = [f"paged/{number:02}" for number in range(25)] + ["paged/#", "paged/é", "paged/z"]
    api.write(*(Pair(key, "") for key in keys))
    assert [key.name for key in api.list("paged/", 10)] == sorted(keys, key=str.encode)


def test_a_list_of_nothing_is_empty(api: Api) -> None:
    assert api.list("nowhere/") == ()


def test_an_overwrite_takes_metadata_and_expiry_away(api: Api) -> None:
    api.write(Pair("over", "a", 3600, {"h": "x"}))
    api.write(Pair("over", "b"))
    assert api.list("over") == (ListedKey("over"),)


def test_deleting_removes_what_is_there_and_minds_nothing_else(api: Api) -> None:
    api.write(Pair("gone/1", "a"), Pair("gone/2", "b"))
    api.run(api.namespace.delete(api.exchange, ["gone/1", "gone/never"]))
    assert api.read("gone/1") is None
    assert [key.name for key in api.list("gone/")] == ["gone/2"]


def test_reading_many_leaves_out_what_is_missing(api: Api) -> None:
    keys = [f"many/{number}" for number in range(150)]
    api.write(*(Pair(key, key) for key in keys[::2]))
    assert api.run(api.namespace.read_texts(api.exchange, keys)) == {key: key for key in keys[::2]}


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Pair("k" * 513, ""), id="a key of 513 bytes"),
        pytest.param(Pair("short", "", 59), id="a life of 59 seconds"),
        pytest.param(Pair("large", "", None, {"h": "x" * 1020}), id="metadata of 1,026 bytes"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(api: Api, pair: Pair) -> None:
    with pytest.raises(RequestRejected):
        api.write(pair)
