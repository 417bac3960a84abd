"""A module as it is deployed: without what only a reader needs, and each statement on the line where it was.

Comments, docstrings, annotations of parameters and results and ``__all__`` go, and imports that nothing else
needs. An upload shrinks by a third, and an isolate that starts from nothing compiles less. A traceback names
the lines of the source. Annotations of fields stay: dataclasses read them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["compact"]

_Position: TypeAlias = tuple[int, int]
"""A row, from 1, and a column, in characters from 0."""
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_WORD = re.compile(r"[A-Za-z_]\w*")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


class _Cut(NamedTuple):
    start: _Position
    end: _Position
    instead: str = ""
    last: str = ""
    """As ``instead``, but on the line where the cut ends."""


def compact(source: str) -> str:
    """Return a module that does what ``source`` does, line by line; nothing may read what is left out.

    Raises :class:`SyntaxError` and :class:`ValueError` for what isn't Python.
    """
    tree = ast.parse(source)  # first: it says of what isn't Python where, and why
    rows = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    cuts = [
        *_comments(tokens),
        *_bare_strings(tree, rows),
        *_annotations(tree, rows, tokens),
    ]
    shorter = _applied(rows, cuts)
    tree = ast.parse(shorter)
    rows = shorter.splitlines(keepends=True)
    return _applied(rows, [*_unused_imports(tree, rows), *_lists_of_names(tree, rows)])


def _comments(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[_Cut]:
    for token in tokens:
        if token.type == tokenize.COMMENT:
            yield _Cut((token.start[0], len(token.line[: token.start[1]].rstrip())), token.end)


def _bare_strings(tree: ast.Module, rows: Sequence[str]) -> Iterator[_Cut]:
    """Yield docstrings, and strings that stand as such below what they describe."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | _Function):
            strings = [each for each in node.body if _is_bare_string(each)]
            is_all = len(strings) == len(node.body) and not isinstance(node, ast.Module)
            for number, string in enumerate(strings):
                yield _cut_of(string, rows, instead="pass" if is_all and not number else "")


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _annotations(
    tree: ast.Module, rows: Sequence[str], tokens: Sequence[tokenize.TokenInfo]
) -> Iterator[_Cut]:
    """Yield the annotations of parameters and results."""
    place = {token.start: number for number, token in enumerate(tokens)}
    for node in ast.walk(tree):
        if not isinstance(node, _Function):
            continue
        for each in _parameters(node.args):
            if each.annotation:
                colon = place[_position(rows, each.lineno, each.col_offset)] + 1
                yield _Cut(tokens[colon].start, _end(tokens, colon + 1, frozenset({",", "=", ")"})))
        if node.returns:
            start = place[_position(rows, node.returns.lineno, node.returns.col_offset)]
            arrow = next(number for number in range(start, 0, -1) if tokens[number].string == "->")
            # With its bracket, within which alone the lines of a long annotation may be empty.
            yield _Cut(tokens[arrow - 1].start, _end(tokens, arrow + 1, frozenset({":"})), last=")")


def _parameters(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (each for each in (arguments.vararg, arguments.kwarg) if each)


def _end(tokens: Sequence[tokenize.TokenInfo], number: int, ends: frozenset[str]) -> _Position:
    """Return where an expression ends that starts at a token: before one of ``ends`` outside all brackets."""
    depth, last = 0, tokens[number].end
    for token in tokens[number:]:
        if not depth and token.string in ends:
            break
        depth += (token.string in _OPENING) - (token.string in _CLOSING)
        if token.type not in {tokenize.NL, tokenize.COMMENT}:
            last = token.end
    return last


def _unused_imports(tree: ast.Module, rows: Sequence[str]) -> Iterator[_Cut]:
    """Yield imports at the top whose names stand nowhere else; what is written as text counts as well."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.update(_WORD.findall(node.value))
    for statement in tree.body:
        if not isinstance(statement, ast.ImportFrom) or statement.module == "__future__":
            continue
        names = [each for each in statement.names if (each.asname or each.name) in used]
        if len(names) < len(statement.names):
            kept = ast.unparse(ast.ImportFrom(statement.module, names, statement.level)) if names else ""
            yield _cut_of(statement, rows, instead=kept)


def _lists_of_names(tree: ast.Module, rows: Sequence[str]) -> Iterator[_Cut]:
    """Yield ``__all__``, which has said by now which imports are passed on: no import takes all names."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            yield _cut_of(statement, rows, instead="")


def _cut_of(statement: ast.stmt, rows: Sequence[str], instead: str) -> _Cut:
    """Return the cut of a statement, with the indentation if nothing stands in its place."""
    assert statement.end_lineno is not None and statement.end_col_offset is not None  # noqa: S101, PT018 - of parsed text
    start = _position(rows, statement.lineno, statement.col_offset)
    end = _position(rows, statement.end_lineno, statement.end_col_offset)
    is_alone = not instead and not rows[start[0] - 1][: start[1]].strip()
    return _Cut((start[0], 0) if is_alone else start, end, instead)


def _position(rows: Sequence[str], row: int, column_bytes: int) -> _Position:
    """Return a position of the syntax tree, which counts bytes, in characters."""
    return row, len(rows[row - 1].encode()[:column_bytes].decode())


def _applied(rows: Sequence[str], cuts: Iterable[_Cut]) -> str:
    """Return a text without its cuts, of as many lines."""
    parts: list[str] = []
    at: _Position = (1, 0)
    for cut in sorted(cuts):
        if cut.start < at:
            continue  # a comment within what is cut already
        parts += (_between(rows, at, cut.start), cut.instead, "\n" * (cut.end[0] - cut.start[0]), cut.last)
        at = cut.end
    parts.append(_between(rows, at, (len(rows) + 1, 0)))
    return "".join(parts)


def _between(rows: Sequence[str], start: _Position, end: _Position) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return rows[first - 1][left:right]
    return "".join(
        (rows[first - 1][left:], *rows[first : last - 1], rows[last - 1][:right] if last <= len(rows) else "")
    )
