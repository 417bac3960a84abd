"""What the SDK seals the Worker opens, and the other way round; what somebody else wrote is said to be so."""

from __future__ import annotations

import asyncio
import builtins
from base64 import b64encode
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from origin_sdk import PurgeClient
from origin_sdk._edge.inspection import Outcome
from origin_sdk._values.project import Project
from origin_sdk.errors import InvalidSettings, NotCacheable
from origin_sdk.testing import FakeKV
from origin_sdk_edge.ports import StoredValue
from origin_sdk_wire.choices import DataClass
from origin_sdk_wire.purge_log.entries import id_of
from origin_sdk_wire.purge_log.metadata import parse_entry
from origin_sdk_wire.record import Record, head_of
from origin_sdk_wire.seals import PART_BYTES, Seal, parse_store_keys, verified
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import FakeEdge, FakeResponse, FakeTiming

OLD, NEW = (
    f"{name}:{b64encode(bytes(range(first, first + 32))).decode()}"
    for name, first in (("old", 1), ("new", 99))
)
RULES = (
    Rule("me", paths=("/me/**",), data_class=DataClass.PRIVATE, cookies=("sid",)),
    Rule("secret", paths=("/secret/**",), seal=Seal.ENCRYPT),
)
PROJECT = Project(rules=RULES, memory_item_bytes=1024, compress_min_bytes=0)
HOST = "http://a.example"
FRESH = {"cache-control": "max-age=600"}
SMALL, LARGE = b"small", bytes(range(256)) * (5 * PART_BYTES // 512)

NewClient = Callable[..., PurgeClient]


def client(
    new_client: NewClient, fake_kv: FakeKV, keys: str = NEW, project: Project = PROJECT
) -> PurgeClient:
    return new_client(settings=replace(fake_kv.settings, store_keys=keys), project=project)


def worker(fake_kv: FakeKV, keys: str = NEW) -> FakeEdge:
    """Return an isolate over what lies in KV."""
    values = {each.name: getattr(PROJECT, each.name) for each in fields(Settings)}
    settings = replace(Settings(**values), origin="http://origin", store_keys=parse_store_keys(keys))
    timing = FakeTiming(round(fake_kv.clock.now() * 1000) + 10_000)  # older than marks may be
    edge = FakeEdge(
        settings, lambda _: FakeResponse(200, {"cache-control": "no-store"}, b"of the origin"), timing=timing
    )
    for key in fake_kv.stored_keys():
        edge.store.values[key] = _stored(fake_kv, key)
    return edge


def _stored(fake_kv: FakeKV, key: str) -> StoredValue:
    value: Any = fake_kv.read(key)
    return StoredValue(fake_kv.metadata(key), value.decode() if key.startswith("m2/") else value)


def _members(fake_kv: FakeKV, key: str) -> dict[str, object]:
    metadata = fake_kv.metadata(key)
    assert isinstance(metadata, dict)
    return metadata


def ask(edge: FakeEdge, path: str, **fields: str) -> Any:
    async def run() -> Any:
        return (await edge.full("GET", HOST + path, fields)).response

    return asyncio.run(run())


@pytest.mark.parametrize("body", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="in parts")])
@pytest.mark.parametrize("path", ["/x", "/secret/x", "/me/x"])
def test_the_worker_opens_what_is_published(
    fake_kv: FakeKV, new_client: NewClient, path: str, body: bytes
) -> None:
    identity = {"cookie:sid": "a"} if path.startswith("/me") else {}
    with client(new_client, fake_kv) as edge:
        edge.publish(
            HOST + path, lambda: body, headers={**FRESH, "content-type": "text/plain"}, identity=identity
        )
    sent = ask(worker(fake_kv), path, **({"cookie": "sid=a"} if identity else {}))
    assert bytes(sent.body) == body
    assert "; hit;" in sent.fields["cache-status"]
    foreign = ask(worker(fake_kv, OLD), path, **({"cookie": "sid=a"} if identity else {}))
    assert foreign.body == b"of the origin"


@pytest.mark.parametrize("keys", [f"{OLD},{NEW}", f"{NEW},{OLD}", NEW])
@pytest.mark.parametrize("body", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="in parts")])
def test_while_keys_are_changed_the_worker_meets_what_is_published_in_either_order(
    fake_kv: FakeKV, new_client: NewClient, keys: str, body: bytes
) -> None:
    with client(new_client, fake_kv, keys) as edge:
        published = edge.publish(f"{HOST}/me/x", lambda: body, headers=FRESH, identity={"cookie:sid": "a"})
        assert published.key in fake_kv.stored_keys()

    for of_worker in (f"{NEW},{OLD}", f"{OLD},{NEW}"):
        sent = ask(worker(fake_kv, of_worker), "/me/x", cookie="sid=a")
        assert ("; hit;" in sent.fields["cache-status"]) is (of_worker.startswith(NEW) or keys != NEW)


