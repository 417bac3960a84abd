"""What ``wrangler.toml`` says that the origin's side needs: namespace, routes, and the Worker's settings."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from origin_sdk._values.errors import InvalidSettings
from origin_sdk_wire.config import problems
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.shield import SHIELD_BINDING, SHIELD_PROPS
from origin_sdk_wire.values import from_json

__all__ = [
    "DEFAULT_PROJECT",
    "Configuration",
    "Project",
    "read_configuration",
    "read_configurations",
    "read_project",
    "shield_binding",
    "worker_name",
    "worker_names",
]

_BINDING = "CACHE"
_LOG, _LOG_CLASS = "PURGE_LOG", "PurgeLog"


@dataclass(frozen=True)
class Project(Settings):
    """The settings of a Worker, with where it stores and what it answers for."""

    namespace_id: str = ""
    routes: tuple[str, ...] = ()
    """The route patterns of ``wrangler.toml``, such as ``api.example.com/*``; empty if it names none."""
    purge_log: bool = False
    """Whether the Worker has a purge log: every purge must be in it then."""
    shield_service: str = ""
    """The Worker that is its shield."""

    def differences(self, namespace_id: str, mark_interval: float) -> Iterator[str]:
        """Say where this machine's settings contradict the Worker's."""
        if self.namespace_id and namespace_id != self.namespace_id:
            yield (
                f"EDGE_CACHE_NAMESPACE_ID = {namespace_id!r}, but wrangler.toml binds "
                f"{self.namespace_id!r}: purges go to "
                "a namespace that the Worker doesn't read"
            )
        if mark_interval < self.mark_interval:
            yield (
                f"mark_interval = {mark_interval:g}, but MARK_INTERVAL of the Worker is "
                f"{self.mark_interval:g}: receipts "
                "promise too much"
            )

    def serves(self, host: str) -> bool:
        """Whether the Worker answers for a host, as far as the routes tell: without any, it may."""
        name = host.partition(":")[0]
        hosts = [pattern.partition("://")[2] or pattern for pattern in self.routes]
        return not hosts or any(fnmatchcase(name, each.partition("/")[0].lower()) for each in hosts)


DEFAULT_PROJECT = Project()
_MAX_BYTES = 10_000_000
"""More than any wrangler.toml: a device, say, is read for ever."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One environment of a ``wrangler.toml``; the top level is ``""``, ``main`` the Worker's module.

    ``problems`` are those of its form; whether the Worker can use ``variables`` is for
    :func:`origin_sdk_wire.config.problems` to say.
    """

    file: Path
    environment: str
    variables: Mapping[str, Any]
    namespace_id: str
    routes: tuple[str, ...]
    problems: tuple[str, ...]
    main: str = ""
    purge_log: bool = False
    shield_service: str = ""
    secrets: frozenset[str] = frozenset()
    """The names of what is set as a secret, as far as ``[secrets] required`` says."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.file} [env.{self.environment}]" if self.environment else str(self.file)


def read_project(path: Path, environment: str = "") -> Project:
    """Read an environment of a ``wrangler.toml``, with the Worker's own validation.

    Raises :class:`InvalidSettings`, which names the file, each setting and the remedy.
    """
    return _project(read_configuration(path, environment))


def read_configuration(path: Path, environment: str = "") -> Configuration:
    """Read one environment of a ``wrangler.toml``; raises :class:`InvalidSettings` if it hasn't that."""
    for configuration in read_configurations(path):
        if configuration.environment == environment:
            return configuration
    raise InvalidSettings(f"{path} has no [env.{environment}]: add it, or choose another --env")


def _project(configuration: Configuration) -> Project:
    found = problems(configuration.variables, has_secrets=False, secrets=configuration.secrets)
    if found.settings is None:
        errors = "\n".join(found.errors)
        raise InvalidSettings(f"the Worker can't use the settings in {configuration.name}:\n{errors}")
    values = {each.name: getattr(found.settings, each.name) for each in fields(Settings)}
    return Project(
        **values,
        namespace_id=configuration.namespace_id,
        routes=configuration.routes,
        purge_log=configuration.purge_log,
        shield_service=configuration.shield_service,
    )


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is longer than {_MAX_BYTES:,} bytes")
    return content.decode()


def read_configurations(path: Path) -> Sequence[Configuration]:
    """Read all environments of a ``wrangler.toml``, the top level first.

    Raises :class:`InvalidSettings` if it can't be read as TOML, or has something else where tables belong.
    """
    try:
        declared = tomllib.loads(_text(path))
    except FileNotFoundError as error:
        raise InvalidSettings(
            f"there is no {path}: give --config FILE, or make a project with `origin-sdk init`"
        ) from error
    except OSError as error:
        raise InvalidSettings(f"{path} can't be read: {error.strerror}; give --config FILE") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{path} isn't TOML: {error}") from error
    environments = declared.get("env", {})
    if not isinstance(environments, Mapping):
        raise InvalidSettings(
            f"{path}: env = {environments!r} isn't a table: write one such as [env.production]"
        )
    tables = {"": declared, **environments}
    return _with_own_shields([_configuration(path, name, table, declared) for name, table in tables.items()])


def _with_own_shields(found: Sequence[Configuration]) -> Sequence[Configuration]:
    """Say where two environments bind one shield: that is deployed with the settings of one of them."""
    owners: dict[str, Configuration] = {}
    made: list[Configuration] = []
    for each in found:
        owner = owners.setdefault(each.shield_service, each)
        if each.shield_service and owner is not each:
            told = (
                f"the shield {each.shield_service} is that of {owner.name}, too, and refuses one of both, "
                "whose settings it hasn't: name another service"
            )
            made.append(replace(each, problems=(*each.problems, told)))
        else:
            made.append(each)
    return made


def _configuration(path: Path, environment: str, table: object, top: Mapping[str, Any]) -> Configuration:
    """Read one environment as wrangler does: variables and bindings aren't inherited, routes are."""
    found: list[str] = []
    if not isinstance(table, Mapping):
        raise InvalidSettings(
            f"{path}: env.{environment} = {table!r} isn't a table: write [env.{environment}]"
        )
    variables = table.get("vars", {})
    if not isinstance(variables, Mapping):
        name = f"env.{environment}.vars" if environment else "vars"
        raise InvalidSettings(
            f"{path}: {name} = {variables!r} isn't a table: write [{name}] and a setting on each line"
        )
    namespace_id = _namespace_id(table.get("kv_namespaces", ()), found)
    routes = _routes(table if "routes" in table or "route" in table else top, found)
    main = table.get("main", top.get("main", ""))
    log = _purge_log(table, top, found)
    if not log and _flies_globally(variables):
        found.append(
            f'single_flight = "global" needs the Durable Object of the purge log: bind {_LOG} '
            "(docs/purge-log.md), or remove it"
        )
    shield = _shield(environment, table, top, variables, found)
    return Configuration(
        path,
        environment,
        variables,
        namespace_id,
        routes,
        tuple(found),
        str(main),
        log,
        shield,
        _secrets(table),
    )


def _secrets(table: Mapping[str, Any]) -> frozenset[str]:
    """Return what wrangler is told to be set as secrets; an environment doesn't inherit it."""
    declared = table.get("secrets", {})
    required = declared.get("required", ()) if isinstance(declared, Mapping) else ()
    return frozenset(filter(lambda name: isinstance(name, str), required))


def _namespace_id(bindings: object, found: list[str]) -> str:
    entries = bindings if isinstance(bindings, Sequence) and not isinstance(bindings, str) else ()
    ids = [
        each.get("id") for each in entries if isinstance(each, Mapping) and each.get("binding") == _BINDING
    ]
    if ids and isinstance(ids[0], str) and ids[0]:
        return ids[0]
    prints = f"`wrangler kv namespace create {_BINDING}` prints"
    if ids:
        found.append(f"the KV namespace that is bound as {_BINDING} has no id: write the one that {prints}")
    else:
        found.append(
            f"no KV namespace is bound as {_BINDING}: write [[kv_namespaces]], "
            f'binding = "{_BINDING}" and the id that {prints}'
        )
    return ""


def _purge_log(table: Mapping[str, Any], top: Mapping[str, Any], found: list[str]) -> bool:
    """Return whether the Durable Object of the purge log is bound, and say what it lacks."""
    bound = [
        each for each in _tables(table.get("durable_objects", {}), "bindings") if each.get("name") == _LOG
    ]
    if not bound:
        return False
    if (named := bound[0].get("class_name")) != _LOG_CLASS:
        found.append(f"the binding {_LOG} has class_name = {named!r}: the Worker exports {_LOG_CLASS!r}")
    migrations = _tables(table if "migrations" in table else top, "migrations")
    if not any(_LOG_CLASS in each.get("new_sqlite_classes", ()) for each in migrations):
        found.append(
            f'no migration creates the Durable Object {_LOG_CLASS}: write [[migrations]], tag = "purge-log" '
            f'and new_sqlite_classes = ["{_LOG_CLASS}"]'
        )
    return True


def shield_binding(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the service binding of the shield in a table of ``wrangler.toml``, if there is one."""
    bound = [each for each in _tables(table, "services") if each.get("binding") == SHIELD_BINDING]
    return bound[0] if bound else None


def worker_name(environment: str, table: Mapping[str, Any], top: Mapping[str, Any]) -> str:
    """Return under which name wrangler deploys an environment."""
    if not environment or "name" in table:
        return str(table.get("name", ""))
    return f"{top.get('name', '')}-{environment}"


def worker_names(path: Path) -> frozenset[str]:
    """Return the names under which a ``wrangler.toml`` is deployed; none if it can't be read."""
    try:
        declared = tomllib.loads(_text(path))
    except (OSError, ValueError, RecursionError):
        return frozenset()
    given = declared.get("env", {})
    environments = given.items() if isinstance(given, Mapping) else ()
    tables = {"": declared, **{name: each for name, each in environments if isinstance(each, Mapping)}}
    return frozenset(worker_name(name, table, declared) for name, table in tables.items())


def _shield(
    environment: str,
    table: Mapping[str, Any],
    top: Mapping[str, Any],
    variables: Mapping[str, Any],
    found: list[str],
) -> str:
    """Return which Worker is bound as the shield, and say what that lacks."""
    binding, rules = shield_binding(table), _rules(variables)
    if binding is None:
        if any(rule.get("shield") is True for rule in rules):
            found.append(
                f"shield = true needs a shield: bind {SHIELD_BINDING} (docs/shield.md), or remove it"
            )
        return ""
    service = str(binding.get("service", ""))
    if not service or service == worker_name(environment, table, top):
        found.append(
            f"the binding {SHIELD_BINDING} has service = {service!r}: name another Worker, such as "
            f"{worker_name(environment, table, top)}-shield"
        )
    if binding.get("props") != SHIELD_PROPS:
        found.append(
            f"the binding {SHIELD_BINDING} has props = {binding.get('props')!r}: write "
            'props = { asks = "shield" }, by which the shield knows who asks'
        )
    if "entrypoint" in binding:
        found.append(f"the binding {SHIELD_BINDING} has an entrypoint, which isn't placed: remove it")
    if not variables.get("ORIGIN"):
        found.append(f"the binding {SHIELD_BINDING} needs ORIGIN: the shield has no zone whose origin to ask")
    return service


def _flies_globally(variables: Mapping[str, Any]) -> bool:
    return any(rule.get("single_flight") == "global" for rule in _rules(variables))


def _rules(variables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rules = variables.get("RULES", ())
    given = from_json(rules) if isinstance(rules, str) else rules
    tables = given if isinstance(given, Sequence) else ()
    return [rule for rule in tables if isinstance(rule, Mapping)]


def _tables(holder: object, name: str) -> list[Mapping[str, Any]]:
    entries = holder.get(name, ()) if isinstance(holder, Mapping) else ()
    return [each for each in entries if isinstance(each, Mapping)] if isinstance(entries, list) else []


def _routes(table: Mapping[str, Any], found: list[str]) -> tuple[str, ...]:
    declared = table.get("routes", [table["route"]] if "route" in table else [])
    entries = declared if isinstance(declared, list) else [declared]
    patterns = [each.get("pattern") if isinstance(each, Mapping) else each for each in entries]
    if wrong := [each for each in patterns if not isinstance(each, str)]:
        found.append(f'routes: {wrong[0]!r} isn\'t a pattern: write {{ pattern = "api.example.com/*" }}')
    return tuple(each for each in patterns if isinstance(each, str))
