"""The table of what it is tested with, held against what is pinned."""

from __future__ import annotations

import json
import re

import pytest
from ruamel.yaml import YAML

from origin_sdk._deployment.pins import COMPATIBILITY_DATE, NODE_VERSION
from scripts.runtime import paths
from scripts.runtime.versions import PYTHONS, extras

PAGE = (paths.ROOT / "docs" / "versions.md").read_text()
TABLE = PAGE[PAGE.index("## What it is tested with") : PAGE.index("## Deprecation")]
PINNED = json.loads((paths.ROOT / "package.json").read_text())["devDependencies"]
LEAST = {
    name.partition("[")[0]: version
    for requirements in extras().values()
    for name, _, version in (each.partition(">=") for each in requirements)
}


def _newest(name: str) -> str:
    """Return the newest minor version that is pinned."""
    pins = (paths.ROOT / "requirements" / "dev.txt").read_text()
    found = re.findall(rf"(?m)^{name}==(\d+)\.(\d+)", pins)
    return ".".join(max(found, key=lambda each: tuple(map(int, each))))


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(", ".join(PYTHONS), id="the Pythons"),
        pytest.param(f"compatibility date {COMPATIBILITY_DATE}", id="the compatibility date"),
        pytest.param(f"Pyodide {PINNED['pyodide']}", id="Pyodide"),
        pytest.param(f"workerd {PINNED['workerd']}", id="workerd"),
        pytest.param(PINNED["wrangler"], id="wrangler"),
        pytest.param(f"{'.'.join(map(str, NODE_VERSION))} or newer", id="Node.js"),
        *(
            pytest.param(f"| {said} | {LEAST[name]}", id=f"the least {said}")
            for name, said in (("django", "Django"), ("sqlalchemy", "SQLAlchemy"))
        ),
        *(
            pytest.param(f"the newest: {_newest(name)} |", id=f"the newest {name}")
            for name in ("django", "sqlalchemy")
        ),
    ],
)
def test_the_table_names_what_is_pinned(told: str) -> None:
    assert told in TABLE


def test_the_weekly_matrix_is_that_of_the_table() -> None:
    workflow = YAML(typ="safe").load(paths.ROOT / ".github" / "workflows" / "check.yml")
    rows = workflow["jobs"]["versions"]["strategy"]["matrix"]["include"]
    assert tuple(row["python"] for row in rows) == PYTHONS
    assert {row["debian"] for row in rows} == {"bookworm", "trixie"}, "Debian 12 and 13"
    servers = set(" ".join(row["servers"] for row in rows).split())
    assert servers == {"postgresql", "redis-server", "valkey-server"}


def test_the_newest_version_is_supported() -> None:
    version = re.search(
        r'^version = "(\d+\.\d+)\.', (paths.ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert version
    assert f"| {version[1]} | yes |" in (paths.ROOT / "SECURITY.md").read_text()
