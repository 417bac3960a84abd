"""`origin-sdk drain` and `origin-sdk outbox`, as an operator runs them."""

from __future__ import annotations

import json
import signal
import sqlite3
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
from origin_sdk.cli import main
from origin_sdk.cli.app import app
from origin_sdk.layers import Family, LayeredCache, RedisOptions
from origin_sdk.outbox import State, acting
from origin_sdk.outbox._stores.urls import open_layers, open_outbox
from origin_sdk.outbox.redis import RedisOutbox
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV, assert_purged
from scripts.runtime.bad_api import CLOCK
from scripts.runtime.servers import Redis
from tests.layers.servers import PATIENT_SECONDS
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
    with LayeredCache(RedisOptions(url=redis_server.url, prefix="shop", timeout=PATIENT_SECONDS)) as service:
        assert service.wait_until_synced(30)
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
    assert all(part in text for part in ("alice", "typo", "[a]", "The oldest has waited"))


def test_what_is_dropped_can_be_replayed(outbox: SqliteOutbox) -> None:
    outbox.record(Purge.of(groups="a"))
    assert command("outbox", "drop", "1").exit_code == 0
    assert listed()["entries"] == []
    assert listed("--state", "all")["entries"][0]["state"] == "dropped"
    assert command("outbox", "replay", "1").exit_code == 0
    assert outbox.due_in() == 0
    assert command("outbox", "replay", "--all").exit_code == 0
    assert command("outbox", "drop", "99").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["replay", "--all"], "2 entries are due now.", id="all"),
        pytest.param(["replay", "1", "1"], "1 entry is due now.", id="one, named twice"),
        pytest.param(["drop", "2", "1", "2"], "2 entries are dropped.", id="two, one of them named twice"),
        pytest.param(
            ["drop", "1", "99"], "1 entry is dropped. 1 of 2 ids name no open entry", id="one is open"
        ),
    ],
)
def test_what_was_done_is_counted_by_entry(outbox: SqliteOutbox, arguments: list[str], said: str) -> None:
    outbox.record(Purge.of(groups="a"))
    outbox.record(Purge.of(groups="b"))
    done = command("outbox", *arguments)
    assert done.output.startswith(said)
    assert ("ids name" in done.output) == ("ids name" in said)
    assert done.exit_code == int("ids name" in said)


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
    RedisOutbox.from_url(f"{redis_server.url}?stream=opened").close()
    SqliteOutbox(tmp_path / "opened.db").close()
    for url in (plain, f"{redis_server.url}?stream=opened", f"sqlite:///{tmp_path}/opened.db"):
        opened = open_outbox(url)
        assert list(opened.list([State.WAITING], 1)) == []
        opened.close()


@pytest.mark.parametrize("url", ["", "mysql://x", "outbox.db"])
def test_an_unknown_kind_of_outbox_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="unknown kind of outbox"):
        open_outbox(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("sqlite:///typo.db", "there is no file", id="no such file"),
        pytest.param("sqlite://outbox.db", "write sqlite:///", id="two slashes"),
        pytest.param("sqlite:///", "write sqlite:///", id="no file named"),
        pytest.param("sqlite:///other.db", "has no table edge_outbox", id="a database of something else"),
        pytest.param("sqlite:///text.db", "name the file that the service", id="not a database"),
        pytest.param("postgresql://127.0.0.1:1/x", "is it running", id="nobody listens"),
        pytest.param("postgresql://u:secret@127.0.0.1:x/y", "", id="a port that isn't one"),
        pytest.param("redis://:secret@127.0.0.1:1/0", "is it running", id="no Redis"),
        pytest.param("redis://127.0.0.1:x/0", "", id="a Redis port that isn't one"),
        pytest.param("{redis}?stream=typo", "there is no stream", id="no such stream"),
        pytest.param("{postgres}", "make its table", id="a database without the table"),
    ],
)
@pytest.mark.parametrize("action", [["drain", "--once"], ["outbox", "list"]], ids=["drain", "list"])
@pytest.mark.usefixtures("api")
def test_a_store_that_is_not_there_is_an_error(
    action: list[str],
    url: str,
    said: str,
    tmp_path: Path,
    redis_server: Redis,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sqlite3.connect("other.db").executescript("CREATE TABLE other (id INTEGER)").connection.close()
    Path("text.db").write_text("not a database, however long this line is made for it to be")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setenv("EDGE_CACHE_OUTBOX", url.format(redis=redis_server.url, postgres=postgres_url))
    with pytest.raises(SystemExit) as ended:
        main(action)
    shown = capsys.readouterr()
    assert ended.value.code in {2, 4}
    assert said in shown.err
    assert "secret" not in shown.err + shown.out
    assert "Traceback" not in shown.err
    assert sorted(tmp_path.iterdir()) == before, "looking makes nothing"


@pytest.mark.usefixtures("outbox")
def test_a_drainer_says_what_it_drains_into_what(api: FakeKV) -> None:
    command = [sys.executable, "-c", "from origin_sdk.cli import main; main()", "drain"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        banner = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "draining sqlite:///" in banner
    assert f"namespace {api.namespace_id}" in banner


def test_what_no_entry_has_is_said(outbox: SqliteOutbox) -> None:
    outbox.record(Purge.of(groups="a"))
    done = command("outbox", "drop", "1", "99")
    assert (done.exit_code, "1 entry is dropped. 1 of 2 ids name no open entry" in done.output) == (1, True)


DJANGO = """
import os, sys
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}},
    INSTALLED_APPS=["origin_sdk.outbox.django"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.core.management import call_command, execute_from_command_line
if sys.argv[1] == "record":
    from origin_sdk import Purge
    from origin_sdk.outbox.django.store import record
    call_command("migrate", verbosity=0)
    record(Purge.of(groups="a", reason="sale"))
else:
    execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


def test_a_django_project_drains_and_looks_with_its_own_commands(
    api: FakeKV, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manage.py").write_text(DJANGO)
    monkeypatch.chdir(tmp_path)

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments], capture_output=True, text=True, timeout=50, check=False
        )

    unmigrated = manage("edge_drain", "--once")
    assert (unmigrated.returncode, "manage.py migrate" in unmigrated.stderr) == (4, True)
    assert manage("record").returncode == 0
    assert "group a" in manage("edge_outbox", "list").stdout
    assert manage("edge_outbox", "drop", "99").returncode == 1
    drained = manage("edge_drain", "--once")
    assert (drained.returncode, drained.stdout[:7]) == (0, "1 done,")
    assert_purged(api, group="a")


def test_a_django_project_is_found_in_the_folder(
    api: FakeKV, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manage.py").write_text(DJANGO)
    (tmp_path / "shop_settings.py").write_text(
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}}\n'
        'INSTALLED_APPS = ["origin_sdk.outbox.django"]\n'
    )
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "manage.py", "record"], check=True, timeout=50)
    program = [str(Path(sys.executable).parent / "origin-sdk"), "drain", "--once", "--outbox", "django"]
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    assert subprocess.run(program, timeout=50, check=False).returncode == 0
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no_settings")
    ran = subprocess.run(program, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 2
    assert "DJANGO_SETTINGS_MODULE = 'no_settings' can't be loaded" in ran.stderr
    assert_purged(api, group="a")


def test_without_djangos_settings_the_remedy_is_said(api: FakeKV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    program = [str(Path(sys.executable).parent / "origin-sdk"), "outbox", "list", "--outbox", "django"]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, "DJANGO_SETTINGS_MODULE isn't set" in ran.stderr) == (2, True)
    assert api.requests == []
