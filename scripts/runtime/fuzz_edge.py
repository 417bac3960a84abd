"""What the Worker and the wire contract make of any input: nothing fails, leaks or contradicts itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from origin_sdk_edge.claims import verified_claims
from origin_sdk_edge.policy.answer import answer_from
from origin_sdk_edge.policy.decision import Ask, Forward, Invalidity, Lookup, Use
from origin_sdk_edge.policy.facts import OriginFailure, RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import Reuse, on_forwarded, on_origin
from origin_sdk_edge.policy.relay import end_to_end, http_date, outbound_fields
from origin_sdk_edge.policy.reuse import on_stored
from origin_sdk_edge.policy.storability import is_for_everyone
from origin_sdk_wire.choices import DataClass, Profile
from origin_sdk_wire.directives import MAX_DELTA_SECONDS, parse_cache_control, response_directives
from origin_sdk_wire.disguise import strictest_rule
from origin_sdk_wire.errors import InvalidTarget, UnreadableRecord
from origin_sdk_wire.facts import Fields, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.freshness import current_age_ms, freshness_of
from origin_sdk_wire.key import MAX_KEY_BYTES, Target, parse_target, record_key, variant_key
from origin_sdk_wire.lifetimes import parse_date
from origin_sdk_wire.marks import Lane, mark_key, parse_mark, prefix_marks, url_mark
from origin_sdk_wire.record import Record, head_of, metadata_for, parse_head, read_metadata
from origin_sdk_wire.rules import KeyRule, key_target
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.storability import record_of
from origin_sdk_wire.structured import parse_dictionary, parse_strings, serialise_strings
from origin_sdk_wire.vary import selecting_names, selecting_values
from scripts.runtime.fuzz_cases import Chance, hold

__all__ = ["TARGETS"]

NOW_MS = 1_795_400_000_000
_MAX_OWNERS = 300_000
_URLS = [
    "http://", "https://", "HTTP://", "a.test", "B.TEST", ":80", ":443", ":8080", "[::1]", "/", "//",
    "/..", "/.", "/%2e%2E/", "/%2f", "?", "&", "a=1", "b=2", "utm_x=3", "%61", "%", "%4", "%zz", ";", "#",
    "#~", "\\", "@", "x" * 60, "%E4", "%C3%A4", "\xe4", "+",
]  # fmt: skip
_DIRECTIVES = [
    "max-age", "s-maxage", "no-cache", "no-store", "private", "public", "must-revalidate",
    "stale-while-revalidate", "stale-if-error", "must-understand", "only-if-cached", "max-stale",
    "min-fresh", "immutable", "no-transform", "MAX-AGE", "=", "=0", "=60", "=600", '="', '"', ",", ", ",
    " ", "\t", "=-1", "=1.5", "=99999999999999999999", '="set-cookie, x"', "\\",
]  # fmt: skip
_BROKEN_VARY = [
    "cookie accept", "cookie;q=1", '"cookie"', "x-a,,", ", *", "*, x-a", "x-a *", "x-\xe4", "x-a:",
    "(x-a)", "\tx-a",
]  # fmt: skip
_BROKEN_CONTROLS = [
    'private="x', 'public="', "public=bad", "max-age", "max-age=", "max-age=60 public", "no-store;",
    "max-age=1, max-age=2", "private;public", "=public", "publi\xe7", "public\\, max-age=60", '"public"',
    "max-age =60",
]  # fmt: skip
_CONTROLS = [
    "max-age=60", "max-age=0", "s-maxage=60", "no-cache", "no-store", "private", "public",
    "must-revalidate", "proxy-revalidate", "stale-while-revalidate=60", "stale-if-error=60",
    "must-understand", "no-transform", 'private="x"', 'no-cache="x"',
]  # fmt: skip
_STRUCTURED = [
    '"', '"a"', '"b c"', "a", "=", "=1", "=?1", "=?0", ";", "; q=1", ",", ", ", " ", "(", ")", "1",
    "-1.5", ":YQ==:", "@1", "\\", '\\"', "*", '%"a"',
]  # fmt: skip
_DATES = [
    "Mon", "Sunday", ",", ", ", " ", "-", "06", "6", " 6", "Nov", "nov", "1994", "94", "08:49:37",
    "24:00:00", "00:00:60", "GMT", "UTC", "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Fri, 31 Feb 2090 00:00:00 GMT",
]  # fmt: skip
_RANGES = [
    "bytes", "BYTES", "=", "-", ",", "0", "1", "9", "99", "100", "0-0", "0-9", "-5", "5-", " ", "9" * 30,
    "items",
]  # fmt: skip
_HEADS = [
    "1 ", "2 ", "200 ", "999 ", "0 ", "1795400000000 ", "4 ", "gzip ", "- ", "-", "\n", ":", "a:b",
    "cache-control:max-age=60", ">group", ">", "1 200 1795400000000 1795400000001 0 4 - -", "-1 ",
    "9" * 30,
]  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]+")
_NAMES = [
    "accept", "accept-encoding", "accept-language", "x-a", "cookie", "*",
]  # fmt: skip
_SECRET = "a secret of the fuzzer, of thirty-two bytes"  # noqa: S105 - it guards nothing
_RULES = (
    Rule("never", paths=("/never", "/never/**"), data_class=DataClass.NEVER),
    Rule("bypass", paths=("/b/**",), bypass=True),
    Rule("query", paths=("/q/**",), query_drop=("utm_*",), query_sort=True, lifetime=60),
    Rule("mine", paths=("/mine/**",), data_class=DataClass.PRIVATE, fields=("x-key",), default_lifetime=60),
    Rule("claims", paths=("/claims/**",), data_class=DataClass.PRIVATE, claims=("sub",), default_lifetime=60),
)
_PATHS = [
    "/a", "/never", "/never/x", "/b/x", "/q/x", "/mine/x", "/claims/x", "/x/..%2fnever",
]  # fmt: skip
_UNKEYED = frozenset({"x-forwarded-host", "x-original-url"})
_SETTINGS = tuple(
    Settings(
        origin="http://origin.test",
        profile=profile,
        rules=_RULES,
        unkeyed_fields=unkeyed,
        token_secret=_SECRET,
    )
    for profile, unkeyed in ((Profile.SAFE, _UNKEYED), (Profile.RFC9111, frozenset[str]()))
)
_OWNERS: dict[str, Target] = {}
"""The target of each key that was met."""


def keys(chance: Chance) -> None:
    """A URL is refused or has one key, which is that of its normal form and fits KV."""
    url = (chance.one(["http://a.test/", "https://b.test:8443/x", ""])) + chance.long_text(_URLS)
    try:
        target = parse_target(url)
    except InvalidTarget:
        return
    hold(parse_target(str(target)) == target, "the normal form isn't normal", url, target)
    key = record_key(target)
    if len(_OWNERS) < _MAX_OWNERS:
        hold(_OWNERS.setdefault(key, target) == target, "two targets share a key", target, _OWNERS[key])
    longest = variant_key(key, [("field:x", "y")])
    hold(len(longest.encode()) <= MAX_KEY_BYTES, "a key too long for KV", longest)
    for name in (url_mark(target), *prefix_marks(target)):
        hold(len(mark_key(name, Lane.HARD).encode()) <= MAX_KEY_BYTES, "a mark too long for KV", name)
    strictest_rule(_RULES[2], "GET", target, _SETTINGS[0])


def queries(chance: Chance) -> None:
    """A rule's edits of a query lose nothing that is kept, and editing twice changes nothing."""
    rule = KeyRule(
        query_keep=("a", "b*") if chance.often(0.3) else None,
        query_drop=("utm_*", "x[[]*"),
        query_sort=chance.often(0.5),
    )
    target = Target(
        "http", "a.test", "/", chance.text(["a", "b", "=1", "=", "&", ";", "utm_x", "%61", "%26", "+"], 20)
    )
    edited = key_target(rule, target)
    hold(key_target(rule, edited) == edited, "editing twice changes more", target, edited)
    had, has = (target.query or "").split("&"), (edited.query or "").split("&")
    hold(all(part in had for part in has if part), "a parameter from nowhere", target, edited)


