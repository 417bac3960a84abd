"""From the Worker's variables to :class:`~origin_sdk_wire.settings.Settings`.

Each setting is a variable of the same name in upper case: in ``[vars]`` of ``wrangler.toml``, after
``--var NAME:VALUE``, or as a secret. The Worker checks all of it at start (:func:`load`), and the SDK before
a deploy (:func:`problems`): an *error* is what the Worker refuses to run with, a *warning* what it runs with,
although it probably does harm or nothing. Each names the setting, the value and the remedy.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from origin_sdk_wire.choices import Profile
from origin_sdk_wire.contradictions import errors_of, misplaced, warnings_of
from origin_sdk_wire.fields import EXCHANGE_FIELDS, INTERNAL_FIELDS, PRIVATE_GROUP_FIELDS
from origin_sdk_wire.rule_tables import RULE_SETTINGS, nearest, read_rules
from origin_sdk_wire.seals import Seal
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.unkeyed import SAFE_UNKEYED_FIELDS
from origin_sdk_wire.values import ValueKind, kinds_of, shown_value

__all__ = [
    "VARIABLES",
    "ConfigError",
    "Problems",
    "SettingRow",
    "documentation",
    "is_development",
    "load",
    "problems",
]

_TAKEN_AWAY_BY = {
    "unkeyed_fields": "passed_fields",
    "unstored_fields": "stored_fields",
    "internal_fields": "shown_fields",
}
"""Settings that add to a list of the profile, and what takes away from it."""

_DEFAULTS: Mapping[Profile, Mapping[str, Any]] = {
    Profile.SAFE: {
        "unkeyed_fields": SAFE_UNKEYED_FIELDS,
        "unstored_fields": EXCHANGE_FIELDS,
        "internal_fields": INTERNAL_FIELDS,
    },
    # No lifetime, window or caution that the RFCs don't know; heuristic freshness with the fraction that
    # RFC 9111 section 4.2.2 calls typical.
    Profile.RFC9111: {
        "stale_while_revalidate": 0,
        "stale_if_error": 0,
        "heuristic_fraction": 0.1,
        "lifetime_jitter": 0.0,
        "refresh_ahead": 0.0,
        "soft_timeout": 0.0,
        "client_refresh_interval": 0.0,
        "variants_per_url": 0,
        "stored_bytes_per_minute": 0,
        "refresh_throttle": 0.0,
        "breaker_failures": 0,
        "unkeyed_fields": frozenset(),
        "unstored_fields": frozenset(),
        "internal_fields": frozenset(PRIVATE_GROUP_FIELDS),
        "cache_status_key": True,
    },
}
"""Where a profile's defaults differ from those of :class:`Settings`."""


class ConfigError(ValueError):
    """The Worker can't run as it is configured. ``problems`` name each setting, its value and the remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Take all ``problems`` of one start."""
        super().__init__(
            "\n".join(("The configuration has problems:", *(f"- {problem}" for problem in problems)))
        )
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong with a configuration, one sentence for each problem, and the settings if it can be used.

    The Worker refuses to run with ``errors``. It runs with ``warnings``, and writes them to its log.
    """

    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    settings: Settings | None


def load(environment: Mapping[str, object], warn: Callable[[str], None] | None = None) -> Settings:
    """Read the settings from the Worker's variables; what isn't one of ours is left alone.

    Values are text, numbers, booleans, lists and tables, as wrangler passes them. ``warn`` takes each
    warning. Raises :class:`ConfigError`.
    """
    found = problems(environment)
    if found.settings is None:
        raise ConfigError(found.errors)
    if warn:
        for warning in found.warnings:
            warn(warning)
    return found.settings


def problems(
    environment: Mapping[str, object], *, has_secrets: bool = True, secrets: Collection[str] = ()
) -> Problems:
    """Check the Worker's variables, as :func:`load` takes them; never raises.

    ``has_secrets`` says whether secrets are among them, as they are in the Worker. In ``wrangler.toml`` they
    are not, and what needs one is a warning, but for those that are said to be ``secrets``.
    """
    errors = list(_misspelt(environment))
    warnings = list(misplaced(environment, RULE_SETTINGS - _KINDS.keys()))
    given = {name: environment[name.upper()] for name in _KINDS if name.upper() in environment}
    values = {name: value for name in given if (value := _read(name, given[name], errors)) is not None}
    if "RULES" in environment:
        values["rules"] = read_rules(environment["RULES"], errors, warnings)
    profile = Profile(values.get("profile", Profile.SAFE))
    errors += _at_odds(values)
    for name in _TAKEN_AWAY_BY.keys() & values.keys():
        values[name] |= _DEFAULTS[profile][name]
    settings = Settings(**{**_DEFAULTS[profile], **values})
    settings = settings.sealed_with(settings.store_keys)
    errors += errors_of(settings, values.keys())
    warnings += warnings_of(settings, values.keys())
    warnings += _undemanding(settings)
    missing = errors if has_secrets else warnings
    if not (given.get("token_secret") or "TOKEN_SECRET" in secrets or settings.token_issuers):
        missing += _unverifiable(settings)
    if not (given.get("api_key_table_secret") or "API_KEY_TABLE_SECRET" in secrets):
        missing += _unknown_keys(settings)
    if not (given.get("store_keys") or "STORE_KEYS" in secrets):
        missing += _unsealable(settings)
    return Problems(tuple(errors), tuple(warnings), None if errors else settings)


def is_development(environment: Mapping[str, object]) -> bool:
    """Whether the variables, be they right or wrong, say that it is their developer who sees responses."""
    return _read("development", environment.get("DEVELOPMENT", False), []) is True


def _read(name: str, value: object, errors: list[str]) -> Any:
    """Read one value, or note what is wrong with it and return ``None``."""
    try:
        return _KINDS[name].read(value)
    except ValueError as error:
        shown = "(not shown)" if name in _SECRET else shown_value(value)
        errors.append(f"{name.upper()} = {shown}: {error}")
        return None


def _misspelt(environment: Mapping[str, object]) -> Iterator[str]:
    """Name the plain variables that look like a slip of one of ours; bindings are the user's."""
    for variable, value in environment.items():
        # A table is a binding as JSON shows it: no setting is one.
        if variable in VARIABLES or not isinstance(value, str | int | float | list | tuple):
            continue
        written = variable.upper().replace("-", "_")
        near = written if written in VARIABLES else nearest(written, VARIABLES)
        if near:
            yield f"{variable}: isn't a setting; did you mean {near}? If it is yours, rename it"


