"""Benches: the sums behind the rows, their JSON, and that `scripts/bench edge` runs."""

from __future__ import annotations

import io
import json
import subprocess
from argparse import Namespace
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console

from origin_sdk_edge.policy.tokens import candidates, read_key_set, signed_token
from origin_sdk_wire.config import load
from scripts.benches.bearers import ALGORITHMS, Signers
from scripts.benches.comparisons import measure
from scripts.benches.cost import MIX, Usage, cost_rows, dollars
from scripts.benches.features import settings_by_worker
from scripts.benches.rows import AtLeast, AtMost, Row, row, show, write
from scripts.runtime import paths

KEYS = ["part", "name", "median", "unit", "spread", "against", "ratio", "aim", "met"]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        pytest.param(
            row("p", "n", "u", [30.0, 10.0, 20.0]),
            Row("p", "n", 20.0, "u", spread=0.5),
            id="the median, and the interquartile range as a share of it",
        ),
        pytest.param(row("p", "n", "u", [12.0]), Row("p", "n", 12.0, "u"), id="one value has no spread"),
        pytest.param(
            row("p", "n", "u", [10.0, 30.0, 20.0], against="b", baseline=[10.0, 10.0, 10.0]),
            Row("p", "n", 20.0, "u", spread=0.5, against="b", ratio=2.0),
            id="the ratio is the median of the rounds' ratios",
        ),
        pytest.param(
            row("p", "n", "u", [10.0, 90.0, 30.0], against="b", baseline=[10.0, 10.0, 1.0]),
            Row("p", "n", 30.0, "u", spread=1.333, against="b", ratio=9.0),
            id="a ratio is taken within a round, not of the medians",
        ),
        pytest.param(
            row("p", "n", "u", [12.0], against="b", baseline=[10.0], aim=AtLeast(1.2)),
            Row("p", "n", 12.0, "u", against="b", ratio=1.2, aim=">= 1.2", met=True),
            id="an aim that is just met",
        ),
        pytest.param(
            row("p", "n", "u", [13.0], against="b", baseline=[10.0], aim=AtMost(1.2)),
            Row("p", "n", 13.0, "u", against="b", ratio=1.3, aim="<= 1.2", met=False),
            id="an aim that is missed",
        ),
        pytest.param(
            row("p", "n", "u", [0.05], aim=AtMost(0.1)),
            Row("p", "n", 0.05, "u", aim="<= 0.1", met=True),
            id="without a baseline the median is judged",
        ),
    ],
)
def test_a_row_sums_up_its_rounds(measured: Row, expected: Row) -> None:
    assert measured == expected


def test_rounds_that_don_t_match_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        row("p", "n", "u", [1.0, 2.0], against="b", baseline=[1.0])


def test_rows_are_written_as_a_list_of_objects(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write([row("p", "n", "u", [1.0], aim=AtMost(2))], file)
    [written] = json.loads(file.read_text())
    assert list(written) == KEYS == [each.name for each in fields(Row)]
    assert written == {
        "part": "p",
        "name": "n",
        "median": 1.0,
        "unit": "u",
        "spread": None,
        "against": None,
        "ratio": None,
        "aim": "<= 2",
        "met": True,
    }


def test_a_missed_aim_catches_the_eye() -> None:
    text = io.StringIO()
    show([row("p", "n", "u", [3.0], aim=AtMost(2))], Console(file=text, width=100))
    assert "NO" in text.getvalue()


def test_the_price_of_a_million_requests_is_reads_and_writes() -> None:
    assert dollars(Usage(reads=4, writes=1, origin=1)) == pytest.approx(4 * 0.50 + 1 * 5.00)


def test_the_mixed_example_weighs_each_kind_by_its_share() -> None:
    usages = {"hot": Usage(0, 0, 0), "warm": Usage(2, 0, 0), "cold": Usage(2, 1, 1)}
    assert sum(MIX.values()) == pytest.approx(1)
    assert cost_rows(usages)[-1].median == pytest.approx(MIX["warm"] * 1 + MIX["cold"] * 6)


def test_usage_is_counted_from_a_moment_on() -> None:
    assert Usage(12, 4, 3).minus(Usage(2, 0, 1)).over(2) == Usage(5, 2, 1)


def test_the_features_have_valid_rules_and_their_tokens_a_key() -> None:
    ruled, shared, keyed = (load(each) for each in settings_by_worker("http://127.0.0.1:1").values())
    paths = [[rule.paths for rule in each.rules] for each in (ruled, shared, keyed)]
    assert paths == [paths[0]] * 3
    signers = Signers()
    keys = read_key_set(json.dumps({"keys": signers.key_set()}))
    for algorithm in ALGORITHMS:
        [text] = signers.tokens(algorithm, 1)
        token = signed_token(text, ruled.token_issuers)
        assert len(candidates(keys, token) if token else []) == (0 if algorithm == "HS256" else 1), algorithm


def test_the_caches_can_be_compared_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {(each.part, each.name, each.unit): each.median for each in measure(Namespace(quick=True))}
    crowd, gone = "8 at once, of 0.5 s", "the origin is gone"
    expected = {
        (crowd, "may be stored: workerd", "origin requests"): 1,
        (crowd, "may not: workerd", "origin requests"): 8,
        (gone, "1 s past its lifetime: workerd", "status"): 200,
    }
    told = capsys.readouterr().err
    if "nginx is missing" not in told:
        expected |= {
            (crowd, "may be stored: nginx, told to", "origin requests"): 1,
            (gone, "1 s past its lifetime: nginx", "status"): 502,
            (gone, "1 s past its lifetime: nginx, told to", "status"): 200,
        }
    if "Varnish is missing" not in told:
        expected |= {(crowd, "may be stored: Varnish", "origin requests"): 1}
    assert {each: rows.get(each) for each in expected} == expected
    assert rows["purge of a tag", "workerd, 3 responses: worst", "s"] < 10


@pytest.mark.timeout(420)  # beside four other processes of tests
def test_the_edge_can_be_measured_quickly(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    ran = subprocess.run(
        ["scripts/bench", "edge", "--quick", "--json", str(file)],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = {(each["part"], each["name"]): each for each in json.loads(file.read_text())}
    assert ("wrk is missing" in ran.stderr) or rows["load", "memory hit"]["median"] > 0
    assert ("wrk is missing" in ran.stderr) or rows["counting", "memory hit"]["ratio"] > 0
    assert rows["start as deployed", "to the first KV hit"]["median"] > 0
    assert rows["cost", "hot request: KV keys read"]["met"] is True
    assert rows["cost", "cold request: KV keys written"]["median"] == 1
    assert rows["cost", "cold request: origin requests"]["median"] == 1
