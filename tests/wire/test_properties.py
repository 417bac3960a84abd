"""What holds for every input: found by Hypothesis, not by examples."""

import json
import re
import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from origin_sdk_wire.directives import parse_cache_control, split_list
from origin_sdk_wire.errors import InvalidGroup, InvalidTarget, UnreadableRecord
from origin_sdk_wire.key import MAX_KEY_BYTES, Target, body_key, parse_target, record_key, variant_key
from origin_sdk_wire.marks import (
    MAX_PREFIX_SEGMENTS,
    Lane,
    Mark,
    group_mark,
    host_mark,
    is_group,
    mark_key,
    parse_mark,
    prefix_index_mark,
    prefix_mark,
    prefix_marks,
    url_mark,
)
from origin_sdk_wire.record import (
    MAX_METADATA_BYTES,
    Index,
    Record,
    head_of,
    metadata_for,
    parse_head,
    read_metadata,
)
from origin_sdk_wire.rules import KeyRule, key_target
from origin_sdk_wire.structured import parse_dictionary, parse_strings, serialise_strings
from origin_sdk_wire.vary import selecting_values

# Characters that matter to the syntax of a URL come up more often than they would by chance.
_MATTERS = st.sampled_from(
    [*"%/.?#&=:@[]\\;+~^|' \t\n", "%2e", "%2E", "%2F", "%25", "%41", "%7e", "4", "1", "é", "\ud800"]
)
_URL_TEXT = st.lists(_MATTERS | st.characters(), max_size=24).map("".join)
_HOSTS = st.sampled_from(
    ["a.example", "b.example:8080", "[::1]", "A.EXAMPLE", "a.example:443", "a.example:80"]
)
_URLS = st.builds("{}://{}/{}".format, st.sampled_from(["http", "https", "HTTPS"]), _HOSTS, _URL_TEXT)
_LONG_URLS = st.builds(
    "https://a.example/{}{}".format, st.text("ab/", min_size=440, max_size=520), st.text("ab?&", max_size=40)
)
_PARTS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.text(max_size=8)), min_size=1, max_size=3)
_GROUPS = st.text(
    st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=256
).filter(is_group)


def _target(url: str) -> Target:
    try:
        return parse_target(url)
    except InvalidTarget:
        assume(False)
        raise


@given(_URL_TEXT | _URLS)
def test_a_url_is_a_target_or_invalid_and_nothing_else(url: str) -> None:
    try:
        target = parse_target(url)
    except InvalidTarget:
        return
    assert target.path.startswith("/")
    assert str(target).isascii()
    assert not re.search(r"[\x00-\x20\x7f#\\]", target.location.replace(target.query or "\0", ""))


@given(_URLS)
def test_a_normalised_target_normalises_to_itself(url: str) -> None:
    target = _target(url)
    assert parse_target(str(target)) == target


@given(_URLS | _LONG_URLS, _PARTS)
def test_a_key_fits_into_kv(url: str, parts: list[tuple[str, str | None]]) -> None:
    base = record_key(_target(url))
    assert len(base.encode()) < MAX_KEY_BYTES
    assert len(variant_key(base, parts).encode()) <= MAX_KEY_BYTES


@given(_URLS | _LONG_URLS, _URLS | _LONG_URLS)
def test_different_targets_have_different_keys(one: str, other: str) -> None:
    first, second = _target(one), _target(other)
    assert (record_key(first) == record_key(second)) == (first == second)


@given(_LONG_URLS, st.integers(0, 500))
def test_long_targets_that_differ_in_one_character_have_different_keys(url: str, at: int) -> None:
    changed = url[:20] + url[20:][:at] + "x" + url[20:][at:]
    assume(_target(changed) != _target(url))
    assert record_key(_target(changed)) != record_key(_target(url))


