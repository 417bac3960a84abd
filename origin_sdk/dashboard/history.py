"""What was counted before, in a bounded SQLite file: one row for each step of each range.

A row holds all that was counted in its step, compressed. Each reading is added to the step that it falls
into, once for each range, so that a range is read as it is shown; rows of more than two spans ago are
dropped, the span before being what the present one is compared with. So it never holds more than two times
the points of all ranges, some 2,300 rows a source.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.dashboard.ranges import RANGES, Range
from origin_sdk.dashboard.tallies import READINGS_KEPT_SECONDS, Tally, UrlSums
from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.exposition import Isolate, isolate_text, parse_isolate
from origin_sdk_wire.metrics import SIZES

__all__ = ["History"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS steps (
  source TEXT NOT NULL, step INTEGER NOT NULL, start INTEGER NOT NULL, counted BLOB NOT NULL,
  PRIMARY KEY (source, step, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
  source TEXT NOT NULL, isolate TEXT NOT NULL, counted_ms INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (source, isolate)
) WITHOUT ROWID;
"""
_SPANS_KEPT = 2
_BUSY_SECONDS = 1.0


class History:
    """Steps by source. Thread-safe; ``":memory:"`` keeps nothing.

    Raises :class:`InvalidSettings` for a file that is something else, or can't be written.
    """

    def __init__(self, path: Path | str, ranges: Iterable[Range] = RANGES.values()) -> None:
        self._ranges = tuple(ranges)
        self._lock = Lock()
        self._current: dict[tuple[str, int], tuple[int, Tally]] = {}
        try:
            if isinstance(path, Path):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            self._prepare()
        except sqlite3.OperationalError as error:
            raise InvalidSettings(
                f"{path}: {error}: if another dashboard uses it, look at that one, or name another file with "
                "--history"
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise InvalidSettings(
                f"{path}: can't keep the dashboard's history there ({error}): name another file "
                "with --history"
            ) from error

    def _prepare(self) -> None:
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"it is of version {version}, and this program writes {_VERSION}")
        # Who else counted the same readings would count them twice.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._database.execute(f"PRAGMA user_version = {_VERSION}")
        self._database.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(self, source: str, now: float, counted: Tally, readings: Iterable[Isolate] = ()) -> None:
        """Add what was counted since the last reading to the steps that hold ``now``, and keep the readings.

        Both or neither: a dashboard that ends in between counts nothing twice.
        """
        with self._lock, self._database:
            for each in self._ranges:
                self._add_to_step(source, each, int(now) // each.step * each.step, counted)
            self._database.executemany(
                "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?)",
                [(source, each.id, each.counted_ms, isolate_text(each)) for each in readings],
            )
            oldest_ms = round((now - READINGS_KEPT_SECONDS) * 1000)
            self._database.execute("DELETE FROM readings WHERE counted_ms < ?", (oldest_ms,))

    def readings(self, source: str) -> list[Isolate]:
        """Return the last reading of each isolate; those of another version are left out."""
        with self._lock:
            rows = self._database.execute("SELECT text FROM readings WHERE source = ?", (source,)).fetchall()
        found: list[Isolate] = []
        for (text,) in rows:
            with suppress(UnreadableMetrics):
                found.append(parse_isolate(text))
        return found

    def _add_to_step(self, source: str, span: Range, start: int, counted: Tally) -> None:
        known_start, step = self._current.get((source, span.step), (-1, Tally()))
        if known_start != start:
            step = self._read_step(source, span.step, start)
            self._current[source, span.step] = start, step
            oldest = start - _SPANS_KEPT * span.seconds
            self._database.execute("DELETE FROM steps WHERE step = ? AND start < ?", (span.step, oldest))
        step.add(counted)
        self._database.execute(
            "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?)", (source, span.step, start, _packed(step))
        )

    def _read_step(self, source: str, step: int, start: int) -> Tally:
        found = self._database.execute(
            "SELECT counted FROM steps WHERE source = ? AND step = ? AND start = ?", (source, step, start)
        ).fetchone()
        return _unpacked(found[0]) if found else Tally()

    def steps(self, source: str, span: Range, starts: range) -> dict[int, Tally]:
        """Return the steps of ``span`` within ``starts``, by their starts; empty ones are left out."""
        with self._lock:
            rows: Sequence[tuple[int, bytes]] = self._database.execute(
                "SELECT start, counted FROM steps WHERE source = ? AND step = ? AND start >= ? AND start < ?",
                (source, span.step, starts.start, starts.stop),
            ).fetchall()
        return {start: _unpacked(counted) for start, counted in rows}

    def rows(self) -> int:
        """Return how many rows there are."""
        with self._lock:
            return int(self._database.execute("SELECT COUNT(*) FROM steps").fetchone()[0])


def _packed(step: Tally) -> bytes:
    counts = {
        name: [[*labels, cells] for labels, cells in series.items()]
        for name, series in step.counts.series.items()
        if series
    }
    urls = {url: sums.as_row() for url, sums in step.urls.items()}
    return zlib.compress(json.dumps({"counts": counts, "urls": urls}, separators=(",", ":")).encode(), 1)


def _unpacked(data: bytes) -> Tally:
    """Read a step; metrics and shapes of another version are left out."""
    table: dict[str, Any] = json.loads(zlib.decompress(data))
    step = Tally()
    for name, series in table["counts"].items():
        size = SIZES.get(name)
        for *labels, cells in series:
            if size == len(cells):
                step.counts.series[name][tuple(labels)] = cells
    step.urls.update({url: UrlSums(*row) for url, row in table["urls"].items()})
    return step
