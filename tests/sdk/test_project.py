"""``wrangler.toml`` as the SDK reads it; what developers are told and purges mark, as the Worker has it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from origin_sdk._responses.cacheability import obstacles
from origin_sdk._values.project import Project, read_configuration, read_project
from origin_sdk._values.targets import Purge
from origin_sdk.errors import InvalidSettings
from origin_sdk_edge.policy.decision import Lookup
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.storability import may_store
from origin_sdk_wire.config import load
from origin_sdk_wire.facts import Reason, ResponseFacts
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import SHARED, Lane, mark_key, prefix_marks, shared_names
from origin_sdk_wire.settings import Rule, Settings

NOW = 1_795_000_000


@pytest.mark.parametrize(
    ("status", "fields", "cookies"),
    [
        (200, {"cache-control": "max-age=60"}, ()),
        (404, {"cache-control": "max-age=60"}, ()),
        (200, {"cache-control": "max-age=60"}, ("a=b",)),
        (200, {"cache-control": "no-store"}, ()),
        (200, {"cache-control": "private, max-age=60"}, ()),
        (200, {"cache-control": "max-age=60", "vary": "*"}, ()),
        (206, {"cache-control": "max-age=60"}, ()),
        (503, {"cache-control": "max-age=60"}, ()),
        (200, {}, ()),
        (200, {"cdn-cache-control": "max-age=60", "cache-control": "no-store"}, ()),
        (403, {"cache-control": "max-age=60"}, ()),
        (403, {"cache-control": "public, max-age=60"}, ()),
        (429, {"cache-control": "public, max-age=60"}, ()),
        (200, {"cache-control": "max-age=60", "content-type": "text/event-stream"}, ()),
    ],
)
def test_what_is_cacheable_is_what_the_worker_stores(
    status: int, fields: dict[str, str], cookies: tuple[str, ...]
) -> None:
    request = RequestFacts("GET", parse_target("https://a.example/"), {})
    response = ResponseFacts(status, fields, NOW * 1000, NOW * 1000, cookies)
    stores = may_store(request, response, Rule(), Settings()) is Reason.STORED
    assert (not list(obstacles(status, fields, sets_cookies=bool(cookies)))) == stores


WRANGLER_TOML = """
[[kv_namespaces]]
binding = "OTHER"
id = "not-this-one"

[[kv_namespaces]]
binding = "CACHE"
id = "the-namespace"

[vars]
MARK_INTERVAL = "500ms"
RETENTION = "2d"
STALE_IF_ERROR = 90
MEMORY_ITEM_BYTES = "512KiB"

[[vars.RULES]]
name = "search"
path = "/search/**"
query_drop = ["utm_*"]
query_sort = true
lifetime = "5m"
negative_lifetimes = { 404 = "1m", 410 = 30 }
groups = ["search"]

[[vars.RULES]]
name = "mine"
path = ["/me/**", "/mine"]
key_cookies = "sid"
data_class = "private"
stale_if_error = 0

