"""Where `scripts/live` measures: scratch Workers at Cloudflare, or the same ones on this machine."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from origin_sdk import Settings
from origin_sdk._values.settings import DEFAULT_BASE_URL, VARIABLES
from scripts.runtime import paths
from scripts.runtime.build import built
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from scripts.runtime.wrangler import QUIET, Wrangler, read_config, with_purge_log

__all__ = ["Account", "LiveError", "Place", "checked", "local", "scratch"]

_ORIGIN = Path(__file__).parent / "workers" / "live_origin.js"
_URL = re.compile(r"https://\S+\.workers\.dev")
_DEPLOY_SECONDS = 180.0
_API_SECONDS = 30.0
_PAGE = 100
_PUBLIC = "global_fetch_strictly_public"
"""A Worker that asks another one of its account by its URL needs this flag."""
_SHOWN_CHARACTERS = 2000

Run = Callable[[Sequence[str]], str]


class LiveError(Exception):
    """Something outside failed; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A running edge: its URL, the settings of a client that purges it, what opens its metrics, its file."""

    url: str
    settings: Settings
    debug_secret: str
    config: Path

    @property
    def variables(self) -> Mapping[str, str]:
        """The same for a program."""
        told = {variable: str(getattr(self.settings, name)) for name, variable in VARIABLES.items()}
        return {**told, "EDGE_CACHE_DEBUG_SECRET": self.debug_secret}


@dataclass(slots=True)
class Account:
    """An account at Cloudflare. ``left`` says what couldn't be removed from it."""

    id: str
    token: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=_API_SECONDS))
    run: Run | None = None
    """Runs wrangler, and returns what it prints."""
    left: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Account:
        """Take it from the environment; raises :class:`LiveError`."""
        missing = [
            name for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN") if not environment.get(name)
        ]
        if missing:
            raise LiveError(f"set {' and '.join(missing)}, or measure on this machine with --local")
        base_url = environment.get("CLOUDFLARE_API_BASE_URL") or DEFAULT_BASE_URL  # wrangler reads it, too
        return cls(environment["CLOUDFLARE_ACCOUNT_ID"], environment["CLOUDFLARE_API_TOKEN"], base_url)

    def wrangler(self, *arguments: str) -> str:
        """Run wrangler; raises :class:`LiveError`."""
        return (self.run or _wrangler)(arguments)

    def request(self, method: str, path: str, told: Mapping[str, Any] | None = None) -> Any:
        """Ask the REST API of KV; raises :class:`LiveError`."""
        url = f"{self.base_url}/accounts/{self.id}/storage/kv/namespaces{path}"
        fields = {"authorization": f"Bearer {self.token}"}
        try:
            answer = self.client.request(method, url, json=told, headers=fields).json()
        except (httpx.HTTPError, ValueError) as error:
            raise LiveError(f"{method} {url}: {error}") from error
        if not answer.get("success"):
            raise LiveError(f"{method} {url}: {answer.get('errors')}")
        return answer["result"]

    def namespaces(self, title: str) -> list[str]:
        """Return the ids of the namespaces of a title."""
        found: list[str] = []
        for page in count(1):
            listed = self.request("GET", f"?per_page={_PAGE}&page={page}")
            found += [each["id"] for each in listed if each["title"] == title]
            if len(listed) < _PAGE:
                break
        return found

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Remove something; what can't be is noted, and the rest goes on."""
        try:
            action()
        except LiveError as error:
            self.left.append(f"{what} ({error})")

    def clean(self, folder: Path, name: str) -> list[str]:
        """Remove all that a run made; return what is still there."""
        for worker in (name, f"{name}-origin"):
            config = _write(folder, worker, {"name": worker, "main": str(_ORIGIN)}, "")
            delete = partial(self.wrangler, "delete", "--force", "--config", config)
            self.attempt(f"the Worker {worker}", delete)
        self.attempt(f"the KV namespace {name}", lambda: self._drop_namespaces(name))
        return self.left

    def _drop_namespaces(self, title: str) -> None:
        for namespace_id in self.namespaces(title):
            self.request("DELETE", f"/{namespace_id}")


