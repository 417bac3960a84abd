"""`wrangler dev` as a context manager: the Worker of wrangler.toml, with local KV, on this machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from scripts.runtime import paths
from scripts.runtime.process import Process

# Loads the bundle that scripts/install made. Only local runtimes know it: wrangler.toml can't name it.
BUNDLE_FLAG = "python_workers_development"

# Whatever would ask the internet, ask the user, or measure the user is off.
QUIET = {
    "CLOUDFLARE_CF_FETCH_ENABLED": "false",
    "MINIFLARE_WORKERD_PATH": str(paths.WORKERD),
    "FORCE_COLOR": "0",
    "WRANGLER_HIDE_BANNER": "true",
    "WRANGLER_NO_SKILLS_UPDATE_PROMPTS": "true",
    "WRANGLER_SEND_ERROR_REPORTS": "false",
    "WRANGLER_SEND_METRICS": "false",
    "X_LOCAL_OBSERVABILITY": "false",
}

_START_SECONDS = 60.0
_READY = re.compile(r"Ready on (http://\S+)")


def read_config(config: Path = paths.WRANGLER_CONFIG) -> dict[str, Any]:
    """Return what wrangler.toml says."""
    return tomllib.loads(config.read_text(encoding="utf-8"))


class Wrangler:
    """A running `wrangler dev`.

    Args:
        folder: where its log, its KV data and its other files go.
        port: the port on 127.0.0.1; 0 takes a free one.
        variables: what `--var` sets, over the `[vars]` of the configuration.
        config: the wrangler.toml that declares the Worker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        variables: Mapping[str, str] | None = None,
        config: Path = paths.WRANGLER_CONFIG,
    ) -> None:
        declared = read_config(config)
        self._namespaces = {entry["binding"]: entry["id"] for entry in declared["kv_namespaces"]}
        arguments = _arguments(folder, port, variables or {}, config, declared)
        with ExitStack() as stack:
            self.process = stack.enter_context(
                Process(
                    "wrangler",
                    [paths.NODE, paths.WRANGLER, *arguments],
                    log=folder / "wrangler.log",
                    folder=config.parent,
                    environment=QUIET | _own_files(folder),
                )
            )
            self.url = self.process.wait_for(
                self._ready_url, what="its `Ready on` line", seconds=_START_SECONDS
            )
            self._running = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def kv_url(self, binding: str = "CACHE") -> str:
        """Return the base URL of the local KV REST API for the namespace of a binding."""
        namespace = self._namespaces[binding]
        return f"{self.url}/cdn-cgi/local/explorer/api/storage/kv/namespaces/{namespace}"

    def _ready_url(self) -> str | None:
        match = _READY.search(self.process.output())
        return match and match[1]


def _own_files(folder: Path) -> dict[str, str]:
    return {"WRANGLER_LOG_PATH": str(folder / "logs"), "WRANGLER_REGISTRY_PATH": str(folder / "registry")}


def _arguments(
    folder: Path, port: int, variables: Mapping[str, str], config: Path, declared: Mapping[str, Any]
) -> list[str]:
    arguments = ["dev", "--config", str(config), "--ip", "127.0.0.1", "--port", str(port)]
    arguments += ["--inspector-port", "0", "--show-interactive-dev-session=false"]
    arguments += ["--persist-to", str(folder / "state")]
    for flag in [*declared["compatibility_flags"], BUNDLE_FLAG]:
        arguments += ["--compatibility-flags", flag]
    for name, value in variables.items():
        arguments += ["--var", f"{name}:{value}"]
    return arguments
