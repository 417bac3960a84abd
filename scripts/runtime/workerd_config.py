"""What a workerd process consists of, and its configuration in workerd's own terms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import capnp

from origin_sdk_wire.shield import SHIELD_BINDING, SHIELD_PROPS
from scripts.runtime import paths
from scripts.runtime.build import built
from scripts.runtime.wrangler import BUNDLE_FLAG, read_config

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Config: TypeAlias = dict[str, Any]

_KV_COMPATIBILITY_DATE = "2026-11-01"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A KV namespace. A named location repeats what it read for `cacheTtl` seconds; the unnamed never."""

    name: str = "cache"
    location: str = ""

    @property
    def service(self) -> str:
        return f"kv@{self.location}"

    @property
    def socket(self) -> str:
        return f"{self.service}/{self.name}"

    def designator(self) -> Config:
        return {"name": self.service, "props": {"json": json.dumps({"namespace": self.name})}}


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server at "host:port" in place of a KV namespace: it speaks the binding's protocol, or fails to."""

    address: str

    @property
    def service(self) -> str:
        return f"kv@{self.address}"

    def designator(self) -> Config:
        return {"name": self.service}


@dataclass(frozen=True, slots=True)
class Worker:
    """A Worker: its name, its folder and main module, and its `env` beside the `[vars]` of wrangler.toml.

    The folder is by default this checkout's Worker as it is deployed.
    One whose main module ends in `.js` is a JavaScript Worker of that module alone.
    """

    name: str
    source: Path = field(default_factory=built)
    _: KW_ONLY
    main: str = "entry.py"
    variables: Mapping[str, Json] = field(default_factory=dict)
    stores: Mapping[str, Namespace | StandIn] = field(default_factory=lambda: {"CACHE": Namespace()})
    datasets: Mapping[str, StandIn] = field(default_factory=dict)
    """Bindings of Analytics Engine: each point is sent to a server, as JSON."""
    log: str = ""
    """The Worker, of this process, whose purge log it is bound to: its own, or that of another."""
    remote_log: StandIn | None = None
    """Where the `log_door.js` of another process listens, whose purge log it is bound to."""

    shield: str = ""
    """The Worker, of this process, that it asks as its shield."""

    @property
    def is_javascript(self) -> bool:
        return self.main.endswith(".js")


def namespaces_of(workers: Iterable[Worker]) -> list[Namespace]:
    """Return the namespaces that some Workers are bound to, each once."""
    bound = (store for worker in workers for store in worker.stores.values())
    return list(dict.fromkeys(store for store in bound if isinstance(store, Namespace)))


def clocks_of(workers: Iterable[Worker]) -> list[Namespace]:
    """Return a namespace in each location, the unnamed one too: through it the clock there is moved."""
    locations = {"", *(namespace.location for namespace in namespaces_of(workers))}
    return [Namespace("clock", location) for location in sorted(locations)]


def encode(folder: Path, workers: Sequence[Worker], v8_flags: Sequence[str] = ()) -> bytes:
    """Return the binary configuration of a process that runs `workers` and keeps its data in `folder`."""
    includes = [str(Path(capnp.__file__).parents[1])]
    schema = capnp.load(str(paths.WORKERD_SCHEMA), imports=includes)
    message: bytes = schema.Config.new_message(**_config(folder, workers), v8Flags=list(v8_flags)).to_bytes()
    return message


def _config(folder: Path, workers: Sequence[Worker]) -> Config:
    clocks = clocks_of(workers)
    bound = (
        each
        for worker in workers
        for each in (*worker.stores.values(), *worker.datasets.values(), worker.remote_log)
    )
    stand_ins = {each for each in bound if isinstance(each, StandIn)}
    return {
        "services": [
            *map(_worker_service, workers),
            *_kv_services(folder, [clock.location for clock in clocks]),
            *({"name": s.service, "external": {"address": s.address, "http": {}}} for s in stand_ins),
            {"name": "internet", "network": {"allow": ["public", "private"]}},
        ],
        "sockets": [
            *(_socket(worker.name, {"name": worker.name}) for worker in workers),
            *(
                _socket(namespace.socket, namespace.designator())
                for namespace in [*namespaces_of(workers), *clocks]
            ),
        ],
        **(_remote_log() if any(worker.remote_log for worker in workers) else {}),
    }


