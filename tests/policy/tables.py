"""Requests, stored responses and settings for the tables of the policy."""

from __future__ import annotations

from dataclasses import replace

from origin_sdk_edge.policy.decision import VALID, Ask, Invalidity, Lookup, Refuse, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_wire.choices import Profile
from origin_sdk_wire.facts import Fields
from origin_sdk_wire.fields import combined
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.record import Record
from origin_sdk_wire.settings import Rule, Settings

NOW = 1_795_744_800_000
URL = "https://api.example/products?page=2"
STRICT = Settings(
    profile=Profile.RFC9111, stale_if_error=0, heuristic_fraction=0.1, lifetime_jitter=0.0, soft_timeout=0.0
)
SAFE = Settings(lifetime_jitter=0.0)
CC = "cache-control"


def request(fields: Fields | None = None, method: str = "GET", url: str = URL) -> RequestFacts:
    return RequestFacts(method, parse_target(url), fields or {})


def looked_up(
    fields: Fields | None = None,
    *,
    method: str = "GET",
    settings: Settings = STRICT,
    rule: Rule | None = None,
) -> Lookup:
    settings = replace(settings, rules=(rule,)) if rule else settings
    decision = on_request(request(fields, method), settings, NOW)
    assert isinstance(decision, Lookup)
    return decision


def stored(fields: Fields, *, age: int = 0, status: int = 200) -> Record:
    moment_ms = NOW - age * 1000
    return Record(status, moment_ms, moment_ms, 0, tuple(fields.items()), body_bytes=7)


def decide(
    record: Record | None,
    asked: Fields | None = None,
    *,
    settings: Settings = STRICT,
    invalidity: Invalidity = VALID,
    method: str = "GET",
) -> Use | Ask | Refuse:
    fields = combined(record.fields) if record else {}
    lookup = looked_up(asked, method=method, settings=settings)
    return on_stored(lookup, record, fields, invalidity, NOW, settings)


TEN = {CC: "max-age=10"}
TAGGED = {**TEN, "etag": '"a"'}
PART = {**TAGGED, "content-range": "bytes 0-6/20"}
