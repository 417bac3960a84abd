import json
import re
from pathlib import Path

import pytest

from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS, MARK_SECONDS, MAX_RECORD_SECONDS
from origin_sdk_wire.key import MAX_KEY_BYTES, RECORD_PREFIX
from origin_sdk_wire.marks import MARK_PREFIX, MAX_GROUP_CHARACTERS, MAX_PREFIX_SEGMENTS
from origin_sdk_wire.purge_log.entries import ENTRY_SECONDS, MAX_NAME_BYTES
from origin_sdk_wire.purge_log.metadata import MAX_ENTRIES_PAGE, MAX_NOTE_CHARACTERS
from origin_sdk_wire.record import MAX_METADATA_BYTES
from origin_sdk_wire.signed_requests import MAX_BODY_BYTES, REQUEST_WINDOW_MS

_ROOT = Path(__file__).parents[2]
_DOCUMENT = (_ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
_VECTORS = {
    vector["id"]: vector
    for path in (_ROOT / "tests" / "vectors").glob("*.json")
    for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]
}
_ROWS = re.findall(r"^\| `([a-z]+-\d+)` \| (.*?) \| `(.*?)` \|$", _DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("vector", sorted(set(re.findall(r"`([a-z-]+-\d+)`", _DOCUMENT))))
def test_a_vector_that_is_named_exists(vector: str) -> None:
    assert vector in _VECTORS


def test_there_are_examples() -> None:
    assert len(_ROWS) > 10


@pytest.mark.parametrize(("vector", "given", "expected"), [pytest.param(*row, id=row[0]) for row in _ROWS])
def test_an_example_is_its_vector(vector: str, given: str, expected: str) -> None:
    assert _VECTORS[vector]["expected"] == expected
    parts = _VECTORS[vector]["given"].get("parts")
    if parts is None:
        assert given.strip("`") == _VECTORS[vector]["given"]["url"]
    else:
        written = ",".join(json.dumps(part, separators=(",", ":")) for part in parts)
        assert given.strip("`") == (written or "none")


def test_the_head_is_its_vector() -> None:
    assert f"```\n{_VECTORS['head-1']['expected']}\n```" in _DOCUMENT


@pytest.mark.parametrize(
    "said",
    [
        f"`{RECORD_PREFIX}{{scheme}}/",
        f"`{MARK_PREFIX}{{lane}}/",
        f"KV allows {MAX_KEY_BYTES} bytes",
        f"A record key has at most {MAX_KEY_BYTES - 33},",
        f"at most {MAX_METADATA_BYTES:,} bytes of JSON",
        f"most {MAX_PREFIX_SEGMENTS} segments",
        f"1 to {MAX_GROUP_CHARACTERS} printable characters",
        f"at most {MAX_RECORD_SECONDS // 86_400} days",
        f"an expiry of {MARK_SECONDS // 86_400} days",
        f"within {KV_PROPAGATION_SECONDS} seconds",
        f"more than {MAX_NAME_BYTES} bytes",
        f"expire after {ENTRY_SECONDS // 3600} hours",
        f"at most {MAX_NOTE_CHARACTERS} characters",
        f"{MAX_BODY_BYTES // 1024} KiB and {MAX_ENTRIES_PAGE:,} entries",
        f"may be {REQUEST_WINDOW_MS // 1000} seconds off",
    ],
)
def test_a_number_is_that_of_the_code(said: str) -> None:
    assert said in " ".join(_DOCUMENT.split())
