"""docs/cost.md: its sums are right, and its prices are those of the bench."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from origin_sdk_wire.settings import Settings
from scripts.benches.cost import DOLLARS_A_MILLION_READS, DOLLARS_A_MILLION_WRITES, MIX, Usage, dollars

TEXT = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
TABLE = {
    kind: Usage(*map(float, numbers.split("|")))
    for kind, numbers in re.findall(
        r"^\| (hot|warm|cold) \|[^|]*\|((?:[^|]*\|){2}[^|]*)\|", TEXT, re.MULTILINE
    )
}
SHOWN = {kind: float(last) for kind, last in re.findall(r"^\| (.+?) \|.*\| ([\d.]+) \|$", TEXT, re.MULTILINE)}


def test_the_prices_are_those_of_the_bench() -> None:
    assert f"dollars = {DOLLARS_A_MILLION_READS:.2f} x" in TEXT
    assert f"+ {DOLLARS_A_MILLION_WRITES:.2f} x" in TEXT


@pytest.mark.parametrize("kind", ["hot", "warm", "cold"])
def test_each_line_is_the_formula_of_its_counts(kind: str) -> None:
    assert SHOWN[kind] == pytest.approx(dollars(TABLE[kind]))


def test_the_mixed_line_is_the_sum_of_its_shares() -> None:
    name = ", ".join(f"{share:.0%} {kind}" for kind, share in MIX.items())
    assert SHOWN[name] == pytest.approx(sum(MIX[kind] * SHOWN[kind] for kind in MIX), abs=0.001)


@pytest.mark.parametrize(("requests_per_second", "reads"), [(170, 0.005), (34, 0.025), (1, 0.86)])
def test_the_examples_of_the_formula_for_hot_urls_hold(requests_per_second: int, reads: float) -> None:
    assert f"{reads:g} " in TEXT or f"{reads:g}:" in TEXT
    assert reads == pytest.approx(3 / (0.7 * Settings().mark_interval * requests_per_second), rel=0.02)
