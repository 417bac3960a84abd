"""The command line over the fake API on a port; tests/runtime/test_purge_e2e.py has the real Worker."""

import gzip
import io
import json
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import Purge, PurgeClient, Receipt
from origin_sdk._development.loopback import serving
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.targets import parse_url
from origin_sdk.cli import main
from origin_sdk.cli.lines import Lines
from origin_sdk.outbox.sqlite import SqliteOutbox
from origin_sdk.testing import FakeKV
from tests.sdk.records import store


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]
SECRET = "t0k3n-that-nobody-may-see"  # noqa: S105 - of no account


@pytest.fixture
def kv() -> FakeKV:
    return FakeKV(SystemClock(), token=SECRET)


@pytest.fixture
def run(
    kv: FakeKV, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", kv.namespace_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", SECRET)
    for name in ("CLOUDFLARE_ACCOUNT_ID", "EDGE_CACHE_ACTOR", "EDGE_CACHE_AUDIT_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capsys.readouterr()
        assert SECRET not in captured.out + captured.err
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    with kv.serve() as base_url:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", base_url)
        yield run


def test_a_mix_is_purged_in_one_request(run: Run, kv: FakeKV, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("https://a.example/1\n# no\nhttps://a.example/2\n")
    ran = run(
        "purge", "--group", "a", "--group", "b", "--url-file", "urls", "--prefix", "a.example/p", "--hard"
    )
    assert (ran.code, [request.method for request in kv.requests]) == (0, ["GET", "PUT"])
    assert "Purged, hard: 2 urls, 2 groups, prefix https://a.example/p" in ran.out
    assert len(kv.marks_in_force()) == 12


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["purge", "--group", "a"], id="purge"),
        pytest.param(["purge", "--url-file", "urls"], id="a list"),
        pytest.param(["purge", "--group", "a", "--dry-run"], id="a preview"),
        pytest.param(["publish", "https://a.example/x", "urls", "-H", "Content-Type: a/b"], id="publish"),
        pytest.param(["inspect", "https://a.example/x"], id="inspect"),
        pytest.param(["list"], id="list"),
        pytest.param(["audit"], id="audit"),
        pytest.param(["drain", "--outbox", "sqlite:///outbox.db", "--once"], id="drain"),
    ],
)
def test_a_namespace_that_no_worker_here_has_is_an_error(
    run: Run, kv: FakeKV, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "urls").write_text("https://a.example/1\n")
    SqliteOutbox(tmp_path / "outbox.db").close()
    ran = run(*arguments, "--namespace", "misspelt")
    assert (ran.code, ran.out) == (3, "")
    assert f"has {kv.namespace_id}, not misspelt: set EDGE_CACHE_NAMESPACE_ID, or --namespace" in ran.err
    assert {request.method for request in kv.requests} == {"GET"}


def test_a_receipt_as_json(run: Run, kv: FakeKV) -> None:
    receipt = run("purge", "--url", "https://a.example/1", "--reason", "sale", "--json").json
    assert receipt["marks"] == ["m2/s/shared", "m2/s/url/a.example/1"] == kv.stored_keys()
    assert receipt["purge"] == {"urls": ["https://a.example/1"], "reason": "sale"}
    assert {"id", "moment", "visible_by", "requests"} < receipt.keys()


def test_a_dry_run_tells_the_blast_radius_and_purges_nothing(run: Run, kv: FakeKV) -> None:
    store(kv, "https://a.example/1", groups=("g",), body_bytes=1500)
    ran = run("purge", "--group", "g", "--dry-run")
    assert "hit 1 stored response of 1.5 kB in all" in ran.out
    assert "https://a.example/1" in ran.out
    assert run("purge", "--everything", "--dry-run", "--json").json["responses"] == 1
    assert kv.marks_in_force() == {}


def test_waiting_without_a_purge_log_says_what_is_missing(run: Run, kv: FakeKV) -> None:
    ran = run("purge", "--group", "a", "--wait-seconds", "0.5")
    assert ran.code == 4
    assert "Purged" in ran.out
    assert "there is no purge log to ask" in ran.err
    assert kv.marks_in_force()


