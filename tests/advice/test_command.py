"""`origin-sdk advise`, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from origin_sdk.cli.app import app, run
from origin_sdk_wire.exposition import Document, Isolate
from origin_sdk_wire.metrics import Counts

_LINE = (
    "203.0.113.{client} - - [28/Nov/2026:18:{minute:02}:{second:02} +0000] "
    '"GET /products/{product}?session={session} HTTP/1.1" 200 512'
)
_CONFIG = """
[[kv_namespaces]]
binding = "CACHE"
id = "0123"

[vars]
ORIGIN = "https://origin.example.com"

[[vars.RULES]]
name = "products"
path = "/products/**"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a log of responses without a lifetime, and a wrangler.toml, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    lines = [
        _LINE.format(client=at % 200, minute=at // 60, second=at % 60, product=at % 7, session=at % 90)
        for at in range(1800)
    ]
    (tmp_path / "access.log").write_text("\n".join(lines))
    (tmp_path / "wrangler.toml").write_text(_CONFIG)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_says_what_a_setting_brings_by_trying_it() -> None:
    ran = CliRunner().invoke(app, ["advise", "access.log", "--json"])
    told = {each["signal"]: each for each in json.loads(ran.stdout)}
    assert 'default_lifetime = "1h"' in told["no-freshness"]["snippet"]
    assert told["no-freshness"]["gain"].startswith("hit ratio 0.0% to 65.0%; ")
    assert "less at the origin" in told["no-freshness"]["gain"]


@pytest.mark.usefixtures("folder")
def test_a_person_reads_evidence_a_setting_and_its_gain() -> None:
    ran = CliRunner().invoke(
        app, ["advise", "access.log", "--response", "/products/** Cache-Control: max-age=3600"]
    )
    assert ran.exit_code == 0, ran.output
    assert "1. Does the response depend on ?session=?" in ran.stdout
    assert 'query_drop = ["session"]' in ran.stdout
    assert "→ hit ratio 65.0% to 99.6%" in ran.stdout


def test_reads_what_the_worker_counted(folder: Path) -> None:
    counts = Counts()
    counts.add("requests", ("h", "products", "cookie", "miss", "2xx"), 900)
    document = Document(3_600_000, "EdgeCache", (Isolate("a", "FRA", 0, 3_600_000, counts),))
    (folder / "metrics.json").write_text(str(document))
    ran = CliRunner().invoke(app, ["advise", "--metrics", "metrics.json"])
    assert ran.exit_code == 0, ran.output
    assert "Let responses of products be shared" in ran.stdout
    assert "648,000 requests a month" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        pytest.param([], "give an access log, or --metrics", 2, id="nothing"),
        pytest.param(["a.log", "--metrics", "b"], "give an access log, or --metrics", 2, id="both"),
        pytest.param(["--metrics", "missing"], "missing: can't be read", 2, id="no file"),
        pytest.param(["--metrics", "access.log"], "--metrics access.log: ", 2, id="another file"),
        pytest.param(["--metrics", "http://127.0.0.1:1"], "127.0.0.1:1", 4, id="nobody there"),
        pytest.param(["missing.log"], "missing.log can't be read", 2, id="no log"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_names_what_is_wrong(
    arguments: list[str], message: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["advise", *arguments])
    assert ended.value.code == code
    assert message in capsys.readouterr().err
