"""`origin-sdk drain` and `origin-sdk outbox`, as an operator runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner, Result

from origin_sdk import AuditFile, InvalidSettings, Purge
from origin_sdk.cli.app import app
from origin_sdk.layers import Family, LayeredCache, RedisOptions
from origin_sdk.outbox import State, acting
from origin_sdk.outbox.opening import open_layers, open_outbox
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, assert_purged
from scripts.runtime.crash import _CLOCK as CLOCK
from scripts.runtime.servers import Redis
from tests.layers.test_breakdowns import eventually
from tests.outbox.conftest import sqlalchemy_kind


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKV]:
    fake = FakeKV(clock=CLOCK)
    with fake.serve() as url:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", url)
        monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", fake.namespace_id)
        yield fake


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteOutbox]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_CACHE_OUTBOX", f"sqlite:///{tmp_path}/outbox.db")
    made = SqliteOutbox(tmp_path / "outbox.db")
    yield made
    made.close()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def listed(*arguments: str) -> Any:
    return json.loads(command("outbox", "list", "--json", *arguments).output)


def test_draining_once_delivers_and_says_so(api: FakeKV, outbox: SqliteOutbox) -> None:
    outbox.record(Purge.of(groups="a"))
    done = command("drain", "--once")
    assert (done.exit_code, done.output[:7]) == (0, "1 done,")
    assert_purged(api, group="a")


def test_a_drainer_of_its_own_empties_the_layers_of_the_services(
    api: FakeKV, outbox: SqliteOutbox, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Family("product", "{id}", str, groups=("product-{id}",)).key(id=17)
    with LayeredCache(RedisOptions(url=redis_server.url, prefix="shop", timeout=2)) as service:
        assert service.wait_until_synced()
        service.set(key, "old")
        outbox.record(Purge.of(groups="product-17"))
        monkeypatch.setenv("EDGE_CACHE_LAYERS", f"{redis_server.url}?prefix=shop")
        assert command("drain", "--once").exit_code == 0
        assert_purged(api, group="product-17")
        eventually(lambda: service.get(key) is None)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@127.0.0.1/0",
        "redis://127.0.0.1/0?prefix=shop&shards=many",
        "http://127.0.0.1?prefix=shop",
    ],
)
def test_layers_that_can_not_be_are_named_with_the_remedy(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"\?prefix=name") as raised, open_layers(url):
        pass
    assert "secret" not in str(raised.value)


def test_who_and_why_of_each_entry_reach_the_audit_file(
    api: FakeKV, outbox: SqliteOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_CACHE_AUDIT_FILE", str(tmp_path / "audit.jsonl"))
    with acting("alice", "typo"):
        outbox.record(Purge.of(groups="a"))
    command("drain", "--once")
    sent, delivered = AuditFile(tmp_path / "audit.jsonl").read()
    assert (sent["action"], delivered["action"]) == ("purge", "deliver")
    assert (delivered["actor"], delivered["reason"], delivered["outcome"]) == ("alice", "typo", "done")
    assert sent["id"] in delivered["result"]
    assert "alice" in command("audit").output
    assert_purged(api, group="a")


def test_draining_once_exits_with_1_if_something_is_left(api: FakeKV, outbox: SqliteOutbox) -> None:
    outbox.record(Purge.of(groups="a"))
    api.may_write = False
    assert command("drain", "--once", "--json").exit_code == 1
    assert listed()["entries"][0]["result"].startswith("AuthenticationFailed")


def test_a_drainer_of_its_own_runs_until_it_is_told_to_stop(api: FakeKV, outbox: SqliteOutbox) -> None:
    run = "from origin_sdk.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", run, "drain", "--poll", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    outbox.record(Purge.of(groups="a"))
    assert process.stdout
    assert process.stdout.readline().startswith("1 done")
    assert_purged(api, group="a")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


def test_listing_shows_who_why_what_and_how_it_stands(outbox: SqliteOutbox) -> None:
    with acting("alice", "typo"):
        outbox.record(Purge.of(groups="[a]"))
    shown = listed()
    [entry] = shown["entries"]
    assert shown["counts"] == {"waiting": 1}
    assert 0 <= shown["lag_seconds"] < 60
    assert entry["recorded_at"] <= time.time()  # noqa: TID251 - as the service recorded it
    assert (entry["actor"], entry["reason"], entry["payload"]) == (
        "alice",
        "typo",
        {"purge": {"groups": ["[a]"]}},
    )
    text = command("outbox", "list").output
    assert all(part in text for part in ("alice", "typo", "[a]", "The oldest that waits"))


def test_what_is_dropped_can_be_replayed(outbox: SqliteOutbox) -> None:
    outbox.record(Purge.of(groups="a"))
    assert command("outbox", "drop", "1").exit_code == 0
    assert listed()["entries"] == []
    assert listed("--state", "all")["entries"][0]["state"] == "dropped"
    assert command("outbox", "replay", "1").exit_code == 0
    assert outbox.next_due() == 0
    assert command("outbox", "replay", "--all").exit_code == 0
    assert command("outbox", "drop", "99").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [["list", "--state", "odd"], ["replay"], ["replay", "1", "--all"], ["drop", "one"], ["replay", "1 OR 1"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("outbox")
def test_a_command_that_cannot_be_is_refused(arguments: list[str]) -> None:
    done = command("outbox", *arguments)
    assert done.exit_code
    assert isinstance(done.exception, ValueError)


def test_any_kind_of_outbox_opens_by_its_url(postgres_url: str, redis_server: Redis, tmp_path: Path) -> None:
    engine = create_engine(postgres_url)
    sqlalchemy_kind(engine)
    engine.dispose()
    plain = postgres_url.replace("+psycopg", "")
    for url in (plain, f"{redis_server.url}?stream=opened", f"sqlite:///{tmp_path}/opened.db"):
        opened = open_outbox(url)
        assert list(opened.list([State.WAITING], 1)) == []
        opened.close()


@pytest.mark.parametrize("url", ["", "mysql://x", "outbox.db"])
def test_an_unknown_kind_of_outbox_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="isn't known"):
        open_outbox(url)