def test_deleting_tells_how_much(run: Run, kv: FakeKV) -> None:
    store(kv, "https://a.example/1")
    assert run("purge", "--host", "a.example", "--hard", "--delete", "--yes", "--json").json["deleted"] == 1
    assert kv.stored_keys("r1/") == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["purge"], 2, "nothing to purge", id="nothing to do"),
        pytest.param(["purge", "--group", " a"], 2, "isn't a group name", id="a group that can't be"),
        pytest.param(["purge", "--groups", "a"], 2, "No such option", id="a misspelt option"),
        pytest.param(["purge", "--group", "a", "--delete"], 2, "hard", id="options that contradict"),
        pytest.param(["purge", "--url-file", "none"], 2, "none: can't be read", id="no such file"),
        pytest.param(["purge", "--url-file", "."], 2, ".: can't be read", id="a folder"),
        pytest.param(["purge", "--url", "nonsense"], 2, "'nonsense' isn't a URL", id="a word for a URL"),
        pytest.param(["purge"], 2, "nothing to purge: give --url, --group", id="nothing to purge"),
        pytest.param(["purge", "--url", "https://a.example/x\rb"], 2, "a control character", id="two lines"),
        pytest.param(["purge", "--host", "a.example/x"], 2, "isn't a host", id="no host to ask about"),
        pytest.param(["purge", "--everything"], 2, "pass --yes", id="nobody to ask"),
        pytest.param(["purge", "--host", "a.example"], 2, "pass --yes", id="nobody to ask about a host"),
        pytest.param(
            ["purge", "--group", "a", "--base-url", "http://["], 2, "isn't a URL", id="a broken base URL"
        ),
        pytest.param(
            ["explain", "a.example", "--env", "x"], 2, "no wrangler.toml", id="an environment of nothing"
        ),
        pytest.param(["check"], 2, "there is no wrangler.toml: give", id="nothing to check"),
        pytest.param(["warm", "ftp://a"], 2, "isn't an absolute http or https URL", id="no URL to warm"),
        pytest.param(["warm", "--sitemap", "ftp://a/x"], 2, "an http or https URL", id="a sitemap by ftp"),
        pytest.param(
            ["purge", "--group", "a", "--namespace", "x"], 3, "has namespace, not x", id="no such namespace"
        ),
        pytest.param(
            ["purge", "--group", "a", "--base-url", "http://127.0.0.1:1", "--timeout", "0.2"],
            4,
            "can't be reached",
            id="nobody listens",
        ),
        pytest.param(["inspect", "ftp://a"], 2, "isn't an absolute http or https URL", id="no URL"),
        pytest.param(
            ["explain", "a.example", "--config", "none.toml"], 2, "none.toml", id="no such configuration"
        ),
        pytest.param(["warm"], 2, "nothing to warm", id="nothing to warm"),
        pytest.param(
            ["publish", "a.example", "none.json"], 2, "none.json: can't be read", id="nothing to publish"
        ),
    ],
)
def test_what_goes_wrong_is_a_line_and_an_exit_code(
    run: Run, arguments: list[str], code: int, said: str
) -> None:
    ran = run(*arguments)
    assert ran.code == code
    assert said in ran.err
    assert "Traceback" not in ran.err + ran.out


def test_an_error_as_json(run: Run) -> None:
    ran = run("purge", "--group", " a", "--json")
    assert (ran.code, ran.json["error"]["type"], ran.err) == (2, "InvalidRequest", "")


def test_a_purge_in_part_tells_what_is_left(run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "sleep", lambda *_: None)
    kv.leave_unsuccessful("m2/s/group/b", times=99)
    ran = run("purge", "--group", "a", "--group", "b", "--json")
    assert ran.code == 1
    assert ran.json["remaining"] == {"groups": ["b"]}


def test_a_file_is_published_with_its_age(run: Run, kv: FakeKV, tmp_path: Path) -> None:
    (tmp_path / "menu.json").write_text("{}")
    ran = run(
        "publish",
        "https://a.example/menu",
        "menu.json",
        "-H",
        "Cache-Control: max-age=600",
        "--group",
        "menu",
        "--json",
    )
    assert (ran.code, ran.json["key"], ran.json["groups"]) == (0, "r1/https/a.example/menu", ["menu"])
    assert kv.read("r1/https/a.example/menu") == b"{}"


