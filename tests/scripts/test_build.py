"""What wrangler takes from this repository: the Worker, the hooks, and what lies beside them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from origin_sdk._deployment.worker_code import STAMP, deploy, worker_code
from origin_sdk.errors import InvalidSettings
from scripts.runtime import paths
from scripts.runtime.build import build


def test_what_lies_beside_the_hooks_is_deployed_as_it_is(tmp_path: Path) -> None:
    source, folder = tmp_path / "worker", tmp_path / "with space" / "ü"
    mine = {"hooks.py": "import shop\n", "shop/__init__.py": '"""Mine."""\n', "prices.json": json.dumps([1])}
    for name, text in mine.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    for name in ("__pycache__/hooks.pyc", ".hooks.py.swp", "origin_sdk_wire/py.typed", "entry.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()

    build(folder, source)

    code = worker_code()
    assert _files(folder) == {*code, *mine, STAMP}
    assert all((folder / name).read_text() == text for name, text in mine.items())
    (source / "shop" / "__init__.py").unlink()
    build(folder, source)
    assert _files(folder) == {*code, "hooks.py", "prices.json", STAMP}


def _files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_it_needs_nothing_but_python() -> None:
    ran = subprocess.run(
        [sys.executable, "-S", "-c", "import scripts.runtime.build"],
        cwd=paths.ROOT,
        env={"PYTHONPATH": ".:worker"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("module", "where"),
    [
        pytest.param(b"x = 1\ndef f(:\n", "bad.py, line 2: invalid syntax", id="syntax"),
        pytest.param(b"x = (\n", r"bad.py, line 1: '\(' was never closed", id="an open bracket"),
        pytest.param(b"if x:\n    y\n  z\n", "bad.py, line 3: unindent", id="indentation"),
        pytest.param(b"# \xff\n", "bad.py: 'utf-8' codec", id="another encoding"),
    ],
)
def test_a_module_that_isnt_python_is_named_with_its_line(tmp_path: Path, module: bytes, where: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^origin_sdk_edge/{where}"):
        deploy(tmp_path, {"origin_sdk_edge/bad.py": module}, "1")


def test_a_stamp_that_cant_be_read_is_written_again(tmp_path: Path) -> None:
    (tmp_path / STAMP).write_bytes(b"\xff\xfe\n\0")
    deploy(tmp_path, {"entry.py": b"x = 1\n"}, "1")
    assert (tmp_path / STAMP).read_text().startswith("1\n")


def test_two_builds_may_remove_the_same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, unlink, both = tmp_path / "origin_sdk_edge" / "old.py", Path.unlink, threading.Barrier(2)
    old.parent.mkdir()
    old.touch()

    def unlink_together(file: Path, *, missing_ok: bool = False) -> None:
        both.wait(30)
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_together)
    faults: list[Exception] = []

    def run() -> None:
        try:
            deploy(tmp_path, {"entry.py": b"x = 1\n"}, "1")
        except Exception as error:  # noqa: BLE001 - whatever it is
            faults.append(error)

    builds = [threading.Thread(target=run) for _ in range(2)]
    for each in builds:
        each.start()
    for each in builds:
        each.join()
    assert faults == []
    assert not old.exists()
