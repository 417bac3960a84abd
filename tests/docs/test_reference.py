"""The pages that are made of the code have every command, and every module that the other pages import."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from origin_sdk.cli.app import _NAMES
from scripts.runtime import reference

ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^\s*from (origin_sdk[\w.]*) import ", re.MULTILINE)


@pytest.fixture(scope="module")
def commands() -> str:
    return reference.commands()


@pytest.fixture(scope="module")
def api() -> str:
    return reference.api()


@pytest.mark.parametrize("name", _NAMES)
def test_every_command_stands_there_with_its_options(name: str, commands: str) -> None:
    assert f"\n## `origin-sdk {name}`\n" in commands


def test_options_are_told_with_their_help(commands: str) -> None:
    assert re.search(r"^\| `--hard`[^|]* \| \w.+ \|$", commands, re.MULTILINE)
    assert "\n### `origin-sdk outbox list`\n" in commands
    assert "[bold" not in commands


def test_every_module_that_pages_import_stands_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    imported = {name for page in pages for name in _IMPORT.findall(page.read_text(encoding="utf-8"))}
    assert imported - set(reference.MODULES) == set()


@pytest.mark.parametrize("module", reference.MODULES)
def test_every_public_name_stands_there(module: str, api: str) -> None:
    _, _, section = api.partition(f"\n## `{module}`\n")
    section = section.partition("\n## ")[0]
    assert [name for name in import_module(module).__all__ if f"\n### `{name}`\n" not in section] == []


def test_a_signature_is_read_without_modules_and_addresses(api: str) -> None:
    assert "class PurgeClient(settings: Settings | None = None, *" in api
    assert not re.search(r"0x[0-9a-f]{6}|collections\.abc|<class|:class:", api)
