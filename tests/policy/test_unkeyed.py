"""No field of one client's choosing comes to another: by its name, whatever the name, in the safe profile."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from origin_sdk_edge.policy.decision import Ask, Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.outcome import on_origin
from origin_sdk_edge.policy.relay import outbound_fields
from origin_sdk_edge.policy.status import FwdReason
from origin_sdk_wire.config import load
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.fields import combined
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.unkeyed import DESCRIPTIVE_FIELDS, NEGOTIATED_FIELDS, SAFE_UNKEYED_FIELDS
from origin_sdk_wire.vary import selecting_names, selecting_values

NOW = 1_795_744_800_000
SETTINGS = load({"ORIGIN": "http://origin.test"})
CANARY = "canary-4f2a"
ASK = Ask(FwdReason.URI_MISS, Reason.ABSENT)

_KNOWN = sorted(
    {name.replace("*", "x") for name in SAFE_UNKEYED_FIELDS | DESCRIPTIVE_FIELDS | NEGOTIATED_FIELDS}
    | {"authorization", "cookie", "accept-encoding", "range", "if-range", "if-none-match", "cache-control"}
    | {"sec-fetch-site", "pragma", "x_a", "host", "te", "keep-alive", "x-forwarded_for"}
)
_NAMES = st.sampled_from(_KNOWN) | st.text("abcxyz019-_.!#$%&'*+^`|~", min_size=1, max_size=12)
_VARY = st.sampled_from(["", "accept", "x-a", "accept-encoding, accept-language", "user-agent", "origin"])
_OTHERS = st.dictionaries(_NAMES, st.sampled_from(["a", "b/c", "bytes=0-1"]), max_size=3)


def _looked_up(fields: Mapping[str, str]) -> Lookup | None:
    decision = on_request(RequestFacts("GET", parse_target("https://a.test/x"), fields), SETTINGS, NOW)
    return decision if isinstance(decision, Lookup) else None


@example(name="x-anything", others={}, vary="", control="max-age=60")
@example(name="user-agent", others={}, vary="", control="public, max-age=60")
@example(name="accept-language", others={"accept": "b/c"}, vary="accept", control="max-age=60")
@given(_NAMES, _OTHERS, _VARY, st.sampled_from(["max-age=60", "public, max-age=60", "s-maxage=60"]))
def test_what_the_origin_sees_and_no_key_holds_is_not_shared(
    name: str, others: dict[str, str], vary: str, control: str
) -> None:
    asked = _looked_up({**others, name: CANARY})
    if asked is None or (name in {"authorization", "cookie"} and control != "max-age=60"):
        return  # not looked up; or for everyone by the origin's own word
    shown = {**outbound_fields(asked.request, SETTINGS)}
    fields = {"cache-control": control, **({"vary": vary} if vary else {})}
    plan = on_origin(asked, ASK, ResponseFacts(200, fields, NOW, NOW), {}, SETTINGS)
    if plan.store is None or CANARY not in "".join(shown.values()):
        return
    names = selecting_names(combined(plan.store.fields))
    own = selecting_values(names, asked.selecting_fields)
    for other in (others, {**others, name: "another"}):
        looked_up = _looked_up(
            {key: value for key, value in other.items() if key != name or value == "another"}
        )
        assert looked_up is None or selecting_values(names, looked_up.selecting_fields) != own


@pytest.mark.parametrize("name", sorted(SAFE_UNKEYED_FIELDS))
def test_what_is_kept_from_the_origin_costs_no_hit(name: str) -> None:
    asked = _looked_up({name.replace("*", "x"): CANARY})
    assert asked is not None
    assert CANARY not in "".join(outbound_fields(asked.request, SETTINGS).values())
    response = ResponseFacts(200, {"cache-control": "max-age=60"}, NOW, NOW)
    assert on_origin(asked, ASK, response, {}, SETTINGS).store is not None


SENDERS: dict[str, Mapping[str, str]] = {
    "a Worker of another zone": {"cdn-loop": "cloudflare; loops=1", "cf-worker": "b.test", "cf-ew-via": "15"},
    "Fastly": {"cdn-loop": "Fastly", "fastly-ff": "a!b", "surrogate-capability": "c=1", "x-varnish": "17"},
    "CloudFront": {"via": "2.0 a.cloudfront.net", "x-amz-cf-id": "a==", "user-agent": "Amazon CloudFront"},
    "Akamai": {"akamai-origin-hop": "2", "true-client-ip": "192.0.2.1", "x-akamai-edgescape": "a"},
    "a rewrite at Vercel": {"x-vercel-id": "fra1::a", "x-vercel-ip-country": "DE", "x-real-ip": "192.0.2.1"},
    "a proxy rule at Netlify": {"x-nf-request-id": "a", "x-nf-client-connection-ip": "192.0.2.1"},
    "Imperva": {"x-iinfo": "1-2-3", "incap-client-ip": "192.0.2.1"},
    "Postman": {"postman-token": "a-b", "user-agent": "PostmanRuntime/8", "cache-control": "no-cache"},
    "Chrome": {"sec-ch-ua": "a", "sec-fetch-site": "cross-site", "priority": "u=1, i", "dnt": "1"},
}


@pytest.mark.parametrize("fields", SENDERS.values(), ids=SENDERS.keys())
def test_what_clients_and_cdns_before_this_one_add_costs_no_hit(fields: Mapping[str, str]) -> None:
    asked = _looked_up(fields)
    assert asked is not None
    response = ResponseFacts(200, {"cache-control": "max-age=60"}, NOW, NOW)
    assert on_origin(asked, ASK, response, {}, SETTINGS).store is not None
