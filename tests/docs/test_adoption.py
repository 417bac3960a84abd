"""How many lines an application takes: the page's table, held against those that run behind the Worker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PAGE = (ROOT / "docs" / "before-your-application.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `tests/runtime/services/(\w+)\.py`[^|]*\| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
_SETTINGS = {"ProxyFix", "USE_X_FORWARDED_HOST", "SECURE_PROXY_SSL_HEADER"}
"""What the frameworks' pages ask for that isn't ours."""


@pytest.mark.parametrize("name", ["fastapi_shop", "django_shop", "flask_shop"])
def test_the_lines_that_the_page_tells_are_those_of_the_application(name: str) -> None:
    tree = ast.parse((ROOT / "tests" / "runtime" / "services" / f"{name}.py").read_text(encoding="utf-8"))
    told = {found[1]: tuple(map(int, found.groups()[1:])) for found in _ROW.finditer(_PAGE)}
    lines = set(_lines(tree))
    calls = {line for line in lines if _is_call_in_view(tree, line)}
    all_lines = len({node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)})
    assert told[name] == (all_lines, len(lines - calls), len(calls))


def _lines(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that stand there for the cache: imports, settings, middleware, calls."""
    ours = set(_SETTINGS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("origin_sdk"):
            ours |= {alias.asname or alias.name for alias in node.names}
            yield node.lineno
        elif isinstance(node, ast.ImportFrom) and ours & {alias.name for alias in node.names}:
            yield node.lineno
    for node in ast.walk(tree):
        is_name = isinstance(node, ast.Name) and node.id in ours
        is_setting = isinstance(node, ast.keyword) and node.arg in ours
        is_path = isinstance(node, ast.Constant) and str(node.value).startswith("origin_sdk.")
        if isinstance(node, ast.Name | ast.keyword | ast.Constant) and (is_name or is_setting or is_path):
            yield node.lineno


def _is_call_in_view(tree: ast.Module, line: int) -> bool:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(node.body[0].lineno <= line <= (node.end_lineno or 0) for node in functions)
