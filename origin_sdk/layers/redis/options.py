"""Clients of redis-py for each way that Redis is run, with one bound on how long a call may take."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.layers.redis.ports import Client

__all__ = ["RedisOptions"]

_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379
_CLUSTER_SHARDS = 16
FoundPrimary: TypeAlias = Callable[[tuple[str, int]], None]


def _redis(*modules: str) -> Any:
    """Return redis-py, with these modules of it. Raises InvalidSettings where it isn't installed."""
    try:
        for name in modules:
            import_module(f"redis.{name}")
        return import_module("redis")
    except ModuleNotFoundError as error:
        raise InvalidSettings("Redis needs a package: pip install 'origin-sdk[layers]'") from error


def _clusters() -> Any:
    return import_module("origin_sdk.layers.redis.clusters")


def _sentinels() -> Any:
    return import_module("origin_sdk.layers.redis.sentinels")


_KINDS: Any = (
    (("url", "prefix"), str, "a text"),
    (("timeout", "horizon"), int | float, "a number of seconds"),
    (("max_connections", "shards", "wait_replicas"), int, "a whole number"),
    (("arguments", "sentinel_arguments"), Mapping, "a mapping of names to values"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """Where Redis is, and how far it is waited for.

    ``url`` has one of the schemes ``redis``, ``unix``, ``redis+sentinel`` (``//host:port,host:port/service``)
    and ``redis+cluster`` (``//host:port,host:port``), each with TLS as ``rediss``; ``//user:password@`` is an
    ACL user. ``timeout`` is the most seconds that a call may wait for Redis. ``prefix`` begins every key: one
    application, one prefix. ``arguments`` go to redis-py as they are, ``ssl_ca_certs`` for example, and
    ``sentinel_arguments`` to its connections to sentinels. ``shards`` are spread over a cluster.
    ``horizon`` is how long, in seconds, Redis remembers an invalidation: older records count as invalid.
    ``wait_replicas`` lets an invalidation wait until that many replicas have it, for half of the timeout at
    most.
    """

    url: str
    prefix: str = "cache"
    timeout: float = 0.05
    max_connections: int = 64
    horizon: float = 86_400.0
    shards: int | None = None
    wait_replicas: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)
    sentinel_arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _redis()
        self._check_types()
        try:
            urlsplit(self.url)
        except ValueError as error:
            raise InvalidSettings(f"invalid Redis URL: {error}") from error
        if self.scheme not in {"redis", "unix", "redis+sentinel", "redis+cluster"}:
            raise InvalidSettings(
                f"Redis at {urlsplit(self.url).scheme}: redis, rediss, unix, redis+sentinel, …"
            )
        if not self.prefix or set(self.prefix) & set("{}\n"):
            raise InvalidSettings(f"prefix {self.prefix!r}: a text without braces is needed")
        if self.scheme == "redis+sentinel" and not self._path:
            raise InvalidSettings(
                "redis+sentinel needs the service's name: redis+sentinel://host:port/service"
            )

    def _check_types(self) -> None:
        for names, kind, wanted in _KINDS:
            for name in names:
                value = getattr(self, name)
                is_left_out = value is None and name == "shards"
                if not is_left_out and (not isinstance(value, kind) or isinstance(value, bool)):
                    raise InvalidSettings(f"{name} of RedisOptions is {value!r}: {wanted} is needed")

    def __repr__(self) -> str:
        """Show where Redis is, and no secret: neither a password nor what goes to redis-py."""
        parts = urlsplit(self.url)
        user, at, hosts = parts.netloc.rpartition("@")
        shown = f"{user.partition(':')[0]}:…@{hosts}" if at else hosts
        url = urlunsplit(parts._replace(netloc=shown, query="…" if parts.query else ""))
        names = (*self.arguments, *self.sentinel_arguments)
        return f"{type(self).__name__}(url={url!r}, prefix={self.prefix!r}, arguments={sorted(names)})"

    @property
    def scheme(self) -> str:
        """The scheme without the s of TLS."""
        return urlsplit(self.url).scheme.replace("rediss", "redis")

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over nodes."""
        return self.scheme == "redis+cluster"

    @property
    def is_watched(self) -> bool:
        """Whether sentinels say which server is the primary."""
        return self.scheme == "redis+sentinel"

    @property
    def lacks_certificate(self) -> bool:
        """Whether TLS is spoken without a client's certificate."""
        given = self.arguments.keys() | dict(parse_qsl(urlsplit(self.url).query)).keys()
        return urlsplit(self.url).scheme.startswith("rediss") and "ssl_certfile" not in given

    @property
    def shard_count(self) -> int:
        """How many hash tags there are."""
        return self.shards or (_CLUSTER_SHARDS if self.is_cluster else 1)

    @property
    def _path(self) -> str:
        return urlsplit(self.url).path.strip("/")

    def client(self, found: FoundPrimary, tries: int = 0) -> Client:
        """Return a client for threads; ``found`` is told which primary sentinels name.

        After so many ``tries`` that failed a cluster is asked for the way by another node first: one that
        hangs takes all the time of a call.
        """
        made: Client
        redis = _redis("backoff", "retry")
        retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        match self.scheme:
            case "redis+cluster":
                made = self._cluster_client(retry, tries)
            case "redis+sentinel":
                addresses = self._addresses(_DEFAULT_SENTINEL_PORT)
                sentinels = _sentinels().Sentinels(addresses, found, self._sentinel(retry))
                made = sentinels.master_for(self._path, retry=retry, **self._common())
            case _:
                pool = redis.BlockingConnectionPool.from_url(
                    self.url, timeout=self.timeout, retry=retry, **self._common()
                )
                made = redis.Redis(connection_pool=pool)
        return made

    def _cluster_client(self, retry: object, tries: int) -> Client:
        redis, bounding = _redis("cluster"), import_module("origin_sdk.layers.redis.time_limits")
        known = self._addresses(_DEFAULT_PORT)
        first = tries % len(known)
        addresses = [*known[first:], *known[:first]]
        arguments = self._common()
        is_tls = arguments.pop("ssl", False)
        kind = bounding.BoundedSSLConnection if is_tls else bounding.BoundedConnection
        made: Client = _clusters().Cluster(
            # Of a URL, redis-py makes pools that take a class of connections.
            url="redis://{}:{}".format(*addresses[0]),
            startup_nodes=[redis.cluster.ClusterNode(*each) for each in addresses],
            retry=retry,
            connection_class=kind,
            **arguments,
        )
        return made

    def bounded(self) -> AbstractContextManager[None]:
        """Bound what this thread asks of a cluster in a ``with`` block, however many nodes that takes."""
        if not self.is_cluster:
            return nullcontext()
        bounding: Any = import_module("origin_sdk.layers.redis.time_limits")
        bound: AbstractContextManager[None] = bounding.within(self.timeout)
        return bound

    def async_client(self, found: FoundPrimary) -> object:
        """Return the same for one event loop; who uses it bounds its time."""
        redis = _redis("asyncio", "asyncio.cluster", "asyncio.retry", "backoff")
        retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        match self.scheme:
            case "redis+cluster":
                nodes = [redis.asyncio.cluster.ClusterNode(*each) for each in self._addresses(_DEFAULT_PORT)]
                return _clusters().AsyncCluster(startup_nodes=nodes, retry=retry, **self._common())
            case "redis+sentinel":
                addresses = self._addresses(_DEFAULT_SENTINEL_PORT)
                sentinels = _sentinels().AsyncSentinels(addresses, found, self._sentinel(retry))
                arguments = self._common() | {"socket_timeout": None}
                return sentinels.master_for(self._path, retry=retry, **arguments)
            case _:
                pool = redis.asyncio.BlockingConnectionPool.from_url(
                    self.url, timeout=self.timeout, retry=retry, **self._common() | {"socket_timeout": None}
                )
                return redis.asyncio.Redis(connection_pool=pool)

    def _addresses(self, port: int) -> list[tuple[str, int]]:
        hosts = urlsplit(self.url).netloc.rpartition("@")[2].split(",")
        pairs = [urlsplit(f"//{host}") for host in hosts]
        return [(each.hostname or "localhost", each.port or port) for each in pairs]

    def _common(self) -> dict[str, object]:
        return {
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "socket_keepalive": True,
            "max_connections": self.max_connections,
            "protocol": 3,
            **(self._credentials() if self.scheme in {"redis+sentinel", "redis+cluster"} else {}),
            **self.arguments,
        }

    def _credentials(self) -> dict[str, object]:
        # Both kinds of client take keywords alone; a URL of one server is read by redis-py itself.
        account, at, _ = urlsplit(self.url).netloc.rpartition("@")
        user, _, password = account.partition(":")
        found: dict[str, object] = dict(parse_qsl(urlsplit(self.url).query))
        if at:
            found |= {"username": user or None, "password": password or None}
        if urlsplit(self.url).scheme.startswith("rediss"):
            found["ssl"] = True
        return found

    def _sentinel(self, retry: object) -> dict[str, object]:
        # All sentinels together may take the time of one call.
        share = self.timeout / len(self._addresses(_DEFAULT_SENTINEL_PORT))
        return {
            "socket_timeout": share,
            "socket_connect_timeout": share,
            "retry": retry,
            **self.sentinel_arguments,
        }
