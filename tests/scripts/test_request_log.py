import io
import json
from pathlib import Path

import pytest

from origin_sdk._development.request_log import LogTail, has_colour, shown


def _line(**changed: object) -> str:
    told = {
        "edge_cache": "request",
        "method": "GET",
        "url": "http://a.test/products/17?x=1",
        "status": 200,
        "tier": "memory",
        "reason": "fresh",
        "rule": "default",
        "ms": 3,
        "bytes": 5,
    }
    return json.dumps({**told, **changed})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param(_line(), "GET    /products/17?x=1  200  hit  memory  3 ms", id="a hit"),
        pytest.param(
            _line(method="DELETE", tier="pass", reason="method", status=204),
            "DELETE /products/17?x=1  204  method  pass  3 ms",
            id="passed by",
        ),
        pytest.param(
            _line(url="http://a.test/\x1b[2J"), "GET    /?[2J  200  hit  memory  3 ms", id="no commands"
        ),
        pytest.param(json.dumps({"edge_cache": "flush"}), None, id="another line of the Worker"),
        pytest.param("edge cache: origin: TimeoutError", None, id="another line"),
        pytest.param(_line()[:-9], None, id="a line that was cut off"),
        pytest.param('{"edge_cache": "request"}', None, id="a line that says too little"),
    ],
)
def test_a_request_is_told_in_a_line(line: str, text: str | None) -> None:
    assert shown(line, colour=False) == text


@pytest.mark.parametrize(
    ("tier", "status", "number"), [("memory", 200, 32), ("miss", 200, 35), ("miss", 503, 31)]
)
def test_colours_tell_tiers_and_errors_apart(tier: str, status: int, number: int) -> None:
    text = shown(_line(tier=tier, status=status), colour=True)
    assert text is not None
    assert text.startswith(f"\x1b[{number}m")
    assert text.endswith("\x1b[0m")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())


def test_a_log_is_followed_by_whole_lines_from_where_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = LogTail(log)
    assert list(tail.lines()) == []
    log.write_text("before\n")
    tail = LogTail(log)
    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert list(tail.lines()) == ["one"]
        file.write("o\n")
    assert list(tail.lines()) == ["two"]
    assert list(tail.lines()) == []