@pytest.mark.parametrize(
    ("header", "said"), [("nonsense", "Name: value"), ("Cache-Control: no-store", "can't be published")]
)
def test_what_cannot_be_published_is_said(run: Run, tmp_path: Path, header: str, said: str) -> None:
    (tmp_path / "x.txt").write_text("")
    ran = run("publish", "https://a.example/x", "x.txt", "-H", header)
    assert ran.code == 2
    assert said in ran.err


def test_inspecting_shows_what_is_stored(run: Run, kv: FakeKV) -> None:
    store(kv, "https://a.example/1", groups=("g",), age_seconds=10)
    run("purge", "--group", "g", "--reason", "sale")
    ran = run("inspect", "https://a.example/1")
    assert ran.code == 0
    for text in ("r1/https/a.example/1", "groups      g", "group/g", "purges it (soft)"):
        assert text in ran.out
    assert run("inspect", "https://a.example/1", "--json").json["stored"][0]["groups"] == ["g"]


def test_inspecting_nothing_is_told_by_the_exit_code(run: Run) -> None:
    ran = run("inspect", "https://a.example/1")
    assert (ran.code, "Nothing is stored" in ran.out) == (1, True)


RULES = """
[[vars.RULES]]
name = "search"
path = "/search/**"
query_drop = ["utm_*"]
key_cookies = ["currency"]

[[vars.RULES]]
name = "rest"
methods = ["GET"]
"""