def directives(chance: Chance) -> None:
    """Whatever Cache-Control says, reading it gives bounded numbers and names in lower case."""
    value = chance.long_text(_DIRECTIVES)
    read = parse_cache_control(value)
    for name in read.arguments:
        lifetime, window = read.lifetime(name), read.window(name)
        hold(
            lifetime is not None and 0 <= lifetime <= MAX_DELTA_SECONDS,
            "a lifetime out of bounds",
            value,
            name,
        )
        hold(window is None or 0 <= window <= MAX_DELTA_SECONDS, "a window out of bounds", value, name)
        hold(name == name.lower(), "a name in capitals", value, name)
        read.field_names(name)
    response_directives({"cdn-cache-control": chance.text(_STRUCTURED + _DIRECTIVES), "cache-control": value})


def structured(chance: Chance) -> None:
    """A structured field is refused with ValueError, or its strings can be written again."""
    value = chance.long_text(_STRUCTURED)
    with contextlib.suppress(ValueError):
        parse_dictionary(value)
    try:
        strings = parse_strings(value)
    except ValueError:
        return
    hold(parse_strings(serialise_strings(strings)) == strings, "strings change in writing", value, strings)


def dates(chance: Chance) -> None:
    """A date is none or a moment; what is written is read again."""
    parse_date(chance.long_text(_DATES), NOW_MS)
    moment = chance.random.randrange(0, 253_402_300_800)
    hold(parse_date(http_date(moment * 1000), NOW_MS) == moment, "a date changes in writing", moment)


