"""The harness keeps its word: what a test of the cache builds on is tested here first."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from origin_sdk._development.process import Process, ProcessError
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Namespace, Worker
from tests.runtime.client import ask
from tests.runtime.edge import eventually
from tests.runtime.kv import BreakableKV, delaying, failing, garbling
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import (
    Close,
    Hold,
    Pause,
    Reply,
    Reset,
    chunked,
    head,
    reply,
    truncated,
    until_close,
)

FRANKFURT = Namespace(location="frankfurt")


def _runs(group: int) -> bool:
    """Return whether a process of the group still runs, zombies not counted."""
    found = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
    return any(
        int(line.split()[0]) == group and not line.split()[1].startswith("Z")
        for line in found.stdout.splitlines()
    )


@pytest.mark.parametrize(
    ("answer", "status", "body", "complete"),
    [
        pytest.param(reply(200, [], b"whole"), 200, b"whole", True, id="a Content-Length"),
        pytest.param(reply(299, [], b"", reason="Fine"), 299, b"", True, id="an odd status"),
        pytest.param(chunked(200, [], [b"one", Pause(0.01), b"two"]), 200, b"onetwo", True, id="chunks"),
        pytest.param(
            until_close(200, [], b"old"), 200, b"old", True, id="HTTP/1.0 until the connection closes"
        ),
        pytest.param(truncated(b"half", missing=4), 200, b"half", False, id="a body that ends too soon"),
        pytest.param(
            Reply((head(200, [("Transfer-Encoding", "chunked")]), b"3\r\nabc\r\n", Close())),
            200,
            b"abc",
            False,
            id="chunks that end too soon",
        ),
    ],
)
def test_the_origin_sends_what_it_is_told(
    origin: ScriptedOrigin, answer: Reply, status: int, body: bytes, *, complete: bool
) -> None:
    origin.on("/a", answer)

    response = ask(origin.url, "/a")

    assert (response.status, response.body, response.complete) == (status, body, complete)


def test_the_origin_gives_each_reply_once_and_the_last_for_ever(origin: ScriptedOrigin) -> None:
    origin.on("/a", reply(200), reply(503))

    assert [ask(origin.url, "/a").status for _ in range(3)] == [200, 503, 503]


def test_field_lines_stay_as_they_are_both_ways(origin: ScriptedOrigin) -> None:
    origin.on("/a", reply(200, [("X-One", "1"), ("x-one", "caf\xe9")]))

    response = ask(origin.url, "/a?b=1", method="PURGE", fields=[("X-Two", "1"), ("x-two", "")], body=b"why")

    [request] = origin.requests("/a")
    assert (request.method, request.target, request.body) == ("PURGE", "/a?b=1", b"why")
    assert [line for line in request.fields if line[0].lower() == "x-two"] == [("X-Two", "1"), ("x-two", "")]
    assert response.values("x-one") == ["1", "caf\xe9"]
    assert response.value("x-one") == "1, caf\xe9"


def test_the_origin_reads_chunked_requests(origin: ScriptedOrigin) -> None:
    origin.on("/a", reply())

    httpx.post(f"{origin.url}/a", content=iter([b"one", b"two"]))

    assert origin.requests()[0].body == b"onetwo"


def test_the_origin_resets_a_connection(origin: ScriptedOrigin) -> None:
    origin.on("/a", Reply((Reset(),)))

    with pytest.raises(ConnectionResetError):
        ask(origin.url, "/a")


def test_the_origin_goes_down_and_comes_back_on_its_port(origin: ScriptedOrigin) -> None:
    origin.on("/a", reply(204))

    origin.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(origin.url, "/a")
    origin.listen()

    assert ask(origin.url, "/a").status == 204


def test_the_origin_holds_a_response_until_the_test_lets_go(origin: ScriptedOrigin) -> None:
    hold = Hold()
    origin.on("/a", reply(200, [], b"late").after(hold))
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(origin.url, "/a").body))

    waiting.start()
    origin.wait_for_requests(1, "/a")
    assert answers == []
    hold.release()
    waiting.join()

    assert answers == [b"late"]


def test_a_worker_has_its_variables_and_all_its_modules(relays: Workerd) -> None:
    assert httpx.get(f"{relays.url('osaka')}/env").json() == {"GREETING": "hello", "RULES": [{"path": "/a"}]}


def test_a_worker_reaches_the_origin(relays: Workerd, origin: ScriptedOrigin) -> None:
    origin.on("/a", reply(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"body"))

    response = ask(relays.url("osaka"), "/a")

    assert (response.status, response.body) == (200, b"body")
    assert response.values("Set-Cookie") == ["a=1", "b=2"]


def test_a_location_misses_what_another_wrote_until_its_read_is_too_old(relays: Workerd) -> None:
    key = "/kv?key=seen-later"
    before = httpx.get(relays.url("osaka") + key).text

    written = httpx.put(f"{relays.url('frankfurt')}{key}&value=new").text

    assert (before, written) == ("missing", "stored")
    assert httpx.get(relays.url("frankfurt") + key).text == "new"
    assert httpx.get(relays.url("osaka") + key).text == "missing"
    relays.advance_kv_clock(20)  # of 30: what passes meanwhile on a busy machine counts, too
    assert httpx.get(relays.url("osaka") + key).text == "missing"
    relays.advance_kv_clock(10)
    assert httpx.get(relays.url("osaka") + key).text == "new"


def test_a_store_can_be_read_and_written_from_outside(relays: Workerd) -> None:
    store = relays.store(FRANKFURT)

    store.put("a/b:c%", b"\xff", metadata={"m": 1}, ttl_seconds=60)

    assert (store.get("a/b:c%"), store.metadata("a/b:c%"), store.keys("a/")) == (
        b"\xff",
        {"m": 1},
        ["a/b:c%"],
    )
    store.delete("a/b:c%")
    assert (store.get("a/b:c%"), store.keys("a/")) == (None, [])


def test_an_expired_key_is_missing(relays: Workerd) -> None:
    store = relays.store(FRANKFURT)
    store.put("brief", b"1", ttl_seconds=60)

    relays.advance_kv_clock(61)

    assert (store.get("brief"), store.keys("brief")) == (None, [])


def test_a_breakable_kv_works_until_it_is_broken(relays: Workerd, breakable_kv: BreakableKV) -> None:
    url = f"{relays.url('breakable')}/kv?key=a"

    assert httpx.put(f"{url}&value=1").text == "stored"
    assert httpx.get(url).text == "1"
    breakable_kv.fault = failing(429, method="PUT")
    assert httpx.put(f"{url}&value=2").text == "Error: KV PUT failed: 429 Too Many Requests"
    assert httpx.get(url).text == "1"
    breakable_kv.fault = garbling(b"\x00")
    assert httpx.get(url).text == "\x00"


def test_a_breakable_kv_can_be_slow(relays: Workerd, breakable_kv: BreakableKV) -> None:
    hold = Hold()
    breakable_kv.fault = delaying(hold, method="GET")

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{relays.url('breakable')}/kv?key=a", timeout=0.3)
    hold.release()

    eventually(lambda: [request.method for request in breakable_kv.requests()] == ["GET"], "the request")


def test_a_program_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]

    with (
        Process("program", program, log=tmp_path / "log", folder=tmp_path) as process,
        pytest.raises(ProcessError, match=r"(?s)program ended by itself, with exit code 3.*the reason"),
    ):
        process.wait_for(lambda: None, what="anything", seconds=10)


def test_stopping_ends_the_whole_group_even_what_ignores_the_signal(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"

    arguments = [sys.executable, "-c", program]
    with Process("p", arguments, log=tmp_path / "log", folder=tmp_path, grace_seconds=0.1) as process:
        process.wait_for(lambda: "up" in process.output() or None, what="its child", seconds=60)

    eventually(lambda: not _runs(process.id), "the end of the group")


def test_a_worker_that_does_not_start_is_reported_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text("import nowhere\n", encoding="utf-8")

    with pytest.raises(ProcessError, match="No module named 'nowhere'"):
        Workerd(tmp_path / "run", [Worker("broken", tmp_path)])