@pytest.mark.parametrize("keys", ["", NEW])
@pytest.mark.parametrize("identity", [{}, {"cookie:sid": ""}])
def test_what_is_private_is_published_for_somebody(
    fake_kv: FakeKV, new_client: NewClient, keys: str, identity: dict[str, str]
) -> None:
    with client(new_client, fake_kv, keys) as edge, pytest.raises(NotCacheable, match="cookie:sid"):
        edge.publish(f"{HOST}/me/x", lambda: SMALL, headers=FRESH, identity=identity)


def test_what_a_list_of_a_group_cant_look_into_is_told(
    fake_kv: FakeKV, new_client: NewClient, caplog: pytest.LogCaptureFixture
) -> None:
    with client(new_client, fake_kv) as edge:
        for place, group in (("secret/a", "g"), ("secret/b", "h"), ("x", "g")):
            edge.publish(f"{HOST}/{place}", lambda: SMALL, headers=FRESH, groups=[group])
        assert len(list(edge.list(groups=["g"]))) == 2
    assert not caplog.records
    for keys in ("", OLD):
        with client(new_client, fake_kv, keys) as stranger:
            assert [each.path for each in stranger.list(groups=["g"])] == ["/x"]
        assert "EDGE_CACHE_STORE_KEYS" in caplog.text
        caplog.clear()


def test_the_worker_counts_purges_of_who_has_the_keys_alone(fake_kv: FakeKV, new_client: NewClient) -> None:
    with client(new_client, fake_kv) as edge:
        edge.publish(
            f"{HOST}/x", lambda: b"body", headers={**FRESH, "content-type": "text/plain"}, groups=["g"]
        )
    with client(new_client, fake_kv, "") as stranger:
        stranger.purge(groups=["g"], hard=True)
    assert ask(worker(fake_kv), "/x").body == b"body"
    with client(new_client, fake_kv) as edge:
        edge.purge(groups=["g"], hard=True)
    assert ask(worker(fake_kv), "/x").body == b"of the origin"


def test_entries_of_the_log_are_sealed(fake_kv: FakeKV, new_client: NewClient) -> None:
    with client(new_client, fake_kv, project=replace(PROJECT, purge_log=True)) as edge:
        edge.purge(groups=["g"], reason="r" * 300)
    [key] = fake_kv.stored_keys("p2/")
    opened = verified(parse_store_keys(NEW), key, fake_kv.metadata(key))
    assert parse_entry(id_of(key), opened).why == "r" * 64


def test_the_audit_says_which_marks_are_forged(fake_kv: FakeKV, new_client: NewClient) -> None:
    with client(new_client, fake_kv, "") as stranger:
        stranger.purge(groups=["forged"])
    with client(new_client, fake_kv) as edge:
        edge.purge(groups=["right"], reason="price")
        known = {mark.target: mark.is_forged for mark in edge.marks()}
    assert known == {"group/forged": True, "group/right": False}
    key = "m2/s/group/right"
    fake_kv.put(key, fake_kv.read(key) or b"", metadata={**_members(fake_kv, key), "why": "another"})
    with client(new_client, fake_kv) as edge:
        assert all(mark.is_forged for mark in edge.marks())


@pytest.mark.parametrize(
    ("path", "keys", "outcome", "seal"),
    [
        pytest.param("/x", NEW, Outcome.FRESH, Seal.AUTHENTICATE, id="authenticated"),
        pytest.param("/secret/x", NEW, Outcome.FRESH, Seal.ENCRYPT, id="encrypted"),
        pytest.param("/secret/x", f"{OLD},{NEW}", Outcome.FRESH, Seal.ENCRYPT, id="by another of the keys"),
        pytest.param("/secret/x", "", Outcome.SEALED, Seal.ENCRYPT, id="encrypted, without keys"),
        pytest.param("/x", "", Outcome.FRESH, Seal.AUTHENTICATE, id="authenticated, without keys"),
        pytest.param("/secret/x", OLD, Outcome.BROKEN_SEAL, Seal.ENCRYPT, id="by a key that isn't known"),
        pytest.param("/x", OLD, Outcome.BROKEN_SEAL, Seal.AUTHENTICATE, id="authenticated by another"),
        pytest.param("/unsealed", NEW, Outcome.BROKEN_SEAL, Seal.NONE, id="without a seal"),
    ],
)
def test_inspect_opens_and_verifies(
    fake_kv: FakeKV, new_client: NewClient, path: str, keys: str, outcome: Outcome, seal: Seal
) -> None:
    with client(new_client, fake_kv) as edge:
        for each in ("/x", "/secret/x"):
            edge.publish(HOST + each, lambda: b"body", headers={**FRESH, "content-type": "text/plain"})
    born = round(fake_kv.clock.now() * 1000)
    head = head_of(Record(200, born, born, 0, tuple(FRESH.items()), (), 4))
    fake_kv.put("r1/http/a.example/unsealed", b"body", metadata={"h": head})
    with client(new_client, fake_kv, keys) as edge:
        [stored] = edge.inspect(HOST + path).stored
    assert (stored.outcome, stored.seal) == (outcome, seal)


