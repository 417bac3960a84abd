"""The way to the screen: foreign text is shown as text, whatever stands in it."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["Screen", "as_json", "counted", "printable"]


def printable(text: str) -> str:
    """Return ``text`` with every character that doesn't print escaped: control characters, bidi overrides.

    What the cache, an API document or an audit holds was written by others. A terminal obeys escape
    sequences, and a line break would forge a line.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def as_json(values: object) -> str:
    """Return JSON that a terminal, too, only shows: what doesn't print is escaped inside of its strings."""
    text = json.dumps(values, ensure_ascii=False, indent=2)
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in text
    )


def counted(count: int, noun: str) -> str:
    """Return ``1 key``, ``2 keys``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Screen(Console):
    """A console that reads no markup and obeys no control character; lines aren't wrapped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's end, as with output that isn't printed by a console."""
        raise  # noqa: PLE0704 - Rich calls this while it handles the BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string: everything that is printed passes through here, cells of tables too."""
        return super().render_str(printable(text), **options)

    def row(self, label: str, value: object) -> None:
        """Print a labelled line of what was said before."""
        self.print(f"  {label:11} {value}")
