"""What `wrangler deploy` would upload, and how much it is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.runtime import paths
from scripts.runtime.wrangler import BUNDLE_FLAG, QUIET, read_config

MOST_KIB = 622.0
MOST_COMPRESSED_KIB = 156.0

_SIZES = re.compile(r"Total Upload: ([\d.]+) KiB / gzip: ([\d.]+) KiB")


def test_all_of_the_worker_is_uploaded_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = _dry_run(tmp_path)

    uploaded = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*") if file.is_file()}
    # wrangler writes a README.md of its own; pywrangler, where it was used, leaves python_modules/ behind.
    uploaded = {name for name in uploaded if name != "README.md" and not name.startswith("python_modules/")}
    assert uploaded == {file.relative_to(paths.WORKER).as_posix() for file in paths.WORKER.rglob("*.py")}
    with capsys.disabled():
        print(f"\n  upload: {len(uploaded)} modules, {' KiB, compressed '.join(_sizes(output))} KiB")  # noqa: T201 - CI shows it


def test_the_upload_stays_small(tmp_path: Path) -> None:
    size, compressed = map(float, _sizes(_dry_run(tmp_path)))

    assert size <= MOST_KIB
    assert compressed <= MOST_COMPRESSED_KIB


def test_the_flag_of_local_runtimes_is_not_deployed() -> None:
    assert BUNDLE_FLAG not in read_config()["compatibility_flags"]


def _dry_run(folder: Path) -> str:
    command = [str(paths.NODE), str(paths.WRANGLER), "deploy", "--dry-run", "--outdir", str(folder)]
    environment = {**os.environ, **QUIET, "WRANGLER_LOG_PATH": str(folder.with_name("logs"))}
    done = subprocess.run(
        command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _sizes(output: str) -> tuple[str, ...]:
    found = _SIZES.search(output)
    assert found, output
    return found.groups()