@given(_URLS | _LONG_URLS, _URLS | _LONG_URLS, _PARTS)
def test_no_url_has_the_key_of_a_variant_of_a_body_or_of_a_mark(
    url: str, other: str, parts: list[tuple[str, str | None]]
) -> None:
    key = record_key(_target(url))
    assert key != variant_key(record_key(_target(other)), parts)
    assert key.startswith("r1/")
    assert body_key("0").startswith("b1/")
    assert all(mark_key(url_mark(_target(other)), lane).startswith("m2/") for lane in Lane)


@given(_URLS, _PARTS, _PARTS)
def test_different_parts_make_different_variants(
    url: str, one: list[tuple[str, str | None]], other: list[tuple[str, str | None]]
) -> None:
    base = record_key(_target(url))
    assert (variant_key(base, one) == variant_key(base, other)) == (one == other)


@given(_GROUPS, _GROUPS)
def test_different_groups_have_different_marks_that_fit_into_kv(one: str, other: str) -> None:
    names = [_mark_of(group) for group in (one, other)]
    keys = [mark_key(name, Lane.SOFT) for name in names]
    assert all(len(key.encode()) <= MAX_KEY_BYTES for key in keys)
    assert (keys[0] == keys[1]) == (one == other)


def _mark_of(group: str) -> str:
    try:
        return group_mark(group)
    except InvalidGroup:
        assume(False)
        raise


def test_a_group_cannot_pose_as_the_cut_name_of_another() -> None:
    victim = "\U0001f4e6" * 200
    cut = mark_key(group_mark(victim), Lane.SOFT)
    posing = cut.removeprefix("m2/s/group/")
    assert mark_key(group_mark(posing), Lane.SOFT) != cut


_PATHS = st.lists(st.sampled_from(["/", "a", "b", "//", "."]), max_size=30).map(
    lambda parts: "/" + "".join(parts)
)


@given(_PATHS)
def test_the_prefix_marks_of_a_target_hold_each_ancestor_and_itself(path: str) -> None:
    target = Target("https", "a.example", path)
    names = list(prefix_marks(target))
    assert len(names) <= MAX_PREFIX_SEGMENTS + 1
    for end in [at for at, character in enumerate(path) if character == "/"] + [len(path)]:
        ancestor = Target("https", "a.example", path[:end] or "/")
        if ancestor.path.rstrip("/").count("/") <= MAX_PREFIX_SEGMENTS:
            assert prefix_mark(ancestor) in names


@given(_PATHS, _PATHS)
def test_a_prefix_mark_covers_what_is_at_or_below_its_path_and_nothing_else(path: str, prefix: str) -> None:
    assume(prefix.rstrip("/").count("/") <= MAX_PREFIX_SEGMENTS)
    covered = (path.rstrip("/") + "/").startswith(prefix.rstrip("/") + "/")
    assert (prefix_mark(Target("https", "a", prefix)) in prefix_marks(Target("https", "a", path))) == covered


@given(st.integers(0, 10**15), st.text(string.ascii_letters + string.digits, max_size=40))
def test_a_mark_reads_back(moment_ms: int, purge_id: str) -> None:
    mark = Mark(moment_ms, purge_id)
    assert parse_mark(str(mark)) == mark


@given(st.text())
def test_a_mark_is_read_or_a_value_error(value: str) -> None:
    try:
        parse_mark(value)
    except ValueError:
        return
    assert value[0] in string.digits


@given(_HOSTS, _URLS)
def test_marks_of_different_kinds_never_share_a_key(host: str, url: str) -> None:
    target = _target(url)
    names = [
        host_mark(host),
        prefix_index_mark(host),
        url_mark(target),
        *set(prefix_marks(target)),
        group_mark(host),
    ]
    assert len({mark_key(name, lane) for name in names for lane in Lane}) == 2 * len(names)


