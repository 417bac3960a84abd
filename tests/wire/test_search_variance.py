"""Which queries No-Vary-Search calls the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin_sdk_wire.search_variance import query_name, query_value, variance_field


def _same(field: str, one: str | None, other: str | None) -> bool:
    name = query_name(dict([variance_field({"no-vary-search": field})]))
    return query_value(name, one) == query_value(name, other)


@pytest.mark.parametrize(
    ("field", "one", "other", "expected"),
    [
        pytest.param("", "a=1", "a=1", True, id="the same"),
        pytest.param("", "a=1&b=2", "b=2&a=1", False, id="without the field the order matters"),
        pytest.param("", None, "", False, id="and so does a question mark alone"),
        pytest.param("key-order", "a=1&b=2", "b=2&a=1", True, id="the order"),
        pytest.param("key-order", "a=1&a=2", "a=2&a=1", False, id="but not of one name's values"),
        pytest.param("key-order=?0", "a=1&b=2", "b=2&a=1", False, id="an order that matters"),
        pytest.param("params", "a=1", None, True, id="no parameter"),
        pytest.param("params=?0", "a=1", None, False, id="all of them"),
        pytest.param('params=("a")', "a=1&b=2", "b=2", True, id="not this one"),
        pytest.param('params=("a")', "b=2&a=1&a", "b=2", True, id="however often"),
        pytest.param('params=("a")', "b=2", "b=3", False, id="but others"),
        pytest.param('params=("a")', "a=1", None, True, id="and without them there is no query"),
        pytest.param('params=("a" "c")', "c=1&b=1", "b=1&a=9", True, id="not these"),
        pytest.param('params, except=("b")', "a=1&b=2&c", "b=2&d", True, id="this one alone"),
        pytest.param('params, except=("b")', "b=2", "b=3", False, id="and it does"),
        pytest.param('key-order, params=("a")', "c=1&b=2&a", "b=2&c=1", True, id="order and names"),
        pytest.param('params=("a%20b")', "a+b=1", None, True, id="a name with a space"),
        pytest.param('params=("a+b")', "a%20b=1", None, True, id="or a plus"),
        pytest.param('params=("%C3%A9")', "%c3%A9=1", None, True, id="a name in UTF-8"),
        pytest.param('params=("a")', "b=%31", "b=1", True, id="values are decoded"),
        pytest.param('params=("a")', "b=%FF", "b=%FE", False, id="octets that aren't UTF-8 stay apart"),
        pytest.param('params=("a")', "&&b=1&", "b=1", True, id="empty parameters"),
        pytest.param('params=("a")', "b", "b=", True, id="no value is an empty one"),
        pytest.param('params=("a")', "b;a=1", "b", False, id="a semicolon separates nothing"),
        pytest.param("params=(a)", "a=1", None, False, id="tokens are no strings"),
        pytest.param('params=("a" 1)', "a=1", None, False, id="nor are numbers"),
        pytest.param('params="a"', "a=1", None, False, id="nor is one string a list"),
        pytest.param('except=("b")', "a=1&b=2", "b=2", False, id="except without params"),
        pytest.param('params=("a"), except=("b")', "a=1", None, False, id="except beside a list"),
        pytest.param("params, except", "a=1", None, False, id="except without names"),
        pytest.param("key-order=1", "a=1&b=2", "b=2&a=1", False, id="an order that is a number"),
        pytest.param('params=("a"', "a=1", None, False, id="a list that isn't closed"),
        pytest.param(f'params=("a" "{"x" * 300}")', "a=1", None, False, id="more than an index holds"),
        pytest.param('params=("a"), later', "a=1", None, True, id="members of later days"),
    ],
)
def test_queries(field: str, one: str | None, other: str | None, *, expected: bool) -> None:
    assert _same(field, one, other) is expected


@given(st.lists(st.text(max_size=4) | st.sampled_from("yz"), max_size=4), st.booleans(), st.booleans())
def test_what_is_kept_of_a_field_means_what_it_said(
    names: list[str], is_except: bool, has_order: bool
) -> None:
    quoted = " ".join('"' + "".join(f"%{each:02X}" for each in name.encode()) + '"' for name in names)
    field = f"params, except=({quoted})" if is_except else f"params=({quoted})"
    field += ", key-order" if has_order else ""
    kept = variance_field({"no-vary-search": field})[1]
    assert variance_field({"no-vary-search": kept})[1] == kept
    for name in names:
        encoded = "".join(f"%{each:02X}" for each in name.encode())
        if encoded:
            assert _same(field, f"z=1&{encoded}=1", "z=1") is not is_except
