"""The commands of "In five minutes" in docs/getting-started.md, in their order, as a reader types them.

Only the ports are others, since tests run side by side, and wrangler is told what this house needs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from origin_sdk._development.local import answers, free_port
from origin_sdk._development.process import Process
from tests.deployment.machines import Installed, Machine
from tests.docs.snippets import ROOT, Block, blocks

__all__ = ["Minutes", "follow"]

_PAGE = "docs/getting-started.md"
_PATIENCE_SECONDS = 60.0
"""Five for a purge, on a machine that does nothing else."""


@dataclass(frozen=True)
class Minutes:
    """What each command that asks something was answered; ``seconds`` from the API's start to the last."""

    miss: str
    hit: str
    change: str
    unaware: str
    purge: str
    purged: str
    seconds: float


def follow(machine: Machine, installed: Installed) -> Minutes:
    """Do what the page says, in a folder of its own."""
    api, start, use = _section()
    folder = machine.ground / "first-minutes"
    (folder / ".git").mkdir(parents=True)
    (folder / "api.py").write_text(api.text)
    install, serve, init, develop = _commands(start)
    assert install == "pip install 'origin-sdk[cli]'", "that is what `installed` is"
    ports = {"8000": str(free_port()), "8787": str(free_port())}
    began, seconds = time.monotonic(), machine.start_seconds
    origin, edge = (f"http://127.0.0.1:{port}" for port in ports.values())
    command = installed.command(*_with(ports, serve).split())
    with Process("the API", command, log=folder / "api.log", folder=folder) as service:
        service.wait_for(lambda: answers(origin) or None, what="answering", seconds=seconds)
        _run(installed, folder, init)
        config = folder / "edge" / "wrangler.toml"
        config.write_text(_with(ports, config.read_text()))
        flags, variables = machine.development(folder / "edge")
        words = [*develop.split(), "--port", ports["8787"], "--", *flags]
        command = installed.command(*words, **variables)
        with Process("dev", command, log=folder / "dev.log", folder=folder) as dev:
            dev.wait_for(lambda: f"ready: {edge}" in dev.output() or None, what="ready", seconds=seconds)
            return _asked(installed, folder, [_with(ports, each) for each in _commands(use)], began)


def _asked(installed: Installed, folder: Path, commands: Sequence[str], began: float) -> Minutes:
    miss, hit, change, unaware, export, purge, purged = commands
    return Minutes(
        _run(installed, folder, miss),
        _once("; hit", installed, folder, hit),
        _run(installed, folder, change),
        _run(installed, folder, unaware),
        _run(installed, folder, f"{export}\n{purge}"),
        _once('"lamp":6', installed, folder, purged),
        time.monotonic() - began,
    )


def _once(expected: str, installed: Installed, folder: Path, command: str) -> str:
    """Return the first answer that has what is expected: who types takes longer than a program."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while expected not in (answer := _run(installed, folder, command)) and time.monotonic() < deadline:
        pass
    return answer


def _run(installed: Installed, folder: Path, command: str) -> str:
    done = installed.run_program("bash", "-ec", command, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def _section() -> tuple[Block, Block, Block]:
    """Return the blocks of the section: the API, what is started, and what is asked."""
    text = (ROOT / _PAGE).read_text(encoding="utf-8")
    end = text[: text.index("\n## Deploy to Cloudflare")].count("\n")
    api, start, use = (each for each in blocks() if each.page == _PAGE and each.line < end)
    return api, start, use


def _commands(block: Block) -> list[str]:
    return re.findall(r"(?m)^\$ (.*)$", block.text)


def _with(ports: dict[str, str], text: str) -> str:
    return re.sub(r"\b(8000|8787)\b", lambda found: ports[found[0]], text)
