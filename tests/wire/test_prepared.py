"""What is prepared when a response is stored says what would be worked out, by its own rules alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import freshness_of
from origin_sdk_wire.prepared import prepared_for, read_prepared
from origin_sdk_wire.record import MAX_METADATA_BYTES, Record, metadata_for
from origin_sdk_wire.settings import Rule, Settings

_SECONDS = st.none() | st.integers(0, 31_536_000)
_SHARES = st.sampled_from([0.0, 0.05, 0.5])
RULES_OF_LIFETIMES = st.builds(
    Rule,
    lifetime=_SECONDS,
    default_lifetime=_SECONDS,
    stale_while_revalidate=_SECONDS,
    stale_if_error=_SECONDS,
    negative_lifetimes=st.dictionaries(st.sampled_from([404, 410]), st.integers(1, 600)),
)
SETTINGS_OF_LIFETIMES = st.builds(
    Settings,
    stale_while_revalidate=st.integers(0, 600),
    stale_if_error=st.integers(0, 600),
    heuristic_fraction=_SHARES,
    lifetime_jitter=_SHARES,
)
_DIRECTIVES = ("max-age=600", "s-maxage=60", "no-cache", "must-revalidate", "stale-while-revalidate=9", "x")
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "cache-control": st.lists(st.sampled_from(_DIRECTIVES)).map(", ".join),
        "cdn-cache-control": st.sampled_from(["max-age=5", ""]),
        "expires": st.sampled_from(["0", "Mon, 23 Nov 2026 02:45:23 GMT"]),
        "last-modified": st.just("Mon, 23 Nov 2020 02:45:23 GMT"),
        "date": st.just("Mon, 23 Nov 2026 02:40:23 GMT"),
    },
).map(lambda by_name: tuple(by_name.items()))
RECORDS = st.builds(
    Record,
    status=st.sampled_from([200, 204, 301, 404, 503]),
    birth_ms=st.integers(0, 10**13),
    response_ms=st.integers(0, 10**13),
    initial_age_ms=st.just(0),
    fields=_FIELDS,
)


@given(RECORDS, RULES_OF_LIFETIMES, SETTINGS_OF_LIFETIMES, RULES_OF_LIFETIMES, SETTINGS_OF_LIFETIMES)
def test_it_says_what_would_be_worked_out_and_nothing_by_other_rules(
    record: Record, rule: Rule, settings: Settings, other_rule: Rule, other_settings: Settings
) -> None:
    freshness = freshness_of(record, combined(record.fields), rule, settings)
    line = prepared_for(freshness, rule, settings)
    assert read_prepared(line, replace(rule, name="renamed"), settings) == freshness
    assume((rule, settings) != (other_rule, other_settings))
    assert read_prepared(line, other_rule, other_settings) is None


@pytest.mark.parametrize(
    "change", ["lifetime", "default_lifetime", "stale_while_revalidate", "stale_if_error"]
)
def test_each_setting_of_a_rule_that_lifetimes_hang_on_is_bound(change: str) -> None:
    record, settings = Record(200, 1, 1, 0, ()), Settings()
    line = prepared_for(freshness_of(record, {}, Rule(), settings), Rule(), settings)
    assert read_prepared(line, Rule(**{change: 0}), settings) is None  # type: ignore[arg-type]  # by name


class _Asked:
    """Notes which of its attributes somebody asks for."""

    def __init__(self, of: object, asked: set[str]) -> None:
        self._of, self._asked = of, asked

    def __getattr__(self, name: str) -> object:
        self._asked.add(name)
        return getattr(self._of, name)


@given(RECORDS, RULES_OF_LIFETIMES, SETTINGS_OF_LIFETIMES)
def test_a_lifetime_hangs_on_nothing_that_is_not_bound(
    record: Record, rule: Rule, settings: Settings
) -> None:
    of_rule: set[str] = set()
    of_settings: set[str] = set()
    asked = _Asked(rule, of_rule), _Asked(settings, of_settings)
    freshness_of(record, combined(record.fields), *asked)  # type: ignore[arg-type]  # they stand in for both
    bound_of_rule, bound_of_settings = _bound(rule), _bound(settings)
    assert of_rule - {"grants_stale"} <= bound_of_rule
    assert of_settings <= bound_of_settings


def _bound(terms: Rule | Settings) -> set[str]:
    """Return the names of the settings on which the terms hang."""
    asked: set[str] = set()
    stand_in: Any = _Asked(terms, asked)
    worked_out: Any = vars(type(terms))["lifetime_terms"]
    worked_out.func(stand_in)
    return asked & {each.name for each in fields(terms)}


@given(st.integers(0, 1100), RULES_OF_LIFETIMES)
def test_it_never_makes_metadata_too_long(head_bytes: int, rule: Rule) -> None:
    line = prepared_for(freshness_of(Record(200, 1, 1, 0, ()), {}, rule, Settings()), rule, Settings())
    head = "a" * head_bytes
    assert len(metadata_for(head, line)[0].encode()) <= MAX_METADATA_BYTES
    assert metadata_for(head, line)[1] == metadata_for(head)[1]
