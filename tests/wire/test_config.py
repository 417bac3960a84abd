from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin_sdk_wire.choices import DataClass, Profile, SingleFlight, StoreOn
from origin_sdk_wire.config import ConfigError, documentation, load, problems
from origin_sdk_wire.key import Target
from origin_sdk_wire.rule_tables import RULE_SETTINGS, _covers
from origin_sdk_wire.rules import KeyBody, KeyRule
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import Rule, Settings
from origin_sdk_wire.unkeyed import SAFE_UNKEYED_FIELDS

_LONG_TEXT = "0123456789abcdef0123456789abcdef"
_BY_KEY = {"api_key_in": "X-API-Key", "key_claims": ["tenant"], "data_class": "private"}
_STORE_KEY = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        pytest.param(
            "ORIGIN",
            "https://API.example.com:443/v1/",
            "https://api.example.com/v1",
            id="an origin is normalised",
        ),
        pytest.param(
            "ORIGIN", "http://127.0.0.1:9000", "http://127.0.0.1:9000", id="an origin has no slash at its end"
        ),
        pytest.param("ORIGIN", "", "", id="an empty origin is the zone's own"),
        pytest.param("PROFILE", "RFC9111", Profile.RFC9111, id="a profile is read in any case"),
        pytest.param("CACHE_NAME", "shop-edge", "shop-edge", id="a name is a token"),
        pytest.param("CACHE_STATUS", "false", False, id="a switch from --var is text"),
        pytest.param("CACHE_STATUS", False, False, id="a switch from wrangler.toml is a boolean"),
        pytest.param("STALE_IF_ERROR", 90, 90, id="a number is seconds"),
        pytest.param("STALE_IF_ERROR", "90", 90, id="a number from --var is seconds"),
        pytest.param("STALE_IF_ERROR", 90.0, 90, id="JavaScript's numbers may arrive as floats"),
        pytest.param("STALE_IF_ERROR", "30s", 30, id="seconds have the unit s"),
        pytest.param("STALE_IF_ERROR", "5m", 300, id="minutes have the unit m"),
        pytest.param("STALE_IF_ERROR", "1.5h", 5400, id="hours have the unit h and may be fractions"),
        pytest.param("RETENTION", "7d", 604_800, id="days have the unit d"),
        pytest.param("RETENTION", " 2 w ", 1_209_600, id="spaces don't count"),
        pytest.param("KV_TIMEOUT", "250ms", 0.25, id="milliseconds have the unit ms"),
        pytest.param("MAX_BODY_BYTES", "25MiB", 26_214_400, id="a size may have a binary unit"),
        pytest.param("COMPRESS_MIN_BYTES", "8kB", 8000, id="a size may have a decimal unit"),
        pytest.param("COMPRESS_MIN_BYTES", 0, 0, id="zero switches off"),
        pytest.param("LIFETIME_JITTER", "0.2", 0.2, id="a share from --var is text"),
        pytest.param("BREAKER_FAILURES", "3", 3, id="a count from --var is text"),
        pytest.param("PASSED_FIELDS", ["X-Host"], frozenset({"x-host"}), id="field names are a list"),
        pytest.param(
            "PASSED_FIELDS",
            "X-Host, X-Tenant-*",
            frozenset({"x-host", "x-tenant-*"}),
            id="or have commas between",
        ),
        pytest.param("PASSED_FIELDS", "", frozenset(), id="no field names at all are possible"),
        pytest.param(
            "UNKEYED_FIELDS",
            ["X-Tenant"],
            SAFE_UNKEYED_FIELDS | {"x-tenant"},
            id="fields that are kept from the origin add to the profile's",
        ),
        pytest.param("UNKEYED_FIELDS", "", SAFE_UNKEYED_FIELDS, id="and none given take none of them away"),
        pytest.param("TOKEN_SECRET", _LONG_TEXT, _LONG_TEXT, id="a secret stays as it is"),
        pytest.param("TOKEN_AUDIENCE", "a, b", frozenset({"a", "b"}), id="audiences have commas between"),
        pytest.param("TOKEN_ISSUER", ["https://a"], frozenset({"https://a"}), id="or are a list"),
        pytest.param("TOKEN_CLAIMS", {"use": "access", "n": 1}, {"use": "access", "n": 1}, id="a table"),
        pytest.param("TOKEN_CLAIMS", '{"use": "access"}', {"use": "access"}, id="or JSON"),
        pytest.param("RULES", "", (), id="no rules from --var are an empty text"),
        pytest.param(
            "RULES",
            '[{"name": "a", "lifetime": "1m"}]',
            (Rule("a", lifetime=60),),
            id="rules from --var are JSON",
        ),
        pytest.param(
            "RULES",
            [{"lifetime": 60}],
            (Rule("RULES[0]", lifetime=60),),
            id="a rule without name is its number",
        ),
    ],
)
def test_reads(variable: str, value: object, expected: object) -> None:
    assert getattr(load({variable: value}), variable.lower()) == expected


