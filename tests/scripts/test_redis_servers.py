"""Two runs side by side never take each other's servers for their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from origin_sdk._development.process import ProcessError
from scripts.runtime.ports import reserved_ports
from scripts.runtime.redis_servers import RedisServer

ANOTHER_RUN = """
import sys
from scripts.runtime.ports import reserved_ports
print(*reserved_ports(5), flush=True)
sys.stdin.read()
"""


def test_no_two_runs_have_a_port_in_common() -> None:
    ours = set(reserved_ports(5))
    with subprocess.Popen(
        (sys.executable, "-c", ANOTHER_RUN), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin and other.stdout  # noqa: PT018 - of one process
        theirs = {int(port) for port in other.stdout.readline().split()}
        ours |= set(reserved_ports(5))
        other.stdin.close()
    assert len(theirs) == 5
    assert not ours & theirs


def test_another_server_on_the_port_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "theirs") as theirs,
        pytest.raises(ProcessError, match=r"another server|ended by itself"),
    ):
        RedisServer(tmp_path / "ours", port=theirs.port)