def heads(chance: Chance) -> None:
    """A stored head is refused as unreadable, or one that can be written; what is written is read again."""
    try:
        record = parse_head(chance.long_text(_HEADS))
    except UnreadableRecord:
        record = None
    if record:
        hold(200 <= record.status <= 599, "an impossible status", record)
    value: object = chance.one(
        [None, 1, "x", [], {}, {"h": chance.text(_HEADS)}, {"o": -1}, {"v": [[1]]}, {"v": [["a"]]}]
    )
    with contextlib.suppress(UnreadableRecord):
        read_metadata(value)
    made = _record(chance, _response_fields(chance))
    try:
        head = head_of(made)
    except ValueError:
        return
    hold(parse_head(head) == made, "a record changes in writing", made)
    hold(len(metadata_for(head)[0].encode()) <= 1024, "metadata too long for KV", made)


def marks(chance: Chance) -> None:
    """A mark is refused with ValueError, or has a moment."""
    try:
        mark = parse_mark(chance.text(["1795400000000", " ", "-", "x", "9" * 20, "\xb2"], 4))
    except ValueError:
        return
    hold(0 <= mark.moment_ms < 10**16, "a moment out of bounds", mark)


def tokens(chance: Chance) -> None:
    """No token that wasn't signed is believed."""
    token = chance.text(
        ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJub25lIn0", ".", "eyJzdWIiOiJhIn0", "=", "e30", "", "A"], 6
    )
    hold(verified_claims(token, _SECRET, 0) is None, "a forged token is believed", token)


def ranges(chance: Chance) -> None:
    """A range that is served lies within the body."""
    fields = {
        "range": chance.long_text(_RANGES),
        **({"if-range": chance.text(_DATES, 2)} if chance.often(0.2) else {}),
    }
    record = _record(chance, [("etag", '"1"')], status=200)
    request = RequestFacts("GET", parse_target("http://a.test/"), fields)
    answer = answer_from(record, combined(record.fields), request, NOW_MS)
    if answer.part:
        start, end = answer.part
        hold(0 <= start < end <= record.body_bytes, "a range outside the body", fields, answer.part, record)
        hold(answer.status == 206, "a part that isn't called one", fields, answer)


def _record(chance: Chance, fields: Sequence[tuple[str, str]], status: int | None = None) -> Record:
    birth_ms = NOW_MS - chance.one([0, 1, 999, 30_000, 59_999, 60_000, 61_000, 120_000, 10**9])
    return Record(
        status=status or chance.one([200, 200, 200, 301, 404, 410, 500]),
        birth_ms=birth_ms,
        response_ms=birth_ms + chance.one([0, 5, 2000]),
        initial_age_ms=chance.one([0, 0, 1000, 90_000]),
        fields=tuple(fields),
        groups=("g",) if chance.often(0.3) else (),
        body_bytes=chance.one([0, 1, 10, 100, 10**6]),
    )


def _control(chance: Chance) -> str:
    if chance.often(0.1):
        return chance.text(_DIRECTIVES)
    of = [*_CONTROLS, *_BROKEN_CONTROLS] if chance.often(0.2) else _CONTROLS
    return ", ".join(chance.one(of) for _ in range(chance.random.randrange(4)))


def _response_fields(chance: Chance) -> list[tuple[str, str]]:
    fields = [("cache-control", _control(chance)), ("date", http_date(NOW_MS))]
    for name, values in {
        "etag": ['"1"', 'W/"1"', "", '"2'],
        "vary": ["*", "accept", "X-A, accept-encoding", ",", *_BROKEN_VARY],
        "expires": ["0", http_date(NOW_MS + 60_000)],
        "age": ["0", "100", "x", "9" * 30],
        "last-modified": [http_date(NOW_MS - 10**9), "x"],
        "content-encoding": ["gzip", "br"],
        "cache-groups": ['"g"', "g"],
        "connection": ["etag", "x"],
    }.items():
        if chance.often(0.2):
            fields.append((name, chance.one(values)))
    return fields


