"""Logs in columns.

W3C's extended format (CloudFront, IIS, Azure) names them in a line of its own; those of AWS's Application
Load Balancer are fixed.
"""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from origin_sdk.simulation.exchanges import LoggedRequest, UnreadableLine

__all__ = ["NamedColumns", "looks_of_balancer", "read_of_balancer"]

_HEADER = "#fields:"
_BALANCER_KINDS = frozenset({"http", "https", "h2", "grpcs", "ws", "wss"})
_BALANCER_COLUMNS = 15


class NamedColumns:
    """Reads the lines of one log; a line that begins with ``#Fields:`` names the columns below it."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    def read(self, line: str) -> LoggedRequest | None:
        """Read one line, ``None`` for a directive; raises :class:`UnreadableLine`."""
        if line.startswith("#"):
            if line.lower().startswith(_HEADER):
                self._names = tuple(name.lower() for name in line[len(_HEADER) :].split())
            return None
        if not self._names:
            raise UnreadableLine("comes before a line of #Fields:, which names the columns")
        cells = line.split("\t") if "\t" in line else line.split()
        if len(cells) != len(self._names):
            raise UnreadableLine(f"has {len(cells)} columns and not {len(self._names)}")
        return _exchange({name: cell for name, cell in zip(self._names, cells, strict=True) if cell != "-"})


def _exchange(cells: Mapping[str, str]) -> LoggedRequest:
    try:
        moment = datetime.fromisoformat(f"{cells['date']}T{cells['time']}").replace(tzinfo=UTC)
        method, path, status = cells["cs-method"], cells["cs-uri-stem"], int(cells["sc-status"])
    except KeyError as error:
        raise UnreadableLine(f"has no column {error.args[0]}") from None
    except ValueError as error:
        raise UnreadableLine(str(error)) from None
    query = cells.get("cs-uri-query")
    host = cells.get("x-host-header") or cells.get("cs(host)") or cells.get("cs-host", "")
    target = path if not query else f"{path}?{query}"
    taken = cells.get("time-taken")
    return LoggedRequest(
        time_ms=int(moment.timestamp() * 1000),
        client=cells.get("c-ip", ""),
        method=method,
        target=f"{cells.get('cs-protocol', '')}://{host}{target}".removeprefix(":") if host else target,
        status=status,
        size_bytes=_whole(cells.get("sc-content-len") or cells.get("sc-bytes", "0")),
        duration_ms=_duration_ms(taken) if taken else None,
        # CloudFront percent-encodes what it writes of a field.
        request_fields={
            name[3:-1]: unquote(value)
            for name, value in cells.items()
            if name.startswith("cs(") and name.endswith(")")
        },
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _duration_ms(text: str) -> float | None:
    try:
        # CloudFront writes seconds with a point, IIS milliseconds without.
        return float(text) * (1000 if "." in text else 1)
    except ValueError:
        return None


def looks_of_balancer(line: str) -> bool:
    """Whether a line is one of an Application Load Balancer."""
    has_columns = line.count('"') >= 4 and line.count(" ") >= _BALANCER_COLUMNS
    return has_columns and line.partition(" ")[0] in _BALANCER_KINDS


def read_of_balancer(line: str) -> LoggedRequest:
    """Read one line of an Application Load Balancer; raises :class:`UnreadableLine`."""
    try:
        cells = shlex.split(line)
    except ValueError as error:
        raise UnreadableLine(str(error)) from None
    if len(cells) < _BALANCER_COLUMNS:
        raise UnreadableLine(f"has {len(cells)} columns and not at least {_BALANCER_COLUMNS}")
    method, _, rest = cells[12].partition(" ")
    url = rest.rpartition(" ")[0]
    status = cells[9] if cells[9] != "-" else cells[8]
    try:
        moment = datetime.fromisoformat(cells[1])
        parts = urlsplit(url)
        host = parts.hostname or ""
        query = f"?{parts.query}" if parts.query else ""
        return LoggedRequest(
            time_ms=int(moment.timestamp() * 1000),
            client=cells[3].rpartition(":")[0],
            method=method,
            # It writes the port of its listener into the URL, which the client didn't.
            target=f"{parts.scheme}://{host}{parts.path}{query}",
            status=int(status),
            size_bytes=int(cells[11]),
            duration_ms=max(0.0, sum(float(cell) for cell in cells[5:8] if float(cell) >= 0)) * 1000,
            request_fields={"user-agent": cells[13]} if cells[13] != "-" else {},
        )
    except ValueError as error:
        raise UnreadableLine(str(error)) from None
