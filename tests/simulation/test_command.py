"""`origin-sdk simulate`, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from origin_sdk.cli.app import app, run

_LINE = '203.0.113.9 - - [28/Nov/2026:18:43:{second:02} +0000] "GET /products/{number} HTTP/1.1" 200 512'
_CONFIG = """
[[kv_namespaces]]
binding = "CACHE"
id = "0123"

[vars]
ORIGIN = "https://origin.example.com"

[[vars.RULES]]
name = "products"
path = "/products/**"
default_lifetime = "10m"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a log and a wrangler.toml, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    lines = [_LINE.format(second=second, number=second % 4) for second in range(40)]
    (tmp_path / "access.log").write_text("\n".join(lines))
    (tmp_path / "wrangler.toml").write_text(_CONFIG)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_prints_what_a_terminal_has_room_for() -> None:
    ran = CliRunner().invoke(app, ["simulate", "access.log", "--what-if", "products.default_lifetime=2s"])
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert next(line for line in lines if line.startswith("products")).split()[:3] == [
        "products",
        "40",
        "90.0%",
    ]
    assert "products.default_lifetime=2s" in ran.stdout
    assert max(len(line) for line in lines if line.startswith(("rule", "products", "all"))) <= 80


def test_tells_the_same_as_json_and_as_a_page(folder: Path) -> None:
    ran = CliRunner().invoke(app, ["simulate", "access.log", "--json", "--html", "report.html"])
    told = json.loads(ran.stdout)
    assert told["variants"]["now"]["overall"]["hit_ratio"] == 0.9
    assert told["variants"]["now"]["overall"]["origin_requests"] == 4
    assert "90.0% answered without waiting" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["missing.log"], "missing.log can't be read: No such file", id="no file"),
        pytest.param(["."], ". can't be read: Is a directory", id="a folder"),
        pytest.param(["access.log", "--format", "syslog"], "--format syslog: give one of", id="no format"),
        pytest.param(["access.log", "--map", "when=a"], "--map when=", id="no fact"),
        pytest.param(["access.log", "--map", "time"], "write FACT=NAME", id="no name"),
        pytest.param(["access.log", "--what-if", "nothing"], "write SETTING=VALUE", id="no change"),
        pytest.param(["access.log", "--what-if", "a.b=1"], "no rule 'a'; there are: products", id="no rule"),
        pytest.param(["access.log", "--what-if", "X=1"], "X isn't a setting", id="no setting"),
        pytest.param(["access.log", "--response", "Cache-Control: a"], "write a path pattern", id="no path"),
        pytest.param(["access.log", "--purges", "missing"], "missing can't be read", id="no audit file"),
        pytest.param(["access.log", "--purges", "access.log"], "line 1, isn't a purge", id="no audit"),
        pytest.param(["access.log", "--html", "no/a.html"], "no/a.html: can't be written", id="a folder"),
        pytest.param(["access.log", "--base-url", "nowhere"], "no URL that HTTP allows", id="no base"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_names_what_is_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["simulate", *arguments])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
