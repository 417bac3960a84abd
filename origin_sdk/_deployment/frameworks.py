"""What a service is made with, as far as its files tell, and what to start with in front of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

__all__ = ["FRAMEWORKS", "Framework", "guess", "requirements_of", "sources_of"]

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
            (
                'name = "admin"\npath = "/admin/**"\nbypass = true',
                'name = "static"\npath = "/static/**"\nignore_cookies = true\ndefault_lifetime = "1m"',
            ),
        ),
        Framework(
            "fastapi",
            8000,
            ('name = "docs"\npath = ["/docs", "/redoc", "**/openapi.json"]\ndefault_lifetime = "1m"',),
        ),
        Framework(
            "flask",
            5000,
            # Flask itself says no-cache of its files.
            ('name = "static"\npath = "/static/**"\nignore_cookies = true\nlifetime = "1m"',),
        ),
        Framework("none", 8000, ()),
    )
}

# Django first: a project of it may have another framework beside.
_NAMES = ("django", "fastapi", "flask")
_REQUIRED = {
    # On a line of its own, or quoted within a list: as pip, uv, Poetry and setuptools write it.
    name: re.compile(rf"(?mi)(?:^[ \t]*|[\"']){name}[ \t\r]*(?:[\[<>=~!^\"';#@]|$)")
    for name in _NAMES
}
_IMPORTED = {
    name: re.compile(rf"(?mi)^[ \t]*(?:from|import(?:[ \t]+[\w.]+[ \t]*,)*)[ \t]+{name}\b") for name in _NAMES
}


def guess(requirements: Iterable[str], sources: Iterable[str]) -> Framework:
    """Return the framework that these files require or import; the one named ``none`` if they don't."""
    found = {name for text in requirements for name, sign in _REQUIRED.items() if sign.search(text)}
    found |= {name for text in sources for name, sign in _IMPORTED.items() if sign.search(text)}
    return FRAMEWORKS[next((name for name in _NAMES if name in found), "none")]


def requirements_of(folder: Path) -> Iterator[str]:
    """Yield the files in which a service says what it requires."""
    return _texts(_matching(folder, _FILES))


def sources_of(folder: Path) -> Iterator[str]:
    """Yield sources of a service, those near the top."""
    return _texts(islice(_matching(folder, _SOURCES), _MOST_SOURCES))


def _texts(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                yield opened.read(_MOST_CHARACTERS)
        except OSError:
            continue


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            is_own = _NOT_LOOKED_INTO.isdisjoint(file.relative_to(folder).parts)
            if is_own and os.path.isfile(file):  # noqa: PTH113 - False, too, for what can't be looked at
                yield file