def test_a_rule_reads_all_its_settings() -> None:
    table = {
        "name": "users",
        "host": "api.example.com",
        "path": ["/users/**", "/me"],
        "methods": ["GET", "HEAD", "QUERY"],
        "query_keep": ["page"],
        "query_drop": ["utm_*"],
        "query_sort": True,
        "key_fields": ["Accept-Language"],
        "key_cookies": ["session"],
        "key_claims": ["sub"],
        "default_lifetime": "1m",
        "stale_while_revalidate": "30s",
        "stale_if_error": "1h",
        "negative_lifetimes": {"404": "10s"},
        "groups": ["users"],
        "data_class": "private",
        "store_on": "second-miss",
        "single_flight": "isolate",
        "key_body": "json",
        "origins": ["https://a.example/x/", "https://b.example"],
        "key_preflight": False,
        "languages": ["en", "pt-BR"],
        "media_types": ["text/html"],
        "device_field": "X-Device",
        "groups_from": "user-{id}",
        "hook_request_bytes": "1KiB",
        "hook_response_bytes": 2,
        "key_parameters": ["signature"],
        "no_vary_search": True,
        "weights": [3, "0.5"],
        "origin_timeout": "2s",
        "soft_timeout": "50ms",
        "api_key_in": ["X-API-Key", "?key"],
        "revoked_by": "user-{sub}",
        "seal": "encrypt",
        "shield": False,
    }
    secrets = {"API_KEY_TABLE_SECRET": _LONG_TEXT, "STORE_KEYS": _STORE_KEY}
    (rule,) = load({"RULES": [table], **secrets}).rules
    assert rule == Rule(
        name="users",
        hosts=("api.example.com",),
        paths=("/users/**", "/me"),
        methods=frozenset({"GET", "HEAD", "QUERY"}),
        query_keep=("page",),
        query_drop=("utm_*",),
        query_sort=True,
        fields=("accept-language", "x-device"),
        cookies=("session",),
        claims=("sub",),
        parameters=("signature",),
        no_vary_search=True,
        weights=(3, 0.5),
        origin_timeout=2,
        soft_timeout=0.05,
        api_key_fields=("x-api-key",),
        api_key_parameters=("key",),
        revoked_by=("user-{sub}",),
        default_lifetime=60,
        stale_while_revalidate=30,
        stale_if_error=3600,
        negative_lifetimes={404: 10},
        groups=("users",),
        data_class=DataClass.PRIVATE,
        store_on=StoreOn.SECOND_MISS,
        single_flight=SingleFlight.ISOLATE,
        body=KeyBody.JSON,
        origins=("https://a.example/x", "https://b.example"),
        languages=("en", "pt-BR"),
        media_types=("text/html",),
        device_field="x-device",
        groups_from=("user-{id}",),
        hook_request_bytes=1024,
        hook_response_bytes=2,
        seal=Seal.ENCRYPT,
        shield=False,
    )
    assert (
        table.keys() | {"audience", "lifetime", "bypass", "bypass_cookies", "ignore_cookies", "ignore_origin"}
        == RULE_SETTINGS
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            {"ORIGIN": "api.example.com"},
            "ORIGIN = 'api.example.com': isn't the URL",
            id="an origin has a scheme",
        ),
        pytest.param({"ORIGIN": "https://a/?b"}, "has no query", id="an origin has no query"),
        pytest.param({"ORIGIN": "https://a/#b"}, "no fragment", id="an origin has no fragment"),
        pytest.param({"ORIGIN": "https://u:p@a"}, "isn't the URL", id="an origin has no user information"),
        pytest.param({"ORIGIN": 5}, "ORIGIN = 5: give scheme and host", id="an origin is text"),
        pytest.param(
            {"PROFILE": "fast"}, "PROFILE = 'fast': give one of safe, rfc9111", id="a profile is one of ours"
        ),
        pytest.param({"CACHE_NAME": "a b"}, "CACHE_NAME = 'a b': give a word", id="a name is one word"),
        pytest.param({"CACHE_NAME": "9a"}, "begins with a letter", id="a name begins with a letter"),
        pytest.param(
            {"CACHE_STATUS": "maybe"},
            "CACHE_STATUS = 'maybe': write true or false",
            id="a switch is on or off",
        ),
        pytest.param(
            {"STALE_IF_ERROR": "soon"}, "STALE_IF_ERROR = 'soon': give seconds", id="a duration has a number"
        ),
        pytest.param({"STALE_IF_ERROR": "5 years"}, "30s, 5m, 2h or 7d", id="a duration has a unit of ours"),
        pytest.param({"STALE_IF_ERROR": "500ms"}, "give whole seconds", id="lifetimes are whole seconds"),
        pytest.param({"STALE_IF_ERROR": -1}, "STALE_IF_ERROR = -1", id="a duration isn't negative"),
        pytest.param({"STALE_IF_ERROR": True}, "STALE_IF_ERROR = True", id="a boolean isn't a duration"),
        pytest.param(
            {"STALE_IF_ERROR": float("nan")}, "STALE_IF_ERROR = nan", id="not-a-number isn't a duration"
        ),
        pytest.param({"STALE_IF_ERROR": "1e999"}, "STALE_IF_ERROR = '1e999'", id="infinity isn't a duration"),
        pytest.param({"STALE_IF_ERROR": "400d"}, "at most 365d", id="a window has an end"),
        pytest.param({"STALE_IF_ERROR": None}, "STALE_IF_ERROR = None", id="nothing isn't a duration"),
        pytest.param({"ORIGIN_TIMEOUT": 0}, "at least 0.01s", id="a timeout lets the origin answer"),
        pytest.param({"MAX_BODY_BYTES": "26MiB"}, "at most 25MiB", id="a body fits into KV"),
        pytest.param({"MAX_BODY_BYTES": 1.5}, "MAX_BODY_BYTES = 1.5", id="a size is whole bytes"),
        pytest.param({"LIFETIME_JITTER": 1}, "not including, 1", id="jitter leaves something of a lifetime"),
        pytest.param({"BREAKER_FAILURES": 2.5}, "a whole number", id="a count is whole"),
        pytest.param(
            {"UNKEYED_FIELDS": "X Host"}, "isn't a name that HTTP allows", id="field names are names"
        ),
        pytest.param({"UNKEYED_FIELDS": 3}, "give a list of names", id="field names are a list"),
        pytest.param(
            {"UNKEYED_FIELDS": "X-A, X-B", "PASSED_FIELDS": "x-b"},
            "PASSED_FIELDS = ['x-b']: UNKEYED_FIELDS has it too",
            id="a field either passes or doesn't",
        ),
        pytest.param({"TOKEN_CLAIMS": "use=access"}, "give a table", id="claims are a table"),
        pytest.param({"TOKEN_CLAIMS": {"use": ["a"]}}, "strings, numbers or booleans", id="of plain values"),
        pytest.param({"TOKEN_AUDIENCE": 3}, "give a string or a list of strings", id="audiences are texts"),
        pytest.param({"TOKEN_SECRET": "short"}, "at least 32 bytes", id="a secret is long enough for HS256"),
        pytest.param(
            {"MEMORY_BYTES": 100}, "MEMORY_ITEM_BYTES = 1048576: is more than", id="an item fits into memory"
        ),
        pytest.param(
            {"ORIGINS": "x"},
            "ORIGINS: isn't a setting; did you mean ORIGIN?",
            id="a slip of a setting is seen",
        ),
        pytest.param(
            {"origin": "x"}, "origin: isn't a setting; did you mean ORIGIN?", id="a setting is in upper case"
        ),
        pytest.param({"STALE-IF-ERROR": "x"}, "did you mean STALE_IF_ERROR?", id="a setting has no hyphens"),
        pytest.param({"RULES": "[{]"}, "RULES = '[{]': isn't JSON", id="rules are JSON"),
        pytest.param({"RULES": "[" * 99_999}, "isn't JSON", id="JSON that is too deep is no JSON"),
        pytest.param({"RULES": {"name": "a"}}, "give a list of tables", id="rules are a list"),
        pytest.param({"RULES": ["a"]}, "RULES[0] = 'a': isn't a table", id="a rule is a table"),
    ],
)
def test_refuses(environment: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(environment)
    assert len(raised.value.problems) == 1
    assert expected in raised.value.problems[0]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        pytest.param(
            [{"lifetme": 5}],
            "RULES[0].lifetme = 5: isn't a setting of a rule; did you mean lifetime?",
            id="a slip",
        ),
        pytest.param(
            [{"colour": 5}],
            "a rule has: api_key_in, ",
            id="what is far from all settings gets the list",
        ),
        pytest.param(
            [{"path": "products"}], "RULES[0].path = 'products': a path pattern begins with /", id="a path"
        ),
        pytest.param([{"methods": "get"}], "RULES[0].methods = 'get': ", id="methods are case-sensitive"),
        pytest.param(
            [{"host": "https://a.example"}], "RULES[0].host = 'https://a.example'", id="a host has no scheme"
        ),
        pytest.param(
            [{"lifetime": "long"}], "RULES[0].lifetime = 'long': give seconds", id="a lifetime is a duration"
        ),
        pytest.param(
            [{"negative_lifetimes": 60}], "give a table of status codes", id="negative lifetimes are a table"
        ),
        pytest.param(
            [{"negative_lifetimes": {"200": 60}}], "'200' isn't the status code of an error", id="for errors"
        ),
        pytest.param(
            [{"negative_lifetimes": {"404": "x"}}], "RULES[0].negative_lifetimes", id="with durations"
        ),
        pytest.param([{"groups": [""]}], "isn't a group name", id="groups have names"),
        pytest.param([{"groups": 5}], "RULES[0].groups = 5: give a list of groups", id="groups are a list"),
        pytest.param(
            [{"data_class": "secret"}], "give one of public, private, never", id="a data class is one of ours"
        ),
        pytest.param(
            [{"bypass": True, "lifetime": 5}], "no use for lifetime", id="bypass leaves nothing to store"
        ),
        pytest.param(
            [{"data_class": "never", "groups": "a"}], "no use for groups", id="nor does data_class never"
        ),
        pytest.param(
            [{"data_class": "private"}], "declare it with key_cookies", id="private needs an identity"
        ),
        pytest.param(
            [{"lifetime": 5, "default_lifetime": 5}], "is never used", id="a lifetime leaves no default"
        ),
        pytest.param(
            [{"data_class": "private", "key_cookies": "sid", "single_flight": "global"}],
            "isn't shared with other isolates",
            id="what is private stays where it is",
        ),
        pytest.param(
            [{"bypass_cookies": "s*", "key_cookies": "sid"}],
            "past the cache",
            id="passes by, or is in the key",
        ),
        pytest.param(
            [{"ignore_cookies": True, "key_cookies": "a"}], "remove one of them", id="cookies count or don't"
        ),
        pytest.param([{"key_claims": "sub"}], "wrangler secret put TOKEN_SECRET", id="claims need a secret"),
        pytest.param(
            [{"name": "a", "path": "/a"}, {"name": "a"}],
            "RULES[1].name = 'a': RULES[0] has that name",
            id="names",
        ),
        pytest.param(
            [{}, {"path": "/a"}],
            "RULES[1].name = 'RULES[1]': never applies, since RULES[0]",
            id="all match first",
        ),
        pytest.param(
            [{"path": "/a/**"}, {"path": "/a/*/b"}], "never applies", id="a wider pattern stands first"
        ),
    ],
)
def test_refuses_rules(tables: list[dict[str, object]], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load({"RULES": tables})
    assert len(raised.value.problems) == 1
    assert expected in raised.value.problems[0]


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        load(
            {
                "ORIGIN": "nowhere",
                "KV_TIMEOUT": "x",
                "RULES": [{"lifetime": "x", "path": "x", "query_sort": "x"}, {"bypas": True}],
            }
        )
    assert [problem.partition(" ")[0] for problem in raised.value.problems] == [
        "ORIGIN",
        "KV_TIMEOUT",
        "RULES[0].path",
        "RULES[0].query_sort",
        "RULES[0].lifetime",
        "RULES[1].bypas",
    ]
    assert all(problem in str(raised.value) for problem in raised.value.problems)


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        load({"TOKEN_SECRET": "hunter2"})
    assert "hunter2" not in str(raised.value)
    assert "TOKEN_SECRET = (not shown)" in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("CACHE", object(), id="a binding is left alone"),
        pytest.param("RULE", {}, id="even if its name is near one of ours"),
        pytest.param("DATABASE_URL", "x", id="another variable is left alone"),
        pytest.param("API_TOKEN_SECRET", "x", id="so is one that ends as one of ours"),
        pytest.param("ORIGIN_REGION", "x", id="so is one that begins as one of ours"),
    ],
)
def test_what_is_not_ours_is_left_alone(variable: str, value: object) -> None:
    assert load({variable: value}) == load({})


