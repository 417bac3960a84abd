"""The drawings are true: what they name is there, and an arrow between rooms is an import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"`([a-z_/]+\.py)`((?:,? `[A-Za-z_.]+`)+)")
THEORY = (ROOT / "docs" / "layers-theory.md").read_text(encoding="utf-8").partition("## Five nights")[2]
PLACES = [
    (f"{room}{file}", name)
    for room, page in (("", PAGE), ("origin_sdk/layers/", THEORY))
    for file, names in _NAMED.findall(page)
    for name in re.findall(r"`([A-Za-z_.]+)`", names)
]


def definitions(file: str) -> Iterator[str]:
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            )


@pytest.mark.parametrize(("file", "name"), PLACES, ids=[" ".join(place) for place in PLACES])
def test_what_a_box_stands_for_is_there(file: str, name: str) -> None:
    assert name in set(definitions(file))


def test_every_box_of_the_first_picture_is_explained() -> None:
    picture, _, rest = PAGE.partition("## A request")[2].partition("```\n\n")
    labels = re.findall(r'[\[{]"([^"]+)"', picture)
    explained = " ".join(re.findall(r"^\| ([^|]+) \|", rest.partition("## ")[0], re.MULTILINE))
    plain = [re.split(r"[,?]", label.replace("<br>", " "))[0] for label in labels]
    assert len(labels) > 8
    assert [label for label in plain if label not in explained] == []


ROOMS: dict[str, str | tuple[str, ...]] = {
    "values": "origin_sdk/_values/",
    "process": "origin_sdk/_process/",
    "cloudflare": "origin_sdk/_cloudflare/",
    "responses": "origin_sdk/_responses/",
    "edge": "origin_sdk/_edge/",
    "outbox": "origin_sdk/outbox/",
    "events": "origin_sdk/events/",
    "layers": "origin_sdk/layers/",
    "cli": "origin_sdk/cli/",
    "middleware": (
        "origin_sdk/responses.py",
        "origin_sdk/asgi.py",
        "origin_sdk/django.py",
        "origin_sdk/flask.py",
    ),
    "origin_sdk_wire": "worker/origin_sdk_wire/",
    "policy": ("worker/origin_sdk_edge/policy/", "worker/origin_sdk_edge/claims.py"),
    "ports": "worker/origin_sdk_edge/ports.py",
    "storage": "worker/origin_sdk_edge/storage/",
    "adapters": "worker/origin_sdk_edge/adapters/",
    "handler": "worker/origin_sdk_edge/",
    "entry": "worker/entry.py",
}


def room_of(path: str) -> str | None:
    return next((room for room, where in ROOMS.items() if path.startswith(where)), None)


def arrows() -> set[tuple[str, str]]:
    picture = PAGE.partition("flowchart BT")[2].partition("```")[0]
    return {
        (left, right.strip())
        for left, rights in re.findall(r"^ +(\w+)(?:\[[^\]]*\])? --> ([\w &]+)$", picture, re.MULTILINE)
        for right in rights.split("&")
    }


def imports() -> set[tuple[str, str]]:
    found = set[tuple[str, str]]()
    for path in [*(ROOT / "origin_sdk").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]:
        room = room_of(path.relative_to(ROOT).as_posix())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                target = node.module.replace(".", "/")
                whole = (
                    f"worker/{target}"
                    if target.startswith(("origin_sdk_wire", "origin_sdk_edge"))
                    else target
                )
                other = room_of(f"{whole}.py" if (ROOT / f"{whole}.py").exists() else f"{whole}/")
                if room and other and room != other:
                    found.add((room, other))
    return found


def test_rooms_import_what_the_arrows_say() -> None:
    drawn, real = arrows(), imports()
    assert len(drawn) > 20
    assert sorted(drawn - real) == []
    # Left out of the drawing: origin_sdk_wire, which everyone reads, and what each of these has to know
    # besides.
    besides = {("outbox", "layers"), ("events", "layers"), ("layers", "outbox"), ("outbox", "cli")}
    assert sorted((a, b) for a, b in real - drawn - besides if b != "origin_sdk_wire" and a != "cli") == []
