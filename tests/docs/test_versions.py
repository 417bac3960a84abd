"""The table of what it is tested with, held against what is pinned."""

from __future__ import annotations

import json
import re

import pytest

from origin_sdk._deployment.pins import COMPATIBILITY_DATE, NODE_VERSION
from scripts.runtime import paths
from scripts.runtime.versions import PYTHONS

PAGE = (paths.ROOT / "docs" / "versions.md").read_text()
TABLE = PAGE[PAGE.index("## What it is tested with") : PAGE.index("## Deprecation")]
PINNED = json.loads((paths.ROOT / "package.json").read_text())["devDependencies"]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(", ".join(PYTHONS), id="the Pythons"),
        pytest.param(f"compatibility date {COMPATIBILITY_DATE}", id="the compatibility date"),
        pytest.param(f"Pyodide {PINNED['pyodide']}", id="Pyodide"),
        pytest.param(f"workerd {PINNED['workerd']}", id="workerd"),
        pytest.param(PINNED["wrangler"], id="wrangler"),
        pytest.param(f"{'.'.join(map(str, NODE_VERSION))} or newer", id="Node.js"),
    ],
)
def test_the_table_names_what_is_pinned(told: str) -> None:
    assert told in TABLE


def test_the_newest_version_is_supported() -> None:
    version = re.search(
        r'^version = "(\d+\.\d+)\.', (paths.ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert version
    assert f"| {version[1]} | yes |" in (paths.ROOT / "SECURITY.md").read_text()