[[vars.RULES]]
name = "never"
host = "*.internal.example"
bypass = true
"""


def test_a_wrangler_toml_is_read_as_the_worker_reads_it(tmp_path: Any) -> None:
    import tomllib  # noqa: PLC0415

    path = tmp_path / "wrangler.toml"
    path.write_text(WRANGLER_TOML)
    ours: Project = read_project(path)
    theirs = load(tomllib.loads(WRANGLER_TOML)["vars"])
    assert ours.namespace_id == "the-namespace"
    assert {each.name: getattr(ours, each.name) for each in fields(Settings)} == {
        each.name: getattr(theirs, each.name) for each in fields(Settings)
    }


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param("", id="nothing"),
        pytest.param('PROFILE = "rfc9111"', id="a profile"),
        pytest.param(
            'PROFILE = "rfc9111"\nLIFETIME_JITTER = 0.1\nSTALE_IF_ERROR = "1h"', id="a profile, and else"
        ),
    ],
)
def test_a_profile_means_what_it_means_to_the_worker(tmp_path: Any, variables: str) -> None:
    import tomllib  # noqa: PLC0415

    path = tmp_path / "wrangler.toml"
    path.write_text(f"[vars]\n{variables}")
    ours, theirs = read_project(path), load(tomllib.loads(variables))
    for name in ("stale_while_revalidate", "stale_if_error", "lifetime_jitter"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("[vars]\nMARK_INTERVAL = 'soon'", "MARK_INTERVAL = 'soon'", id="no duration"),
        pytest.param("[vars]\nMAX_BODY_BYTES = 'much'", "MAX_BODY_BYTES = 'much'", id="no size"),
        pytest.param(
            "[[vars.RULES]]\npath = 'products'", r"RULES\[0\].path = 'products'", id="a path without /"
        ),
        pytest.param(
            "[[vars.RULES]]\nnegative_lifetimes = 9", r"negative_lifetimes = 9", id="no table of statuses"
        ),
        pytest.param(
            "[[vars.RULES]]\nlifetime = 'x'", r"RULES\[0\].lifetime = 'x'", id="a rule without duration"
        ),
        pytest.param("[vars]\nLIFETIME_JITTER = 1", "LIFETIME_JITTER = 1", id="no share"),
        pytest.param("[vars]\nRETENTION = '-1d'", "RETENTION = '-1d'", id="below 0"),
        pytest.param("[vars", "isn't TOML", id="not TOML"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(tmp_path: Any, text: str, named: str) -> None:
    path = tmp_path / "wrangler.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=named):
        read_project(path)


_LOG = '[[durable_objects.bindings]]\nname = "PURGE_LOG"\nclass_name = "PurgeLog"\n'
_MIGRATION = '[[migrations]]\ntag = "1"\nnew_sqlite_classes = ["PurgeLog"]\n'


@pytest.mark.parametrize(
    ("text", "environment", "is_bound", "problem"),
    [
        pytest.param("", "", False, "", id="no binding"),
        pytest.param(_LOG + _MIGRATION, "", True, "", id="a binding and its migration"),
        pytest.param(_LOG, "", True, "no migration creates", id="no migration"),
        pytest.param(_LOG.replace("PurgeLog", "Log") + _MIGRATION, "", True, "'Log'", id="another class"),
        pytest.param(_LOG.replace('"PURGE_LOG"', '"ANOTHER"'), "", False, "", id="another binding"),
        pytest.param("durable_objects = 7\n", "", False, "", id="no table"),
        pytest.param(
            '[[vars.RULES]]\nsingle_flight = "global"\n', "", False, "bind PURGE_LOG", id="flights without it"
        ),
        pytest.param(
            _LOG + _MIGRATION + '[[vars.RULES]]\nsingle_flight = "global"\n', "", True, "", id="flights by it"
        ),
        pytest.param(_LOG + _MIGRATION, "live", False, "", id="bindings aren't inherited"),
        pytest.param(
            _LOG.replace("durable", "env.live.durable") + _MIGRATION, "live", True, "", id="migrations are"
        ),
    ],
)
def test_the_purge_logs_binding_is_read(
    tmp_path: Path, text: str, environment: str, is_bound: bool, problem: str
) -> None:
    namespaces = '[[{0}kv_namespaces]]\nbinding = "CACHE"\nid = "x"\n'
    declared = text + namespaces.format("") + namespaces.format("env.live.")
    (tmp_path / "wrangler.toml").write_text(declared)
    configuration = read_configuration(tmp_path / "wrangler.toml", environment)
    assert configuration.purge_log is is_bound
    assert problem in "".join(configuration.problems)
    assert bool(problem) is bool(configuration.problems)


def test_an_interval_shorter_than_the_workers_is_told() -> None:
    [difference] = Project(mark_interval=30).differences("any", 5.0)
    assert "MARK_INTERVAL of the Worker is 30" in difference


URLS = [
    "https://a.example/",
    "http://A.example:80/x/../y?b=1&utm_a=2&a=3",
    "https://a.example/search/x?utm_a=1",
    "https://a.example/search/x/?q=%7e&utm_b=1",
    "https://a.example:8443/deep/er/than/that",
    "https://a.example/" + "x" * 600,
    "https://xn--4ca.example/ö?ü",
]
EDITS: dict[str, Any] = {"paths": ("/search/**",), "query_drop": ("utm_*",), "query_sort": True}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", ["urls", "prefixes", "hosts", "everything"])
def test_the_worker_looks_at_what_a_purge_marks(url: str, kind: str) -> None:
    target = parse_target(url)
    lookup = on_request(RequestFacts("GET", target, {}), Settings(rules=(Rule(**EDITS),)), 0)
    assert isinstance(lookup, Lookup)
    keyed = lookup.request.target
    names = [SHARED, *shared_names(keyed, has_groups=False), *prefix_marks(keyed)]
    given: dict[str, Any] = {
        "urls": url,
        "prefixes": f"{target.scheme}://{target.host}{target.path}",
        "hosts": target.host,
        "everything": True,
    }
    purge = Purge.of(**{kind: given[kind]})
    assert set(purge.marks((Rule(**EDITS),))) <= {mark_key(name, Lane.SOFT) for name in names}


_SHIELD = '[[services]]\nbinding = "SHIELD"\nservice = "shop-shield"\nprops = { asks = "shield" }\n'
_ORIGIN = '[vars]\nORIGIN = "https://o.example"\n'


@pytest.mark.parametrize(
    ("text", "service", "problem"),
    [
        pytest.param("", "", "", id="no binding"),
        pytest.param(_SHIELD + _ORIGIN, "shop-shield", "", id="a binding"),
        pytest.param(_SHIELD.replace("shop-shield", "shop") + _ORIGIN, "shop", "name another", id="itself"),
        pytest.param(_SHIELD.replace('"shield"', '"x"') + _ORIGIN, "shop-shield", "write props", id="props"),
        pytest.param(
            _SHIELD.split("props", maxsplit=1)[0] + _ORIGIN, "shop-shield", "props = None", id="no props"
        ),
        pytest.param(
            _SHIELD + 'entrypoint = "Shield"\n' + _ORIGIN, "shop-shield", "isn't placed", id="an entrypoint"
        ),
        pytest.param(_SHIELD, "shop-shield", "needs ORIGIN", id="nobody to ask"),
        pytest.param("[[vars.RULES]]\nshield = true\n", "", "bind SHIELD", id="a rule without a shield"),
        pytest.param("[[vars.RULES]]\nshield = false\n", "", "", id="a rule that wants none"),
        pytest.param("services = 7\n", "", "", id="no tables"),
    ],
)
def test_the_shields_binding_is_read(tmp_path: Path, text: str, service: str, problem: str) -> None:
    namespace = '[[kv_namespaces]]\nbinding = "CACHE"\nid = "x"\n'
    (tmp_path / "wrangler.toml").write_text('name = "shop"\n' + text + namespace)
    configuration = read_configuration(tmp_path / "wrangler.toml")
    assert configuration.shield_service == service
    assert problem in "".join(configuration.problems)
    assert bool(problem) is bool(configuration.problems)
