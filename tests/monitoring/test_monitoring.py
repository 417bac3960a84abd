"""The files of monitoring/: Prometheus takes them, and what they ask for is exported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from origin_sdk.layers import telemetry
from origin_sdk_wire.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "monitoring" / "alerts.yml"
BOARD: dict[str, Any] = json.loads(
    (ROOT / "monitoring" / "grafana" / "edge-cache.json").read_text(encoding="utf-8")
)
PAGE = (ROOT / "docs" / "is-it-working.md").read_text(encoding="utf-8")
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.geteuid() == 0 or "CI" in os.environ:
            pytest.fail("promtool is missing: scripts/install prometheus")
        pytest.skip("promtool is missing: scripts/install prometheus")
    return found


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_in_an_ordinary_hour_none(promtool: str, tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    tests = shutil.copy(Path(__file__).with_name("alerts.test.yml"), tmp_path)
    _run(promtool, "check", "rules", ALERTS)
    _run(promtool, "test", "rules", tests)
    cases = Path(tests).read_text(encoding="utf-8")
    assert sorted(re.findall(r"- alertname: (\w+)", cases)) == sorted(NAMES)
    assert sorted(re.findall(r"- \{ alertname: (\w+), .*exp_alerts: \[\] }", cases)) == sorted(NAMES)


def test_each_alert_has_a_line_that_says_what_to_do() -> None:
    assert re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", PAGE.partition("## Alerts")[2], re.MULTILINE) == NAMES


def test_prometheus_takes_each_expression_of_the_board(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"e:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "board.yml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    _run(promtool, "check", "rules", file)


def _exported() -> set[str]:
    """Return the names of samples that the exporter and services' telemetry have."""
    names = {"edge_cache_up", "edge_outbox_entries_held", "edge_outbox_oldest_age_seconds"}
    names |= {"edge_outbox_dead", "edge_outbox_oldest_seconds"}  # of OpenTelemetry's exporter
    for metric in METRICS:
        name = f"edge_cache_{metric.name}"
        names |= {name, f"{name}_total", *(f"{name}_{part}" for part in ("bucket", "count", "sum"))}
    names |= {f"cache_{name}_total" for name in telemetry.COUNTERS}
    names |= {f"cache_{name.replace('.', '_')}" for name in telemetry.GAUGES}
    names |= {f"cache_{each.name.replace('.', '_')}_seconds_bucket" for each in telemetry.HISTOGRAMS.values()}
    return names


@pytest.mark.parametrize(
    "text", [ALERTS.read_text(encoding="utf-8"), *EXPRESSIONS], ids=lambda text: text[:40]
)
def test_what_is_asked_for_is_exported(text: str) -> None:
    asked = set(re.findall(r"\b(?:edge_)?(?:cache|outbox)_[a-z_]+\b", text))
    assert asked
    assert asked <= _exported()


def test_the_board_is_whole() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert BOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
