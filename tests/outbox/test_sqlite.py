"""What happens to a file that an outbox has open."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from origin_sdk import Purge
from origin_sdk.errors import OutboxUnavailable
from origin_sdk.outbox import State, sqlite
from origin_sdk.outbox.sqlite import SqliteOutbox

A, B = Purge.of(groups="a"), Purge.of(groups="b")


def removed(path: Path) -> None:
    for each in path.parent.glob("outbox.db*"):
        each.unlink()


def replaced(path: Path) -> None:
    removed(path)
    SqliteOutbox(path).close()


def moved(path: Path) -> None:
    for each in path.parent.glob("outbox.db*"):
        each.rename(each.with_name(f"old-{each.name}"))


@pytest.mark.parametrize("happens", [removed, replaced, moved])
def test_what_is_recorded_is_where_others_look_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, happens: Callable[[Path], None]
) -> None:
    path = tmp_path / "outbox.db"
    service = SqliteOutbox(path)
    service.record(A)
    happens(path)
    service.record(B)
    assert SqliteOutbox(path).status().counts == {State.WAITING: 1}
    assert "removed or replaced" in caplog.text


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    service = SqliteOutbox(str(folder / "outbox.db"))
    removed(folder / "outbox.db")
    folder.rmdir()
    with pytest.raises(OutboxUnavailable, match=f"{folder}/outbox.db: .*; let this user write"):
        service.record(A)
    folder.mkdir()
    service.record(B)
    assert service.status().counts == {State.WAITING: 1}


def spoilt(path: Path) -> None:
    removed(path)
    path.write_text("something else" * 1000)


def held(path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder


CALLS: Mapping[str, Callable[[Path], object]] = {
    "made": SqliteOutbox,
    "recorded in": lambda path: SqliteOutbox(path).record(A),
    "claimed from": lambda path: SqliteOutbox(path).claim(10, 30.0),
    "asked when": lambda path: SqliteOutbox(path).due_in(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        pytest.param("absent/outbox.db", "let this user write to the file and its folder", id="no folder"),
        pytest.param("text.db", "name the file that the service records in", id="no database"),
        pytest.param(".", "let this user write to the file and its folder", id="a folder"),
    ],
)
def test_a_file_that_cant_be_used_is_named_with_the_remedy(
    tmp_path: Path, call: Callable[[Path], object], name: str, remedy: str
) -> None:
    (tmp_path / "text.db").write_text("something else" * 1000)
    path = tmp_path / name
    with pytest.raises(OutboxUnavailable, match=f"^{re.escape(str(path))}: .*; {remedy}"):
        call(path)


BREAKS: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "spoilt": (spoilt, "name the file that the service records in"),
    "held": (held, "see which process holds a transaction"),
}


@pytest.mark.parametrize(("happens", "remedy"), BREAKS.values(), ids=BREAKS)
def test_so_is_one_that_comes_to_harm_while_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], object], remedy: str
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE_SECONDS", 0.05)
    path = tmp_path / "outbox.db"
    service = SqliteOutbox(path)
    kept = happens(path)
    with pytest.raises(OutboxUnavailable, match=f"^{path}: .*; {remedy}"):
        service.record(A)
    if isinstance(kept, sqlite3.Connection):
        kept.close()
        service.record(B)
        assert service.status().counts == {State.WAITING: 1}


def test_a_full_disk_is_told_as_such_and_what_is_recorded_after_it_is_kept(tmp_path: Path) -> None:
    service = SqliteOutbox(tmp_path / "outbox.db")
    with service.transaction() as run:
        [[pages]] = run("PRAGMA page_count")
        run(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutboxUnavailable, match=r"outbox\.db: .*is full; free some space"):
        service.record(Purge.of(urls=[f"https://api.test/{'x' * 900}/{number}" for number in range(90)]))
    with service.transaction() as run:
        run("PRAGMA max_page_count = 1000000")
    service.record(B)
    assert service.status().counts == {State.WAITING: 1}
