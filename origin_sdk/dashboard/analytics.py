"""Workers Analytics Engine as a source: every isolate everywhere, for three months, by Cloudflare's SQL API.

Cloudflare samples points when there are many: each row stands for ``_sample_interval`` of them, which the
sums account for (:func:`origin_sdk_wire.analytics.selection`). A flush may be a minute old when it arrives.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx

from origin_sdk._cloudflare.connections import tls
from origin_sdk._values.errors import (
    AuthenticationFailed,
    CloudflareError,
    CloudflareUnavailable,
    ConnectionFailed,
    InvalidSettings,
    RateLimited,
    RequestRejected,
)
from origin_sdk.dashboard.board import Window
from origin_sdk.dashboard.ranges import Range
from origin_sdk.dashboard.sources import SourceHealth
from origin_sdk.dashboard.tallies import MOST_URLS, Tally, UrlSums
from origin_sdk_wire.analytics import GROUPS, URL_COLUMNS, ColumnGroup, add_row, selection

__all__ = ["AnalyticsSettings", "AnalyticsSource"]

_VERSION = "1"
_SECONDS = 30.0
_LEAST_AGE_SECONDS = 30.0
_MOST_AGE_SECONDS = 300.0
"""What is younger isn't asked for again: queries cost money, and flushes come once a minute."""
_SHOWN_CHARACTERS = 300
_SIDE_BY_SIDE = 4


@dataclass(frozen=True, slots=True)
class AnalyticsSettings:
    """Where the SQL API is: its whole URL, the token (Account Analytics: Read) and the dataset's name."""

    url: str
    token: str
    dataset: str

    def __post_init__(self) -> None:
        """Raise :class:`InvalidSettings` for a name that can't stand in SQL."""
        if not self.dataset.replace("_", "a").isalnum() or not self.dataset.isascii():
            raise InvalidSettings(
                f"dataset = {self.dataset!r}: a dataset of Analytics Engine has letters, digits and _ alone"
            )

    def __repr__(self) -> str:
        return f"AnalyticsSettings(url={self.url!r}, dataset={self.dataset!r})"


class AnalyticsSource:
    """A source over the SQL API."""

    name = "analytics"
    title = "Analytics Engine"

    def __init__(self, settings: AnalyticsSettings, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._client = httpx.Client(
            transport=transport,
            timeout=_SECONDS,
            verify=tls(),
            headers={"authorization": f"Bearer {settings.token}"} if settings.token else {},
        )
        self._known: dict[str, tuple[float, Window]] = {}
        self._lock = Lock()
        self._health = SourceHealth()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def health(self) -> SourceHealth:
        """How the last query went."""
        return self._health

    def window(self, span: Range, now: float) -> Window:
        """Return what was counted in a range, at most half a minute old; after a failure what is known."""
        with self._lock:
            asked_at, known = self._known.get(span.name, (0.0, Window.of(span, now, {}, {})))
            if now < asked_at + min(max(_LEAST_AGE_SECONDS, span.step / 4), _MOST_AGE_SECONDS):
                return known
            try:
                known = self._asked(span, now)
                self._health = self._health.worked(now)
            except (CloudflareError, ConnectionFailed) as error:
                self._health = self._health.failed(error)
            self._known[span.name] = now, known
            return known

    def _asked(self, span: Range, now: float) -> Window:
        steps: dict[int, Tally] = {}
        starts, earlier = span.starts(now), span.starts_before(now)
        queries = [self._counts_query(group, span, earlier.start) for group in GROUPS.values()]
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            *counted, urls = pool.map(self._rows, [*queries, self._urls_query(starts.start)])
        for group, rows in zip(GROUPS.values(), counted, strict=True):
            for row in rows:
                add_row(steps.setdefault(_start(row), Tally()).counts, group, row)
        for row in urls:
            _add_url(steps.setdefault(starts[-1], Tally()), row)
        return Window.of(
            span,
            now,
            {start: step for start, step in steps.items() if start in starts},
            {start: step for start, step in steps.items() if start in earlier},
        )

    def _counts_query(self, group: ColumnGroup, span: Range, since: int) -> str:
        by = ", ".join(("t", *group.labels))
        return (
            f"SELECT {_step(span)} AS t, {selection(group)} {self._source(group.name, since)} "
            f"GROUP BY {by} FORMAT JSON"
        )

    def _urls_query(self, since: int) -> str:
        sums = ", ".join(
            f"SUM(_sample_interval * double{at}) AS {name}" for at, name in enumerate(URL_COLUMNS, 1)
        )
        return (
            f"SELECT blob5 AS rule, blob6 AS url, {sums} {self._source('url', since)} "
            f"GROUP BY rule, url ORDER BY requests DESC LIMIT {MOST_URLS} FORMAT JSON"
        )

    def _source(self, group: str, since: int) -> str:
        return (
            f"FROM {self._settings.dataset} WHERE blob1 = '{_VERSION}' AND blob2 = '{group}' "
            f"AND timestamp >= toDateTime({since})"
        )

    def _rows(self, query: str) -> list[dict[str, Any]]:
        try:
            response = self._client.post(self._settings.url, content=query)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._settings.url}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise _refusal(response)
        try:
            rows: list[dict[str, Any]] = response.json()["data"]
        except (ValueError, KeyError, TypeError) as error:
            raise CloudflareUnavailable(
                f"{self._settings.url}: the answer isn't the SQL API's: {response.text[:_SHOWN_CHARACTERS]!r}"
            ) from error
        return rows


def _step(span: Range) -> str:
    return f"intDiv(toUInt32(timestamp), {span.step}) * {span.step}"


def _start(row: dict[str, Any]) -> int:
    return int(float(str(row["t"])))


def _add_url(step: Tally, row: dict[str, Any]) -> None:
    numbers = [float(str(row[name])) for name in URL_COLUMNS]
    step.urls[str(row["url"])] = UrlSums(str(row["rule"]), *numbers)


def _refusal(response: httpx.Response) -> CloudflareError:
    text = response.text[:_SHOWN_CHARACTERS].strip()
    match response.status_code:
        case 401 | 403:
            return AuthenticationFailed(
                "Analytics Engine refused the token: it needs the permission Account Analytics: Read "
                f"(answer {response.status_code}: {text})"
            )
        case 429:
            return RateLimited("Analytics Engine: too many queries; the next try comes in half a minute")
        case code if code >= 500:
            return CloudflareUnavailable(f"Analytics Engine answered {code}: {text}")
        case code:
            return RequestRejected(f"Analytics Engine answered {code}: {text}")