def _socket(name: str, service: Config) -> Config:
    return {"name": name, "address": "127.0.0.1:0", "http": {}, "service": service}


def _worker_service(worker: Worker) -> Config:
    declared = read_config()
    variables = {**declared["vars"], **worker.variables}
    flags = [] if worker.is_javascript else [*declared["compatibility_flags"], BUNDLE_FLAG]
    return {
        "name": worker.name,
        "worker": {
            "modules": _modules(worker),
            "compatibilityDate": str(declared["compatibility_date"]),
            "compatibilityFlags": flags,
            "bindings": [
                *(_variable(name, value) for name, value in variables.items()),
                *({"name": name, "kvNamespace": s.designator()} for name, s in worker.stores.items()),
                *({"name": name, "analyticsEngine": s.designator()} for name, s in worker.datasets.items()),
                *_log_binding(worker),
                *_shield_binding(worker),
            ],
            **(_log_storage(worker.name) if worker.log == worker.name else {}),
        },
    }


_LOG_CLASS = "PurgeLog"
_REMOTE_LOG = "purge-log:remote"


def _log_storage(name: str) -> Config:
    """Keep each Worker's log to itself: objects of one key share what is on the disk."""
    log = {"className": _LOG_CLASS, "uniqueKey": f"purge-log-{name}", "enableSql": True}
    return {"durableObjectNamespaces": [log], "durableObjectStorage": {"localDisk": "objects"}}


def _remote_log() -> Config:
    source = (Path(__file__).parent / "workers" / "log_remote.js").read_text(encoding="utf-8")
    return {"extensions": [{"modules": [{"name": _REMOTE_LOG, "internal": True, "esModule": source}]}]}


def _log_binding(worker: Worker) -> list[Config]:
    if worker.remote_log:
        door = {"name": "door", "service": worker.remote_log.designator()}
        wrapped = {"moduleName": _REMOTE_LOG, "innerBindings": [door]}
        return [{"name": "PURGE_LOG", "wrapped": wrapped}]
    if not worker.log:
        return []
    place = {"className": _LOG_CLASS, "serviceName": worker.log}
    return [{"name": "PURGE_LOG", "durableObjectNamespace": place}]


def _shield_binding(worker: Worker) -> list[Config]:
    place = {"name": worker.shield, "props": {"json": json.dumps(SHIELD_PROPS)}}
    return [{"name": SHIELD_BINDING, "service": place}] if worker.shield else []


def _modules(worker: Worker) -> list[Config]:
    """Return the modules that wrangler would upload: every Python file, the main one first."""
    if worker.is_javascript:
        return [{"name": worker.main, "esModule": (worker.source / worker.main).read_text(encoding="utf-8")}]
    files = sorted(worker.source.rglob("*.py"), key=lambda file: (file != worker.source / worker.main, file))
    return [
        {"name": file.relative_to(worker.source).as_posix(), "pythonModule": file.read_text(encoding="utf-8")}
        for file in files
    ]


def _variable(name: str, value: Json) -> Config:
    return (
        {"name": name, "text": value} if isinstance(value, str) else {"name": name, "json": json.dumps(value)}
    )


def _kv_services(folder: Path, locations: Iterable[str]) -> list[Config]:
    """Return workerd's own KV, once for each location. The unnamed one holds the data."""
    return [
        *(_kv_service(location) for location in locations),
        {"name": "objects", "disk": {"path": str(folder / "objects"), "writable": True}},
        {"name": "blobs", "disk": {"path": str(folder / "blobs"), "writable": True}},
    ]


def _kv_service(location: str) -> Config:
    objects = {"className": "KVNamespace", "uniqueKey": "kv", "enableSql": True}
    storage = {"durableObjectNamespaces": [objects], "durableObjectStorage": {"localDisk": "objects"}}
    shard = {"className": "KVNamespace", "serviceName": Namespace(location="").service}
    return {
        "name": Namespace(location=location).service,
        "worker": {
            "modules": [{"name": "kv.js", "bundled": "/workerd/kv.js"}],
            "compatibilityDate": _KV_COMPATIBILITY_DATE,
            "bindings": [
                {"name": "SHARD", "durableObjectNamespace": shard},
                {"name": "BLOBS", "service": {"name": "blobs"}},
                {"name": "CLUSTERED", "json": json.dumps(bool(location))},
                {"name": "TEST_CLOCK", "json": "true"},
            ],
            **({} if location else storage),
        },
    }
