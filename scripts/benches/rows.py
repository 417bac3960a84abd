"""The rows that every bench returns: what was measured, against what, and whether that is enough."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["AtLeast", "AtMost", "Row", "row", "show", "write"]

_DIGITS = 4
_WIDTH = 160


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The ratio, or without a baseline the median, is to be this or more."""

    number: float

    def __str__(self) -> str:
        return f">= {self.number:.3g}"

    def is_met_by(self, value: float) -> bool:
        """Whether ``value`` is enough."""
        return value >= self.number


@dataclass(frozen=True, slots=True)
class AtMost:
    """The ratio, or without a baseline the median, is to be this or less."""

    number: float

    def __str__(self) -> str:
        return f"<= {self.number:.3g}"

    def is_met_by(self, value: float) -> bool:
        """Whether ``value`` is small enough."""
        return value <= self.number


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    ``spread`` is the interquartile range as a share of the median. ``ratio`` is what was measured over what
    ``against`` names, taken in each round, and of those the median. ``aim`` is what it should come to.
    """

    part: str
    name: str
    median: float
    unit: str
    spread: float | None = None
    against: str | None = None
    ratio: float | None = None
    aim: str | None = None
    met: bool | None = None


def row(
    part: str,
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    against: str | None = None,
    baseline: Sequence[float] = (),
    aim: AtLeast | AtMost | None = None,
) -> Row:
    """Make the row of one value for each round, compared with the baseline's values of the same rounds."""
    median = statistics.median(values)
    ratios = [own / other for own, other in zip(values, baseline, strict=True)] if against else []
    ratio = statistics.median(ratios) if ratios else None
    judged = median if ratio is None else ratio
    return Row(
        part,
        name,
        _rounded(median),
        unit,
        _spread(values, median),
        against,
        None if ratio is None else _rounded(ratio),
        None if aim is None else str(aim),
        None if aim is None else aim.is_met_by(judged),
    )


def _spread(values: Sequence[float], median: float) -> float | None:
    if len(values) < 2 or not median:
        return None
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return _rounded((third - first) / median)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def write(rows: Iterable[Row], file: Path) -> None:
    """Write rows as a JSON list."""
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def show(rows: Iterable[Row], console: Console | None = None) -> None:
    """Print rows as a table."""
    table = Table(box=box.SIMPLE)
    for column in ("part", "what", "median", "unit", "spread", "against", "ratio", "aim", "met"):
        table.add_column(column, justify="right" if column in {"median", "spread", "ratio"} else "left")
    for each in rows:
        table.add_row(*_cells(each))
    # Where there is no terminal to fit into, a row stays a line.
    (console or Console(width=None if sys.stdout.isatty() else _WIDTH)).print(table)


def _cells(each: Row) -> tuple[str, ...]:
    return (
        each.part,
        each.name,
        f"{each.median:,.10g}",
        each.unit,
        "" if each.spread is None else f"{each.spread:.0%}",
        each.against or "",
        "" if each.ratio is None else f"{each.ratio:.2f}",
        each.aim or "",
        {None: "", True: "yes", False: "NO"}[each.met],
    )
