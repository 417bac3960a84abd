"""What released versions wrote is read by this one: Worker and SDK of neighbouring versions work together.

Each minor version adds a file of its own: `python -m tests.wire.test_releases` writes it. Once that version
is released the file is never changed; until then `--unreleased` writes it again.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from origin_sdk_wire import WIRE_VERSION
from tests.wire.vector_runner import CHECKS, run_vectors

_VECTORS = Path(__file__).parents[1] / "vectors"
_RELEASES = _VECTORS / "releases"
_CHECKS = (
    *("record key", "variant key", "body key", "key target"),
    *("mark names", "mark key", "mark value", "read mark", "group mark", "written keys"),
    *("head", "read head", "metadata", "read metadata", "index", "prepared", "read prepared"),
)
"""What one side writes to KV, and the other looks up or reads."""


def _golden(version: str) -> dict[str, Any]:
    files = sorted(_VECTORS.glob("*.json"))
    vectors = [each for file in files for each in json.loads(file.read_text())["vectors"]]
    kept = [each for each in vectors if each["check"] in _CHECKS]
    return {"release": version, "wire_version": WIRE_VERSION, "vectors": kept}


def _version() -> str:
    project = tomllib.loads((_VECTORS.parents[1] / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def _file(version: str) -> Path:
    """One for each minor version: patches don't change what is written."""
    return _RELEASES / f"{'.'.join(version.split('.')[:2])}.json"


@pytest.mark.parametrize("file", sorted(_RELEASES.glob("*.json")), ids=lambda file: file.stem)
def test_what_a_release_wrote_is_what_this_version_writes_and_reads(file: Path) -> None:
    golden = json.loads(file.read_text())
    if golden["wire_version"] != WIRE_VERSION:
        pytest.skip("another wire version: neither sees the other's keys")
    assert run_vectors(file.read_text()) == []


def test_this_version_has_its_golden_data() -> None:
    assert _file(_version()).exists(), (
        "a new minor version: python -m tests.wire.test_releases, and commit the file"
    )


def test_each_kind_of_what_is_written_is_held() -> None:
    assert set(_CHECKS) <= CHECKS.keys()
    held = {each["check"] for each in json.loads(_file(_version()).read_text())["vectors"]}
    assert held == set(_CHECKS)


if __name__ == "__main__":
    if _file(_version()).exists() and "--unreleased" not in sys.argv:
        sys.exit(f"{_file(_version())} is there already: what is released isn't changed; else --unreleased")
    _file(_version()).write_text(json.dumps(_golden(_version()), indent=1, ensure_ascii=False) + "\n")
