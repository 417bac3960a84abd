"""`wrangler dev` as a context manager: the Worker of a wrangler.toml, with local KV, on this machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from origin_sdk._development.process import Process, ProcessError

__all__ = ["QUIET", "Tools", "Wrangler", "declared"]

QUIET: Mapping[str, str] = {
    "CLOUDFLARE_CF_FETCH_ENABLED": "false",
    "FORCE_COLOR": "0",
    "WRANGLER_HIDE_BANNER": "true",
    "WRANGLER_NO_SKILLS_UPDATE_PROMPTS": "true",
    "WRANGLER_SEND_ERROR_REPORTS": "false",
    "WRANGLER_SEND_METRICS": "false",
    "X_LOCAL_OBSERVABILITY": "false",
}
"""Whatever would ask the internet, ask the user, or measure the user is off."""

_FIRST_START_SECONDS = 300.0
"""workerd downloads Pyodide when it first starts a Python Worker, some 14 MB."""
_READY = re.compile(r"Ready on (http://\S+)")
_NO_PYODIDE = re.compile(r"Request for Pyodide bundle failed; url = (?:\x1b\[\d+m)?(https?://[^/\s]+)")


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that run a Worker: Node.js, wrangler's script, and what they need to be told.

    ``flags`` are compatibility flags beside those of the configuration, ``start_seconds`` is the time that a
    start may take.
    """

    node: Path
    wrangler: Path
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = _FIRST_START_SECONDS


def declared(config: Path, environment: str = "") -> Mapping[str, Any]:
    """Return what one environment of a wrangler.toml says; what it doesn't say itself is inherited."""
    top: Mapping[str, Any] = tomllib.loads(config.read_text(encoding="utf-8"))
    return {**top, **top["env"][environment]} if environment else top


class Wrangler:
    """A running `wrangler dev`.

    Args:
        folder: where its log, its KV data and its other files go.
        tools: the programs.
        config: the wrangler.toml that declares the Worker.
        environment: the environment of it; none is its top level.
        port: the port on 127.0.0.1; 0 takes a free one.
        variables: what `--var` sets, over the `[vars]` of the configuration.
        arguments: more arguments of `wrangler dev`.

    Raises:
        ProcessError: it has not started; the message shows the end of its log.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tools: Tools,
        config: Path,
        environment: str = "",
        port: int = 0,
        variables: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        settings = declared(config, environment)
        self._namespaces = {each["binding"]: str(each["id"]) for each in settings["kv_namespaces"]}
        command: list[str | Path] = [tools.node, tools.wrangler]
        command += _arguments(folder, port, variables or {}, config)
        command += ["--env", environment] if environment else []
        for flag in [*settings["compatibility_flags"], *tools.flags] if tools.flags else ():
            command += ["--compatibility-flags", flag]
        with ExitStack() as stack:
            self.process = stack.enter_context(
                Process(
                    "wrangler",
                    [*command, *arguments],
                    log=folder / "wrangler.log",
                    folder=config.absolute().parent,
                    environment={**QUIET, **tools.environment, **_own_files(folder)},
                )
            )
            self.url = self._started(tools.start_seconds)
            self._running = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def api_url(self) -> str:
        """Return the base URL that stands for Cloudflare's API, for what is local."""
        return f"{self.url}/cdn-cgi/local/explorer/api"

    def namespace(self, binding: str = "CACHE") -> str:
        """Return the id of the namespace of a binding."""
        return self._namespaces[binding]

    def kv_url(self, binding: str = "CACHE") -> str:
        """Return the base URL of the local KV REST API for the namespace of a binding."""
        return f"{self.api_url()}/storage/kv/namespaces/{self.namespace(binding)}"

    def explorer_url(self) -> str:
        """Return the address of the page that shows what is in local KV."""
        return f"{self.url}/cdn-cgi/local/explorer"

    def _started(self, seconds: float) -> str:
        try:
            return self.process.wait_for(self._ready_url, what="its `Ready on` line", seconds=seconds)
        except ProcessError as error:
            if failed := _NO_PYODIDE.search(self.process.output()):
                raise ProcessError(
                    "workerd could not download Pyodide, which it needs once: let this machine reach "
                    f"{failed[1]}, then start again"
                ) from error
            raise

    def _ready_url(self) -> str | None:
        match = _READY.search(self.process.output())
        return match and match[1]


def _own_files(folder: Path) -> dict[str, str]:
    return {"WRANGLER_LOG_PATH": str(folder / "logs"), "WRANGLER_REGISTRY_PATH": str(folder / "registry")}


def _arguments(folder: Path, port: int, variables: Mapping[str, str], config: Path) -> list[str]:
    arguments = ["dev", "--config", str(config.absolute()), "--ip", "127.0.0.1", "--port", str(port)]
    arguments += ["--inspector-port", "0", "--show-interactive-dev-session=false"]
    arguments += ["--persist-to", str(folder / "state")]
    for name, value in variables.items():
        arguments += ["--var", f"{name}:{value}"]
    return arguments
