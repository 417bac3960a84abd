"""Where the API is and which credentials to use: from arguments, else from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from origin_sdk._values.errors import InvalidSettings
from origin_sdk_wire.bounds import DEFAULT_MARK_INTERVAL_SECONDS, MARK_SECONDS, MAX_RECORD_SECONDS
from origin_sdk_wire.seals import StoreKey, parse_store_keys
from origin_sdk_wire.signed_requests import LogKey, parse_keys

__all__ = ["DEFAULT_BASE_URL", "VARIABLES", "Settings"]

DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"

_NAMESPACES = "/storage/kv/namespaces/"
_LEAST_SECRET_BYTES = 32
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Settings:
    """How to reach one KV namespace.

    ``base_url`` is what comes before ``/storage/kv/namespaces/…``. Cloudflare's own, the default, gets
    ``/accounts/{account_id}`` appended; any other is taken as it is, such as that of ``wrangler dev``,
    ``http://127.0.0.1:8787/cdn-cgi/local/explorer/api``, which needs no account and no token. The URL of a
    namespace, with ``/storage/kv/namespaces/{id}`` at its end, is taken apart.

    ``mark_interval`` must be the Worker's ``MARK_INTERVAL``, in seconds: receipts tell by it when a purge is
    seen.
    """

    token: str = field(default="", repr=False)
    account_id: str = ""
    namespace_id: str = ""
    base_url: str = DEFAULT_BASE_URL
    actor: str = ""
    """Who purges, as the audit is to show it."""
    audit_file: str = ""
    """Where what is done is recorded, a line of JSON each; empty for nowhere."""
    mark_interval: float = DEFAULT_MARK_INTERVAL_SECONDS
    mark_seconds: int = MARK_SECONDS
    """How long KV keeps a mark."""
    log_url: str = ""
    """A URL of the Worker, such as ``https://api.example.com``, whose purge log is told of purges."""
    log_key: str = field(default="", repr=False)
    """The key to the purge log: JSON as in the Worker's ``PURGE_LOG_KEYS``, of one key."""
    store_keys: str = field(default="", repr=False)
    """The keys of the sealed store, as in the Worker's ``STORE_KEYS``; empty where the Worker has none."""
    api_key_table_secret: str = field(default="", repr=False)
    """What digests of API keys are made with, as the Worker's ``API_KEY_TABLE_SECRET``."""
    api_key_table_old_secret: str = field(default="", repr=False)
    """What they were made with before, as ``API_KEY_TABLE_OLD_SECRET``: what was revoked by it stays so."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidSettings` for what can't work."""
        for each in fields(self):
            taken = str | PathLike if each.name == "audit_file" else str
            if each.type is str and not isinstance(given := getattr(self, each.name), taken):
                raise InvalidSettings(f"{each.name} is of type {type(given).__name__}: give a text")
        self._take_namespace_url_apart()
        for name in ("account_id", "namespace_id"):
            if not (value := getattr(self, name)).isprintable():
                raise InvalidSettings(f"{name} = {value!r}: has characters that no id has; copy it again")
        if not self.namespace_id:
            raise InvalidSettings(
                "no KV namespace: set EDGE_CACHE_NAMESPACE_ID to the id in wrangler.toml, or pass "
                "namespace_id (--namespace)"
            )
        if self.is_cloudflare and not (self.account_id and self.token):
            raise InvalidSettings(
                "Cloudflare's API needs CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN (permission: "
                "Workers KV Storage Write); for `origin-sdk dev` set CLOUDFLARE_API_BASE_URL to the KV REST "
                "API that it prints"
            )
        if not self.token.isprintable() or not self.token.isascii() or " " in self.token:
            raise InvalidSettings(
                "the API token has a space, a line break or a letter that no token has; copy it again"
            )
        self._check_base_url()
        self._check_log()
        self._check_secrets()
        if self.mark_seconds <= MAX_RECORD_SECONDS:
            raise InvalidSettings(
                f"mark_seconds = {self.mark_seconds}: a mark must outlive every stored response, which KV "
                f"keeps for up to {MAX_RECORD_SECONDS} s; leave it at {MARK_SECONDS}"
            )

    def _take_namespace_url_apart(self) -> None:
        """Accept the URL of a namespace, as it is shown in many places, for ``base_url``."""
        base, found, namespace = self.base_url.rstrip("/").partition(_NAMESPACES)
        if not found:
            return
        namespace = unquote(namespace.partition("/")[0])
        if self.namespace_id not in {"", namespace}:
            raise InvalidSettings(
                f"CLOUDFLARE_API_BASE_URL = {self.base_url!r} is the URL of the namespace {namespace!r}, but "
                f"the namespace id given is {self.namespace_id!r} (EDGE_CACHE_NAMESPACE_ID, wrangler.toml): "
                "leave one of them out"
            )
        base, is_cloudflare, account = base.partition(f"{DEFAULT_BASE_URL}/accounts/")
        if is_cloudflare:
            base = DEFAULT_BASE_URL
            object.__setattr__(self, "account_id", self.account_id or unquote(account))
        object.__setattr__(self, "base_url", base)
        object.__setattr__(self, "namespace_id", namespace)

    def _check_base_url(self) -> None:
        parts = _split("CLOUDFLARE_API_BASE_URL", self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
            raise InvalidSettings(
                f"CLOUDFLARE_API_BASE_URL = {parts.scheme}://{parts.hostname or ''}…: give "
                "http(s)://host/prefix, without "
                "query and user"
            )
        if self.token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise InvalidSettings(
                f"CLOUDFLARE_API_BASE_URL = {self.base_url!r}: the token would travel unencrypted; use https"
            )

    def _check_secrets(self) -> None:
        try:
            parse_store_keys(self.store_keys)
        except ValueError as error:
            raise InvalidSettings(f"EDGE_CACHE_STORE_KEYS can't be used: {error}") from error
        for name in ("API_KEY_TABLE_SECRET", "API_KEY_TABLE_OLD_SECRET"):
            if 0 < len(getattr(self, name.lower()).encode("utf-8", "replace")) < _LEAST_SECRET_BYTES:
                raise InvalidSettings(
                    f"EDGE_CACHE_{name} is too short: give the Worker's {name}, of at least "
                    f"{_LEAST_SECRET_BYTES} bytes"
                )

    def _check_log(self) -> None:
        if bool(self.log_url) != bool(self.log_key):
            raise InvalidSettings(
                "the purge log needs both EDGE_CACHE_LOG_URL, a URL of the Worker, and EDGE_CACHE_LOG_KEY, "
                "one of the Worker's PURGE_LOG_KEYS"
            )
        if not self.log_url:
            return
        parts = _split("EDGE_CACHE_LOG_URL", self.log_url)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
        ):
            raise InvalidSettings(
                f"EDGE_CACHE_LOG_URL = {self.log_url!r}: give scheme and host of the Worker alone, such as "
                "https://api.example.com"
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise InvalidSettings(
                f"EDGE_CACHE_LOG_URL = {self.log_url!r}: what is purged would travel unencrypted; use https"
            )
        try:
            keys = parse_keys(self.log_key)
        except ValueError as error:
            raise InvalidSettings(f"EDGE_CACHE_LOG_KEY can't be used: {error}") from error
        if len(keys) != 1:
            raise InvalidSettings(
                f"EDGE_CACHE_LOG_KEY has {len(keys)} keys: give this service's one of the Worker's "
                'PURGE_LOG_KEYS, such as {"shop": {"secret": "…"}}'
            )

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        default_namespace_id: str = "",
        **arguments: object,
    ) -> Self:
        """Read what ``arguments`` leave out (or give as ``None``) from the environment.

        ``default_namespace_id`` applies where neither names a namespace. Raises :class:`InvalidSettings`.
        """
        environment = os.environ if environment is None else environment
        found: dict[str, object] = {
            name: value
            for name, variable in VARIABLES.items()
            if (value := environment.get(variable, "").strip())
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        default = {"namespace_id": default_namespace_id}
        try:
            return cls(**{**default, **found, **given})  # type: ignore[arg-type]  # of the right type if known
        except TypeError as error:
            raise InvalidSettings(
                f"{error}; a setting is one of {', '.join(cls.__dataclass_fields__)}"
            ) from error

    @classmethod
    def nowhere(cls) -> Self:
        """Return settings of a client that asks no API."""
        return cls(namespace_id="none", base_url="http://localhost")

    @property
    def parsed_log_key(self) -> LogKey | None:
        """The key to the purge log, if there is one."""
        return next(iter(parse_keys(self.log_key).values())) if self.log_key else None

    @property
    def parsed_store_keys(self) -> tuple[StoreKey, ...]:
        """The keys of the sealed store; none where the Worker has none."""
        return parse_store_keys(self.store_keys)

    @property
    def is_cloudflare(self) -> bool:
        """Whether the API is Cloudflare's own, so that it needs an account and has limits."""
        return self.base_url.rstrip("/") == DEFAULT_BASE_URL

    @property
    def account_url(self) -> str:
        """The URL before ``/storage``."""
        base = self.base_url.rstrip("/")
        return f"{base}/accounts/{quote(self.account_id, safe='')}" if self.is_cloudflare else base

    @property
    def namespace_url(self) -> str:
        """The URL before ``/values``, ``/keys`` and ``/bulk``."""
        return f"{self.account_url}/storage/kv/namespaces/{quote(self.namespace_id, safe='')}"


def _split(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidSettings(f"{name} isn't a URL ({error}): give http(s)://host/prefix") from error
    return parts


VARIABLES: Mapping[str, str] = {
    "token": "CLOUDFLARE_API_TOKEN",
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "namespace_id": "EDGE_CACHE_NAMESPACE_ID",
    "base_url": "CLOUDFLARE_API_BASE_URL",
    "actor": "EDGE_CACHE_ACTOR",
    "audit_file": "EDGE_CACHE_AUDIT_FILE",
    "log_url": "EDGE_CACHE_LOG_URL",
    "log_key": "EDGE_CACHE_LOG_KEY",
    "store_keys": "EDGE_CACHE_STORE_KEYS",
    "api_key_table_secret": "EDGE_CACHE_API_KEY_TABLE_SECRET",
    "api_key_table_old_secret": "EDGE_CACHE_API_KEY_TABLE_OLD_SECRET",
}
"""The environment variable of each setting."""
