"""The fenced blocks of all pages, and the commands in them."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "blocks", "commands", "pages"]

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TEMPLATE = ROOT / "origin_sdk" / "_deployment" / "template"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the page by its path in the tree, the language, the line of its fence."""

    page: str
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page that a reader may copy from: its path in the tree, and its text."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
    for file in sorted(files):
        yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")
    for file in sorted(_TEMPLATE.glob("*.md")):
        # What a project is made of: a string.Template, in which $$ is a dollar.
        yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8").replace("$$", "$")


def blocks() -> Iterator[Block]:
    """Yield each fenced block of each page."""
    for page, text in pages():
        for found in _FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, found[2], line, textwrap.dedent(found[3]))


def commands(block: Block) -> Iterator[Sequence[str]]:
    """Yield the words of each command that a reader would type: what a pipe joins are several."""
    for line in block.text.splitlines():
        if block.language != "console" or line.startswith("$ "):
            yield from simple_commands(line.removeprefix("$ "))


def simple_commands(line: str) -> Iterator[Sequence[str]]:
    """Yield the words of each command of a line of a shell, without comments and assignments."""
    line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line)  # what a variable is set to by a command
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            if words:
                yield tuple(words)
            words = []
        elif words or not re.match(r"\w+=", word):
            words.append(word)
