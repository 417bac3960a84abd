"""A short run of the fuzzer; `scripts/fuzz` tries a million cases."""

from __future__ import annotations

import pytest

from scripts.runtime import fuzz


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_thousand_cases_hold(name: str) -> None:
    assert fuzz.fuzz(1000, seed=7, names=[name]) == {name: 1000}


def test_a_case_can_be_made_again() -> None:
    assert fuzz.main(["--only", "keys", "--case", "12", "--seed", "3"]) == 0


def test_a_run_ends_with_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--cases", "100", "--only", "dates"]) == 0

    assert "dates                100 cases held" in capsys.readouterr().out
