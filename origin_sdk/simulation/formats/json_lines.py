"""Logs of one JSON object a line: of nginx, Caddy, Traefik, Envoy, Cloudflare Logpush, Google Cloud.

They agree on the format and not on the names, so each fact is looked for under the names that are in use.
A log of other names is read with a mapping of one's own.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from origin_sdk.simulation.exchanges import LoggedRequest, UnreadableLine

__all__ = ["FACTS", "JsonLines", "read_time_ms"]

FACTS: Mapping[str, tuple[str, ...]] = {
    "time": (
        "ts", "time", "timestamp", "@timestamp", "msec", "time_iso8601", "start_time", "StartUTC",
        "EdgeStartTimestamp", "time_local",
    ),
    "client": (
        "remote_addr", "client_ip", "ClientIP", "ClientHost", "request.client_ip", "request.remote_ip",
        "httpRequest.remoteIp", "client", "ip", "remote",
    ),
    "method": (
        "method", "request_method", "ClientRequestMethod", "RequestMethod", "request.method",
        "httpRequest.requestMethod", "verb",
    ),
    "url": (
        "url", "request_uri", "uri", "ClientRequestURI", "RequestPath", "request.uri",
        "httpRequest.requestUrl", "path", "target",
    ),
    "host": (
        "host", "http_host", "ClientRequestHost", "RequestHost", "request.host", "server_name", "authority",
    ),
    "scheme": ("scheme", "ClientRequestScheme", "RequestScheme", "x_forwarded_proto"),
    "status": (
        "status", "OriginResponseStatus", "EdgeResponseStatus", "OriginStatus", "DownstreamStatus",
        "httpRequest.status", "status_code", "response_code",
    ),
    "bytes": (
        "body_bytes_sent", "bytes_sent", "size", "EdgeResponseBodyBytes", "EdgeResponseBytes",
        "DownstreamContentSize", "httpRequest.responseSize", "bytes",
    ),
    "seconds": ("upstream_response_time", "request_time", "duration"),
    "milliseconds": ("duration_ms", "OriginResponseDurationMs", "latency_ms"),
    "nanoseconds": ("OriginDuration", "Duration", "OriginResponseTime"),
}  # fmt: skip
"""Where each fact is looked for, the first that is there counts; ``a.b`` is ``b`` inside of ``a``."""

_REQUEST_FIELDS = ("request.headers", "request_headers", "RequestHeaders", "req_headers")
_RESPONSE_FIELDS = ("resp_headers", "response_headers", "ResponseHeaders", "response.headers", "res_headers")
_REQUEST_PREFIXES = ("http_", "request_")
_RESPONSE_PREFIXES = ("sent_http_", "upstream_http_", "downstream_", "origin_")
# Traefik has what it did as `downstream_...` and `origin_...` in the same object as the fields.
_NO_FIELDS = frozenset(
    {"http_host", "request_method", "request_uri", "request_time", "request_length", "request_id",
     "request_port", "request_body", "request_completion", "request_filename", "request_line"}
)  # fmt: skip
_LATEST_SECONDS = 10**11
_LATEST_MILLISECONDS = 10**14


class JsonLines:
    """Reads the lines of one log.

    ``mapping`` names where facts are, before the names that are known: ``{"time": "meta.at"}``.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        own = mapping or {}
        self._places = {fact: (own[fact],) if fact in own else places for fact, places in FACTS.items()}
        self._found: dict[str, str] = {}

    def read(self, line: str) -> LoggedRequest:
        """Read one line; raises :class:`UnreadableLine`."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableLine(f"isn't JSON: {error}") from None
        if not isinstance(values, dict):
            raise UnreadableLine("isn't a JSON object")
        status, method = self._number("status", values), self._text("method", values)
        if not method or not status:
            raise UnreadableLine(self._missing("method" if not method else "status"))
        time = self._value("time", values)
        if time is None:
            raise UnreadableLine(self._missing("time"))
        return LoggedRequest(
            time_ms=read_time_ms(time),
            client=self._text("client", values),
            method=method,
            target=self._target(values),
            status=int(status),
            size_bytes=int(self._number("bytes", values) or 0),
            duration_ms=self._duration_ms(values),
            request_fields=_fields(values, _REQUEST_FIELDS, _REQUEST_PREFIXES),
            response_fields=_fields(values, _RESPONSE_FIELDS, _RESPONSE_PREFIXES),
        )

    def _missing(self, fact: str) -> str:
        places = ", ".join(self._places[fact])
        return f"has no {fact}: none of {places}; say where it is, as --map {fact}=NAME"

    def _value(self, fact: str, values: Mapping[str, Any]) -> Any:
        known = self._found.get(fact)
        if known and (value := _at(values, known)) not in (None, "", "-"):
            return value
        for place in self._places[fact]:
            if (value := _at(values, place)) not in (None, "", "-"):
                self._found[fact] = place
                return value
        return None

    def _text(self, fact: str, values: Mapping[str, Any]) -> str:
        value = self._value(fact, values)
        return "" if value is None else str(value)

    def _number(self, fact: str, values: Mapping[str, Any]) -> float | None:
        value = self._value(fact, values)
        if value is None:
            return None
        try:
            # nginx writes "0.005, 0.010" where it asked more than one upstream server.
            return float(str(value).rpartition(",")[2])
        except ValueError:
            return None

    def _target(self, values: Mapping[str, Any]) -> str:
        url, host = self._text("url", values), self._text("host", values)
        if not url:
            raise UnreadableLine(self._missing("url"))
        if not host or "://" in url.partition("?")[0]:
            return url
        scheme = self._text("scheme", values).lower()
        return f"{scheme}://{host}{url}" if scheme in {"http", "https"} else f"//{host}{url}"

    def _duration_ms(self, values: Mapping[str, Any]) -> float | None:
        for fact, scale in (("milliseconds", 1.0), ("seconds", 1000.0), ("nanoseconds", 1e-6)):
            if (number := self._number(fact, values)) is not None:
                return number * scale
        return None


def read_time_ms(value: object) -> int:
    """Read a time: seconds, milliseconds, microseconds or nanoseconds since the epoch, or ISO 8601.

    Raises :class:`UnreadableLine`.
    """
    try:
        number = float(str(value))
    except ValueError:
        return _calendar_ms(str(value))
    if not 0 <= number < 10**20:
        raise UnreadableLine(f"has no time since the epoch: {value!r}")
    if number < _LATEST_SECONDS:
        return int(number * 1000)
    while number >= _LATEST_MILLISECONDS:
        number /= 1000
    return int(number)


def _calendar_ms(text: str) -> int:
    for read in (datetime.fromisoformat, lambda value: datetime.strptime(value, "%d/%b/%Y:%H:%M:%S %z")):
        try:
            moment = read(text)
        except ValueError:
            continue
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    raise UnreadableLine(f"has no time that can be read: {text[:40]!r}")


def _at(values: Mapping[str, Any], place: str) -> Any:
    if place in values or "." not in place:
        return values.get(place)
    first, _, rest = place.partition(".")
    inner = values.get(first)
    return _at(inner, rest) if isinstance(inner, Mapping) else None


def _fields(values: Mapping[str, Any], places: Iterable[str], prefixes: tuple[str, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for place in places:
        if isinstance(headers := _at(values, place), Mapping):
            fields |= {str(name).lower(): _joined(value) for name, value in headers.items()}
    for name, value in values.items():
        prefix = next((each for each in prefixes if name.startswith(each)), None)
        if prefix and name not in _NO_FIELDS and isinstance(value, str) and value not in {"", "-"}:
            fields.setdefault(name[len(prefix) :].replace("_", "-").lower(), value)
    return fields


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