_TOKENS = st.text(string.ascii_lowercase + string.digits + "!#$%&'*+.^_`|~-", min_size=1, max_size=12)
# RFC 9110 section 5.5: visible characters, space, tab and obs-text.
_VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f") | st.just("\t")
)
_RECORDS = st.builds(
    Record,
    status=st.integers(200, 599),
    birth_ms=st.integers(0, 10**14),
    response_ms=st.integers(0, 10**14),
    initial_age_ms=st.integers(0, 10**14),
    fields=st.lists(st.tuples(_TOKENS, _VALUES), max_size=6).map(tuple),
    groups=st.lists(_GROUPS, max_size=4).map(tuple),
    body_bytes=st.integers(0, 10**12),
    coding=st.sampled_from(["", "gzip", "br"]),
    body_key=st.sampled_from(["", "b1/0123"]),
)


@given(_RECORDS)
def test_a_record_reads_back_from_its_head(record: Record) -> None:
    assert parse_head(head_of(record)) == record


@given(_RECORDS)
def test_a_record_reads_back_from_its_metadata_which_fits_into_kv(record: Record) -> None:
    head = head_of(record)
    metadata, is_in_front = metadata_for(head)
    assert len(metadata.encode()) <= MAX_METADATA_BYTES
    read = read_metadata(json.loads(metadata))
    assert read == (len(head.encode()) if is_in_front else head)


@given(st.text(st.characters() | st.sampled_from("\n\r:> 0123456789"), max_size=80))
def test_a_head_is_read_or_unreadable(head: str) -> None:
    for text in (head, f"1 200 1 1 0 0 - -{head}", f"1 200 1 1 0 0 - -\n{head}"):
        try:
            parse_head(text)
        except UnreadableRecord:
            continue
        assert text.startswith("1 ")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("hovx"), inner, max_size=3),
)


@given(_JSON)
def test_metadata_is_read_or_unreadable(metadata: object) -> None:
    try:
        read = read_metadata(metadata)
    except UnreadableRecord:
        return
    assert type(read) in {str, int, Index}


def test_metadata_that_is_nested_deeply_is_unreadable() -> None:
    metadata: object = []
    for _ in range(50_000):
        metadata = [metadata]
    with pytest.raises(UnreadableRecord):
        read_metadata(metadata)
    with pytest.raises(UnreadableRecord):
        read_metadata({"v": [metadata]})


_SETS = st.lists(st.lists(_TOKENS, max_size=3).map(tuple), max_size=4).map(tuple)


@given(_SETS, st.lists(_TOKENS, max_size=3).map(tuple))
def test_an_index_reads_back_and_remembers_its_latest_set(
    sets: tuple[tuple[str, ...], ...], latest: tuple[str, ...]
) -> None:
    index = Index(sets).including(latest)
    assert read_metadata(json.loads(index.metadata())) == index
    assert index.sets[0] == latest


_STRUCTURED = st.text(
    st.characters(max_codepoint=0x7F) | st.sampled_from('()";=,?:@%* \\\t1.-a'), max_size=40
)


@given(_STRUCTURED | st.text())
def test_a_structured_field_is_read_or_a_value_error(value: str) -> None:
    for parse in (parse_dictionary, parse_strings):
        try:
            parse(value)
        except ValueError:
            continue


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))))
def test_strings_read_back(values: list[str]) -> None:
    assert parse_strings(serialise_strings(values)) == tuple(values)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a=(" + "1 " * 20_000, id="an inner list without an end"),
        pytest.param("a=" + "(" * 40_000, id="inner lists in inner lists"),
        pytest.param("a" + ";b" * 20_000 + "!", id="many parameters"),
        pytest.param("a=" + "1" * 40_000, id="a number without an end"),
        pytest.param('a="' + "\\\\" * 20_000, id="a string without an end"),
        pytest.param("a=:" + "A" * 40_000, id="a byte sequence without an end"),
        pytest.param('a=%"' + "%c3" * 13_000, id="a display string without an end"),
        pytest.param("a" + " " * 40_000 + "!", id="many spaces"),
        pytest.param("a" + "\t" * 40_000 + "!", id="many tabs"),
        pytest.param("a," * 20_000, id="many members and a trailing comma"),
        pytest.param("a=@" * 13_000, id="dates without a number"),
    ],
)
def test_a_hostile_structured_field_costs_little(value: str) -> None:
    before = time.process_time()
    for parse in (parse_dictionary, parse_strings):
        with pytest.raises(ValueError):  # noqa: PT011 - the message isn't the point
            parse(value)
    assert time.process_time() - before < 1


