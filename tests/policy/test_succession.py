from __future__ import annotations

import pytest

from origin_sdk_wire.succession import (
    BEARINGS,
    AnswerKind,
    Ends,
    is_good,
    kind_of,
)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        pytest.param(
            AnswerKind.SUCCESS, (200, 203, 206, 299, 301, 302, 303, 307, 308, 399), id="it succeeds"
        ),
        pytest.param(AnswerKind.NOT_MODIFIED, (304,), id="it is not modified"),
        pytest.param(AnswerKind.GONE, (404, 410), id="it is gone"),
        pytest.param(AnswerKind.REFUSED, (401, 403, 451), id="it is refused"),
        pytest.param(AnswerKind.CLIENT_ERROR, (400, 402, 405, 408, 425, 428, 431, 499), id="the client errs"),
        pytest.param(AnswerKind.LIMITED, (429,), id="too much is asked"),
        pytest.param(
            AnswerKind.SERVER_ERROR,
            (100, 101, 199, 500, 501, 502, 503, 504, 505, 508, 511, *range(520, 531), 599, 600, 999),
            id="the server errs, in whatever way",
        ),
    ],
)
def test_the_kind_of_an_answer(kind: AnswerKind, statuses: tuple[int, ...]) -> None:
    assert {kind_of(status) for status in statuses} == {kind}


def test_every_kind_has_its_row_and_only_failures_give_way() -> None:
    assert BEARINGS.keys() == set(AnswerKind)
    for bearing in BEARINGS.values():
        assert not (bearing.gives_way and bearing.ends is not Ends.NEVER)
        assert bearing.gives_way == bearing.rests


def test_what_may_stand_in_is_what_no_other_error_replaces() -> None:
    assert [status for status in range(400, 600) if is_good(status)] == [404, 410]
    assert all(is_good(status) for status in range(200, 400))
