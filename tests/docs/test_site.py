"""The pages as a site: links stay inside, the index is the navigation, no other host is asked."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from scripts.runtime import paths
from scripts.runtime.site import configuration, staged
from tests.dashboard.conftest import browser, page

__all__ = ["browser", "page"]

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


@pytest.fixture(scope="module")
def html() -> Path:
    """The folder of the site, which is built without a broken link."""
    done = subprocess.run(
        [paths.ROOT / "scripts" / "docs"], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return paths.RUNTIME / "site" / "html"


@pytest.mark.timeout(240)
def test_the_pages_name_no_other_host_to_load_from(html: Path) -> None:
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


@pytest.fixture
def url(html: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = partial(_Quiet, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_drawn_and_pages_searched_without_another_host(
    page: Page, url: str, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{url}/how-it-works.html")
    drawn = (paths.ROOT / "docs" / "how-it-works.md").read_text().count("```mermaid")
    # What can't be drawn stays a block of code, and complains.
    expect(page.locator("div.mermaid")).to_have_count(drawn)
    is_dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 128"
    assert page.evaluate(is_dark) is (scheme == "dark")
    page.keyboard.press("/")
    page.keyboard.type("bypass_cookies")
    expect(page.get_by_text("What Cache-Status says").last).to_be_visible()
