"""How every command ends: on garbage, a full disk, a reader that leaves, Ctrl-C."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pytest
import typer.main
import uvicorn

from origin_sdk import Purge
from origin_sdk._process.clock import SystemClock
from origin_sdk.cli import main
from origin_sdk.cli.app import app
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV

LOG = '192.0.2.1 - - [10/Oct/2026:13:55:36 +0000] "GET /x HTTP/1.1" 200 23 "-" "curl/8"\n'
OUTBOX = ("--outbox", "sqlite:///outbox.db")
NOBODY = "http://127.0.0.1:9"
USES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("init",): (),
    ("dev",): ("--port", "0"),
    ("build",): (),
    ("upgrade",): (),
    ("purge",): ("--group", "a"),
    ("publish",): ("https://a.example/x", "page.json", "-H", "Cache-Control: max-age=60"),
    ("warm",): (f"{NOBODY}/x",),
    ("inspect",): ("https://a.example/x",),
    ("explain",): ("https://a.example/x",),
    ("why",): (f"{NOBODY}/x",),
    ("check",): (),
    ("doctor",): (),
    ("audit",): (),
    ("dashboard",): ("--edge", NOBODY, "--history", "history.db", "--port", "0"),
    ("top",): ("--edge", NOBODY),
    ("metrics",): ("--service", NOBODY, "--once"),
    ("simulate",): ("access.log",),
    ("advise",): ("access.log",),
    ("drain",): (*OUTBOX, "--once"),
    ("list",): (),
    ("keys", "add"): ("--claim", "tenant=acme"),
    ("keys", "import"): ("keys.jsonl",),
    ("keys", "list"): (),
    ("keys", "revoke"): ("0" * 64,),
    ("switch", "bypass"): ("--why", "trial", "--for", "5m"),
    ("switch", "pause"): ("--why", "trial", "--for", "5m"),
    ("switch", "stale"): ("1h", "--why", "trial", "--for", "5m"),
    ("switch", "undo"): ("bypass", "--why", "trial"),
    ("switch", "list"): (),
    ("outbox", "list"): OUTBOX,
    ("outbox", "replay"): (*OUTBOX, "--all"),
    ("outbox", "drop"): (*OUTBOX, "1"),
}
"""How each command is used in earnest, in a folder that has what it needs."""
PROGRAM = (sys.executable, "-m", "origin_sdk.cli")
SILENT: Mapping[tuple[str, ...], int] = {
    ("why",): 4,
    ("top",): 4,
    ("dev",): 2,
    **{command: 2 for command in USES if command[0] == "switch"},  # without a purge log
}
"""What prints nothing as it is used here, and its exit code."""
NUMBERS = ("", "9" * 5000, "0", "-1", "1e999", "-inf", "nan", "\udcff\x1b[31m")
GARBAGE = (
    *("", " ", "\udcff\x1b[31m", "[", "{", "💥" * 500, "9" * 5000, "-1", "nan", "http://["),
    *("/dev/null", "folder", "secret", "nowhere/x", "wrong.json", "binary", "-"),
)
"""Values of options; some are names of files in the folder."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if path and not hasattr(group, "commands"):
        yield path, group


PROGRAM_ITSELF = typer.main.get_command(app)
COMMANDS = dict(commands(PROGRAM_ITSELF))
every_command = pytest.mark.parametrize("command", USES, ids=" ".join)


def test_the_table_has_every_command() -> None:
    assert USES.keys() == COMMANDS.keys()


@every_command
def test_no_word_of_help_is_cut_off_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended((*command, "--help"))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 or re.search(r"\w…", line)] == []


