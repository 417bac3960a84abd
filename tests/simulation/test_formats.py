"""Every format of access logs, a row for each way in which it is written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from origin_sdk.errors import InvalidRequest
from origin_sdk.simulation.accesslog import AccessLog
from origin_sdk.simulation.exchanges import LoggedRequest

AT_MS = 1_795_891_426_000
"""28 November 2026, 18:43:46 UTC."""
_COMMON = '203.0.113.9 - - [28/Nov/2026:18:43:46 +0000] "GET /products/17?page=2 HTTP/1.1" 200 512'
_CLOUDFRONT = (
    "#Version: 1.0\n"
    "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) "
    "cs(User-Agent) cs-uri-query cs(Cookie) x-host-header cs-protocol time-taken\n"
    "2026-11-28\t18:43:46\tFRA2\t512\t203.0.113.9\tGET\td1.cloudfront.net\t/products/17\t200\t-\tcurl/8\t"
    "page=2\t-\tapi.example.com\thttps\t0.120"
)
_IIS = (
    "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query c-ip sc-status sc-bytes time-taken\n"
    "2026-11-28 18:43:46 10.0.0.1 GET /products/17 page=2 203.0.113.9 200 512 120"
)
_ALB = (
    "https 2026-11-28T18:43:46.000000Z app/lb/1 203.0.113.9:443 10.0.0.1:80 0.000 0.120 0.000 200 200 34 512 "
    '"GET https://api.example.com:443/products/17?page=2 HTTP/1.1" "curl/8" - - arn "Root=1" "-" "-" 0'
)


def _json(**values: object) -> str:
    return json.dumps(values)


ROWS: Mapping[str, tuple[str, str, str]] = {
    "common": (_COMMON, "combined", "/products/17?page=2"),
    "combined": (f'{_COMMON} "-" "curl/8"', "combined", "/products/17?page=2"),
    "combined, quotes in a field": (f'{_COMMON} "-" "a \\"b\\" c"', "combined", "/products/17?page=2"),
    "combined, a user": (_COMMON.replace(" - - ", " - ann "), "combined", "/products/17?page=2"),
    "combined, a user of two words": (
        _COMMON.replace(" - - ", " - ann b "),
        "combined",
        "/products/17?page=2",
    ),
    "combined with a host": (
        f'api.example.com:443 {_COMMON} "-" "curl/8"',
        "combined",
        "//api.example.com:443/products/17?page=2",
    ),
    "combined over IPv6": (
        _COMMON.replace("203.0.113.9", "2001:db8::1"),
        "combined",
        "/products/17?page=2",
    ),
    "combined with another zone": (
        _COMMON.replace("18:43:46 +0000", "19:43:46 +0100"),
        "combined",
        "/products/17?page=2",
    ),
    "nginx": (
        _json(
            time_iso8601="2026-11-28T18:43:46+00:00",
            remote_addr="203.0.113.9",
            request_method="GET",
            request_uri="/products/17?page=2",
            status="200",
            body_bytes_sent="512",
            request_time="0.120",
            sent_http_cache_control="max-age=60",
        ),
        "json",
        "/products/17?page=2",
    ),
    "Caddy": (
        _json(
            ts=AT_MS / 1000,
            request={
                "remote_ip": "203.0.113.9",
                "method": "GET",
                "host": "api.example.com",
                "uri": "/products/17?page=2",
                "headers": {"Accept": ["*/*"]},
            },
            duration=0.12,
            size=512,
            status=200,
            resp_headers={"Cache-Control": ["max-age=60"]},
        ),
        "json",
        "//api.example.com/products/17?page=2",
    ),
    "Traefik": (
        _json(
            StartUTC="2026-11-28T18:43:46Z",
            ClientHost="203.0.113.9",
            RequestMethod="GET",
            RequestHost="api.example.com",
            RequestScheme="https",
            RequestPath="/products/17?page=2",
            DownstreamStatus=200,
            OriginStatus=200,
            DownstreamContentSize=512,
            OriginDuration=120_000_000,
        ),
        "json",
        "https://api.example.com/products/17?page=2",
    ),
    "Logpush": (
        _json(
            EdgeStartTimestamp=AT_MS * 1_000_000,
            ClientIP="203.0.113.9",
            ClientRequestMethod="GET",
            ClientRequestHost="api.example.com",
            ClientRequestScheme="https",
            ClientRequestURI="/products/17?page=2",
            EdgeResponseStatus=200,
            EdgeResponseBytes=512,
            OriginResponseDurationMs=120,
        ),
        "json",
        "https://api.example.com/products/17?page=2",
    ),
    "CloudFront": (_CLOUDFRONT, "w3c", "https://api.example.com/products/17?page=2"),
    "IIS": (_IIS, "w3c", "/products/17?page=2"),
    "ALB": (_ALB, "alb", "https://api.example.com/products/17?page=2"),
    "HAR": (
        json.dumps(
            {
                "log": {
                    "entries": [
                        {
                            "startedDateTime": "2026-11-28T18:43:46.000Z",
                            "time": 120,
                            "request": {
                                "method": "GET",
                                "url": "https://api.example.com/products/17?page=2",
                                "headers": [{"name": ":authority", "value": "x"}],
                            },
                            "response": {
                                "status": 200,
                                "bodySize": 512,
                                "headers": [{"name": "Cache-Control", "value": "max-age=60"}],
                            },
                        }
                    ]
                }
            },
            indent=1,
        ),
        "har",
        "https://api.example.com/products/17?page=2",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_reads_every_format(row: tuple[str, str, str], tmp_path: Path) -> None:
    text, name, target = row
    exchange, log = _only(text, tmp_path)
    assert log.format == name
    assert (exchange.time_ms, exchange.method, exchange.status) == (AT_MS, "GET", 200)
    assert exchange.target == target
    assert exchange.size_bytes == 512
    assert exchange.client in {"203.0.113.9", "2001:db8::1", ""}
    assert exchange.duration_ms is None or exchange.duration_ms == pytest.approx(120)
    assert exchange.response_fields in ({}, {"cache-control": "max-age=60"})


def test_reads_what_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(_COMMON.encode()))
    assert [each.status for each in AccessLog(str(path))] == [200]


def test_reads_names_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(_json(meta={"at": AT_MS}, verb="GET", req={"target": "/a"}, code=200))
    log = AccessLog(str(path), mapping={"time": "meta.at", "url": "req.target", "status": "code"})
    assert [(each.time_ms, each.target) for each in log] == [(AT_MS, "/a")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="an empty file"),
        pytest.param(b"root:x:0:0\nbin:x:1:1\n", "no known format", id="another file"),
        pytest.param(b"\x00\x01\xff" * 100, "no known format", id="a binary file"),
        pytest.param(
            gzip.compress(_COMMON.encode())[:-12], "cut off", id="a compressed file without its end"
        ),
        pytest.param(
            "\n".join([_COMMON] * 50 + ["garbage"]).encode(), "1 of the 51 lines", id="one bad line of 51"
        ),
        pytest.param(b'{"log": 1}\n{"log": 2}\n', "can't be read", id="JSON of something else"),
        pytest.param(b"{\n  1\n", "Expecting property name", id="half of an archive"),
        pytest.param(b"[" * 100_000, "no known format", id="deeply nested"),
    ],
)
def test_refuses_what_is_no_log(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=message):
        list(AccessLog(str(path)))


def test_tells_of_the_few_lines_that_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\n".join([_COMMON] * 200 + ['203.0.113.9 - - [x] "-" 408 0']))
    log = AccessLog(str(path))
    assert len(list(log)) == 200
    assert log.unreadable_count == 1
    assert log.unreadable[0].startswith("line 201 ")


def _only(text: str, tmp_path: Path) -> tuple[LoggedRequest, AccessLog]:
    path = tmp_path / "access.log"
    path.write_text(text)
    log = AccessLog(str(path))
    (exchange,) = log
    return exchange, log