def test_memory_can_be_switched_off() -> None:
    assert load({"MEMORY_BYTES": 0}).memory_bytes == 0


def test_the_safe_profile_is_the_default_and_keeps_poisoning_fields_from_the_origin() -> None:
    settings = load({})
    assert settings.is_safe
    assert {
        "x-forwarded-*",
        "x-original-*",
        "x-http-*",
        "forwarded",
    } <= settings.unkeyed_fields


def test_profile_rfc9111_adds_no_lifetime_and_no_window() -> None:
    settings = load({"PROFILE": "rfc9111"})
    assert (settings.stale_while_revalidate, settings.stale_if_error) == (0, 0)
    assert (settings.heuristic_fraction, settings.lifetime_jitter, settings.refresh_ahead) == (0.1, 0, 0)
    assert settings.unkeyed_fields == frozenset()


def test_an_explicit_setting_wins_over_the_profile() -> None:
    assert load({"PROFILE": "rfc9111", "STALE_IF_ERROR": "1h"}).stale_if_error == 3600


def test_every_setting_has_a_row_and_its_written_default_reads_back() -> None:
    rows = documentation()
    assert [row.variable.lower() for row in rows] == list(Settings.__dataclass_fields__)
    assert load({row.variable: row.safe for row in rows}) == load({})
    assert load({row.variable: row.rfc9111 for row in rows}) == load({"PROFILE": "rfc9111"})


