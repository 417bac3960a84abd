"""The same rows with no memory: every response is written to KV, and read back from there.

And what `wrangler dev` hides from the Worker: it runs in bare workerd here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from tests.runtime.http_rows import ASKED, FETCHED, REUSED, Results, Row, cc, get, parameters
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.rows.conditions import CONDITIONS
from tests.runtime.rows.heads import HEADS
from tests.runtime.rows.ranges import RANGES
from tests.runtime.rows.validation import VALIDATION
from tests.runtime.rows.vary import VARY

BARE = [
    Row(
        "fields that a request's Connection lists aren't forwarded",
        "7.6.1 of 9110",
        [cc("max-age=3600")],
        [
            get(
                FETCHED,
                ("Connection", "X-A"),
                ("X-A", "1"),
                ("X-B", "2"),
                origin_sees={"X-A": None, "X-B": "2", "Keep-Alive": None},
            )
        ],
    ),
    Row(
        "a coding goes only to clients that accept it",
        "12.5.3 of 9110",
        [cc("max-age=3600", ("Content-Encoding", "gzip"), body=b"coded"), cc("max-age=3600")],
        [
            get(FETCHED, ("Accept-Encoding", "gzip"), body=b"coded"),
            get(REUSED, ("Accept-Encoding", "gzip"), body=b"coded"),
            get(ASKED, body=b"reply 2"),
        ],
    ),
    Row(
        "codings in any order are one request",
        "4.1",
        [cc("max-age=3600", ("Vary", "Accept-Encoding"))],
        [
            get(FETCHED, ("Accept-Encoding", "gzip, br;q=0.9, zstd")),
            get(REUSED, ("Accept-Encoding", "BR,gzip")),
            get(ASKED, ("Accept-Encoding", "br")),
        ],
    ),
    Row(
        "large text is stored compressed, and sent so to whom it suits",
        "product",
        [cc("max-age=3600", ("Content-Type", "text/plain"), ("ETag", '"a"'), body=b"word " * 4000)],
        [
            get(FETCHED, body=b"word " * 4000),
            get(REUSED, body=b"word " * 4000, shows={"Content-Encoding": None, "ETag": '"a"'}),
            get(REUSED, ("Accept-Encoding", "gzip"), shows={"Content-Encoding": "gzip", "ETag": 'W/"a"'}),
            get(REUSED, ("Range", "bytes=5-8"), ("Accept-Encoding", "gzip"), status=206, body=b"word"),
            get(REUSED, ("If-None-Match", 'W/"a"'), ("Accept-Encoding", "gzip"), status=304),
        ],
    ),
]
ROWS = [*BARE, *VARY, *CONDITIONS, *VALIDATION, *HEADS, *RANGES]
_WRITTEN_SECONDS = 1.2
"""Longer than the second in which KV takes one write to a key."""


@pytest.fixture(scope="module")
def kv_url(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    variables = {"ORIGIN": running_origin.url, "PROFILE": "rfc9111", "MEMORY_BYTES": "0"}
    worker = Worker("kv", variables=variables)
    with Workerd(tmp_path_factory.mktemp("kv"), [worker], snapshots=snapshot.deployed()) as workerd:
        yield workerd.url("kv")


@pytest.fixture(scope="module")
def results(kv_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(kv_url, running_origin, ROWS, pause_seconds=_WRITTEN_SECONDS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_kv(row: Row, results: Results) -> None:
    results.check(row)
