"""The same rows with no memory: every response is written to KV, and read back from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from tests.runtime.http_rows import Results, Row, parameters
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.test_http_validation import CONDITIONS, HEADS, RANGES, VALIDATION, VARY

ROWS = [*VARY, *CONDITIONS, *VALIDATION, *HEADS, *RANGES]
_WRITTEN_SECONDS = 1.2
"""Longer than the second in which KV takes one write to a key."""


@pytest.fixture(scope="module")
def kv_url(
    running_origin: ScriptedOrigin, worker_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    variables = {"ORIGIN": running_origin.url, "PROFILE": "rfc9111", "MEMORY_BYTES": "0"}
    worker = Worker("kv", worker_tree / "worker", variables=variables)
    with Workerd(tmp_path_factory.mktemp("kv"), [worker]) as workerd:
        yield workerd.url("kv")


@pytest.fixture(scope="module")
def results(kv_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(kv_url, running_origin, ROWS, pause_seconds=_WRITTEN_SECONDS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_kv(row: Row, results: Results) -> None:
    results.check(row)
