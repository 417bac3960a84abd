"""What an answer says of the origin's state, and for how long it asks to be left alone."""

from __future__ import annotations

import pytest

from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.relay import http_date
from origin_sdk_edge.policy.trouble import Trouble, is_no_answer, trouble_of
from origin_sdk_wire.facts import ResponseFacts

NOW_MS = 1_795_744_800_000


def answer(status: int, retry_after: str = "") -> ResponseFacts:
    return ResponseFacts(status, {"retry-after": retry_after} if retry_after else {}, NOW_MS, NOW_MS)


@pytest.mark.parametrize(
    ("outcome", "trouble"),
    [
        pytest.param(answer(200), None, id="a success"),
        pytest.param(answer(404), None, id="an absent resource"),
        pytest.param(answer(500), Trouble(), id="one URL errs"),
        pytest.param(answer(503, "30"), Trouble(is_unavailable=True, retry_ms=30_000), id="it asks for rest"),
        pytest.param(answer(429, "9999"), Trouble(retry_ms=300_000), id="a limit of one client's at most"),
        pytest.param(
            answer(503, "999999"), Trouble(is_unavailable=True, retry_ms=3_600_000), id="a slip of days"
        ),
        pytest.param(
            answer(503, http_date(NOW_MS + 60_000)),
            Trouble(is_unavailable=True, retry_ms=60_000),
            id="until a date",
        ),
        pytest.param(answer(503, "soon"), Trouble(is_unavailable=True), id="an invalid field"),
        pytest.param(answer(522), Trouble(is_away=True), id="Cloudflare finds nobody"),
        pytest.param(OriginFailure.UNREACHABLE, Trouble(is_away=True), id="no connection"),
        pytest.param(OriginFailure.TIMEOUT, Trouble(is_away=True), id="no answer in time"),
        pytest.param(OriginFailure.TRUNCATED, Trouble(), id="an answer that breaks off"),
    ],
)
def test_trouble(outcome: ResponseFacts | OriginFailure, trouble: Trouble | None) -> None:
    assert trouble_of(outcome) == trouble


@pytest.mark.parametrize(
    ("status", "is_none"), [(502, True), (504, True), (523, True), (500, False), (429, False)]
)
def test_another_origin_is_asked_where_there_is_no_answer(status: int, is_none: bool) -> None:
    assert is_no_answer(status) is is_none
