from email.utils import formatdate

import pytest

from origin_sdk._cloudflare.effects import Reply
from origin_sdk._cloudflare.skew import Skew


def reply(date: float, sent_at: float, seconds: float = 0.1) -> Reply:
    return Reply(200, {"date": formatdate(date, usegmt=True)}, b"", sent_at, sent_at + seconds)


@pytest.mark.parametrize(
    ("ahead", "low", "high"),
    [
        pytest.param(0.0, 0.0, 0.0, id="a right clock needs no correction"),
        pytest.param(0.9, 0.0, 0.9, id="less than the second that Date shows can't be told"),
        pytest.param(60.0, 58.9, 60.1, id="a clock a minute behind"),
        pytest.param(-60.0, -60.1, -58.9, id="a clock a minute ahead"),
    ],
)
def test_the_difference_is_known_to_a_second(ahead: float, low: float, high: float) -> None:
    skew = Skew()
    skew.learn(reply(int(1000.5 + ahead), 1000.5))
    assert low <= skew.seconds <= high


def test_more_replies_tell_more() -> None:
    skew = Skew()
    for sent_at in (1000.0, 1007.3, 1013.9, 1020.6):
        skew.learn(reply(int(sent_at + 5.5), sent_at, 0.01))
    assert skew.seconds == pytest.approx(5.5, abs=0.5)


def test_a_clock_that_was_set_starts_anew() -> None:
    skew = Skew()
    skew.learn(reply(1000, 1000.5))
    skew.learn(reply(1010, 4610.5))
    assert skew.seconds == pytest.approx(-3600, abs=1.2)


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_a_date_nothing_is_known(date: str) -> None:
    skew = Skew()
    skew.learn(Reply(200, {"date": date}, b"", 0.0, 1.0))
    assert not skew.is_known
    assert skew.seconds == 0
