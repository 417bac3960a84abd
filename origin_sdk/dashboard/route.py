"""The Worker's own route of metrics, as ``docs/metrics.md`` describes it."""

from dataclasses import dataclass, field

import httpx

from origin_sdk._values.errors import (
    CloudflareUnavailable,
    ConnectionFailed,
    InvalidSettings,
    RequestRejected,
)
from origin_sdk_wire.errors import UnreadableMetrics
from origin_sdk_wire.exposition import JSON_TYPE, Document, parse_document

__all__ = ["MetricsRoute"]

_SECONDS = 10.0
_SHOWN_CHARACTERS = 200
_MOST_BYTES = 16_000_000
PATH = "/.edge-cache/metrics"


@dataclass
class MetricsRoute:
    """Asks the Worker at ``url``; ``secret`` is its DEBUG_SECRET."""

    url: str
    client: httpx.Client = field(repr=False)
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raise :class:`InvalidSettings` for what is no URL, or a secret that no header field can carry."""
        try:
            parts = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InvalidSettings(f"{self.url!r} isn't a URL: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.host:
            raise InvalidSettings(f"{self.url!r} isn't the URL of a Worker: write https://api.example.com")
        if parts.path in {"", "/"}:
            self.url = str(parts.copy_with(path=PATH, query=None, fragment=None))
        if not (self.secret.isascii() and self.secret.isprintable()):
            raise InvalidSettings(
                "the debug secret has a line break or a letter that no header field carries; copy it again"
            )

    def read(self) -> Document:
        """Ask once; raises :class:`OriginSdkError`, whose message says what to do."""
        fields = {"accept": JSON_TYPE, "cache-control": "no-store"}
        if self.secret:
            fields["authorization"] = f"Bearer {self.secret}"
        try:
            response = self.client.get(self.url, headers=fields, timeout=_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionFailed(f"{self.url}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise RequestRejected(_refusal(self.url, response), status=response.status_code)
        if len(response.content) > _MOST_BYTES:
            raise CloudflareUnavailable(f"{self.url}: {len(response.content):,} bytes aren't metrics")
        try:
            return parse_document(response.content)
        except UnreadableMetrics as error:
            raise CloudflareUnavailable(f"{self.url}: {error}") from error


def _refusal(url: str, response: httpx.Response) -> str:
    match response.status_code:
        case 401 | 403 | 404:
            return (
                f"{url} answered {response.status_code}: the Worker shows its counts to clients that send "
                "its DEBUG_SECRET: set EDGE_CACHE_DEBUG_SECRET to the same"
            )
        case code:
            return f"{url} answered {code}: {response.text[:_SHOWN_CHARACTERS].strip()}"
