"""An access log as a stream of exchanges: its format found out, its unreadable lines counted.

A log of which more than one line in a hundred can't be read is refused, since what is left may not be
what the service answers.
"""

import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from origin_sdk._values.errors import InvalidRequest
from origin_sdk.simulation.exchanges import LoggedRequest, UnreadableLine
from origin_sdk.simulation.formats.archive import entries_of, read_entry
from origin_sdk.simulation.formats.columns import NamedColumns, looks_of_balancer, read_of_balancer
from origin_sdk.simulation.formats.combined import looks_combined, read_combined
from origin_sdk.simulation.formats.json_lines import FACTS, JsonLines

__all__ = ["FORMATS", "AccessLog"]

FORMATS = ("combined", "json", "w3c", "alb", "har")

_MAX_UNREADABLE_SHARE = 0.01
_SHOWN_LINES = 5
_LOOKED_AT = 20
_LONGEST_LINE = 1024 * 1024
_LARGEST_ARCHIVE = 1024 * 1024 * 1024
_GZIP = b"\x1f\x8b"

Read = Callable[[str], LoggedRequest | None]


@dataclass
class AccessLog:
    """One log, read once.

    ``place`` is a file, also one compressed with gzip, or ``-`` for standard input; ``format`` one of
    :data:`FORMATS`, or ``""`` to find out. ``mapping`` names where facts are in JSON.
    """

    place: str
    format: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    lines: int = 0
    """How many lines were read so far, blank ones and comments aside."""
    unreadable: list[str] = field(default_factory=list)
    """The first lines that couldn't be read, each with its place and why."""
    unreadable_count: int = 0
    size_bytes: int = 0
    """The size of the file; 0 where it isn't known."""
    read_bytes: int = 0
    """How much of ``size_bytes`` was read so far."""

    def __post_init__(self) -> None:
        if self.format and self.format not in FORMATS:
            raise InvalidRequest(f"--format {self.format}: give one of {', '.join(FORMATS)}")
        if wrong := sorted(set(self.mapping) - set(FACTS)):
            raise InvalidRequest(f"--map {wrong[0]}=…: give one of {', '.join(FACTS)}")

    def __iter__(self) -> Iterator[LoggedRequest]:
        """Yield the exchanges in the order of the log.

        Raises :class:`InvalidRequest` if the file can't be read, or more than one line in a hundred.
        """
        try:
            with self._open() as raw:
                yield from self._exchanges(raw)
        except OSError as error:
            raise InvalidRequest(f"{self.place} can't be read: {error.strerror or error}") from error
        except EOFError as error:
            raise InvalidRequest(f"{self.place} is cut off: its gzip stream has no end") from error
        self._require_readable()

    def _open(self) -> io.BufferedReader:
        if self.place == "-":
            return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
        raw = Path(self.place).open("rb")  # noqa: SIM115 - the caller closes it
        self.size_bytes = os.fstat(raw.fileno()).st_size
        return raw

    def _exchanges(self, raw: io.BufferedReader) -> Iterator[LoggedRequest]:
        is_compressed = raw.peek(2)[:2] == _GZIP
        lines = self._lines(gzip.GzipFile(fileobj=raw) if is_compressed else raw, raw)
        first = [line for _, line in zip(range(_LOOKED_AT), lines, strict=False)]
        name = self.format or _format_of(first)
        if not name:
            shown = first[0][1][:120] if first else ""
            raise InvalidRequest(
                f"{self.place} is in no known format: {shown!r}; give --format {' or '.join(FORMATS)}"
                if first
                else f"{self.place} is empty"
            )
        self.format = name
        if name == "har":
            yield from self._of_archive(chain(first, lines))
            return
        read = _reader(name, self.mapping)
        for number, line in chain(first, lines):
            yield from self._one(read, number, line)

    def _lines(
        self, stream: gzip.GzipFile | io.BufferedReader, raw: io.BufferedReader
    ) -> Iterator[tuple[int, str]]:
        number = 0
        while line := stream.readline(_LONGEST_LINE + 1):
            number += 1
            if number % 1000 == 1:
                self.read_bytes = raw.tell() if raw.seekable() else 0
            if text := line.decode("utf-8", "replace").strip("\r\n\ufeff "):
                yield number, text
        self.read_bytes = self.size_bytes

    def _of_archive(self, lines: Iterable[tuple[int, str]]) -> Iterator[LoggedRequest]:
        text = io.StringIO()
        for _, line in lines:
            text.write(line + "\n")
            if text.tell() > _LARGEST_ARCHIVE:
                raise InvalidRequest(
                    f"{self.place} has more than 1 GiB, and an archive is read whole: split it"
                )
        try:
            entries = list(entries_of(json.loads(text.getvalue())))
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{self.place}: {error}") from None
        exchanges: list[LoggedRequest] = []
        for number, entry in enumerate(entries, 1):
            self.lines += 1
            try:
                exchanges.append(read_entry(entry))
            except UnreadableLine as error:
                self._note(f"entry {number} {error}")
        yield from sorted(exchanges, key=lambda each: each.time_ms)

    def _one(self, read: Read, number: int, line: str) -> Iterator[LoggedRequest]:
        try:
            exchange = read(line)
        except UnreadableLine as error:
            self.lines += 1
            self._note(f"line {number} {error}: {line[:160]}")
            return
        if exchange is not None:
            self.lines += 1
            yield exchange

    def _note(self, problem: str) -> None:
        self.unreadable_count += 1
        if len(self.unreadable) < _SHOWN_LINES:
            self.unreadable.append(problem)
        # Soon enough for who gave the wrong file; one bad line among the first few says nothing yet.
        if self.unreadable_count >= 1000 and self.lines >= 1000:
            self._require_readable()

    def _require_readable(self) -> None:
        if self.unreadable_count <= self.lines * _MAX_UNREADABLE_SHARE:
            return
        raise InvalidRequest(
            f"{self.unreadable_count:,} of the {self.lines:,} lines of {self.place} can't be read as "
            f"{self.format}:\n" + "\n".join(self.unreadable) + "\nname its format with --format"
        )


def _format_of(lines: list[tuple[int, str]]) -> str:
    texts = [line for _, line in lines]
    if not texts:
        return ""
    if any(line.lower().startswith("#fields:") for line in texts):
        return "w3c"
    # An object a line, or one object over all lines.
    if texts[0].startswith("{"):
        return "json" if _is_object(texts[0]) and '"entries"' not in texts[0] else "har"
    for name, looks in (("alb", looks_of_balancer), ("combined", looks_combined)):
        if sum(map(looks, texts)) * 2 > len(texts):
            return name
    return ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _reader(name: str, mapping: Mapping[str, str]) -> Read:
    match name:
        case "combined":
            return read_combined
        case "json":
            return JsonLines(mapping).read
        case "w3c":
            return NamedColumns().read
    return read_of_balancer