def test_a_group_of_what_is_encrypted_is_found_by_who_has_the_keys(
    fake_kv: FakeKV, new_client: NewClient
) -> None:
    with client(new_client, fake_kv) as edge:
        edge.publish(
            f"{HOST}/secret/x", lambda: b"b", headers={**FRESH, "content-type": "text/plain"}, groups=["g"]
        )
        assert edge.preview(groups=["g"]).responses == 1
        assert edge.purge(groups=["g"], hard=True, delete=True).deleted == 1


def test_what_a_rule_wants_sealed_isnt_published_without_keys(fake_kv: FakeKV, new_client: NewClient) -> None:
    with client(new_client, fake_kv, "") as edge, pytest.raises(NotCacheable, match="EDGE_CACHE_STORE_KEYS"):
        edge.publish(f"{HOST}/secret/x", lambda: b"body", headers={**FRESH, "content-type": "text/plain"})


def test_without_the_package_what_is_missing_is_named(
    fake_kv: FakeKV, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with client(new_client, fake_kv) as edge:
        edge.publish(
            f"{HOST}/x", lambda: b"body", headers={**FRESH, "content-type": "text/plain"}
        )  # HMAC needs none
        with pytest.raises(InvalidSettings, match=r"pip install 'origin-sdk\[crypto\]'"):
            edge.publish(f"{HOST}/secret/x", lambda: b"body", headers={**FRESH, "content-type": "text/plain"})


def test_keys_that_are_none_are_refused_and_never_shown(fake_kv: FakeKV, new_client: NewClient) -> None:
    with pytest.raises(
        InvalidSettings, match="EDGE_CACHE_STORE_KEYS can't be used: key 1 isn't one"
    ) as raised:
        client(new_client, fake_kv, "k:zzzzzz")
    assert "zzzzzz" not in str(raised.value)
    with client(new_client, fake_kv) as edge:
        assert NEW.partition(":")[2] not in repr(edge) + repr(edge.settings) + repr(edge.project)


@pytest.mark.parametrize(
    ("theirs", "ours", "verdict"),
    [
        pytest.param(NEW, NEW, "ok", id="the same keys"),
        pytest.param(NEW, "", "problem", id="none here"),
        pytest.param(NEW, OLD, "problem", id="others here"),
        pytest.param("", NEW, "warning", id="none at the Worker, it seems"),
        pytest.param("", "", None, id="none at all"),
    ],
)
def test_the_doctor_says_who_lacks_keys(
    fake_kv: FakeKV, new_client: NewClient, theirs: str, ours: str, verdict: str | None
) -> None:
    with client(new_client, fake_kv, theirs) as edge:
        edge.purge(groups=["g"])
    with client(new_client, fake_kv, ours) as edge:
        found = {each.check: each.verdict.value for each in edge.check()}
    assert found.get("seals") == verdict


def test_the_doctor_names_who_purges_without_keys(fake_kv: FakeKV, new_client: NewClient) -> None:
    settings = replace(fake_kv.settings, actor="cron of the shop")
    with new_client(settings=settings, project=PROJECT) as stranger, client(new_client, fake_kv) as edge:
        edge.purge(groups=["g"])
        assert [each.verdict.value for each in edge.check() if each.check == "seals"] == ["ok"]
        stranger.purge(groups=["h"])
        [found] = [each for each in edge.check() if each.check == "seals"]
    assert found.verdict.value == "warning"
    assert "aren't sealed, by cron of the shop (" in found.message


def test_what_wouldnt_fit_once_sealed_isnt_published(fake_kv: FakeKV, new_client: NewClient) -> None:
    body = bytes(PROJECT.max_body_bytes)
    with client(new_client, fake_kv) as edge, pytest.raises(NotCacheable, match="MAX_BODY_BYTES allows"):
        edge.publish(f"{HOST}/x", lambda: body, headers={**FRESH, "content-type": "application/zip"})
