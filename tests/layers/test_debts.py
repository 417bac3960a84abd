"""What is owed to Redis stays owed until Redis was told of it after it was owed."""

import math

import pytest

from origin_sdk.layers.process.moments import Moments
from origin_sdk.layers.redis import debts
from origin_sdk.layers.redis.debts import Debts


@pytest.fixture
def moments() -> Moments:
    return Moments()


@pytest.fixture
def owing(moments: Moments) -> Debts:
    owing = Debts(moments)
    owing.add(["group"], [0])
    return owing


def test_until_it_is_paid_nobody_believes_redis(moments: Moments, owing: Debts) -> None:
    assert moments.moment("group") == math.inf
    owing.paid(owing.due(0), 5.0, is_all=False)
    assert moments.moment("group") == 5.0
    assert owing.shards() == []


def test_what_is_owed_while_a_payment_is_under_way_is_another_debt(moments: Moments, owing: Debts) -> None:
    """Redis may have done that payment before: a load that it lets begin in between reads the older value."""
    payment = owing.due(0)
    owing.add(["group"], [0])
    owing.paid(payment, 5.0, is_all=False)
    assert owing.due(0).names == ("group",)
    assert moments.moment("group") == math.inf


def test_a_name_is_settled_once_no_shard_is_owed_it(moments: Moments) -> None:
    owing = Debts(moments)
    owing.add(["group"], [0, 1])
    owing.paid(owing.due(0), 5.0, is_all=False)
    assert moments.moment("group") == math.inf
    owing.paid(owing.due(1), 6.0, is_all=False)
    assert moments.moment("group") == 6.0


def test_too_many_are_paid_by_all(moments: Moments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debts, "_MOST_OWED", 2)
    owing = Debts(moments)
    assert owing.add(["a", "b"], [0]) == set()
    assert owing.add(["c"], [0]) == {0}
    payment = owing.due(0)
    assert payment.is_all
    owing.add(["d"], [0])
    owing.paid(payment, 5.0, is_all=True)
    assert owing.due(0).is_all, "it was told before d was owed"
    owing.paid(owing.due(0), 6.0, is_all=True)
    assert owing.shards() == []


def test_a_drop_in_place_of_a_payment_pays_only_its_own_names(owing: Debts) -> None:
    payment = owing.due(0)
    owing.add(["other"], [0])
    owing.paid(payment, 5.0, is_all=True)
    assert owing.due(0).names == ("other",)
