"""What identities, contents, negotiation, signatures and the shield cost, against a plain hit or miss.

All in one workerd, in turns. Of each hit the response lies in the isolate's memory: what is compared is how
it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from origin_sdk._development.process import ProcessError
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.key_entries import KeyEntry, kv_key
from scripts.benches.bearers import ALGORITHMS, AUDIENCE, ISSUER, SECRET, Signers
from scripts.benches.load import HOST, TOKENS_A_RUN, Load, Target
from scripts.benches.rows import Row, row
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker

__all__ = ["feature_rows", "settings_by_worker"]

_WORKERS = Path(__file__).parent / "workers"
_HIT, _MISS = "memory hit", "miss"
_PRIVATE: Mapping[str, Json] = {"data_class": "private"}
_BY_CLAIM: Mapping[str, Json] = {**_PRIVATE, "key_claims": ["sub"]}
_API_KEY, _API_SECRET = "a key of the bench", "a secret of the bench of thirty-two bytes"
_JSON = (("Content-Type", "application/json"),)
_SEARCH = '{"text": "red shoes", "sizes": [41, 42], "page": 1}'
_GRAPHQL = '{"query": "query P($id: ID!) { product(id: $id) { id name } }", "variables": {"id": "17"}}'
_LANGUAGES: Mapping[str, Json] = {"languages": ["en", "de", "pt-BR"]}
_TYPES: Mapping[str, Json] = {"media_types": ["application/json", "text/html"]}
_DEVICE: Mapping[str, Json] = {"device_field": "X-Device"}
_LANGUAGE = ("Accept-Language", "de-AT,de;q=0.9,en;q=0.8")
_TYPE = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
_PHONE = (
    "User-Agent",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36",
)


@dataclass(frozen=True, slots=True)
class _Feature:
    """A rule, and a request that it makes a hit of."""

    name: str
    rule: Mapping[str, Json]
    fields: Sequence[tuple[str, str]] = ()
    method: str = "GET"
    content: str = ""
    query: str = ""
    algorithm: str = ""
    """Of the request's bearer token."""
    is_repeated: bool = False
    """Whether that is always the same."""
    is_in_kv: bool = False
    """Whether KV, and not a table, says whose its API key is."""


_FEATURES = (
    _Feature("a rule, no more", {"default_lifetime": "1m"}),
    *(
        _Feature(f"{algorithm}, {how}", _BY_CLAIM, algorithm=algorithm, is_repeated=is_repeated)
        for is_repeated, how in ((False, "a token's first use"), (True, "remembered"))
        for algorithm in ALGORITHMS
    ),
    _Feature(
        "API key, by its digest",
        {**_PRIVATE, "api_key_in": ["X-API-Key"], "key_claims": ["tenant"]},
        [("X-API-Key", _API_KEY)],
    ),
    _Feature(
        "API key, in KV and remembered",
        {**_PRIVATE, "api_key_in": ["X-API-Key"], "key_claims": ["tenant"]},
        [("X-API-Key", _API_KEY)],
        is_in_kv=True,
    ),
    _Feature(
        "session cookie",
        {**_PRIVATE, "key_cookies": ["session"]},
        [("Cookie", "session=5d41402abc4b2a76b9719d911017c592")],
    ),
    *(
        _Feature(f"{method}, {how}", {"key_body": body}, _JSON, method, content)
        for method in ("QUERY", "POST")
        for how, body, content in (
            ("its bytes", True, _SEARCH),
            ("as JSON", "json", _SEARCH),
            ("GraphQL", "graphql", _GRAPHQL),
        )
    ),
    _Feature("languages", _LANGUAGES, [_LANGUAGE]),
    _Feature("media types", _TYPES, [_TYPE]),
    _Feature("device", _DEVICE, [_PHONE]),
    _Feature("all three of them", {**_LANGUAGES, **_TYPES, **_DEVICE}, [_LANGUAGE, _TYPE, _PHONE]),
    _Feature("No-Vary-Search", {"no_vary_search": True}, query="?page=1&ref=mail"),
)
_PLAIN, _BARE, _RULED, _SHARED, _KEYED = "plain", "bare", "ruled", "shared", "keyed"
_MISSES: Mapping[str, str] = {
    _MISS: _PLAIN,
    "signed for the origin": "signed",
    "through the shield, its own CPU included": "shielded",
}


