"""HTTP Archive (HAR), as browsers and proxies export it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from origin_sdk.simulation.exchanges import LoggedRequest, UnreadableLine
from origin_sdk.simulation.formats.json_lines import read_time_ms

__all__ = ["entries_of", "read_entry"]

_OWN_FIELDS = ":"
"""What HTTP/2 carries in front of the fields begins with it."""


def entries_of(document: object) -> Iterator[Any]:
    """Yield the entries of an archive; raises :class:`UnreadableLine` if it is none."""
    entries = document.get("log", {}).get("entries") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise UnreadableLine("has no log.entries, and so isn't an HTTP Archive")
    yield from entries


def read_entry(entry: object) -> LoggedRequest:
    """Read one entry; raises :class:`UnreadableLine`."""
    try:
        request, response = entry["request"], entry["response"]  # type: ignore[index]
        size = response.get("bodySize", -1)
        content = response.get("content", {}).get("size", 0)
        return LoggedRequest(
            time_ms=read_time_ms(entry["startedDateTime"]),  # type: ignore[index]
            client="",
            method=str(request["method"]),
            target=str(request["url"]),
            status=int(response["status"]),
            size_bytes=max(0, int(size if size > 0 else content)),
            duration_ms=float(entry.get("time", 0)) or None,  # type: ignore[attr-defined]
            request_fields=_fields(request.get("headers", ())),
            response_fields=_fields(response.get("headers", ())),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableLine(f"isn't an entry of an HTTP Archive: {error!r}") from None


def _fields(headers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for header in headers:
        name, value = str(header["name"]).lower(), str(header["value"])
        if not name.startswith(_OWN_FIELDS):
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