_PATTERNS = st.lists(st.sampled_from(["/", "a", "b", "*", "**"]), max_size=6).map(
    lambda parts: "/" + "".join(parts)
)


@given(_PATTERNS, _PATTERNS, st.text(alphabet="/ab", max_size=8))
def test_a_rule_that_is_called_unreachable_never_matches_first(earlier: str, later: str, path: str) -> None:
    wide, narrow = KeyRule(paths=(earlier,)), KeyRule(paths=(later,))
    if _covers(wide, narrow) and _matches(narrow, "/" + path):
        assert _matches(wide, "/" + path)


def _matches(rule: KeyRule, path: str) -> bool:
    return rule.matches("GET", Target("https", "a", path))


RULE = {"path": "/a/**"}
_ISSUER = {"issuer": "me", "keys": "https://me.example/keys", "audience": "a"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            {"RULES": [{"methods": ["POST"], "lifetime": "1m"}]},
            "only answers to GET are stored (with key_body also to QUERY and POST), and these have no use "
            "for lifetime; add GET",
            id="a lifetime for what is never stored",
        ),
        pytest.param(
            {"RULES": [RULE | {"store_on": "never", "seal": "encrypt"}], "STORE_KEYS": _STORE_KEY},
            "there is nothing to seal; remove one of them",
            id="a seal for what lies in memory alone",
        ),
        pytest.param(
            {"RULES": [RULE | {"seal": "none", "methods": ["GET"]}], "STORE_KEYS": _STORE_KEY},
            "has one of them alone; name both",
            id="a seal for one of two that share a response",
        ),
        pytest.param(
            {"RULES": [RULE | {"store_on": "never", "single_flight": "global"}]},
            "not in any other; remove one of them",
            id="what lies in memory alone, carried elsewhere",
        ),
        pytest.param(
            {"TOKEN_ISSUERS": [{"issuer": "me", "keys": "http://me.example/keys", "audience": "a"}]},
            "keys = 'http://me.example/keys': give the https URL of the JWK Set of 'me'",
            id="keys that anybody on the way may change",
        ),
        pytest.param(
            {"TOKEN_ISSUERS": [{"issuer": "me", "keys": "https://me.example/keys"}]},
            "'me' needs an audience",
            id="tokens for anybody",
        ),
        pytest.param(
            {"TOKEN_ISSUERS": [_ISSUER | {"algorithms": ["HS256"]}]},
            "HS256: the algorithms are ES256, EdDSA, PS256, RS256",
            id="an algorithm of shared secrets",
        ),
        pytest.param({"TOKEN_ISSUERS": [_ISSUER, _ISSUER]}, "two tables have one issuer", id="one twice"),
        pytest.param({"TOKEN_ISSUERS": [_ISSUER | {"jwks": ""}]}, "jwks: an issuer has", id="an odd member"),
        pytest.param(
            {"API_KEY_TABLE": {"0" * 64: {"a": 1}, "acme-1": {"tenant": "acme"}}},
            "entry 2 isn't under the digest of a key",
            id="a key, and no digest",
        ),
        pytest.param({"API_KEY_TABLE": {"0" * 64: {}}}, "doesn't say whose it is", id="nobody's key"),
        pytest.param(
            {"API_KEY_TABLE": {"0" * 64: {"a": [1]}}}, "doesn't say whose it is", id="a list for an owner"
        ),
        pytest.param({"API_KEY_TABLE": {"0" * 64: {"ends": "2027-01-01"}}}, "whose it is", id="an end alone"),
        pytest.param(
            {"API_KEY_TABLE": {"0" * 64: {"a": 1, "ends": "soon"}}},
            "ends = 'soon': give a day",
            id="an odd end",
        ),
        pytest.param(
            {"API_KEY_TABLE": {"0" * 64: {"a": 1, "begins": "2027-01-02", "ends": "2027-01-01"}}},
            "ends before it begins",
            id="an end before the beginning",
        ),
        pytest.param(
            {"API_KEY_TABLE": "acme"}, "give a table of keys by their digests", id="no table of keys"
        ),
        pytest.param(
            {"RULES": [_BY_KEY]}, "wrangler secret put API_KEY_TABLE_SECRET", id="keys without a secret"
        ),
        pytest.param(
            {"RULES": [_BY_KEY | {"key_claims": []}]},
            "what API_KEY_TABLE says",
            id="a key that says nothing",
        ),
        pytest.param(
            {"RULES": [_BY_KEY | {"data_class": "public"}]},
            'write "private"',
            id="keys, and yet for everyone",
        ),
        pytest.param(
            {"RULES": [_BY_KEY | {"api_key_in": "X Key"}]}, "isn't the name of a", id="an odd place"
        ),
        pytest.param(
            {"RULES": [_BY_KEY | {"api_key_in": "?"}]}, "isn't the name of a", id="a parameter without a name"
        ),
        pytest.param({"RULES": [{"revoked_by": "user-{sub}"}]}, "add key_claims", id="nobody to be revoked"),
        pytest.param({"RULES": [{"audience": "a"}]}, "add key_claims", id="an audience of no tokens"),
        pytest.param(
            {"RULES": [_BY_KEY | {"revoked_by": "user-{}"}]}, "give a claim such as", id="revoked by nothing"
        ),
        pytest.param(
            {"RULES": [{"key_parameters": ["utm_id"], "query_drop": ["utm_*"]}]},
            "query_drop: removes 'utm_id'",
            id="a parameter that is dropped",
        ),
        pytest.param({"TOKEN_ISSUERS": {"issuer": "me"}}, "give a list of tables", id="a single table"),
        pytest.param(
            {"RULES": [{"methods": ["GET"], "key_body": True}]},
            "key_body = 'raw': only QUERY and POST have a content that is looked up",
            id="a content in the key of GET",
        ),
        pytest.param(
            {"RULES": [{"methods": ["GET"], "key_preflight": True}]},
            "key_preflight = true: preflights are OPTIONS, which methods = ['GET'] doesn't have",
            id="preflights by GET",
        ),
        pytest.param(
            {"RULES": [{"key_fields": ["Origin"], "ignore_origin": True}]},
            "ignore_origin = true: key_fields says that Origin changes the response",
            id="an origin that matters and doesn't",
        ),
        pytest.param(
            {"RULES": [{"languages": ["en", "de_AT"]}]}, "'de_AT': isn't a language tag", id="an odd language"
        ),
        pytest.param(
            {"RULES": [{"media_types": ["text/*"]}]}, "'text/*': isn't a media type", id="a range of types"
        ),
        pytest.param(
            {"RULES": [{"device_field": ["X-A", "X-B"]}]}, "give one name", id="two fields for the device"
        ),
        pytest.param({"RULES": [{"origins": ["a.example"]}]}, "isn't the URL of an origin", id="no URL"),
        pytest.param(
            {"RULES": [{"origins": ["https://a.example"], "weights": [1, 2]}]},
            "weights = [1.0, 2.0]: has 2 entries for 1 origins",
            id="more weights than origins",
        ),
        pytest.param({"RULES": [{"weights": [0]}]}, "a list of numbers from 0.001", id="no weight"),
        pytest.param({"RULES": [{"weights": 1}]}, "a list of numbers from 0.001", id="one weight"),
        pytest.param(
            {"RULES": [{"origin_timeout": "1s", "soft_timeout": "2s"}]},
            "RULES[0].soft_timeout = 2: is never reached",
            id="patience of a rule beyond its end",
        ),
        pytest.param(
            {"FORWARDED": "none", "ORIGIN_SECRET": _LONG_TEXT},
            "signs X-Forwarded-Host",
            id="a signature of what isn't sent",
        ),
        pytest.param({"RULES": [{"origins": []}]}, "or a list of such", id="no origin at all"),
        pytest.param(
            {"RULES": [{"origins": ["https://a.example", "https://a.example/"]}]},
            "an origin is listed twice",
            id="one origin twice",
        ),
        pytest.param({"KEY_VERSION": "x" * 65}, "a string of at most 64 characters", id="a long version"),
        pytest.param(
            {"RULES": [{"key_body": "xml"}]},
            "key_body = 'xml': write true for the content's bytes, or one of none, raw, json, graphql",
            id="a content of an unknown kind",
        ),
        pytest.param(
            {"RULES": [{"data_class": "private", "key_body": True}]},
            "nothing in the key says whom the response is for",
            id="a content is no identity",
        ),
        pytest.param(
            {"RULES": [{"groups_from": "a.b.c.d.e.f.g.h.i"}]},
            "a path has 1 to 8 names",
            id="a long path of groups",
        ),
        pytest.param(
            {"RULES": [{"groups_from": "product-{a..b}"}]},
            "a path has 1 to 8 names",
            id="an empty name",
        ),
        pytest.param(
            {"RULES": [{"groups_from": "product-{a}-{b}"}]}, "a path has 1 to 8 names", id="two paths"
        ),
        pytest.param(
            {"RULES": [{"methods": ["HEAD", "OPTIONS"], "stale_if_error": "1m"}]},
            "no use for stale_if_error",
            id="HEAD alone stores nothing either",
        ),
        pytest.param(
            {"RULES": [{"methods": ["PUT"], "data_class": "private", "key_fields": ["X-User"]}]},
            "no use for key_fields",
            id="an identity for what is never stored",
        ),
        pytest.param(
            {"SOFT_TIMEOUT": "30s", "ORIGIN_TIMEOUT": "10s"},
            "SOFT_TIMEOUT = 30: is never reached, since the origin is given up after ORIGIN_TIMEOUT = 10",
            id="a soft timeout above the hard one",
        ),
        pytest.param(
            {"COMPRESS_MIN_BYTES": "1MiB", "MAX_BODY_BYTES": "512KiB"},
            "write 0 to switch compression off",
            id="a size that is never reached",
        ),
        pytest.param({"MAX_BODY_BYTES": 0}, "nothing could be stored", id="no body at all"),
        pytest.param(
            {"RULES": [{"negative_lifetimes": {"429": "1m"}}]},
            "negative_lifetimes = 429: is never stored (RFC 6585)",
            id="a lifetime for what must not be stored",
        ),
        pytest.param(
            {"RULES": [{"key_fields": ["Range"]}]}, "never reaches the origin", id="a field that isn't sent"
        ),
        pytest.param({"RULES": [{"key_fields": ["TE"]}]}, "never reaches", id="a field of one connection"),
        pytest.param({"RULES": [{"key_fields": ["Host"]}]}, "in every key anyway", id="the host"),
        pytest.param(
            {"RULES": [{"query_keep": ["page", "utm_source"], "query_drop": ["utm_*"]}]},
            "query_keep = 'utm_source': query_drop removes it again",
            id="a parameter that is kept and dropped",
        ),
        pytest.param(
            {"RULES": [{"path": "/a/../b", "lifetime": 5}]}, "matches nothing", id="a path that no URL has"
        ),
        pytest.param(
            {"RULES": [{"ignore_cookies": True, "key_fields": ["Cookie"]}]},
            "key_fields says that cookies change the response",
            id="cookies in the key that don't matter",
        ),
        pytest.param(
            {"RULES": [{"path": "/a/**"}, {"path": "/b/**"}, {"path": ["/a/x", "/b/y"], "lifetime": 5}]},
            "never applies, since RULES[0] and RULES[1] match the same requests",
            id="a rule that two earlier ones take all requests of",
        ),
        pytest.param(
            {"RULES": [{"methods": ["GET"]}, {"methods": ["HEAD"]}, {"methods": ["GET", "HEAD"]}]},
            "never applies, since RULES[0] and RULES[1] match",
            id="or all methods",
        ),
        pytest.param(
            {"RULES": [{"groups": [f"g{number}" for number in range(257)]}]},
            "more than 256 groups isn't stored",
            id="more groups than a response may have",
        ),
        pytest.param(
            {"RULES": [{"kv_timeout": "1s"}]},
            "it is one of the whole Worker: write KV_TIMEOUT under [vars]",
            id="a setting of the Worker in a rule",
        ),
        pytest.param({"STALE_IF_EROR": "1h"}, "did you mean STALE_IF_ERROR?", id="a slip"),
        pytest.param({"REFRESH_AHEAD": 5}, "up to, but not including, 1", id="a share of five"),
        pytest.param({"RULES": [{"pth": "/a"}]}, "did you mean path?", id="a slip in a rule"),
    ],
)
def test_what_cant_be_meant_is_refused(environment: dict[str, object], expected: str) -> None:
    found = problems(environment)
    assert found.settings is None
    assert [error for error in found.errors if expected in error], found.errors
    assert all(": " in error for error in found.errors), "each names the setting"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            {"RULES": [{"key_fields": ["User-Agent"], "lifetime": 5}]},
            "RULES[0].key_fields = 'user-agent': has about as many values as there are clients",
            id="a stored response for each browser",
        ),
        pytest.param(
            {"RULES": [{"key_fields": ["Cookie"]}]}, "name the cookie that matters", id="for all cookies"
        ),
        pytest.param(
            {"RULES": [{"key_fields": ["Authorization"]}]},
            'write data_class = "private"',
            id="for a token, and yet for everyone",
        ),
        pytest.param(
            {"RULES": [{"key_cookies": ["sid"], "default_lifetime": 5}]},
            'write data_class = "private"',
            id="for a cookie, and yet for everyone",
        ),
        pytest.param(
            {"RULES": [{"negative_lifetimes": {"403": 60}}]},
            "one client's refusal is then everyone's",
            id="a refusal for everyone",
        ),
        pytest.param({"MARK_INTERVAL": "10m"}, "up to 660 s to be seen", id="purges that take long"),
        pytest.param(
            {"BREAKER_PAUSE": "30s", "BREAKER_FAILURES": 0}, "has no effect", id="a pause without a breaker"
        ),
        pytest.param({"TOKEN_SECRET": _LONG_TEXT}, "no rule uses it", id="a secret without a use"),
        pytest.param({"API_KEY_TABLE": {"0" * 64: {"a": 1}}}, "no rule uses it", id="keys without a use"),
        pytest.param(
            {"RULES": [{"methods": ["QUERY"], "key_body": True, "key_parameters": ["sig"], "lifetime": 5}]},
            "passes by the cache; add GET",
            id="a parameter that other methods show",
        ),
        pytest.param(
            {"RULES": [{"data_class": "private", "key_claims": ["sub"]}], "TOKEN_SECRET": _LONG_TEXT},
            "RULES[0]: its key has a token and says nothing of cookies",
            id="a token beside cookies",
        ),
        pytest.param(
            {"RULES": [{"data_class": "private", "key_fields": ["Authorization"]}]},
            "add ignore_cookies = true",
            id="a token as it is beside cookies",
        ),
        pytest.param(
            {"KV_TIMEOUT": "30s", "ORIGIN_TIMEOUT": "10s"}, "is no less than", id="patience with the store"
        ),
        pytest.param(
            {"DEFAULT_LIFETIME": "1m"}, "move it into [[vars.RULES]]", id="a rule's setting as a variable"
        ),
    ],
)
def test_what_mostly_harms_is_warned_of(environment: dict[str, object], expected: str) -> None:
    found, told = problems(environment), list[str]()
    assert found.settings is not None
    assert [warning for warning in found.warnings if expected in warning], found.warnings
    load(environment, told.append)
    assert tuple(told) == found.warnings


