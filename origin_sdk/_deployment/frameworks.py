"""What a service is made with, as far as its files tell, and what to start with in front of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

__all__ = ["FRAMEWORKS", "Framework", "guess", "texts"]

_FILES = (
    "requirements*.txt",
    "requirements/*.txt",
    "requirements/*.in",
    "pyproject.toml",
    "Pipfile",
    "setup.*",
)
_SOURCES = ("*.py", "*/*.py", "*/*/*.py")
_MOST_SOURCES = 300
_MOST_CHARACTERS = 200_000
_NOT_LOOKED_INTO = frozenset({".git", ".tox", ".venv", "env", "node_modules", "site-packages", "venv"})


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework: its name, the port of its development server, and rules to start with.

    ``rules`` are settings in TOML, a table each.
    """

    name: str
    port: int
    rules: tuple[str, ...]


FRAMEWORKS: Mapping[str, Framework] = {
    each.name: each
    for each in (
        Framework(
            "django",
            8000,
            ('name = "admin"\npath = "/admin/**"\nbypass = true', 'name = "static"\npath = "/static/**"'),
        ),
        Framework("fastapi", 8000, ('name = "docs"\npath = ["/docs", "/redoc", "/openapi.json"]',)),
        Framework("flask", 5000, ('name = "static"\npath = "/static/**"',)),
        Framework("none", 8000, ()),
    )
}

_SIGNS = {
    # Django first: a project of it may have another framework beside.
    "django": re.compile(r"(?mi)^\s*(?:from|import)\s+django\b|^[\s\"']*django\s*(?:[\[<>=~!\"';#]|$)"),
    "fastapi": re.compile(r"(?mi)^\s*(?:from|import)\s+fastapi\b|^[\s\"']*fastapi\s*(?:[\[<>=~!\"';#]|$)"),
    "flask": re.compile(r"(?mi)^\s*(?:from|import)\s+flask\b|^[\s\"']*flask\s*(?:[\[<>=~!\"';#]|$)"),
}


def guess(contents: Iterable[str]) -> Framework:
    """Return the framework that these files require or import; the one named ``none`` if they don't."""
    found = {name for text in contents for name, sign in _SIGNS.items() if sign.search(text)}
    return FRAMEWORKS[next((name for name in _SIGNS if name in found), "none")]


def texts(folder: Path) -> Iterator[str]:
    """Yield the files that tell a service's framework: its requirements, then sources near the top."""
    sources = islice(_matching(folder, _SOURCES), _MOST_SOURCES)
    for file in chain(_matching(folder, _FILES), sources):
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                yield opened.read(_MOST_CHARACTERS)
        except OSError:
            continue


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            if _NOT_LOOKED_INTO.isdisjoint(file.relative_to(folder).parts) and file.is_file():
                yield file
