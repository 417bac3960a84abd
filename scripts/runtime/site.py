"""Lay the pages out for the site: one folder, with an order that the index tells, and links that stay inside.

usage: python -m scripts.runtime.site FOLDER                  before it is built
       python -m scripts.runtime.site FOLDER --draw SCRIPT    after: pictures are drawn by this Mermaid
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from scripts.runtime import paths, reference

__all__ = ["GENERATED", "PAGES", "configuration", "staged"]

PAGES: Mapping[str, str] = {
    "docs/README.md": "index.md",
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/catalogue/README.md": "catalogue.md",
}
"""Pages from elsewhere in the tree, or of another name there; all others in docs/ keep theirs."""

GENERATED: Mapping[str, Callable[[], str]] = {
    "reference-commands.md": reference.commands,
    "reference-api.md": reference.api,
}
"""Pages that are made of the code."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^\*\*(.+)\*\*$")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def staged(pages: Mapping[str, str], repository: str) -> Mapping[str, str]:
    """Return the pages, by their names on the site, with the links that they have there.

    ``pages`` are by their paths in the tree. What isn't a page is linked in the repository, or if there is
    none, isn't a link.
    """
    names = {path: PAGES.get(path, posixpath.basename(path)) for path in pages}
    return {names[path]: _with_links(path, text, names, repository) for path, text in pages.items()}


def configuration(index: str, pages: Mapping[str, str]) -> str:
    """Return the settings of the site: its navigation is the index's sections and their order."""
    sections: list[tuple[str, list[str]]] = []
    for line in index.splitlines():
        if section := _SECTION.match(line):
            sections.append((section[1], []))
        elif line.startswith("- ") and sections:
            known = {name for _, names in sections for name in names}
            sections[-1][1].extend(name for name in _names(line) if name not in known)
    rest = [name for name in GENERATED if name in pages]
    if rest:
        sections.append(("Reference", rest))
    rest = sorted(pages.keys() - {"index.md"} - {name for _, names in sections for name in names})
    sections.append(("More", rest))
    entries = ['{ "Start" = "index.md" }']
    for title, names in sections:
        listed = ", ".join(f"{{ {json.dumps(_title(pages[name]))} = {json.dumps(name)} }}" for name in names)
        entries.append(f"{{ {json.dumps(title)} = [{listed}] }}")
    return _SETTINGS.format(nav=",\n  ".join(entries))


_SETTINGS = """\
[project]
site_name = "An edge cache for APIs"
docs_dir = "pages"
site_dir = "html"
use_directory_urls = false
nav = [
  {nav},
]

[project.theme]
font = false # none is asked of anyone's server
features = ["navigation.sections", "navigation.top", "content.code.copy", "search.highlight"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"
"""


def _names(line: str) -> Iterator[str]:
    for _, _, name, _ in _LINK.findall(line):
        if name.endswith(".md"):
            yield name


def _title(text: str) -> str:
    found = _TITLE.search(text)
    return found[1].replace("`", "") if found else "Untitled"


def _with_links(path: str, text: str, names: Mapping[str, str], repository: str) -> str:
    def link(found: re.Match[str]) -> str:
        picture, label, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target:
            return found[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if there in names:
            return f"[{label}]({names[there]}{anchor})"
        if picture:
            return f"![{label}]({posixpath.basename(there)})"
        return f"[{label}]({repository}/blob/main/{there}{anchor})" if repository else label

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def _pages() -> Mapping[str, str]:
    files = [*(paths.ROOT / "docs").glob("*.md"), *(paths.ROOT / each for each in PAGES)]
    return {file.relative_to(paths.ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def main(folder: Path) -> None:
    """Write pages, pictures and settings into a folder."""
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"].rstrip("/")
    pages = {**staged(_pages(), repository), **{name: make() for name, make in GENERATED.items()}}
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "pages"
    target.mkdir(parents=True)
    for name, text in pages.items():
        (target / name).write_text(text, encoding="utf-8")
    for picture in (paths.ROOT / "docs").glob("*.png"):
        shutil.copy(picture, target)
    (folder / "zensical.toml").write_text(configuration(pages["index.md"], pages), encoding="utf-8")


_ELSEWHERE = re.compile(r"https://[\w./@-]+/mermaid\.min\.js")


def draw(folder: Path, script: Path) -> None:
    """Have the built pages load Mermaid from the site itself, wherever their theme would load it from."""
    place = folder / "html" / "assets" / "javascripts"
    [bundle] = place.glob("bundle.*.js")
    text, times = _ELSEWHERE.subn(f"assets/javascripts/{script.name}", bundle.read_text(encoding="utf-8"))
    if not times:
        raise SystemExit(f"{bundle} loads Mermaid in a way that isn't known here: pictures would be code")
    bundle.write_text(text, encoding="utf-8")
    shutil.copy(script, place)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder]:
            main(Path(folder))
        case [folder, "--draw", script]:
            draw(Path(folder), Path(script))
