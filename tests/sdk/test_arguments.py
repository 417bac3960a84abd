"""Arguments of a wrong type: the clients name them before anything is sent, and do nothing else with them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from origin_sdk import InvalidRequest, InvalidSettings, NewApiKey, Purge, PurgeClient
from origin_sdk.testing import FakeKV

URL = "https://a.test/menu"
HEADERS = {"Cache-Control": "max-age=60", "Content-Type": "text/plain"}
GIVEN: dict[str, Callable[[PurgeClient], object]] = {
    "everything=": lambda edge: edge.purge(everything="no"),  # type: ignore[arg-type]  # what callers get wrong
    "hard=": lambda edge: edge.purge(groups="a", hard="no"),  # type: ignore[arg-type]  # see above
    "delete=": lambda edge: edge.purge(groups="a", hard=True, delete=1),  # type: ignore[arg-type]  # see above
    "reason=": lambda edge: edge.purge(groups="a", reason=17),  # type: ignore[arg-type]  # see above
    "timeout=": lambda edge: edge.purge(groups="a", timeout="5"),  # type: ignore[arg-type]  # see above
    "timeout= of publish": lambda edge: publish(edge, timeout=True),
    "send": lambda edge: edge.send({"groups": ["a"]}),  # type: ignore[arg-type]  # see above
    "from_json": lambda _: Purge.from_json(["a"]),  # type: ignore[arg-type]  # see above
    "tell": lambda edge: edge.tell(None),  # type: ignore[arg-type]  # see above
    "wait_until_visible": lambda edge: edge.wait_until_visible("id"),  # type: ignore[arg-type]  # see above
    "inspect": lambda edge: edge.inspect(b"https://a.test/"),  # type: ignore[arg-type]  # see above
    "warm": lambda edge: edge.warm(None),  # type: ignore[arg-type]  # see above
    "warm, one of them": lambda edge: edge.warm([17]),  # type: ignore[list-item]  # see above
    "concurrency=": lambda edge: edge.warm([URL], concurrency=0),
    "url of publish": lambda edge: publish(edge, url=None),
    "url of publish that is none": lambda edge: publish(edge, url="http://[::1/"),
    "headers=": lambda edge: publish(edge, headers=[("Age", "1")]),
    "a value in headers=": lambda edge: publish(edge, headers={**HEADERS, "Age": 1}),
    "a name in headers=": lambda edge: publish(edge, headers={**HEADERS, b"Age": "1"}),
    "request_headers=": lambda edge: publish(edge, request_headers={"Accept": None}),
    "groups= of publish": lambda edge: publish(edge, groups=[b"a"]),
    "status=": lambda edge: publish(edge, status="200"),
    "identity=": lambda edge: publish(edge, identity="ann"),
    "born=": lambda edge: publish(edge, born=1.5),
    "after=": lambda edge: publish(edge, after=datetime.now().astimezone()),  # noqa: TID251 - of the wrong type
    "method=": lambda edge: publish(edge, method=None),
    "keys to add": lambda edge: edge.add_api_keys(None),  # type: ignore[arg-type]  # see above
    "a key to add": lambda edge: edge.add_api_keys(["k"]),  # type: ignore[list-item]  # see above
    "a key that is bytes": lambda _: NewApiKey({"a": 1}, b"k"),  # type: ignore[arg-type]  # see above
    "claims that are a text": lambda _: NewApiKey("acme", "k"),  # type: ignore[arg-type]  # see above
    "a claim by number": lambda _: NewApiKey({1: "acme"}, "k"),  # type: ignore[dict-item]  # see above
    "ends=": lambda _: NewApiKey({"a": 1}, "k", ends="2027-06-30"),  # type: ignore[arg-type]  # see above
    "keys to revoke": lambda edge: edge.revoke_api_keys(keys=[17]),  # type: ignore[list-item]  # see above
    "claims to revoke": lambda edge: edge.revoke_api_keys(claims="a"),  # type: ignore[arg-type]  # see above
    "reason= of keys": lambda edge: edge.revoke_api_keys(digests="0" * 64, reason=1),  # type: ignore[arg-type]  # see above
    "content=": lambda edge: publish(edge, content="a"),
}


def publish(edge: PurgeClient, url: Any = URL, **arguments: Any) -> object:
    return edge.publish(url, b"soup", **{"born": edge.now(), "headers": HEADERS, **arguments})


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN.keys())
def test_the_clients_name_what_they_cannot_take(
    client: PurgeClient, fake_kv: FakeKV, give: Callable[[PurgeClient], object]
) -> None:
    with pytest.raises(InvalidRequest, match=r"give|is needed|write it"):
        give(client)
    assert not fake_kv.requests


def test_what_may_be_left_out_may_be_none(client: PurgeClient) -> None:
    assert len(client.purge(groups="a", hard=None, reason=None).marks) == 1  # type: ignore[arg-type]  # see above


def test_one_url_to_warm_is_one(client: PurgeClient) -> None:
    assert [each.url for each in client.warm("http://\ud800")] == ["http://\ud800"]
    assert client.warm("http://\ud800")[0].failed


@pytest.mark.parametrize(
    "name",
    ["token", "account_id", "namespace_id", "base_url", "log_url", "store_keys", "api_key_table_secret"],
)
def test_settings_are_texts(name: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name} is of type int: give a text"):
        PurgeClient(**{"token": "t", "account_id": "a", "namespace_id": "n", name: 17})  # type: ignore[arg-type]  # see above
