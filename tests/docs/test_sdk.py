"""The snippets of docs/sdk*.md run, against the fake API, and the numbers in them are those of the code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from origin_sdk import Settings
from origin_sdk._edge.purge import CLOUDFLARE_MARGIN_SECONDS
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.settings import VARIABLES
from origin_sdk.cli import main
from origin_sdk.cli.context import EXIT_CODES
from origin_sdk.testing import FakeKV, assert_purged
from origin_sdk_wire.bounds import (
    KV_PROPAGATION_SECONDS,
    MARK_SECONDS,
    MAX_RECORD_SECONDS,
    purge_bound_seconds,
)
from tests.sdk.records import store

pytest_plugins = ["pytester"]

_FOLDER = Path(__file__).parents[2] / "docs"
_PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("sdk*.md"))}
_OTHERS = [_FOLDER.parent / "README.md", _FOLDER / "purging.md", _FOLDER / "purge-log.md"]
"""Pages that show how to purge."""


def _blocks(language: str) -> list[object]:
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    others = {path.name: path.read_text(encoding="utf-8") for path in _OTHERS if language == "python"}
    return [
        pytest.param(block, id=f"{name}-{number}")
        for name, page in {**_PAGES, **others}.items()
        for number, block in enumerate(fence.findall(page))
    ]


@pytest.fixture
def kv(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> Iterator[FakeKV]:
    """The API that the environment names, with something stored, and the files that the pages speak of."""
    fake = FakeKV(SystemClock(), namespace_id="local")
    store(fake, "https://api.example.com/menu", groups=("menu",))
    store(fake, "https://api.example.com/products/17", groups=("products", "product-17"))
    folder = pytester.path
    binding = '[[kv_namespaces]]\nbinding = "CACHE"\nid = "local"\n'
    (folder / "wrangler.toml").write_text(f'[[vars.RULES]]\nquery_drop = ["utm_*"]\n{binding}')
    (folder / "menu.json").write_text("{}")
    (folder / "changed-urls.txt").write_text("https://api.example.com/menu\n")
    (folder / "changed-groups.txt").write_text("menu\n")
    (folder / "keys.jsonl").write_text('{"key": "a-key", "tenant": "globex"}\n')
    (folder / "leaked.txt").write_text("a-key\n")
    monkeypatch.setenv("EDGE_CACHE_API_KEY_TABLE_SECRET", "a secret of the tests that has thirty-two bytes")
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", "local")
    for name in (
        "CLOUDFLARE_API_TOKEN",
        "CLOUDFLARE_ACCOUNT_ID",
        "EDGE_CACHE_ACTOR",
        "EDGE_CACHE_AUDIT_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    with fake.serve() as base_url:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", base_url)
        # No page is warmed over the internet.
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield fake


@pytest.mark.parametrize("block", _blocks("python"))
def test_a_snippet_runs(block: str, kv: FakeKV, pytester: pytest.Pytester) -> None:
    if "def test_" in block:
        options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
        pytester.makepyfile(block)
        pytester.runpytest_inprocess(*options).assert_outcomes(passed=block.count("def test_"))
        return
    exec(compile(block, "snippet", "exec"), {"__name__": "snippet"})  # noqa: S102 - our own page
    if "edge.purge(" in block or "batch.purge(" in block:
        assert kv.marks_in_force()


@pytest.mark.parametrize("block", _blocks("console"))
def test_a_command_runs(block: str, kv: FakeKV, capsys: pytest.CaptureFixture[str]) -> None:
    for line in block.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        assert command[0] == "origin-sdk"
        with pytest.raises(SystemExit) as left:
            main(command[1:])
        assert not left.value.code, capsys.readouterr().err
    assert kv.requests or block.strip() == "$ origin-sdk check", "it asks nobody"


def test_the_page_purges_what_it_says(kv: FakeKV) -> None:
    blocks = re.findall(r"```python\n(.*?)```", _PAGES["sdk.md"], re.DOTALL)
    [block] = [block for block in blocks if "utm_source" in block]
    exec(compile(block, "snippet", "exec"), {})  # noqa: S102 - our own page
    assert_purged(kv, url="https://api.example.com/products?page=2")


@pytest.mark.parametrize(
    "said",
    [
        f"KV's propagation ({KV_PROPAGATION_SECONDS} s)",
        f"by default): {purge_bound_seconds():g} s",
        f"plus {CLOUDFLARE_MARGIN_SECONDS:g} seconds",
        f"Marks live for {MARK_SECONDS // 86_400} days",
        f"stored responses for at most {MAX_RECORD_SECONDS // 86_400}",
    ],
)
def test_a_number_is_that_of_the_code(said: str) -> None:
    assert said in _PAGES["sdk.md"]


@pytest.mark.parametrize(("setting", "variable"), list(VARIABLES.items()))
def test_every_variable_is_in_the_table(setting: str, variable: str) -> None:
    assert f"| `{setting}` | `{variable}` |" in _PAGES["sdk.md"]
    assert setting in Settings.__dataclass_fields__


@pytest.mark.parametrize(("code", "meaning"), list(EXIT_CODES.items()))
def test_every_exit_code_is_in_the_table(code: int, meaning: str) -> None:
    assert f"| {code} | {meaning} |" in _PAGES["sdk-cli.md"]


@pytest.mark.parametrize(("name", "page"), list(_PAGES.items()))
def test_links_lead_somewhere(name: str, page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (_FOLDER / link).exists(), f"{name}: {link}"
