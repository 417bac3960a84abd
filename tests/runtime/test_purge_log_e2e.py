"""The purge log and the sealed store with no mock on the way.

Client, command and drainer, REST API, Worker, Durable Objects: all with keys, which are changed meanwhile.
"""

from __future__ import annotations

import json
import secrets
import time
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import Grade, Outcome, Purge, PurgeClient, Settings, read_project
from origin_sdk.cli import main
from origin_sdk.errors import OutOfScope
from origin_sdk.outbox import Drainer
from origin_sdk.outbox.sqlite import SqliteOutbox
from scripts.runtime import snapshot
from scripts.runtime.wrangler import Wrangler, with_purge_log
from tests.runtime.client import Response, ask
from tests.runtime.edge import eventually
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Reply, reply

_KEYS: dict[str, dict[str, Any]] = {
    "ops": {"secret": secrets.token_urlsafe(32)},
    "shop": {"secret": secrets.token_urlsafe(32), "groups": ["shop-*"]},
}
_OLD, _NEW = (f"{name}:{b64encode(secrets.token_bytes(32)).decode()}" for name in ("old", "new"))
_STORE_KEYS = f"{_OLD},{_NEW}"
_RULES = """
[vars]
ORIGIN = "https://origin.example"
MEMORY_ITEM_BYTES = "200KiB"

[[vars.RULES]]
path = "/secret/**"
seal = "encrypt"
single_flight = "global"
"""
_LOOKS = 50
"""They take longer than an isolate takes to learn of a purge."""
_numbers = count(1)


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, worker_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wrangler]:
    folder = tmp_path_factory.mktemp("log")
    declared = tomllib.loads(_RULES)["vars"]
    variables = {
        **declared,
        "ORIGIN": running_origin.url,
        "RULES": json.dumps(declared["RULES"]),
        "PURGE": "strict",
        "PURGE_LOG_KEYS": json.dumps(_KEYS),
        "PURGE_LOG_SHARDS": "2",
        "STORE_KEYS": _STORE_KEYS,
    }
    config = with_purge_log(worker_tree / "wrangler.toml", folder)
    with Wrangler(folder, variables=variables, config=config, snapshots=snapshot.deployed()) as wrangler:
        yield wrangler


def settings_of(edge: Wrangler, key: str) -> Settings:
    log_key = json.dumps({key: _KEYS[key]})
    return Settings(
        base_url=edge.api_url(),
        namespace_id=edge.namespace(),
        actor="tests",
        log_url=edge.url,
        log_key=log_key,
        store_keys=_STORE_KEYS,
    )


@pytest.fixture(scope="module")
def client(edge: Wrangler) -> Iterator[PurgeClient]:
    with PurgeClient(settings_of(edge, "ops")) as client:
        yield client


def page(text: str, group: str) -> Reply:
    fields = [
        ("Content-Type", "text/plain"),
        ("Cache-Control", "max-age=600"),
        ("Cache-Groups", f'"{group}"'),
    ]
    return reply(200, fields, text.encode())


class Shown:
    """A page of a group of its own, which is cached as ``old`` while its origin says ``new``."""

    def __init__(self, edge: Wrangler, origin: ScriptedOrigin) -> None:
        number = next(_numbers)
        self.edge, self.path, self.group = edge, f"/log/{number}", f"shop-{number}"
        origin.on(self.path, page("old", self.group))
        eventually(lambda: "; hit" in (self.get().value("cache-status") or ""), "hit")
        origin.on(self.path, page("new", self.group))
        assert self.get().body == b"old"

    def get(self) -> Response:
        return ask(self.edge.url, self.path)


@pytest.fixture
def shown(edge: Wrangler, origin: ScriptedOrigin) -> Shown:
    return Shown(edge, origin)


