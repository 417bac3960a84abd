"""Whatever fields there are, the policy decides."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_edge.policy.answer import answer_from
from origin_sdk_edge.policy.decision import VALID, Ask, Forward, Use
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import on_forwarded, on_origin
from origin_sdk_edge.policy.relay import http_date, outbound_fields, relayed_fields
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_edge.policy.status import cache_status
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.fields import combined
from tests.policy.tables import CC, NOW, SAFE, STRICT, request, stored

NAMES = st.sampled_from(
    [
        CC,
        "age",
        "date",
        "expires",
        "etag",
        "last-modified",
        "vary",
        "pragma",
        "range",
        "if-range",
        "if-none-match",
        "if-modified-since",
        "content-range",
        "content-length",
        "content-location",
        "location",
        "connection",
        "cdn-cache-control",
        "cache-groups",
        "cache-tag",
        "surrogate-key",
        "cache-group-invalidation",
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cookie",
        "content-type",
        "cache-status",
        "x-a",
    ]
)
WORDS = st.sampled_from(
    [
        "max-age=10",
        "s-maxage=3",
        "no-cache",
        "no-store",
        "private",
        'no-cache="x-a"',
        "must-understand",
        "max-stale",
        "min-fresh=2",
        "only-if-cached",
        "stale-if-error=9",
        "stale-while-revalidate=9",
        "public",
        '"a"',
        'W/"a"',
        "*",
        "bytes=0-3",
        "bytes 0-3/9",
        "bytes 0-3/*",
        "bytes=-",
        http_date(NOW),
        http_date(NOW - 10**7),
        "x-a",
        "9" * 400,
        "gzip;q=0",
        "\x00",
        "\ufffd",
        "\u0661",
        "=",
        ";",
        '"',
        "\\",
        "https://api.example/x",
        "//[",
        "?",
    ]
)
VALUES = st.lists(WORDS, max_size=4).map(", ".join) | st.text(max_size=30)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=8)
STATUSES = st.sampled_from([200, 204, 206, 299, 301, 304, 404, 410, 416, 500, 503, 599, 600])


@given(
    FIELDS, FIELDS, FIELDS, STATUSES, STATUSES, st.booleans(), st.sampled_from(["GET", "HEAD", "POST", "X"])
)
def test_no_field_breaks_the_policy(
    asked: Mapping[str, str],
    kept: Mapping[str, str],
    came: Mapping[str, str],
    stored_status: int,
    status: int,
    is_safe: bool,
    method: str,
) -> None:
    settings = SAFE if is_safe else STRICT
    response = ResponseFacts(status, came, NOW - 50, NOW, ("a=1",))
    outbound_fields(request(asked), settings)
    relayed_fields(came, came, {"cache-status": "x"}, NOW, STRICT)
    decision = on_request(request(asked, method), settings, NOW)
    if isinstance(decision, Forward):
        on_forwarded(decision, response, settings)
        return
    record = stored(kept, status=min(stored_status, 599))
    fields = combined(record.fields)
    choice = on_stored(decision, record, fields, VALID, NOW, settings)
    if isinstance(choice, Use):
        answer = answer_from(record, fields, decision.client, NOW)
        assert answer.part is None or 0 <= answer.part[0] <= answer.part[1] <= max(7, record.body_bytes)
    elif isinstance(choice, Ask):
        plan = on_origin(decision, choice, response, fields, settings)
        assert cache_status("X", plan.status, "").startswith("X; fwd=")
        if plan.store:
            assert 200 <= plan.store.status <= 599
            assert plan.store.status != 304
