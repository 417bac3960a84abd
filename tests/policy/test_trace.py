from __future__ import annotations

import pytest

from origin_sdk_edge.policy.decision import Ask, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import on_origin
from origin_sdk_edge.policy.relay import outbound_fields
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_edge.policy.trace import with_valid_trace
from origin_sdk_wire.config import load
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.key import parse_target

NOW = 1_795_744_800_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("parent", "is_valid"),
    [
        pytest.param(PARENT, True, id="version 00"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", True, id="flags that this version doesn't know"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01", True, id="a later version of the same length"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what-comes", True, id="a later version with more"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01.what-comes", False, id="a later version, a dot and more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", False, id="version 00 with more"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", False, id="version ff"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", False, id="a trace of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", False, id="a parent of zeros"),
        pytest.param(PARENT.upper(), False, id="upper case"),
        pytest.param(f"00-{TRACE[1:]}-{SPAN}-01", False, id="a trace that is too short"),
        pytest.param(f"00-{TRACE}-{SPAN}-1", False, id="flags of one digit"),
        pytest.param(f"0-{TRACE}-{SPAN}-01", False, id="a version of one digit"),
        pytest.param(f"{PARENT}, {PARENT}", False, id="two field lines"),
        pytest.param(f" {PARENT}", False, id="a space before it"),
        pytest.param(f"{PARENT}\n", False, id="a line end behind it"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_traceparent_is_passed_on_if_it_is_valid(parent: str, *, is_valid: bool) -> None:
    fields = {"accept": "*/*", "traceparent": parent, "tracestate": "a=1"}
    assert with_valid_trace(fields) == (fields if is_valid else {"accept": "*/*"})


@pytest.mark.parametrize(
    ("state", "is_valid"),
    [
        pytest.param("congo=t61rcWkgMzE", True, id="one member"),
        pytest.param("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", True, id="two members"),
        pytest.param("rojo=1 , ,\tcongo=2,", True, id="spaces, tabs and empty members"),
        pytest.param("fw529a3039@dt=FfAAAA,1a-_*/@b=x y", True, id="tenants, and a space within a value"),
        pytest.param(",".join(f"k{at}=v" for at in range(32)), True, id="32 members"),
        pytest.param(",".join(f"k{at}=v" for at in range(33)), False, id="33 members"),
        pytest.param("a=1,a=2", False, id="a key that comes twice"),
        pytest.param("A=1", False, id="a key in upper case"),
        pytest.param("1a=1", False, id="a key that begins with a digit"),
        pytest.param("a=", False, id="no value"),
        pytest.param("a", False, id="no equals sign"),
        pytest.param("a=b=c", False, id="an equals sign in a value"),
        pytest.param("a=ü", False, id="not ASCII"),
        pytest.param("a@toolongasystemid=1", False, id="a system id that is too long"),
        pytest.param(f"a={'x' * 257}", False, id="a value that is too long"),
        pytest.param(",".join(f"{name}={'x' * 250}" for name in "abc"), False, id="more than 512 characters"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_tracestate_is_passed_on_if_it_is_valid(state: str, *, is_valid: bool) -> None:
    fields = {"traceparent": PARENT, "tracestate": state}
    assert with_valid_trace(fields) == (fields if is_valid else {"traceparent": PARENT})


def test_a_tracestate_alone_is_not_passed_on() -> None:
    assert with_valid_trace({"tracestate": "a=1"}) == {}


@pytest.mark.parametrize(
    ("variables", "is_sent"),
    [
        pytest.param({}, True, id="as it comes"),
        pytest.param({"PROFILE": "rfc9111"}, True, id="as the RFC has it"),
        pytest.param({"UNKEYED_FIELDS": ["traceparent", "tracestate"]}, False, id="kept back by a setting"),
    ],
)
def test_a_trace_reaches_the_origin_and_costs_no_sharing(
    variables: dict[str, object], *, is_sent: bool
) -> None:
    settings = load({"ORIGIN": "http://origin.test", **variables})
    trace = {"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE"}
    lookup = on_request(RequestFacts("GET", parse_target("https://a.test/x"), trace), settings, NOW)
    assert isinstance(lookup, Lookup)
    sent = outbound_fields(lookup.request, settings)
    assert {name: sent.get(name) for name in trace} == (trace if is_sent else dict.fromkeys(trace))
    response = ResponseFacts(200, {"cache-control": "max-age=60"}, NOW, NOW)
    plan = on_origin(lookup, Ask(FwdReason.URI_MISS, Reason.ABSENT), response, {}, settings)
    assert plan.store is not None
    assert "vary" not in dict(plan.store.fields)
