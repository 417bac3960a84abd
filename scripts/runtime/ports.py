"""Free ports that no other run takes meanwhile."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["free_port", "reserved_ports"]

_PORTS = range(12_000, 22_000)
"""Low enough that a cluster's bus, 10,000 above, is still below the ports that the system hands out."""
_reserved: Final[dict[int, int]] = {}
"""Files that keep other runs off this one's ports for as long as this process lives."""


def free_port() -> int:
    """Return one port, as :func:`reserved_ports` does."""
    return reserved_ports(1)[0]


def reserved_ports(count: int) -> list[int]:
    """Return ports that are this process's own until it ends, though nobody may listen on them yet."""
    folder = Path(tempfile.gettempdir()) / "origin-sdk-ports"
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in _PORTS:
        if len(found) == count:
            return found
        if port not in _reserved and _reserve(folder, port):
            found.append(port)
    raise OSError(f"no {count} ports are free from {_PORTS.start} to {_PORTS.stop}")


def _reserve(folder: Path, port: int) -> bool:
    file = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    if not all(_is_free(each) for each in (port, port + 10_000)):
        os.close(file)
        return False
    _reserved[port] = file
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
