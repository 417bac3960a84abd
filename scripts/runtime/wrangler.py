"""`wrangler dev` by the tools of this checkout, which needs no internet."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from origin_sdk._development import wrangler
from scripts.runtime import paths

# Loads the bundle that scripts/install made. Only local runtimes know it: wrangler.toml can't name it.
BUNDLE_FLAG = "python_workers_development"
QUIET = {**wrangler.QUIET, "MINIFLARE_WORKERD_PATH": str(paths.WORKERD)}
TOOLS = wrangler.Tools(
    paths.NODE,
    paths.WRANGLER,
    flags=(BUNDLE_FLAG,),
    environment=QUIET,
    start_seconds=60.0,
)


def read_config(config: Path = paths.WRANGLER_CONFIG) -> Mapping[str, Any]:
    """Return what wrangler.toml says."""
    return wrangler.declared(config)


_LOG_TABLES = """
[[{place}durable_objects.bindings]]
name = "PURGE_LOG"
class_name = "PurgeLog"
[[{place}migrations]]
tag = "purge-log"
new_sqlite_classes = ["PurgeLog"]
"""


def with_purge_log(config: Path, folder: Path, environment: str = "") -> Path:
    """Write a wrangler.toml like another one into ``folder`` that binds the purge log; return its path."""
    declared = wrangler.declared(config, environment)
    main = (config.absolute().parent / declared["main"]).as_posix()
    text = _elsewhere(config.read_text(encoding="utf-8"), config.absolute().parent, folder.absolute(), main)
    bound = [each["name"] for each in declared.get("durable_objects", {}).get("bindings", ())]
    if "PURGE_LOG" not in bound:
        text += _LOG_TABLES.format(place=f"env.{environment}." if environment else "")
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "wrangler.toml"
    made.write_text(text, encoding="utf-8")
    return made


def _elsewhere(text: str, home: Path, folder: Path, main: str) -> str:
    """Return a wrangler.toml for another folder: what it names lies, and is built, where it did."""
    text = re.sub(r"(?m)^main = .*$", f'main = "{main}"', text)
    text = re.sub(r"(?m)^\[build\]$", f'[build]\ncwd = "{home.as_posix()}"', text)
    return re.sub(
        r'(?m)^watch_dir = "(.*)"$',
        lambda found: f'watch_dir = "{os.path.relpath(home / found[1], folder)}"',
        text,
    )


class Wrangler(wrangler.Wrangler):
    """A running `wrangler dev`, of this checkout's Worker unless another `config` is given."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        variables: Mapping[str, str] | None = None,
        config: Path = paths.WRANGLER_CONFIG,
        environment: str = "",
        arguments: Sequence[str] = (),
        snapshots: Path | None = None,
    ) -> None:
        """``snapshots`` is the folder of the snapshot to start from, else that of scripts/install."""
        started_from = {"WORKERD_SNAPSHOTS": str(snapshots)} if snapshots else {}
        super().__init__(
            folder,
            tools=replace(TOOLS, environment={**QUIET, **started_from}),
            config=config,
            environment=environment,
            port=port,
            variables=variables,
            arguments=arguments,
        )
