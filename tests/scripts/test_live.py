"""`scripts/live` on this machine, and against an account that is made up: whatever comes, it removes all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from scripts.runtime.live import main
from scripts.runtime.live_place import Account, LiveError, scratch

NAME = "edge-cache-live-1"


class FakeAccount:
    """An account of one namespace, and a wrangler that notes what it is told."""

    def __init__(self, failing: str = "") -> None:
        self.namespaces: dict[str, str] = {}
        self.workers: set[str] = set()
        self._failing = failing
        client = httpx.Client(transport=httpx.MockTransport(self._answer))
        self.account = Account("a", "t", client=client, run=self._run)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        result: object = None
        if request.method == "POST":
            self.namespaces["n1"] = json.loads(request.content)["title"]
            result = {"id": "n1"}
        elif request.method == "GET":
            listed = [{"id": key, "title": title} for key, title in self.namespaces.items()]
            first = (int(request.url.params["page"]) - 1) * int(size := request.url.params["per_page"])
            result = listed[first : first + int(size)]
        else:
            del self.namespaces[request.url.path.rpartition("/")[2]]
        return httpx.Response(200, json={"success": True, "result": result})

    def _run(self, arguments: Sequence[str]) -> str:
        worker = Path(arguments[-1]).stem
        if f"{arguments[0]} {worker}" == self._failing:
            raise LiveError("refused")
        if arguments[0] == "deploy":
            self.workers.add(worker)
            return f"Deployed\n  https://{worker}.me.workers.dev\n"
        self.workers.discard(worker)
        return ""


def test_scratch_workers_are_there_and_gone_again(tmp_path: Path) -> None:
    fake = FakeAccount()
    with scratch(tmp_path, fake.account, NAME) as place:
        assert place.url == f"https://{NAME}.me.workers.dev"
        assert (fake.workers, set(fake.namespaces)) == ({NAME, f"{NAME}-origin"}, {"n1"})
        assert f'ORIGIN = "https://{NAME}-origin.me.workers.dev"' in (tmp_path / f"{NAME}.toml").read_text()
        assert place.settings.namespace_id == "n1"
    assert (fake.workers, fake.namespaces, fake.account.left) == (set(), {}, [])


def test_its_namespace_is_found_among_many(tmp_path: Path) -> None:
    fake = FakeAccount()
    others = {f"other {number}": "mine" for number in range(230)}
    fake.namespaces.update(others)
    with scratch(tmp_path, fake.account, NAME):
        assert len(fake.namespaces) == 231
    assert fake.namespaces == others


@pytest.mark.parametrize(
    ("failing", "raised", "left"),
    [
        pytest.param("", KeyboardInterrupt, set(), id="Ctrl-C"),
        pytest.param(f"deploy {NAME}", LiveError, set(), id="a deploy that is refused"),
        pytest.param(f"delete {NAME}", KeyboardInterrupt, {NAME}, id="a Worker that can't be removed"),
    ],
)
def test_whatever_comes_all_is_removed_that_can_be(
    tmp_path: Path, failing: str, raised: type[BaseException], left: set[str]
) -> None:
    fake = FakeAccount(failing)
    with pytest.raises(raised), scratch(tmp_path, fake.account, NAME):
        raise KeyboardInterrupt
    assert (fake.workers, fake.namespaces) == (left, {})
    assert ["the Worker" in told and NAME in told for told in fake.account.left] == [True] * len(left)


class Api(BaseHTTPRequestHandler):
    """As much of Cloudflare's API as a deploy by wrangler, and what takes it back, ask for."""

    protocol_version = "HTTP/1.1"
    namespaces: ClassVar[dict[str, str]] = {}
    workers: ClassVar[dict[str, int]] = {}
    """How many bytes were uploaded of each."""

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = f"{self.command} {self.path.partition('?')[0].split('/', 3)[3]}"  # behind the account
        found = ((route.fullmatch(asked), answer) for route, answer in _ROUTES)
        result = next(
            (answer(match[1] if match.re.groups else "", content) for match, answer in found if match), {}
        )
        failed = [{"code": 10090, "message": "workers.api.error.service_not_found"}] if result is None else []
        told = json.dumps(
            {"success": not failed, "errors": failed, "messages": [], "result": result}
        ).encode()
        self.send_response(404 if failed else 200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names


def _made(_: str, content: bytes) -> object:
    Api.namespaces["f" * 32] = json.loads(content)["title"]
    return {"id": "f" * 32}


def _uploaded(name: str, content: bytes) -> object:
    Api.workers[name] = len(content)
    return {"id": name, "startup_time_ms": 1}


_ROUTES: Sequence[tuple[re.Pattern[str], Callable[[str, bytes], object]]] = [
    (re.compile(route), answer)
    for route, answer in (
        ("POST storage/kv/namespaces", _made),
        (
            "GET storage/kv/namespaces",
            lambda *_: [{"id": key, "title": title} for key, title in Api.namespaces.items()],
        ),
        ("DELETE storage/kv/namespaces/(.+)", lambda name, _: {"title": Api.namespaces.pop(name)}),
        ("GET workers/subdomain", lambda *_: {"subdomain": "me"}),
        ("PUT workers/scripts/([^/]+)", _uploaded),
        ("GET workers/services/([^/]+)", lambda name, _: {"id": name} if name in Api.workers else None),
        ("DELETE workers/services/([^/]+)", lambda name, _: {"bytes": Api.workers.pop(name)}),
        (
            "GET workers/workers/([^/]+)",
            lambda *_: {"subdomain": {"enabled": True, "previews_enabled": False}},
        ),
        ("GET workers/scripts/[^/]+/deployments", lambda *_: {"deployments": []}),
        ("GET workers/(?:scripts/[^/]+/secrets|durable_objects/namespaces)", lambda *_: []),
    )
]


@pytest.fixture
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_wrangler_deploys_and_deletes_what_is_written_for_it(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"CLOUDFLARE_API_BASE_URL": api, "CLOUDFLARE_ACCOUNT_ID": "a" * 32, "CLOUDFLARE_API_TOKEN": "t"}
    for name, value in {**told, "WRANGLER_LOG_PATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    account = Account.of(told)
    with account.client, scratch(tmp_path, account, NAME) as place:
        assert place.url == f"https://{NAME}.me.workers.dev"
        assert Api.workers.keys() == {NAME, f"{NAME}-origin"}
        assert Api.workers[NAME] > 400_000, "all modules of the Worker"
        assert Api.namespaces == {"f" * 32: NAME}
    assert (Api.workers, Api.namespaces, account.left) == ({}, {}, [])


def test_without_an_account_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLOUDFLARE_ACCOUNT_ID", raising=False)
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    assert main([]) == 1
    assert "set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN" in capsys.readouterr().err


def test_what_would_be_deployed_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    assert capsys.readouterr().out.count(": checked") == 2


def test_it_measures_on_this_machine_and_examines_it_as_a_user_would(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--local", "--purges", "1", "--requests", "2"]) == 0
    told = capfd.readouterr().out
    assert "dollars, with nothing included" in told
    for check in ("address", "store", "latency", "purge", "counts", "left behind"):
        assert re.search(rf"^ok +{check}: ", told, re.MULTILINE)
    assert "0 and " in told
    assert "it knows all purges since" in told
