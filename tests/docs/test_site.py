"""The pages as a site: links stay inside, the index is the navigation, no other host is asked."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping

import pytest

from scripts.runtime import paths
from scripts.runtime.site import configuration, staged

_REPOSITORY = "https://h.example/r"


@pytest.mark.parametrize(
    ("path", "link", "repository", "expected"),
    [
        pytest.param("docs/a.md", "[x](b.md#c)", "", "[x](b.md#c)", id="to a page beside"),
        pytest.param("docs/a.md", "[x](#c)", "", "[x](#c)", id="on the page"),
        pytest.param("docs/a.md", "[x](../SECURITY.md#r)", "", "[x](security.md#r)", id="to a page above"),
        pytest.param("SECURITY.md", "[x](docs/a.md)", "", "[x](a.md)", id="to a page below"),
        pytest.param("SECURITY.md", "[x](docs/README.md)", "", "[x](index.md)", id="to the index"),
        pytest.param("docs/a.md", "[x](../worker/hooks.py)", "", "x", id="to a source, nowhere to be seen"),
        pytest.param(
            "docs/a.md",
            "[x](../worker/hooks.py)",
            _REPOSITORY,
            f"[x]({_REPOSITORY}/blob/main/worker/hooks.py)",
            id="to a source in the repository",
        ),
        pytest.param("SECURITY.md", "![x](docs/p.png)", "", "![x](p.png)", id="a picture"),
        pytest.param("docs/a.md", "[x](https://y.example/b.md)", "", "[x](https://y.example/b.md)", id="out"),
        pytest.param("docs/a.md", "```\n[x](../y)\n```", "", "```\n[x](../y)\n```", id="in a snippet"),
    ],
)
def test_a_link_leads_to_the_same_on_the_site(path: str, link: str, repository: str, expected: str) -> None:
    pages = {"docs/README.md": "", "docs/a.md": "", "docs/b.md": "", "SECURITY.md": "", path: link}
    named: Mapping[str, str] = staged(pages, repository)
    assert named["a.md" if path == "docs/a.md" else "security.md"] == expected


def test_the_navigation_is_the_index_and_has_every_page() -> None:
    pages = {"index.md": "", "a.md": "# The `a`", "b.md": "# B", "c.md": "# C"}
    settings = configuration("# Docs\n\n**First**\n\n- [x](b.md): and [y](a.md)\n- [z](b.md)\n", pages)
    assert tomllib.loads(settings)["project"]["nav"] == [
        {"Start": "index.md"},
        {"First": [{"B": "b.md"}, {"The a": "a.md"}]},
        {"More": [{"C": "c.md"}]},
    ]


@pytest.mark.timeout(240)
def test_the_site_is_built_without_a_broken_link_and_asks_no_other_host() -> None:
    done = subprocess.run(
        [paths.ROOT / "scripts" / "docs"], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    html = paths.RUNTIME / "site" / "html"
    pages = sorted(html.glob("*.html"))
    assert len(pages) > len(list((paths.ROOT / "docs").glob("*.md")))
    loaded = {
        url
        for page in pages
        for url in re.findall(
            r"<(?:script|link|img)\b[^>]*?\b(?:src|href)=\"?(https?://[^\">\s]+)", page.read_text()
        )
    }
    assert loaded == set()
    assert "stale-if-error" in json.dumps(json.loads((html / "search.json").read_text()))