_LISTS = st.text('",\\ \ta=', max_size=16)
_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"|")*', re.DOTALL)


@given(_LISTS)
def test_a_list_is_split_at_commas_that_are_not_quoted(value: str) -> None:
    assert split_list(value) == [member for found in _MEMBER.findall(value) if (member := found.strip(" \t"))]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('"' + '\\"' * 16_000, id="many escaped quotes and none that closes"),
        pytest.param('"a",' * 8000 + '"', id="many quoted members and one that isn't closed"),
        pytest.param("a" + " " * 32_000 + "b", id="many spaces inside a member"),
        pytest.param("a;" * 16_000, id="many parameters"),
        pytest.param("a=" + '"' * 32_000, id="many quotes"),
    ],
)
def test_a_hostile_list_costs_little(value: str) -> None:
    before = time.process_time()
    parse_cache_control(value)
    selecting_values(("accept",), {"accept": value})
    assert time.process_time() - before < 1


_PATTERNS = st.lists(st.sampled_from(["/", "a", "b", ".", "*", "**", "***"]), max_size=8).map("".join)
_TEXTS = st.text("/ab.", max_size=10)


def _matches_as_told(pattern: str, text: str) -> bool:
    """Match the slow and plain way: ``**`` takes any characters, ``*`` any but a slash."""
    if not pattern:
        return not text
    if pattern.startswith("**"):
        rest = pattern.lstrip("*")
        return any(_matches_as_told(rest, text[end:]) for end in range(len(text) + 1))
    if pattern.startswith("*"):
        ends = range(len(text.partition("/")[0]) + 1)
        return any(_matches_as_told(pattern[1:], text[end:]) for end in ends)
    return text[:1] == pattern[:1] and _matches_as_told(pattern[1:], text[1:])


@given(_PATTERNS, _TEXTS)
def test_a_pattern_matches_as_it_is_told(pattern: str, text: str) -> None:
    rule = KeyRule(paths=(pattern,))
    assert rule.matches("GET", Target("https", "a", text)) == _matches_as_told(pattern, text)


@pytest.mark.parametrize("pattern", ["/**a**a**a**b", "/*a*a*a*b", "**/a/**/b/**/c", "/**a*a**a*b"])
def test_a_hostile_path_costs_little(pattern: str) -> None:
    rule = KeyRule(paths=(pattern,))
    path = "/" + "a" * 8000 + "/a" * 4000
    before = time.process_time()
    assert not rule.matches("GET", Target("https", "a", path))
    assert time.process_time() - before < 1


_QUERIES = st.text("ab=&%+6;", max_size=16)
_QUERY_RULES = st.builds(
    KeyRule,
    query_keep=st.none() | st.lists(st.sampled_from(["a", "b*", "*", "**"]), max_size=2).map(tuple),
    query_drop=st.lists(st.sampled_from(["a", "*b", "ab"]), max_size=2).map(tuple),
    query_sort=st.booleans(),
)


@given(_QUERY_RULES, _QUERIES)
def test_editing_a_query_twice_changes_nothing_more(rule: KeyRule, query: str) -> None:
    once = key_target(rule, Target("https", "a", "/", query))
    assert key_target(rule, once) == once


@given(_QUERY_RULES, _QUERIES)
def test_editing_a_query_invents_no_parameter(rule: KeyRule, query: str) -> None:
    edited = key_target(rule, Target("https", "a", "/", query)).query
    remaining = query.split("&")
    for parameter in [] if edited is None else edited.split("&"):
        remaining.remove(parameter)