def test_explaining_a_request_with_a_content(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text('[[vars.RULES]]\nname = "search"\nkey_body = "json"\n')
    (tmp_path / "query.json").write_text('{"b": 2, "a": 1}')
    arguments = ["explain", "a.example", "--method", "QUERY", "--json"]
    arguments += ["--request-header", "Content-Type: application/json", "--content"]

    keys = [
        run(*arguments, content).json["key"]
        for content in (f"@{tmp_path / 'query.json'}", '{"a":1,"b":2}', '{"a":1}')
    ]

    assert keys[0] == keys[1] != keys[2]
    assert run(*arguments, "@nowhere.json").code == 2


def test_explaining_names_rule_key_and_what_is_merged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(RULES)
    url = "https://A.example/search/x?utm_source=y&q=1"
    explanation = run("explain", url, "--json").json
    assert explanation["key"] == "r1/https/a.example/search/x?q=1"
    assert explanation["rules"] == [
        {"name": "search", "applies": True, "why": "matches"},
        {"name": "rest", "applies": False, "why": "an earlier rule applies"},
    ]
    assert "cookie currency" in explanation["split_by"]
    assert any("utm_source=y" in merged for merged in explanation["merged"])
    assert "url/a.example/search/x?q=1" in explanation["marks"]
    assert "rule    search" in run("explain", url).out


def test_a_purge_follows_the_rules_of_the_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(RULES)
    receipt = run("purge", "--url", "https://a.example/search/x?utm_a=1&q=2", "--json").json
    assert receipt["marks"] == ["m2/s/shared", "m2/s/url/a.example/search/x?q=2"]


def test_the_doctor_finds_what_is_wrong(run: Run, kv: FakeKV, tmp_path: Path) -> None:
    store(kv, "https://a.example/1")
    ran = run("doctor")
    assert (ran.code, "problem" in ran.out) == (0, False)
    (tmp_path / "wrangler.toml").write_text('[[kv_namespaces]]\nbinding = "CACHE"\nid = "another"\n')
    ran = run("doctor", "--no-write", "--json")
    assert ran.code == 1
    assert {"settings", "namespace", "wire version", "clock"} <= {finding["check"] for finding in ran.json}


def test_the_doctor_finds_nothing_good_of_an_api_that_is_away(run: Run) -> None:
    ran = run("doctor", "--base-url", "http://127.0.0.1:1", "--json")
    found = {finding["check"]: finding["verdict"] for finding in ran.json}
    assert (ran.code, found["namespace"]) == (1, "problem")
    assert "clock" not in found


def test_the_audit_shows_marks_of_all_and_the_file_of_this_machine(
    run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_CACHE_AUDIT_FILE", str(tmp_path / "audit.jsonl"))
    run("purge", "--group", "a", "--reason", "sale")
    kv.put("m2/h/group/b", f"{round(SystemClock().now() * 1000)} edge")
    values = run("audit", "--json").json
    assert sorted((mark["target"], mark["why"], bool(mark["by"])) for mark in values["marks"]) == [
        ("group/a", "sale", True),
        ("group/b", "", False),
    ]
    assert [(event["action"], event["outcome"]) for event in values["events"]] == [("purge", "done")]
    table = run("audit").out
    assert "group/a" in table
    assert "sale" in table


def test_an_audit_without_anything(run: Run) -> None:
    assert run("audit").out.strip() == "No marks."


def test_warming_reads_lists_and_tells_what_did_not_come_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(json.dumps({"paths": {"/p/{id}": {"get": {}}, "/x": {"get": {}}}}))
    ran = run("warm", "--openapi", "api.json", "--base", "http://127.0.0.1:1", "--json")
    assert ran.code == 1
    assert (ran.json["asked"], ran.json["cached"], ran.json["failed"]) == (1, 0, 1)
    assert ran.json["left_out"] == ["/p/{id} (a parameter has no example)"]


COMMANDS = [
    "purge",
    "publish",
    "warm",
    "inspect",
    "explain",
    "check",
    "doctor",
    "audit",
    "list",
    "drain",
    "simulate",
    "advise",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert "Exit codes" in ran.out


class Terminal:
    """Standard input and error as a person has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: str = "") -> None:
        keyboard = io.StringIO(answer)
        keyboard.isatty = lambda: True  # type: ignore[method-assign]  # that is what makes it a terminal
        monkeypatch.setattr("sys.stdin", keyboard)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)


@pytest.mark.parametrize(("answer", "code", "marks"), [("y\n", 0, 2), ("n\n", 1, 0)])
def test_a_person_is_asked_before_everything_goes(
    run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, marks: int
) -> None:
    Terminal(monkeypatch, answer)
    assert run("purge", "--everything").code == code
    assert len(kv.marks_in_force()) == marks


def test_a_person_is_not_asked_twice(run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch) -> None:
    Terminal(monkeypatch)
    assert run("purge", "--everything", "--yes").code == 0
    assert kv.marks_in_force()


def test_a_person_sees_progress_and_a_script_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "urls").write_text("\n".join(f"https://a.example/{number}" for number in range(10_001)))
    assert run("purge", "--url-file", "urls").err == ""
    Terminal(monkeypatch)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "purging" in run("purge", "--url-file", "urls").err


@dataclass(frozen=True)
class Edge:
    """A Worker as far as warming goes, with a sitemap of its pages."""

    url: str
    asked: list[str]
    pages: dict[str, str]
    redirects: dict[str, str]


@pytest.fixture
def edge() -> Iterator[Edge]:
    asked: list[str] = []
    pages: dict[str, str] = {}
    redirects: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body, stored = b"page", "stored" if self.path != "/private" else "detail=private"
            place = f"http://{self.headers['host']}"
            if self.path == "/sitemap.xml":
                body = (
                    f"<sitemapindex><sitemap><loc>{place}/pages.xml</loc></sitemap></sitemapindex>".encode()
                )
            if self.path == "/pages.xml":
                named = "".join(f"<url><loc>{place}/{page}</loc></url>" for page in ("1", "private"))
                body = f"<urlset>{named}</urlset>".encode()
            body = pages[self.path].encode() if self.path in pages else body
            self.send_response(302 if self.path in redirects else 200)
            if self.path in redirects:
                self.send_header("Location", redirects[self.path])
            self.send_header("Cache-Status", f"EdgeCache; fwd=uri-miss; {stored}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with serving(Handler) as url:
        yield Edge(url, asked, pages, redirects)


def test_a_sitemap_is_followed_and_what_the_edge_did_not_keep_is_shown(run: Run, edge: Edge) -> None:
    ran = run("warm", "--sitemap", f"{edge.url}/sitemap.xml")
    assert sorted(edge.asked) == ["/1", "/pages.xml", "/private", "/sitemap.xml"]
    assert ran.code == 0, "that the edge doesn't keep a page is no failure"
    assert "At the edge: 1 of 2 URLs" in ran.out
    assert "detail=private" in ran.out


def test_warming_needs_no_settings(run: Run, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_CACHE_NAMESPACE_ID", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_BASE_URL"):
        monkeypatch.delenv(name)
    assert run("warm", f"{edge.url}/1").code == 0


def test_urls_are_asked_for_on_another_host(run: Run, edge: Edge) -> None:
    ran = run("warm", "https://a.example/x?y", "--base", edge.url)
    assert (ran.code, edge.asked) == (0, ["/x?y"])


def test_a_sitemap_that_is_not_there(run: Run) -> None:
    ran = run("warm", "--sitemap", "http://127.0.0.1:1/sitemap.xml")
    assert ran.code == 2
    assert "can't be read" in ran.err


def test_a_body_from_standard_input(run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    fields = ["-H", "Cache-Control: max-age=60"]
    assert "such as -H 'Content-Type" in run("publish", "https://a.example/x", "-", *fields).err
    fields += ["-H", "Content-Type: text/plain"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert run("publish", "https://a.example/x", "-", *fields).code == 0
    assert kv.read("r1/https/a.example/x") == b"piped"


def test_the_moment_of_rendering_can_be_given(run: Run, kv: FakeKV, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    run(
        "publish",
        "https://a.example/x",
        "x.txt",
        "-H",
        "Cache-Control: max-age=60",
        "--born",
        "2026-01-02T03:04:05",
    )
    assert (
        run("inspect", "https://a.example/x", "--json").json["stored"][0]["born"]
        == "2026-01-02T03:04:05+00:00"
    )
    assert len(kv.stored_keys()) == 1


def test_inspecting_shows_by_what_a_url_varies(run: Run, kv: FakeKV) -> None:
    store(kv, "https://a.example/1", varies=(("accept-language", "de"),))
    assert "varies by accept-language" in run("inspect", "https://a.example/1").out


def test_the_version_is_told(run: Run) -> None:
    assert re.fullmatch(r"origin-sdk \d+\.\d+\.\d+, wire version \d+\n", run("--version").out)


@pytest.mark.parametrize("command", ["explain", "list", "warm", "publish", "purge"])
def test_help_keeps_the_lines_of_its_examples(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(command, "--help").out
    examples = [
        line.strip() for line in shown.splitlines() if line.strip().startswith(f"origin-sdk {command}")
    ]
    assert examples
    assert all(len(line) <= 80 for line in shown.splitlines())


HOSTILE = "a\x1b]0;owned\x07\x9b2J[/x]\u202egnp\nforged"


def test_foreign_text_reaches_the_terminal_as_text(run: Run, kv: FakeKV) -> None:
    at = round(SystemClock().now() * 1000)
    about = {"at": at, "id": HOSTILE, "by": HOSTILE, "why": HOSTILE}
    kv.put("m2/s/url/a.example/[/x]", f"{at} x", about)
    store(kv, "https://a.example/1", groups=("g",))
    for command in (["audit"], ["audit", "--json"], ["inspect", "https://a.example/1"], ["list"]):
        ran = run(*command)
        assert ran.code == 0
        assert all(character.isprintable() or character == "\n" for character in ran.out + ran.err)
    assert "[/x]" in run("audit").out
    assert run("audit", "--json").json["marks"][0]["why"] == HOSTILE


def test_the_audit_fits_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run("purge", "--group", "product-17", "--reason", "a new price")
    assert all(len(line) <= 80 for line in run("audit").out.splitlines())


@pytest.mark.parametrize("line", ["{", "[" * 100_000, "\udcff"], ids=["half a line", "deep", "not UTF-8"])
def test_an_audit_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path, line: str) -> None:
    (tmp_path / "audit.jsonl").write_bytes(line.encode("utf-8", "surrogateescape"))
    ran = run("audit", "--file", "audit.jsonl")
    assert (ran.code, "audit.jsonl" in ran.err) == (2, True)


def test_each_wrong_line_of_a_list_is_named_and_nothing_is_purged(
    run: Run, kv: FakeKV, tmp_path: Path
) -> None:
    (tmp_path / "urls").write_text("https://a.example/1\n\nnonsense\nhttps://a.example:x/\n# no\n")
    ran = run("purge", "--url-file", "urls")
    assert ran.code == 2
    for said in ("urls: 2 of 3 lines can't be used", "line 3: 'nonsense'", "line 4: 'https://a.example:x/'"):
        assert said in ran.err
    assert kv.stored_keys() == []


def test_groups_are_read_from_a_file(run: Run, kv: FakeKV, tmp_path: Path) -> None:
    (tmp_path / "groups").write_text("\ufeffa\r\nb\r\n")
    assert run("purge", "--group-file", "groups", "--group", "c").code == 0
    assert kv.stored_keys() == ["m2/s/group/a", "m2/s/group/b", "m2/s/group/c"]


@pytest.mark.parametrize("command", [["purge", "--url-file", "-"], ["warm", "--file", "-"]], ids=" ".join)
def test_an_empty_list_is_nothing_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n# nothing today\n")))
    ran = run(*command)
    assert (ran.code, ran.out.startswith("Nothing to")) == (0, True)


LONG = 25_000


@pytest.fixture
def long_list(tmp_path: Path) -> Path:
    path = tmp_path / "urls"
    path.write_text("".join(f"https://a.example/{number}\n" for number in range(1, LONG + 1)))
    return path


@pytest.mark.usefixtures("long_list")
def test_a_long_list_is_purged_in_parts(run: Run, kv: FakeKV) -> None:
    values = run("purge", "--url-file", "urls", "--reason", "import", "--json").json
    assert (values["marks"], values["requests"], values["lines"]) == (LONG + 1, 3, LONG)
    assert len(kv.stored_keys()) == LONG + 1
    assert "Purged, up to line 25000" in run("purge", "--url-file", "urls").out


@pytest.mark.usefixtures("long_list")
def test_a_long_list_that_ends_early_tells_how_to_go_on(
    run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = PurgeClient.send
    sent: list[int] = []

    def interrupted(self: PurgeClient, purge: Purge, **options: Any) -> Receipt:
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(len(purge.urls))
        return send(self, purge, **options)

    monkeypatch.setattr(PurgeClient, "send", interrupted)
    ran = run("purge", "--url-file", "urls")
    assert (ran.code, len(kv.stored_keys())) == (130, 19_999)
    assert "interrupted" in ran.err
    assert "purged up to line 19998" in ran.err
    assert "--from-line 19999" in ran.err
    monkeypatch.setattr(PurgeClient, "send", send)
    kv.requests.clear()
    assert run("purge", "--url-file", "urls", "--from-line", "19999").code == 0
    assert ([each.method for each in kv.requests], len(kv.stored_keys())) == (["GET", "PUT"], LONG + 1)


def test_a_long_list_takes_little_memory(tmp_path: Path) -> None:
    with Lines(str(write_urls(tmp_path / "urls", 40_000))) as lines:
        tracemalloc.start()
        assert lines.check(parse_url) == 40_000
        assert sum(len(batch) for _, batch in lines.batches(10_000)) == 40_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 << 20, "as much as a batch takes, and not the list"


def write_urls(path: Path, count: int) -> Path:
    path.write_text("".join(f"https://a.example/{number}\n" for number in range(count)))
    return path


def test_hosts_that_no_route_serves_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(
        'routes = [{ pattern = "*.example/*", zone_name = "example" }]\n'
        '[[kv_namespaces]]\nbinding = "CACHE"\nid = "namespace"\n'
    )
    ran = run("purge", "--url", "https://a.exmaple/1", "--url", "https://a.example/1")
    assert ran.code == 0
    assert "no route in wrangler.toml serves a.exmaple" in ran.err
    assert "warning" not in run("purge", "--url", "https://a.example/1").err


def test_a_dry_run_names_what_hits_nothing(run: Run, kv: FakeKV) -> None:
    store(kv, "https://a.example/p/1", groups=("product",))
    ran = run("purge", "--group", "product", "--group", "prodcut", "--prefix", "a.example/p", "--dry-run")
    assert "hit nothing by group prodcut" in ran.out
    assert "hit nothing by group product\n" not in ran.out
    assert "hit nothing by prefix" not in ran.out


def test_what_is_stored_is_listed(run: Run, kv: FakeKV) -> None:
    for number in range(3):
        store(kv, f"https://a.example/{number}", groups=(f"g{number}",))
    assert "3 stored responses." in run("list").out
    assert "2 stored responses, and more" in run("list", "--limit", "2").out
    values = run("list", "--group", "g1", "--json").json
    assert [each["url"] for each in values["responses"]] == ["https://a.example/1"]


WRANGLER = """
[vars]
STALE_IF_ERROR = "1d"
[[kv_namespaces]]
binding = "CACHE"
id = "namespace"
[env.production]
vars = { STALE_IF_EROR = "1d", REFRESH_AHEAD = 5 }
kv_namespaces = [{ binding = "CACHE", id = "live" }]
[[env.staging.vars.RULES]]
name = "catalogue"
pth = "/x/**"
[[env.canary.kv_namespaces]]
binding = "CACHE"
id = ""
"""


def test_a_check_holds_every_environment_against_the_workers_own_validation(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(WRANGLER)
    ran = run("check")
    assert ran.code == 1
    for said in (
        "ok       wrangler.toml\n",
        "[env.production]: STALE_IF_EROR",
        "REFRESH_AHEAD = 5",
        "[env.staging]: RULES[0].pth",
        "[env.staging]: no KV namespace is bound as CACHE",
        "[env.canary]: the KV namespace that is bound as CACHE has no id",
    ):
        assert said in ran.out
    assert run("check", "--env", "production", "--json").json[0]["errors"]
    assert "no [env.nowhere]" in run("check", "--env", "nowhere").err


def test_a_check_knows_what_is_said_to_be_a_secret(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "wrangler.toml"
    file.write_text(f'{WRANGLER[: WRANGLER.index("[env")]}[[vars.RULES]]\npath = "/x"\nseal = "encrypt"\n')
    assert "STORE_KEYS" in run("check").out
    file.write_text(f'{file.read_text()}[secrets]\nrequired = ["STORE_KEYS"]\n')
    assert "STORE_KEYS" not in run("check").out


def test_a_check_says_that_brotli_is_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrangler.toml").write_text(
        'vars = { ORIGIN = "https://o.example", PUBLISH_CODING = "br" }\n'
        'kv_namespaces = [{ binding = "CACHE", id = "live" }]\n'
    )
    assert "warning" not in run("check").out
    monkeypatch.setattr("origin_sdk.cli.check.brotli_module", lambda: None)
    ran = run("check")
    assert (ran.code, "pip install 'origin-sdk[brotli]'" in ran.out) == (0, True)


@pytest.mark.parametrize(
    ("rule", "secret"),
    [
        pytest.param('seal = "encrypt"', "STORE_KEYS", id="a seal"),
        pytest.param('key_claims = ["sub"]\ndata_class = "private"', "TOKEN_SECRET", id="tokens"),
        pytest.param(
            'api_key_in = "X-Key"\nkey_claims = ["sub"]\ndata_class = "private"',
            "API_KEY_TABLE_SECRET",
            id="API keys",
        ),
    ],
)
def test_secrets_are_not_to_be_in_the_file(run: Run, tmp_path: Path, rule: str, secret: str) -> None:
    (tmp_path / "wrangler.toml").write_text(
        '[vars]\nORIGIN = "https://o.example"\n[[vars.RULES]]\npath = "/x/**"\n'
        f'{rule}\n[[kv_namespaces]]\nbinding = "CACHE"\nid = "namespace"\n'
    )
    ran = run("check")
    assert (ran.code, secret in ran.out, "warning" in ran.out) == (0, True, True)
    assert run("explain", "https://a.example/x/1").code == 0


def test_no_command_works_with_settings_that_the_worker_refuses(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(WRANGLER)
    ran = run("doctor", "--env", "production")
    assert (ran.code, "STALE_IF_EROR" in ran.out) == (1, True)
    ran = run("explain", "https://a.example/x/1", "--env", "staging")
    assert (ran.code, "pth" in ran.err) == (2, True)


def test_an_environment_has_a_namespace_of_its_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_CACHE_NAMESPACE_ID")
    (tmp_path / "wrangler.toml").write_text(
        WRANGLER.replace("STALE_IF_EROR", "STALE_IF_ERROR").replace("5", "0.1")
    )
    assert run("purge", "--group", "a").code == 0
    assert run("purge", "--group", "a", "--env", "production").code == 3, "the fake has no namespace live"


@pytest.mark.parametrize(
    "text", ["vars = 3", "kv_namespaces = 3", "env = 3", "routes = [3]", "x = " + "[" * 9999]
)
def test_a_configuration_of_any_shape_is_a_line_and_an_exit_code(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "wrangler.toml").write_text(text)
    assert run("check").code in {1, 2}


def test_the_printed_namespace_url_serves_as_base_url(
    run: Run, kv: FakeKV, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = f"{os.environ['CLOUDFLARE_API_BASE_URL']}/storage/kv/namespaces/{kv.namespace_id}"
    monkeypatch.delenv("EDGE_CACHE_NAMESPACE_ID")
    assert run("purge", "--group", "a", "--base-url", printed).code == 0
    assert (
        "leave one of them out" in run("purge", "--group", "a", "--base-url", printed, "--namespace", "b").err
    )


def test_an_error_of_the_program_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PurgeClient, "send", lambda *_, **__: 1 / 0)
    ran = run("purge", "--group", "a")
    assert (ran.code, "Traceback" in ran.err) == (70, False)
    assert "unexpected ZeroDivisionError" in ran.err
    monkeypatch.setenv("ORIGIN_SDK_TRACEBACK", "1")
    assert "Traceback" in run("purge", "--group", "a").err


def test_a_remote_sitemap_names_nothing_but_its_own_host(run: Run, edge: Edge, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("https://a.example/secret")
    locations = ["/etc/passwd", f"file://{tmp_path}/secret", "http://127.0.0.1:1/x", "https://u:p@a.example/"]
    edge.pages["/hostile.xml"] = (
        "<sitemapindex>"
        + "".join(f"<sitemap><loc>{location}</loc></sitemap>" for location in locations)
        + "".join(f"<url><loc>{location}</loc></url>" for location in locations)
        + "</sitemapindex>"
    )
    ran = run("warm", "--sitemap", f"{edge.url}/hostile.xml", "--json")
    assert (ran.code, ran.json["asked"], len(ran.json["left_out"])) == (0, 0, 2 * len(locations))
    assert edge.asked == ["/hostile.xml"]


@pytest.mark.parametrize(
    "location", ["http://x/http://127.0.0.1:1/", "http://x//127.0.0.1:1/", "http://x/../y"]
)
def test_a_url_never_leaves_the_base(run: Run, edge: Edge, tmp_path: Path, location: str) -> None:
    (tmp_path / "map.xml").write_text(f"<urlset><url><loc>{location}</loc></url></urlset>")
    assert run("warm", "--sitemap", "map.xml", "--base", edge.url).code == 0
    assert len(edge.asked) == 1


def test_a_redirect_to_another_host_is_not_followed(run: Run, edge: Edge) -> None:
    edge.redirects["/moved.xml"] = "http://127.0.0.1:1/sitemap.xml"
    ran = run("warm", "--sitemap", f"{edge.url}/moved.xml")
    assert (ran.code, "redirects to another host" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        "[]",
        '{"paths": []}',
        '{"paths": {"/x": {"get": 3}}}',
        "[" * 100_000,
        '{"paths": {"x": {"get": {}}}}',
    ],
    ids=["empty", "a list", "paths of a list", "an operation of a number", "deep", "a relative path"],
)
def test_an_openapi_document_of_any_shape_is_a_line(
    run: Run, edge: Edge, tmp_path: Path, document: str
) -> None:
    (tmp_path / "api.json").write_text(document)
    assert run("warm", "--openapi", "api.json", "--base", edge.url).code in {0, 2}
    assert edge.asked == []


def test_an_archive_that_expands_beyond_the_bound_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bomb.xml.gz").write_bytes(gzip.compress(b" " * (60 << 20)))
    ran = run("warm", "--sitemap", "bomb.xml.gz")
    assert (ran.code, "longer than 50 MiB" in ran.err) == (2, True)
