import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.wire.vector_runner import CHECKS, run_vectors

_VECTORS = Path(__file__).parents[1] / "vectors"


_ALL: list[dict[str, Any]] = [
    vector for path in sorted(_VECTORS.glob("*.json")) for vector in json.loads(path.read_text())["vectors"]
]


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in _ALL])
def test_vector(vector: dict[str, Any]) -> None:
    assert run_vectors(json.dumps({"vectors": [vector]})) == []


def test_each_vector_has_an_id_of_its_own_a_sentence_and_a_section() -> None:
    assert [name for name, times in Counter(vector["id"] for vector in _ALL).items() if times > 1] == []
    for vector in _ALL:
        assert vector.keys() == {"id", "says", "section", "check", "given", "expected"}
        assert vector["says"].endswith(".")


def test_each_check_has_vectors() -> None:
    assert {vector["check"] for vector in _ALL} == set(CHECKS)


def test_a_wrong_expectation_is_a_failure() -> None:
    vector = {
        "id": "x",
        "says": "s",
        "section": "",
        "check": "target",
        "given": {"url": "http://a/"},
        "expected": 1,
    }
    assert run_vectors(json.dumps({"vectors": [vector]})) == ["x: s: expected 1, got 'http://a/'"]