@pytest.fixture
def run(
    edge: Wrangler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the command, and returns what it prints."""
    monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", edge.api_url())
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", edge.namespace())
    monkeypatch.setenv("EDGE_CACHE_LOG_URL", edge.url)
    monkeypatch.setenv("EDGE_CACHE_LOG_KEY", json.dumps({"ops": _KEYS["ops"]}))
    monkeypatch.setenv("EDGE_CACHE_STORE_KEYS", _STORE_KEYS)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        told = capsys.readouterr()
        assert not left.value.code, told.err
        return told.out

    return run


def test_the_command_returns_once_it_is_seen(run: Callable[..., str], shown: Shown) -> None:
    told = json.loads(run("purge", "--group", shown.group, "--hard", "--wait", "--json"))
    assert told["visible"]["is_confirmed"]
    assert shown.get().body == b"new"


def test_a_drainer_tells_the_log(client: PurgeClient, shown: Shown, tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    outbox.record(Purge.of(groups=shown.group, hard=True))
    [made] = Drainer(outbox, client).drain()
    assert made.done == 1
    eventually(lambda: shown.get().body == b"new", "new page")
    outbox.close()


def test_a_key_purges_within_its_scope_alone(edge: Wrangler, shown: Shown) -> None:
    with PurgeClient(settings_of(edge, "shop")) as client:
        # A machine that does something else as well may be too slow to be told at once.
        eventually(lambda: client.purge(groups=shown.group).told is True, "log that is told")
        with pytest.raises(OutOfScope, match="group/hr"):
            client.purge(groups="hr")
    unscoped = json.dumps({"shop": {"secret": _KEYS["shop"]["secret"]}})
    with PurgeClient(replace(settings_of(edge, "shop"), log_key=unscoped)) as client:
        assert client.purge(groups="hr").told is False, "the Worker has the scope, too"


def test_a_switch_bypasses_until_it_is_taken_back(
    run: Callable[..., str], client: PurgeClient, shown: Shown
) -> None:
    assert "Set: bypass of everything until" in run("switch", "bypass", "--for", "10m", "--why", "a test")
    eventually(lambda: shown.get().body == b"new", "bypass")
    assert "a test" in run("switch", "list")
    [found] = [each for each in client.check() if each.check == "switch"]
    assert (found.verdict, "a test" in found.message) == (Grade.WARNING, True)
    run("switch", "undo", "bypass")
    eventually(lambda: shown.get().body == b"old", "end of the bypass")
    assert client.switches() == ()


def test_a_pause_holds_purges_back(client: PurgeClient, shown: Shown) -> None:
    client.switch("pause", until=client.now() + timedelta(minutes=10), reason="a test")
    eventually(lambda: bool(client.switches()), "pause that the log knows of")
    client.purge(groups=shown.group, hard=True)
    for _ in range(_LOOKS):
        assert shown.get().body == b"old"
        time.sleep(0.05)
    client.switch("pause")
    eventually(lambda: shown.get().body == b"new", "purge after the pause")


_SMALL, _LARGE = b"small", bytes(range(256)) * 3000


@pytest.fixture
def with_keys(edge: Wrangler, tmp_path: Path) -> Iterator[Callable[[str], PurgeClient]]:
    """Makes clients with some of the store's keys, without the log's, and with the rules of the Worker."""
    (tmp_path / "wrangler.toml").write_text(_RULES)
    project, made = read_project(tmp_path / "wrangler.toml"), list[PurgeClient]()

    def with_keys(keys: str) -> PurgeClient:
        settings = replace(settings_of(edge, "ops"), log_url="", log_key="", store_keys=keys)
        made.append(PurgeClient(settings, project=project))
        return made[-1]

    yield with_keys
    for each in made:
        each.close()


def _is_whole(edge: Wrangler, path: str, body: bytes) -> bool:
    whole = ask(edge.url, path)
    part = ask(edge.url, path, fields=[("Range", f"bytes=1-{len(body) - 2}")])
    assert (whole.body, part.status, part.body) == (body, 206, body[1:-1])
    return "; hit" in (whole.value("cache-status") or "")


@pytest.mark.parametrize("body", [pytest.param(_SMALL, id="small"), pytest.param(_LARGE, id="in parts")])
@pytest.mark.parametrize("place", ["/open", "/secret"])
def test_what_is_sealed_is_opened_on_the_other_side(
    edge: Wrangler,
    origin: ScriptedOrigin,
    with_keys: Callable[[str], PurgeClient],
    place: str,
    body: bytes,
) -> None:
    fields = [("Cache-Control", "max-age=600"), ("Content-Type", "application/octet-stream")]
    both, new, stranger = with_keys(_STORE_KEYS), with_keys(_NEW), with_keys("")
    published, stored = (f"{place}/{next(_numbers)}" for _ in range(2))

    new.publish(edge.url + published, lambda: body, headers=dict(fields))
    assert _is_whole(edge, published, body)
    assert origin.requests(published) == []

    origin.on(stored, reply(200, fields, body))
    eventually(lambda: "; hit" in (ask(edge.url, stored).value("cache-status") or ""), "hit")
    assert _is_whole(edge, stored, body)
    eventually(lambda: bool(both.inspect(edge.url + stored).stored), "record in KV")
    [known] = both.inspect(edge.url + stored).stored
    assert (known.outcome, known.seal.value, known.body_bytes) == (
        Outcome.FRESH,
        "encrypt" if place == "/secret" else "authenticate",
        len(body),
    )
    assert new.inspect(edge.url + stored).stored[0].outcome is Outcome.BROKEN_SEAL
    [seen] = stranger.inspect(edge.url + stored).stored
    assert (seen.outcome is Outcome.SEALED) is (place == "/secret")
    assert both.purge(urls=edge.url + stored, hard=True, delete=True).deleted == (1 if body is _SMALL else 2)
    assert list(both.list(urls=edge.url + stored)) == []


def test_who_lacks_the_keys_purges_nothing_and_is_told_so(
    shown: Shown, with_keys: Callable[[str], PurgeClient]
) -> None:
    stranger, both = with_keys(""), with_keys(_STORE_KEYS)
    stranger.purge(groups=shown.group, hard=True)
    [told] = [each for each in stranger.check() if each.check == "seals"]
    assert (told.verdict, "EDGE_CACHE_STORE_KEYS" in told.message) == (Grade.BAD, True)
    [mark] = [each for each in both.marks() if each.target == f"group/{shown.group}"]
    assert mark.is_forged
    assert shown.get().body == b"old"
    both.purge(groups=shown.group, hard=True)
    [mark] = [each for each in both.marks() if each.target == f"group/{shown.group}"]
    assert not mark.is_forged
