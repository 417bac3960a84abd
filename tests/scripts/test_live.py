"""`scripts/live` on this machine, and against an account that is made up: whatever comes, it removes all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

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
        self.account = Account("a", "t", httpx.Client(transport=httpx.MockTransport(self._answer)), self._run)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        result: object = None
        if request.method == "POST":
            self.namespaces["n1"] = json.loads(request.content)["title"]
            result = {"id": "n1"}
        elif request.method == "GET":
            result = [{"id": key, "title": title} for key, title in self.namespaces.items()]
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


def test_it_measures_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local", "--purges", "1", "--requests", "2"]) == 0
    told = capsys.readouterr().out
    assert "0 and " in told
    assert "it knows all purges since" in told
