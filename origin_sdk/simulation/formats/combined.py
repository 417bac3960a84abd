"""Apache's and nginx's Common and Combined Log Format, with a virtual host before or times after."""

import re
from datetime import datetime
from functools import lru_cache

from origin_sdk.simulation.exchanges import LoggedRequest, UnreadableLine

__all__ = ["looks_combined", "read_combined"]

# Escaped quotes stay inside of a field; what stands behind the known fields is the operator's own.
_TEXT = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    r"(?P<who>[^\[\"]+) \[(?P<time>[^\]]+)\] "
    + _TEXT.replace("(", "(?P<request>", 1)
    + r" (?P<status>\d{3}|-) (?P<size>\d+|-)"
    + rf"(?: {_TEXT.replace('(', '(?P<referrer>', 1)} {_TEXT.replace('(', '(?P<agent>', 1)})?"
    + r"(?: (?P<rest>.*))?"
)
_ADDRESS = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_REQUEST = re.compile(r"([A-Z][A-Z-]*) (\S+)(?: HTTP/[\d.]+)?")
_SECONDS = re.compile(r"(?:^|[ =\"])(\d+\.\d{3,6})(?=$|[ \"])")


def looks_combined(line: str) -> bool:
    """Whether a line is of this family."""
    return _LINE.fullmatch(line) is not None


def read_combined(line: str) -> LoggedRequest:
    """Read one line; raises :class:`UnreadableLine`."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise UnreadableLine("isn't of the Common or Combined Log Format")
    request = _REQUEST.fullmatch(found["request"])
    if request is None:
        raise UnreadableLine(f"has no request in it: {found['request'][:80]!r}")
    if found["status"] == "-":
        raise UnreadableLine("has no status code")
    fields = {"referer": found["referrer"], "user-agent": found["agent"]}
    host, client = _host_and_client(found["who"])
    target = request[2]
    if host and target.startswith("/"):
        target = f"//{host}{target}"
    duration = _SECONDS.search(found["rest"] or "")
    return LoggedRequest(
        time_ms=_time_ms(found["time"]),
        client=client,
        method=request[1],
        target=target,
        status=int(found["status"]),
        size_bytes=int(found["size"]) if found["size"] != "-" else 0,
        duration_ms=float(duration[1]) * 1000 if duration else None,
        request_fields={name: value for name, value in fields.items() if value and value != "-"},
    )


def _host_and_client(who: str) -> tuple[str, str]:
    """Read what stands in front of the time: perhaps a virtual host, then client, identity and user."""
    first, *rest = who.split(" ")
    if len(rest) >= 3 and rest[1] == "-" and not _ADDRESS.fullmatch(first):
        return first, rest[0]
    return "", first


@lru_cache(maxsize=64)
def _time_ms(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp() * 1000)
    except ValueError:
        raise UnreadableLine(f"has no time as 28/Nov/2026:18:43:46 +0000: {text[:40]!r}") from None