def test_before_a_deploy_a_secret_is_only_warned_of() -> None:
    environment = {"RULES": [{"key_claims": ["sub"], "data_class": "private"}]}
    assert "TOKEN_SECRET" in problems(environment).errors[0]
    found = problems(environment, has_secrets=False)
    assert found.settings is not None
    assert [warning for warning in found.warnings if "TOKEN_SECRET" in warning]


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"STALE_IF_ERROR": "1h"}, id="a setting that rules have as well"),
        pytest.param({"ORIGIN_TIMEOUT": "2s"}, id="a timeout below the default of the soft one"),
        *(
            pytest.param(
                {
                    "RULES": [{"data_class": "private", "key_fields": ["Authorization"], **beside}],
                    **variables,
                },
                id=f"a token {says}",
            )
            for says, beside, variables in (
                ("without cookies", {"ignore_cookies": True}, {}),
                ("and a cookie", {"key_cookies": ["sid"]}, {}),
                ("where cookies are passed", {}, {"PASSED_FIELDS": ["Cookie"]}),
            )
        ),
        pytest.param({"RULES": [{"methods": ["POST"], "bypass": True}]}, id="POST past the cache"),
        pytest.param({"RULES": [{"methods": ["POST"], "data_class": "never"}]}, id="POST never kept"),
        pytest.param({"RULES": [{"methods": ["GET"], "lifetime": 5}]}, id="GET alone"),
        pytest.param({"RULES": [RULE, {"path": "/**", "lifetime": 5}]}, id="the narrower rule first"),
        pytest.param(
            {
                "RULES": [_BY_KEY],
                "API_KEY_TABLE_SECRET": _LONG_TEXT,
                "API_KEY_TABLE": {"0" * 64: {"tenant": "acme", "ends": date(2027, 6, 30)}},
            },
            id="a date without quotes in a TOML file, as wrangler takes it",
        ),
        pytest.param({"API_KEY": "x", "DEBUG": "1", "HOST": "a", "PATH": "/"}, id="variables of the user's"),
    ],
)
def test_what_means_what_it_says(environment: dict[str, object]) -> None:
    assert problems(environment).errors == problems(environment).warnings == ()


_NAMES = st.sampled_from([row.variable for row in documentation()]) | st.text(max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("9" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_TABLES = st.lists(st.dictionaries(st.sampled_from(sorted(RULE_SETTINGS)), _JSON, max_size=5), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_NAMES, _JSON, max_size=5), _TABLES | _JSON)
def test_whatever_is_given_is_told_and_never_raised(variables: dict[str, object], rules: object) -> None:
    found = problems({**variables, "RULES": rules})
    assert (found.settings is None) == bool(found.errors)
    assert all(len(problem) < 2000 for problem in (*found.errors, *found.warnings))