def _at_odds(values: Mapping[str, Any]) -> Iterator[str]:
    for name, other in _TAKEN_AWAY_BY.items():
        both = sorted(values.get(name, frozenset()) & values.get(other, frozenset()))
        if both:
            yield (
                f"{other.upper()} = {shown_value(both)}: {name.upper()} has it too; remove it from one of "
                "them"
            )


def _unverifiable(settings: Settings) -> Iterator[str]:
    for number, rule in enumerate(settings.rules):
        if rule.claims and not rule.takes_api_keys:
            yield (
                f"RULES[{number}].key_claims = {shown_value(list(rule.claims))}: no token can be verified "
                "without TOKEN_SECRET or TOKEN_ISSUERS; set it with: npx wrangler secret put TOKEN_SECRET"
            )


def _unknown_keys(settings: Settings) -> Iterator[str]:
    for number, rule in enumerate(settings.rules):
        if rule.takes_api_keys:
            yield (
                f"RULES[{number}].api_key_in: no key is known without API_KEY_TABLE_SECRET, with which the "
                "digests of keys are made; set it with: npx wrangler secret put API_KEY_TABLE_SECRET"
            )


def _unsealable(settings: Settings) -> Iterator[str]:
    for number, rule in enumerate(settings.rules):
        if rule.seal not in {None, Seal.NONE}:
            yield (
                f"RULES[{number}].seal = {shown_value(str(rule.seal))}: nothing can be sealed without "
                "STORE_KEYS; set it with: npx wrangler secret put STORE_KEYS"
            )


def _undemanding(settings: Settings) -> Iterator[str]:
    has_claims = any(rule.claims and not rule.takes_api_keys for rule in settings.rules)
    if (
        has_claims
        and (settings.token_secret or not settings.token_issuers)
        and not (settings.token_audience or settings.token_claims)
    ):
        yield (
            "TOKEN_CLAIMS = {}: any token that the secret signs, a refresh or password-reset token "
            "included, opens what is stored for its user; say what marks an access token, such as "
            '{ token_type = "access" }, or whom it is for in TOKEN_AUDIENCE'
        )


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A line of the documentation: a variable, what fits, and its defaults as one would write them."""

    variable: str
    expects: str
    safe: str
    rfc9111: str


def documentation() -> tuple[SettingRow, ...]:
    """List every setting, in the order of :class:`Settings`."""
    safe, rfc9111 = (_defaults(profile) for profile in (Profile.SAFE, Profile.RFC9111))
    return tuple(
        SettingRow(
            field.name.upper(),
            kind.expects,
            kind.write(getattr(safe, field.name)),
            kind.write(getattr(rfc9111, field.name)),
        )
        for field in fields(Settings)
        for kind in [_KINDS.get(field.name, _RULES)]
    )


def _defaults(profile: Profile) -> Settings:
    values: dict[str, Any] = {"profile": profile, **_DEFAULTS[profile]}
    return Settings(**values)


_KINDS = kinds_of(Settings)
_RULES = ValueKind(
    "a list of tables: [[vars.RULES]] in wrangler.toml, or JSON", lambda value: value, lambda _: ""
)
_SECRET = frozenset(
    {
        "api_key_table_old_secret",
        "api_key_table_secret",
        "api_key_table",
        "debug_secret",
        "origin_secret",
        "purge_log_keys",
        "store_keys",
        "token_secret",
    }
)
VARIABLES = frozenset(name.upper() for name in _KINDS) | {"RULES"}
"""The names of all variables that are settings."""