def _request(chance: Chance) -> RequestFacts:
    fields: dict[str, str] = {}
    for name, values in {
        "authorization": ["Bearer x", "Basic x"],
        "cookie": ["session=a", "x", ";;="],
        "cache-control": [
            "no-cache",
            "no-store",
            "max-age=0",
            "max-stale",
            "only-if-cached",
            "min-fresh=30",
            "max-stale=5",
        ],
        "if-none-match": ['"1"', "*", 'W/"1", "2'],
        "range": ["bytes=0-1", "bytes=x"],
        "x-key": ["k", ""],
        "x-forwarded-host": ["evil.test"],
        "connection": ["x-key", "cookie, close", "authorization"],
        "accept-encoding": ["gzip", "br;q=0, *", "identity"],
        "upgrade": ["websocket"],
        "content-length": ["0", "5"],
    }.items():
        if chance.often(0.15):
            fields[name] = chance.one(values)
    url = f"http://a.test{chance.one(_PATHS)}{chance.one(['', '?a=1&utm_x=2'])}"
    method = chance.one(["GET", "GET", "GET", "GET", "HEAD", "POST", "PURGE"])
    return RequestFacts(method, parse_target(url), end_to_end(fields))


def _response(chance: Chance) -> ResponseFacts:
    fields = combined(_response_fields(chance))
    status = chance.one([200, 200, 200, 304, 206, 404, 410, 302, 500, 503, 299, 600])
    cookies = ("a=b",) if chance.often(0.15) else ()
    return ResponseFacts(status, fields, NOW_MS - 50, NOW_MS, cookies)


def decisions(chance: Chance) -> None:
    """A request and its response, through all three questions."""
    settings, request, response = chance.one(_SETTINGS), _request(chance), _response(chance)
    asked = on_request(request, settings, NOW_MS)
    if isinstance(asked, Forward):
        on_forwarded(asked, response, settings)
        return
    hold(
        asked.rule.data_class is not DataClass.NEVER and not asked.rule.bypass,
        "a look-up against the rule",
        request,
    )
    sent = outbound_fields(asked.request, settings)
    hold(sent.get("x-forwarded-host") == "a.test", "an unkeyed field reaches the origin", request)
    decision = _on_stored(chance, asked, settings)
    if isinstance(decision, Ask):
        _on_origin(asked, decision, response, settings)
        plan = on_origin(asked, decision, chance.one(list(OriginFailure)), {}, settings)
        hold(
            not isinstance(plan.answer, Reuse) or decision.when_disconnected,
            "stale against a directive",
            decision,
        )
        hold(plan.store is None, "a failure is stored", plan)


def _on_stored(chance: Chance, lookup: Lookup, settings: Settings) -> object:
    record = _record(chance, _response_fields(chance)) if chance.often(0.8) else None
    fields: Fields = combined(record.fields) if record else {}
    invalidity = Invalidity(
        soft_ms=chance.one([0, 0, NOW_MS - 5]),
        hard_ms=chance.one([0, 0, NOW_MS]),
        is_unknown=chance.often(0.1),
    )
    decision = on_stored(lookup, record, fields, invalidity, NOW_MS, settings)
    if isinstance(decision, Use) and record:
        hold(not invalidity.hard_ms and not invalidity.is_unknown, "a purged response is used", decision)
        freshness = freshness_of(record, fields, lookup.rule, settings)
        hold(not freshness.must_validate, "no-cache without validation", decision)
        is_stale = current_age_ms(record, NOW_MS) >= freshness.lifetime_ms or invalidity.soft_ms
        hold(not (is_stale and freshness.forbids_stale), "stale against a directive", decision)
    selecting_values(selecting_names(fields), lookup.request.fields)
    return decision


def _on_origin(lookup: Lookup, ask: Ask, response: ResponseFacts, settings: Settings) -> None:
    stored_fields = combined(ask.stored.fields) if ask.stored else {}
    plan = on_origin(lookup, ask, response, stored_fields, settings)
    if isinstance(plan.answer, Reuse):
        hold(ask.stored is not None, "something is sent that isn't stored", ask)
    if plan.store is None:
        return
    control = response_directives(response.fields)
    hold("no-store" not in control or control.permits("must-understand"), "no-store is stored", response)
    for member in response.fields.get("vary", "").split(","):
        hold(not member.strip() or _TOKEN.fullmatch(member.strip(" \t")), "a broken Vary is stored", response)
    is_mine = lookup.rule.data_class is DataClass.PRIVATE
    hold(is_mine or not control.unqualified("private"), "private is stored", response)
    was_good = ask.stored is not None and ask.stored.status < 500
    hold(not (response.status >= 500 and was_good), "an error replaces what is stored", response)
    if settings.is_safe:
        hold(not response.set_cookies, "Set-Cookie is stored", response)
    if "authorization" in lookup.request.fields and not is_mine:
        hold(
            is_for_everyone(control, settings),
            "a response to credentials is stored",
            lookup.request,
            response,
        )
    record_of(response, lookup.rule, settings)


TARGETS = (keys, queries, directives, structured, dates, heads, marks, tokens, ranges, decisions)
