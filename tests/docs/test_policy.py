import re
from pathlib import Path

import pytest

from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.policy.status import FwdReason, Status, cache_status
from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.fields import TARGETED_FIELDS
from origin_sdk_wire.succession import BEARINGS, AnswerKind, Bearing, Ends

_DOCS = Path(__file__).parents[2] / "docs"
_WORKER = Path(__file__).parents[2] / "worker"
_WORDS = (_DOCS / "cache-status.md").read_text(encoding="utf-8")
_POLICY = (_DOCS / "policy.md").read_text(encoding="utf-8")


def _rows(text: str, header: str) -> list[list[str]]:
    table = text.partition(header)[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return [row for row in rows if len(row) > 1 and set(row[0]) - set("-")]


_DETAILS = _rows(_WORDS, "| detail | what happened | what to do about it |")


def test_every_detail_is_documented_once_and_no_other() -> None:
    assert [row[0].strip("`") for row in _DETAILS] == list(
        dict.fromkeys(row[0].strip("`") for row in _DETAILS)
    )
    assert {row[0].strip("`") for row in _DETAILS} == {*Reason, *OriginFailure}


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in _DETAILS])
def test_a_detail_has_a_cause_and_a_remedy(row: list[str]) -> None:
    _, happened, remedy = row
    assert happened.endswith(".")
    assert remedy.endswith(".")


def test_every_detail_can_be_met() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in _WORKER.rglob("*.py"))
    assert [reason for reason in Reason if f"Reason.{reason.name}" not in code] == []


def test_no_detail_is_made_up_beside_the_table() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (_WORKER / "origin_sdk_edge").rglob("*.py"))
    assert re.findall(r'Status\("', code) == []


def test_every_parameter_is_documented() -> None:
    status = Status(
        Reason.STORED,
        hit=True,
        forwarded=FwdReason.STALE,
        forwarded_status=200,
        stored=True,
        collapsed=True,
        hit_for_miss=True,
        ttl_seconds=1,
        is_without_log=True,
        is_without_flight=True,
        is_without_shield=True,
        unkeyed=("x-api-key",),
    )
    shown = cache_status("C", status, "k").split("; ")[1:]
    documented = [row[0].strip("`") for row in _rows(_WORDS, "| parameter | meaning |")]
    assert sorted(part.partition("=")[0] for part in shown) == sorted(documented)
    (reasons,) = [row[1] for row in _rows(_WORDS, "| parameter | meaning |") if row[0] == "`fwd`"]
    assert {forwarded for forwarded in FwdReason if f"`{forwarded}`" in reasons} == set(FwdReason)


_ENDS = {
    "if it can't be stored, whoever asks": Ends.IF_WITHDRAWN,
    "if it can't be stored any more": Ends.IF_WITHDRAWN,
    "if it isn't stored": Ends.UNLESS_REPLACED,
    "yes": Ends.UNLESS_REPLACED,
    "no": Ends.NEVER,
}


def test_the_table_of_answers_is_that_of_the_code() -> None:
    rows = _rows(_POLICY, "| answer | takes its place | ends it |")[0:]
    documented = {
        AnswerKind[row[0].partition(":")[0].upper().replace(" ", "_")]: Bearing(
            may_replace=row[1] != "no",
            ends=_ENDS[row[2]],
            gives_way=row[3] != "no",
            rests=row[4] == "yes",
        )
        for row in rows
        if ":" in row[0]
    }
    assert documented == BEARINGS


def test_the_numbers_and_fields_are_those_of_the_code() -> None:
    assert f"in {MAX_GROUPS} groups" in _POLICY
    assert f"more than {MAX_GROUPS} groups" in _WORDS
    named = re.findall(r"`([A-Za-z-]+-Control)`", _POLICY.partition("the first of these fields")[2])
    assert [name.lower() for name in named[:3]] == list(TARGETED_FIELDS)
