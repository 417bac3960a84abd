"""What is deployed of a module: less to read, and the same to run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import CodeType

import pytest

from origin_sdk._deployment.compact import compact
from origin_sdk._deployment.worker_code import worker_code

ROWS = [
    pytest.param("x = 1  # why\n# alone\ny = 2\n", "x = 1\n\ny = 2\n", id="comments"),
    pytest.param(
        "x = '# no comment'  # é\n", "x = '# no comment'\n", id="a string that looks like a comment"
    ),
    pytest.param(
        '"""Module.\n\nMore.\n"""\nx = 1\n', "\n\n\n\nx = 1\n", id="a module's docstring, over lines"
    ),
    pytest.param('def f():\n    """Do."""\n', "def f():\n    pass\n", id="a function of a docstring alone"),
    pytest.param(
        'def f():\n    """Do."""\n    return 1\n', "def f():\n\n    return 1\n", id="a function's docstring"
    ),
    pytest.param('class A(E): "Sad."\n', "class A(E): pass\n", id="a class in one line"),
    pytest.param(
        'class A:\n    x: int = 1\n    """An x."""\n',
        "class A:\n    x: int = 1\n\n",
        id="the text below a field",
    ),
    pytest.param("x: int = f()\n", "x: int = f()\n", id="variables keep their annotations"),
    pytest.param(
        "def f(a: int, *b: str, c: 'X' = 3, **d: T[int, str]) -> None: g()\n",
        "def f(a, *b, c = 3, **d): g()\n",
        id="each kind of parameter",
    ),
    pytest.param(
        "def f(\n    a: Callable[\n        [int], str\n    ] = g,  # why\n) -> (\n    A | B\n): h()\n",
        "def f(\n    a\n\n = g,\n\n\n): h()\n",
        id="annotations over lines, and in brackets",
    ),
    pytest.param("def é(ü: 'ß', ö: int): ö\n", "def é(ü, ö): ö\n", id="characters of more than a byte"),
    pytest.param(
        "f = lambda a: {a: a}\nx = y[a:b]\n", "f = lambda a: {a: a}\nx = y[a:b]\n", id="other colons"
    ),
    pytest.param("from a import A\ndef f(x: A): x\n", "\ndef f(x): x\n", id="an import for an annotation"),
    pytest.param(
        "from a import (\n    A,\n    B as C,\n)\ndef f(x: A): C\n",
        "from a import B as C\n\n\n\ndef f(x): C\n",
        id="one name of an import",
    ),
    pytest.param(
        "from a import A\n__all__ = ['A']\n",
        "from a import A\n\n",
        id="an import that is passed on",
    ),
    pytest.param(
        "from a import A\nx = cast('list[A]', y)\n",
        "from a import A\nx = cast('list[A]', y)\n",
        id="a name in a text",
    ),
    pytest.param(
        "import a\nimport hooks\n", "import a\nimport hooks\n", id="a module that is imported whole"
    ),
]


@pytest.mark.parametrize(("source", "expected"), ROWS)
def test_it_leaves_out(source: str, expected: str) -> None:
    assert compact(source) == expected


def test_each_module_of_the_worker_runs_the_same_code_on_the_same_lines() -> None:
    for name, source in worker_code().items():
        deployed = compact(source.decode())
        assert deployed.count("\n") == source.decode().count("\n"), name
        assert list(_codes(_plain(source.decode(), name), name)) == list(_codes(ast.parse(deployed), name)), (
            name
        )


def _codes(tree: ast.Module, name: str) -> Iterator[tuple[object, ...]]:
    """Yield what each function, class and module of a tree does, and on which lines."""
    # The compiler numbers constants and names as they come, so that equal code has equal bytes.
    todo = [compile(tree, name, "exec", dont_inherit=True)]
    while todo:
        code = todo.pop()
        inner = [each for each in code.co_consts if isinstance(each, CodeType)]
        constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
        lines = [line for _, _, line in code.co_lines()]
        yield code.co_qualname, code.co_code, constants, code.co_names, code.co_varnames, lines
        todo += inner


def _plain(source: str, name: str) -> ast.Module:
    """Return the tree of a module without what may go, by the tree alone."""
    tree = _Plain().visit(ast.parse(source, name))
    words = {word for node in ast.walk(tree) for word in _words(node)}
    for statement in list(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
            statement.names = [each for each in statement.names if (each.asname or each.name) in words]
            if not statement.names:
                tree.body.remove(statement)
        elif isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            tree.body.remove(statement)
    assert isinstance(tree, ast.Module)
    return tree


def _words(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Plain(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | ast.Pass | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        first = node.body[0] if isinstance(node, _BLOCKS) else None
        super().generic_visit(node)
        if isinstance(node, _BLOCKS) and first and not node.body:
            node.body = [ast.copy_location(ast.Pass(), first)]
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        return node
