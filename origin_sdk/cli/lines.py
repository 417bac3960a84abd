"""Lists that people and scripts write: a file with an entry in each line, however long."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Self

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk.cli.screen import counted

__all__ = ["Lines"]

_SPOOLED_BYTES = 1 << 20
_MAX_LINE = 16 * 1024
_TOLD = 10_000
"""How many entries lie between two reports of progress."""

_NAMED = 5
"""How many wrong lines an error names."""


class Lines:
    """The entries of a file, or of standard input for ``-``: empty lines and those after ``#`` don't count.

    It can be read more than once, so that all of it is checked before any of it is used, and holds no more
    of it in memory than is being used.
    """

    def __init__(self, path: str) -> None:
        """Open it; raises :class:`InvalidRequest` if it can't be opened."""
        self.path = "standard input" if path == "-" else path
        self._open = ExitStack()
        try:
            self._file = self._open.enter_context(_seekable(path))
        except OSError as error:
            raise InvalidRequest(f"{path}: can't be read: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield each entry with the number of its line; raises :class:`InvalidRequest` for bytes."""
        self._file.seek(0)
        try:
            yield from self._entries()
        except OSError as error:  # a folder opens, and can't be read
            raise InvalidRequest(f"{self.path}: can't be read: {error.strerror or error}") from error

    def _entries(self) -> Iterator[tuple[int, str]]:
        number = 0
        while raw := self._file.readline(_MAX_LINE):
            number += 1
            try:
                entry = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InvalidRequest(
                    f"{self.path}, line {number}: isn't UTF-8 text; save it as such"
                ) from error
            if len(raw) == _MAX_LINE and not raw.endswith(b"\n"):
                raise InvalidRequest(f"{self.path}, line {number}: longer than {_MAX_LINE:,} bytes")
            if entry and not entry.startswith("#"):
                yield number, entry

    def check(
        self, read: Callable[[str], object], on_progress: Callable[[Progress], None] | None = None
    ) -> int:
        """Count the entries; raises :class:`InvalidRequest` that names the lines which ``read`` refuses."""
        count, wrong, refused = 0, [], 0
        for number, entry in self:
            count += 1
            if on_progress and count % _TOLD == 0:
                on_progress(Progress(count))
            try:
                read(entry)
            except OriginSdkError as error:
                refused += 1
                if refused <= _NAMED:
                    wrong.append(f"line {number}: {error}")
        if not refused:
            return count
        more = f"\nand {refused - _NAMED:,} more" if refused > _NAMED else ""
        lines, of = "\n".join(wrong), counted(count, "line")
        raise InvalidRequest(
            f"{self.path}: {refused:,} of {of} can't be used; nothing is done:\n{lines}{more}"
        )

    def batches(self, size: int, from_line: int = 1) -> Iterator[tuple[int, list[str]]]:
        """Yield up to ``size`` entries at a time, with the number of their last line."""
        entries = (each for each in self if each[0] >= from_line)
        while batch := list(islice(entries, size)):
            yield batch[-1][0], [entry for _, entry in batch]


def _seekable(path: str) -> IO[bytes]:
    if path != "-":
        file = Path(path).open("rb")  # noqa: SIM115 - the caller's exit stack closes it
        if file.seekable():
            return file
        source: IO[bytes] = file  # a pipe, such as that of <(command)
    else:
        source = sys.stdin.buffer
    spooled = SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 - the caller's exit stack closes it
    shutil.copyfileobj(source, spooled)
    if path != "-":
        source.close()
    return spooled
