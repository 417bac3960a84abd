import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from origin_sdk_wire.config import SettingRow, documentation, load
from origin_sdk_wire.rule_tables import RULE_SETTINGS
from origin_sdk_wire.settings import Settings
from origin_sdk_wire.unkeyed import DESCRIPTIVE_FIELDS, NEGOTIATED_FIELDS

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
_SECRETS = dict.fromkeys(("TOKEN_SECRET", "API_KEY_TABLE_SECRET"), "0123456789abcdef0123456789abcdef")
_SECRETS["STORE_KEYS"] = "k:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
_NEEDED: Mapping[str, Mapping[str, object]] = {
    "api_key_in": {"key_claims": ["tenant"], "data_class": "private"},
    "audience": {"key_claims": ["sub"]},
    "revoked_by": {"key_claims": ["sub"]},
    "weights": {"origins": ["https://a.example", "https://b.example"]},
}
"""What the example of a rule's setting can't do without."""


def _table(header: str) -> Iterator[list[str]]:
    rows = _DOCUMENT.partition(header)[2].partition("\n\n")[0].splitlines()
    return ([cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| `"))


def _unquoted(cell: str) -> str:
    return "" if cell == "empty" else cell.strip("`")


_SETTINGS = {row[0].strip("`"): row for row in _table("| Setting | Default |")}
_RULE_SETTINGS = {row[0].strip("`"): row for row in _table("| Setting | Meaning |")}
_EXAMPLES = re.findall(r"^### (.*?)$.*?^```toml\n(.*?)^```", _DOCUMENT, re.DOTALL | re.MULTILINE)


def test_every_setting_stands_in_the_table_in_the_order_of_the_code() -> None:
    assert list(_SETTINGS) == [name.upper() for name in Settings.__dataclass_fields__]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.variable) for row in documentation()])
def test_the_defaults_are_those_of_the_code(row: SettingRow) -> None:
    _, safe, rfc9111, *_ = _SETTINGS[row.variable]
    if safe.startswith("[see below]"):
        listed = _DOCUMENT.partition(f"These are the `{row.variable}` of")[2].partition("\n\n")[2]
        safe = ", ".join(sorted(re.findall(r"`([a-z0-9*-]+)`", listed.partition("\n\n")[0])))
    assert _unquoted(safe) == row.safe
    assert (_unquoted(safe) if rfc9111 == "-" else _unquoted(rfc9111)) == row.rfc9111


def test_the_fields_that_the_origin_sees_on_conditions_are_those_of_the_code() -> None:
    rows = _table_of("## What the origin sees")
    for beginning, names in [("describes", DESCRIPTIVE_FIELDS), ("is negotiated", NEGOTIATED_FIELDS)]:
        (row,) = [row for row in rows if row.startswith(f"| {beginning}")]
        assert set(re.findall(r"`([a-z*-]+)`", row.split("|")[1])) == names


def _table_of(heading: str) -> list[str]:
    return [row for row in _DOCUMENT.partition(heading)[2].splitlines() if row.startswith("| ")]


@pytest.mark.parametrize("name", list(_SETTINGS))
def test_the_example_of_a_setting_loads_and_differs_from_the_default(name: str) -> None:
    (example,) = tomllib.loads(_SETTINGS[name][-1].strip("`")).items()
    assert example[0] == name
    assert load({name: example[1]}) != load({})


def test_every_setting_of_a_rule_stands_in_the_table() -> None:
    assert set(_RULE_SETTINGS) == RULE_SETTINGS


@pytest.mark.parametrize("name", list(_RULE_SETTINGS))
def test_the_example_of_a_rules_setting_loads(name: str) -> None:
    table = tomllib.loads(_RULE_SETTINGS[name][-1].strip("`"))
    assert list(table) == [name]
    needed = _NEEDED.get(name, {})
    assert load({"RULES": [{**table, **needed}], **_SECRETS}).rules


@pytest.mark.parametrize("example", [pytest.param(example, id=title) for title, example in _EXAMPLES])
def test_the_examples_load(example: str) -> None:
    assert load(tomllib.loads(example)["vars"]).rules


def test_the_examples_fit_together() -> None:
    tables = [table for _, example in _EXAMPLES for table in tomllib.loads(example)["vars"]["RULES"]]
    assert len(load({"RULES": tables, **_SECRETS}).rules) == len(tables)


def test_the_example_for_the_command_line_loads() -> None:
    (rules,) = re.findall(r"--var 'RULES:(.*?)'", _DOCUMENT)
    assert load({"RULES": rules}).rules
