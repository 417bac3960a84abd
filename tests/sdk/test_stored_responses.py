"""Which stored responses a purge covers, and which parts of the namespace are listed for it."""

import pytest

from origin_sdk import PurgeClient
from origin_sdk._cloudflare.kv import ListedKey
from origin_sdk._edge.stored_responses import Coverage, Scan, base_of, read_listed, scans_for
from origin_sdk._values.targets import Purge
from origin_sdk.testing import FakeKV
from origin_sdk_wire.key import parse_target, record_key, variant_key
from origin_sdk_wire.rules import KeyRule
from tests.sdk.records import store

LONG = "https://a.example/" + "x" * 600


def key(url: str, *parts: tuple[str, str]) -> str:
    return variant_key(record_key(parse_target(url)), list(parts))


@pytest.mark.parametrize(
    ("targets", "url", "covered"),
    [
        pytest.param({"urls": "https://a.example/x"}, "https://a.example/x", True, id="a URL, itself"),
        pytest.param({"urls": "https://a.example/x"}, "http://a.example/x", True, id="a URL, under http"),
        pytest.param(
            {"urls": "https://a.example/x"}, "https://a.example/x?q", False, id="a URL, with a query"
        ),
        pytest.param(
            {"urls": "https://a.example/x"}, "https://a.example/xy", False, id="a URL that begins so"
        ),
        pytest.param({"urls": LONG}, LONG, True, id="a URL longer than a key"),
        pytest.param({"urls": LONG}, LONG + "y", False, id="a longer URL than that"),
        pytest.param({"prefixes": "a.example/p"}, "https://a.example/p", True, id="a prefix, itself"),
        pytest.param({"prefixes": "a.example/p"}, "https://a.example/p?q", True, id="a prefix, with a query"),
        pytest.param({"prefixes": "a.example/p/"}, "https://a.example/p/x", True, id="a prefix, below it"),
        pytest.param(
            {"prefixes": "a.example/p"}, "https://a.example/px", False, id="a prefix, not on a border"
        ),
        pytest.param({"prefixes": "a.example"}, "https://a.example/any", True, id="the root covers its host"),
        pytest.param(
            {"prefixes": "a.example/p"}, "https://b.example/p", False, id="a prefix of another host"
        ),
        pytest.param({"hosts": "a.example"}, "http://a.example/any", True, id="a host"),
        pytest.param({"hosts": "a.example"}, "https://a.example:8443/", False, id="a host's other port"),
        pytest.param({"everything": True}, "https://b.example/", True, id="everything"),
    ],
)
def test_what_a_purge_covers(targets: dict[str, object], url: str, covered: bool) -> None:
    coverage = Coverage(Purge.of(**targets))  # type: ignore[arg-type]  # a table of arguments
    for variant in ((), (("accept-language", "de"),)):
        assert coverage.by_place(read_listed(ListedKey(key(url, *variant)))) == covered


@pytest.mark.parametrize(
    ("targets", "scans"),
    [
        pytest.param(
            {"urls": "https://a.example/x"},
            [
                Scan("r1/https/a.example/x", "r1/https/a.example/x$"),
                Scan("r1/http/a.example/x", "r1/http/a.example/x$"),
            ],
            id="a URL: its key and its variants, under both schemes",
        ),
        pytest.param(
            {"hosts": "a.example", "urls": "a.example/x", "prefixes": "a.example/p"},
            [Scan("r1/https/a.example/"), Scan("r1/http/a.example/")],
            id="a host holds its URLs and prefixes",
        ),
        pytest.param(
            {"prefixes": ["a.example/p/q", "a.example/p"], "urls": "a.example/p/x"},
            [Scan("r1/https/a.example/p"), Scan("r1/http/a.example/p")],
            id="a prefix holds longer ones and their URLs",
        ),
        pytest.param({"groups": "g", "hosts": "a.example"}, [Scan("r1/")], id="a group: keys don't show it"),
        pytest.param({"everything": True}, [Scan("r1/")], id="everything"),
    ],
)
def test_no_more_is_listed_than_needed(targets: dict[str, object], scans: list[Scan]) -> None:
    assert list(scans_for(Purge.of(**targets), ())) == scans  # type: ignore[arg-type]  # a table of arguments


def test_a_long_prefix_is_listed_by_what_no_key_cuts() -> None:
    purge = Purge.of(prefixes="https://a.example/" + "y" * 600)
    assert all(len(scan.prefix) <= 432 for scan in scans_for(purge, ()))


def test_urls_are_listed_as_rules_key_them() -> None:
    rules = (KeyRule(query_drop=("utm_*",)),)
    scans = scans_for(Purge.of(urls="https://a.example/x?utm_a=1"), rules)
    assert next(scans).prefix == "r1/https/a.example/x"


@pytest.mark.parametrize(
    "url", ["https://a.example/x", "https://a.example/x?a#b", LONG], ids=["plain", "with a fragment", "long"]
)
def test_the_base_of_a_variant_is_the_key_of_its_url(url: str) -> None:
    assert base_of(key(url, ("accept", "x"))) == base_of(key(url)) == key(url)


def test_listing_everything_shows_records_with_their_heads(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/1", groups=("g",))
    store(fake_kv, "https://a.example/2", varies=(("accept", "x"),))
    store(fake_kv, "http://b.example/3", fields=(("x-long", "x" * 2000),), groups=("h",))
    listed = {stored.key: stored for stored in client.list()}
    assert listed["r1/https/a.example/1"].record.groups == ("g",)  # type: ignore[union-attr]  # it is one
    assert listed["r1/https/a.example/2"].index is not None
    assert listed["r1/http/b.example/3"].record.groups == ("h",)  # type: ignore[union-attr]  # it is one


def test_a_head_that_lists_do_not_show_is_read_for_its_groups(client: PurgeClient, fake_kv: FakeKV) -> None:
    long = store(fake_kv, "https://a.example/1", fields=(("x-long", "x" * 2000),), groups=("g",))
    store(fake_kv, "https://a.example/2")
    assert [stored.key for stored in client.list(groups="g")] == [long]
    assert sum("/values/" in request.path for request in fake_kv.requests) == 1


@pytest.mark.parametrize("metadata", [None, {"h": "2 200"}, {"x": 1}, "text", {"v": "no"}])
def test_what_another_version_wrote_is_shown_as_unreadable(
    client: PurgeClient, fake_kv: FakeKV, metadata: object
) -> None:
    fake_kv.put("r1/https/a.example/1", b"", metadata)
    [stored] = client.list()
    assert stored.record is None
    assert stored.index is None
