"""What is pure gives the same in workerd as in CPython, and first of all the golden vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.runtime import paths
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Worker
from tests.edge.test_claims import token_of

_TESTS = Path(__file__).parents[1]
_VECTORS = sorted((_TESTS / "vectors").glob("*.json"))
_LONG_TEXT = "a key that is long enough for HS256"


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The Worker of `workers/pure`, with everything of ours beside it."""
    folder = tmp_path_factory.mktemp("pure")
    source = folder / "worker"
    shutil.copytree(paths.WORKER, source, ignore=shutil.ignore_patterns("__pycache__", "adapters"))
    shutil.copy(_TESTS / "runtime" / "workers" / "pure" / "entry.py", source)
    shutil.copy(_TESTS / "wire" / "vector_runner.py", source)
    with (
        Workerd(folder, [Worker("pure", source)]) as workerd,
        httpx.Client(base_url=workerd.url("pure"), timeout=60) as client,
    ):
        yield client


def _call(pure: httpx.Client, path: str, body: str) -> Any:
    return pure.post(path, content=body.encode()).raise_for_status().json()


@pytest.mark.parametrize("vectors", [pytest.param(path, id=path.stem) for path in _VECTORS])
def test_the_golden_vectors_hold_in_workerd(pure: httpx.Client, vectors: Path) -> None:
    assert _call(pure, "/vectors", vectors.read_text(encoding="utf-8")) == []


def test_problems_of_the_configuration_are_named_in_workerd(pure: httpx.Client) -> None:
    variables = {"KV_TIMEOUT": "soon", "ORIGINS": "http://a", "RULES": [{"lifetme": 5}]}
    problems = _call(pure, "/problems", json.dumps(variables))
    assert [problem.partition(":")[0] for problem in problems] == [
        "ORIGINS",
        "KV_TIMEOUT = 'soon'",
        "RULES[0].lifetme = 5",
    ]


def test_hooks_that_do_nothing_are_absent_in_workerd(pure: httpx.Client) -> None:
    assert _call(pure, "/hooks", "") is True


@pytest.mark.parametrize(
    ("now_seconds", "expected"),
    [pytest.param(1, {"sub": "17", "exp": 2}, id="valid"), pytest.param(2, None, id="expired")],
)
def test_a_token_is_verified_in_workerd(pure: httpx.Client, now_seconds: int, expected: object) -> None:
    arguments = [token_of({"sub": "17", "exp": 2}), _LONG_TEXT, now_seconds]
    assert _call(pure, "/claims", json.dumps(arguments)) == expected
