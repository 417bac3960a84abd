"""Every link between the pages leads somewhere, and every path that they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:docs|examples|origin_sdk|scripts|tests|worker)/[\w./-]*)`")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def _text(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _links() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for link in _LINK.findall(_text(page)):
            if "://" not in link:
                yield str(page.relative_to(ROOT)), link


@pytest.mark.parametrize(("page", "link"), sorted(set(_links())))
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    place, _, anchor = link.partition("#")
    target = (ROOT / page).parent / place if place else ROOT / page
    assert target.exists()
    if anchor:
        assert anchor in {_anchor(heading) for heading in _HEADING.findall(_text(target))}


def _anchor(heading: str) -> str:
    """Return the anchor that renderers make of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_path_that_a_page_names_is_there(page: str) -> None:
    paths = _PATH.findall((ROOT / page).read_text(encoding="utf-8"))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