def _wrangler(arguments: Sequence[str]) -> str:
    command = [str(paths.NODE), str(paths.WRANGLER), *arguments]
    environment = {**os.environ, **{name: QUIET[name] for name in QUIET if name.startswith("WRANGLER_")}}
    try:
        ran = subprocess.run(  # noqa: S603 - wrangler, by arguments of our own
            command, env=environment, capture_output=True, text=True, timeout=_DEPLOY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LiveError(f"wrangler {arguments[0]} took longer than {_DEPLOY_SECONDS:g} s") from error
    if ran.returncode:
        told = f"{ran.stdout}\n{ran.stderr}".strip()[-_SHOWN_CHARACTERS:]
        raise LiveError(f"wrangler {arguments[0]} failed:\n{told}")
    return ran.stdout


# At Cloudflare


@contextmanager
def scratch(folder: Path, account: Account, name: str) -> Iterator[Place]:
    """Deploy, and remove it all whatever comes; raises :class:`LiveError`."""
    with ExitStack() as stack:
        stack.callback(account.clean, folder / "clean", name)
        namespace_id = account.request("POST", "", {"title": name})["id"]
        origin = _deployed(account, _origin_config(folder, f"{name}-origin"))
        secret, key = secrets.token_urlsafe(32), {"live": {"secret": secrets.token_urlsafe(32)}}
        config = _edge_config(folder, name, namespace_id, origin, key, secret)
        url = _deployed(account, config)
        settings = Settings(
            account_id=account.id,
            namespace_id=namespace_id,
            token=account.token,
            base_url=account.base_url,
            log_url=url,
            log_key=json.dumps(key),
            actor="scripts/live",
        )
        yield Place(url, settings, secret, Path(config))


def _deployed(account: Account, config: str) -> str:
    printed = account.wrangler("deploy", "--config", config)
    if found := _URL.search(printed):
        return found[0]
    raise LiveError(f"wrangler deploy printed no URL: switch workers.dev on for the account\n{printed}")


def checked(folder: Path, name: str) -> Iterator[str]:
    """Have wrangler check the configurations without deploying; say what would be done."""
    yield f"POST {DEFAULT_BASE_URL}/accounts/…/storage/kv/namespaces: the namespace {name}"
    key = {"live": {"secret": secrets.token_urlsafe(32)}}
    for config in (
        _origin_config(folder, f"{name}-origin"),
        _edge_config(folder, name, "0" * 32, "https://origin.example", key, secrets.token_urlsafe(32)),
    ):
        _wrangler(["deploy", "--dry-run", "--outdir", str(folder / "out"), "--config", config])
        yield f"wrangler deploy --config {Path(config).name}: checked"
    yield "requests, purges, the Worker's metrics: measured"
    yield f"wrangler delete of {name} and {name}-origin, and DELETE of the namespace: also after Ctrl-C"


def _origin_config(folder: Path, name: str) -> str:
    declared = read_config()
    told = {"name": name, "main": str(_ORIGIN), "compatibility_date": declared["compatibility_date"]}
    return _write(folder, name, {**told, "workers_dev": True}, "")


def _edge_config(
    folder: Path, name: str, namespace_id: str, origin: str, key: Mapping[str, Any], debug_secret: str
) -> str:
    declared = read_config()
    told = {
        "name": name,
        "main": str(built() / "entry.py"),
        "compatibility_date": declared["compatibility_date"],
        "compatibility_flags": [*declared["compatibility_flags"], _PUBLIC],
        "workers_dev": True,
    }
    tables = f"""
[[kv_namespaces]]
binding = "CACHE"
id = {json.dumps(namespace_id)}
[[durable_objects.bindings]]
name = "PURGE_LOG"
class_name = "PurgeLog"
[[migrations]]
tag = "purge-log"
new_sqlite_classes = ["PurgeLog"]
[vars]
ORIGIN = {json.dumps(origin)}
DEBUG_SECRET = {json.dumps(debug_secret)}
PURGE_LOG_KEYS = {json.dumps(json.dumps(key))}
"""
    return _write(folder, name, told, tables)


def _write(folder: Path, name: str, told: Mapping[str, Any], tables: str) -> str:
    """Write a configuration; strings, booleans and lists are the same in TOML as in JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())
    file.write_text(lines + tables, encoding="utf-8")
    return str(file)


# On this machine


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    """Run the same on this machine."""
    secret, key = secrets.token_urlsafe(32), {"live": {"secret": secrets.token_urlsafe(32)}}
    origin_worker = Worker("origin", _ORIGIN.parent, main=_ORIGIN.name, stores={})
    with Workerd(folder / "origin", [origin_worker]) as origin:
        variables = {
            "ORIGIN": origin.url("origin"),
            "DEBUG_SECRET": secret,
            "PURGE_LOG_KEYS": json.dumps(key),
        }
        config = with_purge_log(paths.WRANGLER_CONFIG, folder / "edge")
        with Wrangler(folder / "edge", variables=variables, config=config) as wrangler:
            settings = Settings(
                base_url=wrangler.api_url(),
                namespace_id=wrangler.namespace(),
                log_url=wrangler.url,
                log_key=json.dumps(key),
                actor="scripts/live",
            )
            yield Place(wrangler.url, settings, secret, config)
