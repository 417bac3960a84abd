"""Purges of a list: a file with a URL or a group in each line."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import typer

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._cloudflare.kv import MAX_BATCH_PAIRS
from origin_sdk._edge.client import PurgeClient
from origin_sdk._edge.options import Targets
from origin_sdk._values.errors import InvalidRequest, OriginSdkError
from origin_sdk._values.receipt import Receipt
from origin_sdk._values.targets import NAMES, Purge, parse_group, parse_url
from origin_sdk.cli.context import Context
from origin_sdk.cli.lines import Lines
from origin_sdk.cli.screen import Screen, counted

__all__ = ["LOGGED_PART_LINES", "TargetList", "is_something", "purge_listed", "show_nothing"]

_PART_LINES = MAX_BATCH_PAIRS - 1
"""So many URLs and the shared mark are one request."""
LOGGED_PART_LINES = 8_000
"""So many with the entries of the purge log, which hold five names at least."""


@dataclass(frozen=True, slots=True)
class TargetList:
    """A file of targets, all of them checked."""

    lines: Lines
    kind: str
    count: int
    from_line: int
    part_lines: int = _PART_LINES

    @classmethod
    def opened(
        cls,
        context: Context,
        stack: ExitStack,
        url_file: str | None,
        group_file: str | None,
        from_line: int,
    ) -> "TargetList | None":
        path = url_file or group_file
        if path is None:
            return None
        lines = stack.enter_context(Lines(path))
        with context.progress("checking lines") as on_progress:
            count = lines.check(parse_url if url_file else parse_group, on_progress)
        return cls(lines, "urls" if url_file else "groups", count, from_line)

    def joined(self, targets: Targets) -> Targets:
        """Return the targets with what is listed."""
        listed = [each for _, batch in self.batches() for each in batch]
        mixed = Targets(**targets)
        if self.kind == "urls":
            mixed["urls"] = (*targets["urls"], *listed)
        else:
            mixed["groups"] = (*targets["groups"], *listed)
        return mixed

    def batches(self) -> Iterator[tuple[int, list[str]]]:
        return self.lines.batches(self.part_lines, self.from_line)

    def purges(self, targets: Targets) -> Iterator[tuple[int, Purge]]:
        """Yield purges of a request each, with the last line of what they hold."""
        rest = {name: targets[name] for name in ("hard", "delete", "reason")}
        for last, batch in self.batches():
            yield last, Purge.of(**{self.kind: batch}, **rest)  # type: ignore[arg-type]  # by name


@dataclass
class _Total:
    """What the purges of one long list came to."""

    marks: int = 0
    requests: int = 0
    deleted: int = 0
    lines: int = 0
    receipts: list[str] = field(default_factory=list)
    visible_by: datetime | None = None

    def add(self, receipt: Receipt) -> None:
        self.marks += len(receipt.marks)
        self.requests += receipt.requests
        self.deleted += receipt.deleted
        self.receipts.append(receipt.id)
        self.visible_by = receipt.visible_by

    def as_json(self) -> dict[str, Any]:
        visible_by = self.visible_by.isoformat() if self.visible_by else None
        names = ("marks", "requests", "deleted", "lines")
        return {
            **{name: getattr(self, name) for name in names},
            "ids": self.receipts,
            "visible_by": visible_by,
        }


def purge_listed(
    context: Context, client: PurgeClient, targets: Targets, listed: TargetList, wait_seconds: float | None
) -> None:
    """Purge a list that takes several requests, with a batch of it in memory at a time."""
    if wait_seconds is not None:
        raise InvalidRequest(
            f"--wait looks at one purge, and {listed.lines.path} takes several: purge without it; the output "
            "says by when all of it is seen"
        )
    total = _Total()
    try:
        if is_something(targets):
            total.add(client.send(Purge.of(**targets)))
        with context.progress("purging", listed.count) as on_progress:
            for last, purge in listed.purges(targets):
                total.add(client.send(purge))
                total.lines = last
                if on_progress:
                    on_progress(Progress(min(total.marks, listed.count), listed.count))
    except (OriginSdkError, KeyboardInterrupt) as error:
        _tell_how_to_go_on(context, listed, total, error)
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else 1) from error
    context.show(total.as_json(), lambda screen: _draw_total(screen, total))


def _tell_how_to_go_on(
    context: Context, listed: TargetList, total: _Total, error: OriginSdkError | KeyboardInterrupt
) -> None:
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    next_line = total.lines + 1 if total.lines else listed.from_line
    done = (
        f"{listed.lines.path}: purged up to line {total.lines}, in {counted(total.marks, 'mark')}"
        if total.lines
        else f"{listed.lines.path}: no line of it is known to have been purged"
    )
    values = {**total.as_json(), "error": {"message": reason}, "next_line": next_line}

    def draw(_: Screen) -> None:
        screen = Screen(stderr=True)
        screen.print(f"error: {reason}", style="red")
        screen.print(f"{done}; go on with --from-line {next_line}")

    context.show(values, draw)


def show_nothing(context: Context, listed: TargetList) -> None:
    """Say that the list is empty, which is no error."""
    text = f"Nothing to purge: {listed.lines.path} lists nothing."
    context.show({**_Total().as_json(), "message": text}, lambda screen: screen.print(text))


def _draw_total(screen: Screen, total: _Total) -> None:
    screen.print(f"Purged, up to line {total.lines}", style="green")
    screen.row("marks", f"{total.marks:,} in {counted(total.requests, 'request')}")
    if total.deleted:
        screen.row("deleted", counted(total.deleted, "key"))
    if total.visible_by:
        screen.row("everywhere", f"by {total.visible_by:%Y-%m-%d %H:%M:%S} UTC")


def is_something(targets: Targets) -> bool:
    """Whether anything is named besides the list."""
    return any(targets.get(name) for name in (*NAMES, "everything"))