def settings_by_worker(origin: str) -> Mapping[str, Mapping[str, Json]]:
    """Return the settings of three Workers with a rule for each feature.

    One has issuers, one a secret, and one API keys in KV.
    """
    common: Mapping[str, Json] = {
        "ORIGIN": origin,
        "RULES": [{"path": f"/f{number}/**", **each.rule} for number, each in enumerate(_FEATURES)],
        "API_KEY_TABLE": {key_digest(_API_KEY, _API_SECRET): {"tenant": "acme"}},
        "API_KEY_TABLE_SECRET": _API_SECRET,
    }
    issuer: Mapping[str, Json] = {"issuer": ISSUER, "keys": f"{origin}/keys", "audience": AUDIENCE}
    return {
        _RULED: {**common, "TOKEN_ISSUERS": [issuer]},
        _SHARED: {**common, "TOKEN_SECRET": SECRET, "TOKEN_AUDIENCE": AUDIENCE},
        _KEYED: {**common, "API_KEY_TABLE": {}, "API_KEYS_IN_KV": True, "TOKEN_SECRET": SECRET},
    }


def feature_rows(folder: Path, rounds: int) -> list[Row]:
    """Measure CPU time of hits and misses with each feature against plain ones."""
    signers = Signers()
    behind = Worker("origin", _WORKERS, main="origin.js", variables={"KEYS": signers.key_set()})
    with (
        Workerd(folder / "features-origin", [behind]) as origin,
        Workerd(folder / "features", _workers(origin.url("origin"))) as workerd,
    ):
        entry = KeyEntry({"tenant": "acme"}, 0).metadata()
        workerd.store().put(kv_key(key_digest(_API_KEY, _API_SECRET)), b"", metadata=entry)
        hits = [
            Target(_HIT, workerd.url(_PLAIN), "/hot/0", workerd.process),
            Target("KV hit", workerd.url(_BARE), "/hot/0", workerd.process),
        ]
        for number, feature in enumerate(_FEATURES):
            target = _hit(workerd, number, feature)
            if feature.algorithm:
                count = 1 if feature.is_repeated else (1 + rounds) * TOKENS_A_RUN
                target = _with_tokens(target, signers.tokens(feature.algorithm, count), folder)
            hits.append(target)
        misses = [
            # They share a KV: what one has missed, the other would find.
            Target(name, workerd.url(worker), f"/miss-{worker}", workerd.process, 0)
            for name, worker in _MISSES.items()
        ]
        for target in hits:
            _check(target)
        return [*_compared(hits, rounds), *_compared(misses, rounds)]


def _workers(origin: str) -> list[Worker]:
    plain: dict[str, Json] = {"ORIGIN": origin}
    return [
        Worker(_PLAIN, variables=plain),
        Worker(_BARE, variables={**plain, "MEMORY_BYTES": 0}),
        *(Worker(name, variables=own) for name, own in settings_by_worker(origin).items()),
        Worker("signed", variables={**plain, "ORIGIN_SECRET": SECRET}),
        Worker("shielded", variables=plain, shield="shield"),
        Worker("shield", variables=plain),
    ]


def _hit(workerd: Workerd, number: int, feature: _Feature) -> Target:
    return Target(
        feature.name,
        workerd.url(_KEYED if feature.is_in_kv else _SHARED if feature.algorithm == "HS256" else _RULED),
        f"/f{number}/0{feature.query}",
        workerd.process,
        method=feature.method,
        fields=feature.fields,
        content=feature.content,
    )


def _with_tokens(target: Target, tokens: Sequence[str], folder: Path) -> Target:
    if len(tokens) == 1:
        return replace(target, fields=[*target.fields, ("Authorization", f"Bearer {tokens[0]}")])
    file = folder / f"tokens{target.path.replace('/', '-')}"
    file.write_text("\n".join(tokens), encoding="utf-8")
    return replace(target, tokens=file)


def _check(target: Target) -> None:
    """Have the response stored, and make sure that it is found then."""
    last = target.tokens.read_text(encoding="utf-8").split()[-2:] if target.tokens else []
    first, second = [[("Authorization", f"Bearer {token}")] for token in last] or [[], []]
    _ask(target, first)
    shown = _ask(target, second)
    if "; hit" not in shown:
        raise ProcessError(f"{target.name}: the response came with {shown!r}")


def _ask(target: Target, fields: Sequence[tuple[str, str]]) -> str:
    response = httpx.request(
        target.method,
        target.url,
        headers=[("Host", HOST), *target.fields, *fields],
        content=target.content or None,
        timeout=60,
        trust_env=False,
    )
    return str(response.raise_for_status().headers["cache-status"])


def _compared(targets: Sequence[Target], rounds: int) -> list[Row]:
    plain = targets[0].name
    used: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(1 + rounds):
        for target in targets[:: -1 if turn % 2 else 1]:
            load = Load.on(target, 1)
            if turn:  # before that, isolates start
                used[target.name].append(load.cpu_microseconds)
    return [
        row("features", name, "µs/request", own, against=plain, baseline=used[plain])
        for name, own in used.items()
        if name != plain
    ]
