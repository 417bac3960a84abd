"""docs/cache-status.md and the table that the tools show say the same."""

from __future__ import annotations

import re
from pathlib import Path

from origin_sdk._values.reasons import REASONS, plain

_TEXT = (Path(__file__).parents[2] / "docs" / "cache-status.md").read_text(encoding="utf-8")
_ROWS = re.findall(
    r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \|$", _TEXT.partition("## Each detail")[2], re.MULTILINE
)


def test_the_table_of_the_page_is_the_table_of_the_tools() -> None:
    assert [(name, each.what, each.remedy) for name, each in REASONS.items()] == _ROWS


def test_plain_text_has_neither_code_nor_links() -> None:
    assert plain("See [what the origin sees](configuration.md#what), `ORIGIN`.") == (
        "See what the origin sees, ORIGIN."
    )
    for each in REASONS.values():
        assert "](" not in plain(each.remedy)
