"""PostgreSQL and Redis for tests and benches: real servers of their own, on free ports, gone afterwards.

Debian's packages have them: `scripts/install postgresql redis-server`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from origin_sdk._development.process import Process
from scripts.runtime.ports import free_port

_START_SECONDS = 90.0
_READY = "eady to accept connections"
"""What both say: an open port alone doesn't mean that a server answers."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    # Tests kill the clients, never the machine.
    "fsync": "off",
}


class ServerMissing(Exception):
    """The program isn't installed; the message says how to get it."""


def program(name: str, package: str) -> str:
    """Return the path of a server's program; raises ServerMissing."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name) or next((str(path / name) for path in folders if (path / name).exists()), None)
    if not found:
        raise ServerMissing(f"{name} isn't installed: scripts/install {package}, as root")
    return found


class Server:
    """A server that runs while the `with` block does."""

    def __init__(self, package: str) -> None:
        self.port = free_port()
        self._package = package
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, name: str, command: list[str], folder: Path) -> None:
        process = self._stack.enter_context(
            Process(name, command, log=folder / f"{name}.log", folder=folder.parent)
        )
        process.wait_for(
            lambda: _READY in process.output() or None, what="accepting connections", seconds=_START_SECONDS
        )


class Postgres(Server):
    """PostgreSQL with an empty cluster; `settings` are those of postgresql.conf."""

    def __init__(self, **settings: str) -> None:
        super().__init__("postgresql")
        initdb, postgres = program("initdb", self._package), program("postgres", self._package)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-")))
        prefix = _as_nobody(folder)
        data = folder / "data"
        initialise = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=test"]
        subprocess.run([*prefix, initdb, *initialise, str(data)], check=True, capture_output=True, cwd="/")  # noqa: S603
        options = {**_SETTINGS, **settings, "port": str(self.port)}
        command = [*prefix, postgres, "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._start("postgres", command, folder)

    def make_database(self, name: str) -> None:
        """Make a further, empty database."""
        with psycopg.connect(self.url("postgresql"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def url(self, scheme: str = "postgresql+psycopg", database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"{scheme}://test@127.0.0.1:{self.port}/{database}"


class Redis(Server):
    """Redis without persistence."""

    def __init__(self) -> None:
        super().__init__("redis-server")
        command = [program("redis-server", self._package), "--bind", "127.0.0.1", "--port", str(self.port)]
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-")))
        self._start("redis", [*command, "--save", "", "--appendonly", "no", "--dir", str(folder)], folder)

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"


def _as_nobody(folder: Path) -> list[str]:
    """Return what to put before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups", "--"]