@every_command
def test_help_shows_examples_and_patterns_as_they_are_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    ended((*command, "--help"))
    shown = capsys.readouterr().out
    declared = COMMANDS[command]
    examples = [line.strip() for line in declared.help.splitlines() if line.startswith("    ")]
    assert [example for example in examples if example not in map(str.strip, shown.splitlines())] == []
    starred = {word for each in declared.params for word in (each.help or "").split() if "*" in word}
    assert [word for word in starred if word.strip("`,;") not in shown] == []
    assert "completion" not in shown
    assert "`" not in shown


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a developer works in, with an API that answers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.json").write_text("{}")
    (tmp_path / "keys.jsonl").write_text('{"key": "k", "tenant": "acme"}\n')
    (tmp_path / "access.log").write_text(LOG * 20)
    (tmp_path / "wrangler.toml").write_text('name = "a"\nmain = "worker/entry.py"\n[vars]\nORIGIN = ""\n')
    (tmp_path / "origin-sdk.txt").write_text(f"origin-sdk=={version('origin-sdk')}\n")
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "hooks.py").touch()
    kv = FakeKV(SystemClock())
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", kv.namespace_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", kv.token)
    monkeypatch.setenv("EDGE_CACHE_API_KEY_TABLE_SECRET", "a secret of the tests that has thirty-two bytes")
    # What serves until it is stopped ends at once.
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with kv.serve() as base_url:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", base_url)
        yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def ended(arguments: tuple[str, ...]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    code = left.value.code or 0
    assert isinstance(code, int)
    return code


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    with closed(open("/dev/full", "w")) as stream:  # noqa: PTH123 - closed where that fails, too
        yield lambda: monkeypatch.setattr(sys, "stdout", stream)


@pytest.fixture
def reader_that_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    read, write = os.pipe()
    os.close(read)
    with closed(os.fdopen(write, "w")) as stream:
        yield lambda: monkeypatch.setattr(sys, "stdout", stream)


@contextmanager
def closed(stream: IO[str]) -> Iterator[IO[str]]:
    yield stream
    with suppress(OSError):
        stream.close()


@pytest.mark.parametrize("options", [("--help",), (), ("--json",)], ids=["help", "in earnest", "as JSON"])
@every_command
def test_output_that_cannot_be_written_is_one_line(
    folder: Path,
    full_disk: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    arguments = arguments_of(command, options)
    _with_something_to_say(folder)
    full_disk()
    code, said = ended(arguments), capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said
    assert "unexpected" not in said
    if command in SILENT and not {"--help", "--json"} & set(arguments):
        assert code == SILENT[command]
        return
    assert (code, errors) == (
        4,
        ["error: the output can't be written: No space left on device; what was done until then is done"],
    )


@pytest.mark.parametrize("options", [("--help",), (), ("--json",)], ids=["help", "in earnest", "as JSON"])
@every_command
def test_a_reader_that_leaves_is_no_error(
    folder: Path,
    reader_that_left: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    arguments = arguments_of(command, options)
    _with_something_to_say(folder)
    reader_that_left()
    code, said = ended(arguments), capsys.readouterr().err
    assert "Traceback" not in said
    assert "written" not in said
    assert code != 70


def arguments_of(command: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    known = {each for parameter in COMMANDS[command].params for each in parameter.opts} | {"--help"}
    return (*command, *USES[command], *(option for option in options if option in known))


@cache
def _outbox_with_an_entry() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "outbox.db"
        outbox = SqliteOutbox(file)
        outbox.record(Purge.of(groups="a"))
        outbox.close()
        return file.read_bytes()


def _with_something_to_say(folder: Path) -> None:
    (folder / "outbox.db").write_bytes(_outbox_with_an_entry())


def places() -> Iterator[Any]:
    """Yield what comes before the value of each option and argument of each command, and values."""
    for command, found in COMMANDS.items():
        for parameter in found.params:
            name = parameter.opts[0]
            if not getattr(parameter, "is_flag", False):
                before = (*command, *USES[command], name) if name.startswith("-") else command
                kinds = NUMBERS if isinstance(parameter.default, int | float) else GARBAGE
                yield pytest.param(before, kinds, id=f"{' '.join(command)} {name}")


KNOWN = (
    pytest.param(("why", NOBODY, "--method", "G\u00e9T"), id="a method that no request can have"),
    pytest.param(("why", NOBODY, "--timeout", "1e999"), id="a time that never ends"),
    pytest.param(("purge", "--group", "a", "--timeout", "inf"), id="a purge's time that never ends"),
    pytest.param(("drain", *OUTBOX, "--once", "--lease", "inf"), id="a lease that never ends"),
    pytest.param(("check", "--config", "/dev/zero"), id="settings that never end"),
    pytest.param(("list", "--namespace", "\udcff"), id="an id that is no text"),
    pytest.param(("audit", "--env", "\udcff"), id="an environment that is no text"),
    pytest.param(("explain", "https://a.example/x", "--content", "\udcff"), id="content that is no text"),
    pytest.param(("warm", f"{NOBODY}/x", "--method", "G\u00e9T"), id="warming by no method"),
    pytest.param(("drain", *OUTBOX, "--once", "--layers", "http://["), id="layers nowhere"),
    pytest.param(("upgrade", "--config", "a" * 300), id="settings whose name is too long"),
    pytest.param(("audit", "--file", "a" * 300), id="an audit file whose name is too long"),
    pytest.param(("simulate", "access.log", "--origin-ms", "1e999"), id="an origin that never answers"),
    pytest.param(("simulate", "access.log", "--isolate-minutes", "nan"), id="a life that is no number"),
    pytest.param(("top", "--edge", NOBODY, "--debug-secret", "\u00e9"), id="a secret that no field carries"),
)


@pytest.mark.parametrize("arguments", KNOWN)
def test_garbage_is_never_a_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    _with_something_to_say(folder)
    _is_told(arguments, capsys)


@pytest.mark.parametrize(("before", "kinds"), [*places()])
def test_no_kind_of_garbage_is_a_traceback_anywhere(
    folder: Path, capsys: pytest.CaptureFixture[str], before: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    _with_something_to_say(folder)
    _with_what_cannot_be_read(folder)
    for garbage in kinds:
        _is_told((*before, garbage), capsys)


def _with_what_cannot_be_read(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "secret").write_text("{}")
    (folder / "secret").chmod(0)
    (folder / "wrong.json").write_text('{"a": [')
    (folder / "binary").write_bytes(b"\xff\xfe\0\x1b[31m\n" * 50)


def _is_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A command ends by itself, in a line that says what is wrong and where."""
    code = ended(arguments)
    out, said = capsys.readouterr()
    assert code in {0, 1, 2, 3, 4}, (arguments, said)
    assert "Traceback" not in out + said, arguments
    assert "\x1b" not in out + said, arguments
    assert not code or said.strip() or out.strip(), arguments


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("purge", "--url-file", "-"), id="purge"),
        pytest.param(("publish", "https://a.example/x", "-", "-H", "Content-Type: a/b"), id="publish"),
        pytest.param(("warm", "--file", "-"), id="warm"),
        pytest.param(("simulate", "-"), id="simulate"),
        pytest.param(("advise", "-"), id="advise"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_standard_input_holds_is_never_a_traceback(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [*PROGRAM, *arguments],
        input=b"\xff\xfe\x00\x1b[31m\n" * 50,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode in {0, 1, 2, 3, 4}, ran.stderr
    assert b"Traceback" not in ran.stderr
    assert b"\x1b" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.usefixtures("folder")
def test_a_standard_stream_that_is_closed_is_an_empty_one(closed: str) -> None:
    command = f"{sys.executable} -m origin_sdk.cli purge --group a --url-file - {closed}"
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, timeout=100, input=b"")
    assert (ran.returncode, b"error" in ran.stderr) == (0, False), ran.stderr


@every_command
@pytest.mark.usefixtures("folder")
def test_a_working_folder_that_is_gone_is_no_bug(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    gone = Path("gone").absolute()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    _is_told((*command, *USES[command]), capsys)


class _Pressed(io.StringIO):
    """Standard output of a command that Ctrl-C ends as it prints."""

    def write(self, _: str, /) -> int:
        raise KeyboardInterrupt


@every_command
def test_ctrl_c_is_no_traceback(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    _with_something_to_say(folder)
    monkeypatch.setattr(sys, "stdout", _Pressed())
    code, said = ended((*command, *USES[command])), capsys.readouterr().err
    assert "Traceback" not in said
    assert (code == 130) == ("interrupted" in said)
    assert code == SILENT.get(command, 130)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("warm",), b"0 of 1 URL were asked for", id="warm"),
        pytest.param(("purge", "--group", "a"), b"it isn't known what is purged", id="purge"),
        pytest.param(("list",), b"interrupted", id="list"),
        pytest.param(("why",), b"interrupted", id="why"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_ctrl_c_while_waiting_says_what_is_done(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", url)
        urls = (f"{url}/x",) if arguments[0] in {"warm", "why"} else ()
        process = subprocess.Popen([*PROGRAM, *arguments, *urls], stderr=subprocess.PIPE)
        connection, _ = silent.accept()
        if not urls:  # it was asked for its namespaces
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()
            connection, _ = silent.accept()
        with connection, process:
            process.send_signal(signal.SIGINT)
            connection.close()
            _, err = process.communicate(timeout=100)
    assert (process.returncode, said in err, b"Traceback" in err) == (130, True, False), err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("purge", "--url-file", "fifo"), id="a list"),
        pytest.param(("check", "--config", "fifo"), id="settings"),
        pytest.param(("simulate", "fifo"), id="a log"),
    ],
)
def test_a_pipe_without_a_writer_is_waited_for_until_ctrl_c(folder: Path, arguments: tuple[str, ...]) -> None:
    os.mkfifo(folder / "fifo")
    # A signal, as Ctrl-C sends it: nothing less ends what the main thread waits for.
    began = "import signal, sys, threading; from origin_sdk.cli import main\n"
    began += "interrupted = threading.main_thread().ident, signal.SIGINT\n"
    began += "threading.Timer(0.5, signal.pthread_kill, interrupted).start(); main(sys.argv[1:])"
    ran = subprocess.run(
        [sys.executable, "-c", began, *arguments], capture_output=True, check=False, timeout=100
    )
    assert (ran.returncode, b"Traceback" in ran.stderr) == (130, False), ran.stderr
