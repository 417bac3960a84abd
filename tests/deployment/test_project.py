"""`origin-sdk init`, `build` and `upgrade`: what a project consists of, and how it moves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from origin_sdk._deployment import pins, worker_code
from origin_sdk._deployment.compact import compact
from origin_sdk._deployment.frameworks import FRAMEWORKS, guess, texts
from origin_sdk._values.project import read_configurations
from origin_sdk.cli import main
from origin_sdk_wire.config import problems
from scripts.runtime import paths
from scripts.runtime.wrangler import QUIET


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a service, in which the commands run."""
    folder = tmp_path / "My shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("contents", "framework"),
    [
        pytest.param([], "none", id="nothing at all"),
        pytest.param(["Django>=5\n"], "django", id="a requirement"),
        pytest.param(['dependencies = [\n  "fastapi[standard]>=0.115",\n]'], "fastapi", id="with an extra"),
        pytest.param(["from flask import Flask\n"], "flask", id="an import"),
        pytest.param(["flask\n", "django==4.2\n"], "django", id="Django with another one beside"),
        pytest.param(
            ["django-flask-like-tool\n", "# fastapi is fine"], "none", id="names that only begin so"
        ),
        pytest.param(["djangorestframework==3.15\nDjango==5.2\n"], "django", id="Django beside DRF"),
    ],
)
def test_the_framework_is_guessed(contents: list[str], framework: str) -> None:
    assert guess(contents).name == framework


def test_what_is_installed_beside_the_service_is_no_sign(service: Path) -> None:
    (service / ".venv").mkdir()
    (service / ".venv" / "x.py").write_text("import django\n")
    (service / "app.py").write_text("import fastapi\n")
    assert guess(texts(service)).name == "fastapi"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_project_is_valid_in_every_environment_but_for_what_only_its_owner_knows(
    framework: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "init", "--framework", framework)[0] == 0
    environments = read_configurations(service / "edge" / "wrangler.toml")
    assert [each.environment for each in environments] == ["", "staging", "production"]
    for each in environments:
        found = problems(each.variables)
        assert (found.errors, found.warnings) == ((), ())
        assert len(each.problems) == (1 if each.environment else 0), "the namespace isn't made yet"
    assert json.loads((service / "edge" / "package.json").read_text())["name"] == "my-shop-edge"
    assert tomllib.loads((service / "edge" / "pyproject.toml").read_text())["project"]["dependencies"] == []


def test_nothing_that_is_there_is_overwritten_without_being_told_to(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    hooks = service / "edge" / "worker" / "hooks.py"
    hooks.write_text("# mine\n")

    told = run(capsys, "init")[1]
    assert "kept: edge/worker/hooks.py is there already" in told
    assert "written:" not in told
    assert hooks.read_text() == "# mine\n"

    told = run(capsys, "init", "--force")[1]
    assert "overwritten: edge/worker/hooks.py" in told
    assert hooks.read_text() == worker_code.starting_hooks()


@pytest.mark.parametrize(
    ("remote", "written"),
    [
        pytest.param("github.com", ".github/workflows/edge-cache.yml", id="GitHub"),
        pytest.param("gitlab.example.com", "edge/gitlab-ci.yml", id="GitLab"),
    ],
)
def test_the_workflows_are_those_of_the_remote(
    remote: str, written: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (service / ".git").mkdir()
    (service / ".git" / "config").write_text(f'[remote "origin"]\nurl = git@{remote}:me/shop.git\n')
    run(capsys, "init")
    workflow = (service / written).read_text()
    for command in ("origin-sdk check --env", "wrangler deploy --env", "wrangler rollback --env"):
        assert command in workflow
    assert (
        {".github/workflows/edge-cache.yml", "edge/gitlab-ci.yml"}
        - {written}
        - {str(each.relative_to(service)) for each in service.rglob("*.yml")}
    )


TEMPLATE = "https://github.com/someone/edge-cache-template"


def test_a_template_is_what_the_deploy_button_and_create_cloudflare_take(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "init", "cache", "--template", TEMPLATE, "--framework", "none")[0] == 0
    folder = service / "cache"
    assert [each.name for each in service.iterdir()] == ["cache"], "all of it lies in the one folder"

    [configuration] = read_configurations(folder / "wrangler.toml")
    found = problems(configuration.variables)
    assert (found.errors, found.warnings, configuration.problems) == ((), (), ())
    package = json.loads((folder / "package.json").read_text())
    assert package["cloudflare"]["bindings"].keys() == {"CACHE", *configuration.variables}
    # The button asks for each secret that is set here, and deploys what it shows.
    example = (folder / ".dev.vars.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in example)
    assert TEMPLATE in (folder / "README.md").read_text()

    # What Workers Builds does: the scripts of package.json, with the tools on PATH.
    assert package["scripts"]["deploy"] == "wrangler deploy"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(paths.NODE), str(paths.WRANGLER), "deploy", "--dry-run", "--outdir", "out"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **QUIET, "PATH": path, "WRANGLER_LOG_PATH": str(folder / "logs")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "out" / "origin_sdk_edge" / "handler.py").exists()


@pytest.mark.parametrize(
    "url", ["edge", "https://example.com/a/b", "https://github.com/a", "https://github.com/a/b c"]
)
def test_a_template_lies_where_the_button_finds_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "init", "--template", url)
    assert code == 2
    assert "write one like https://github.com/" in told


@pytest.mark.parametrize("name", ["Shop", "a_b", "-a", "x" * 55])
def test_a_name_that_no_worker_can_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "init", "--name", name)
    assert code == 2
    assert "can't be a Worker's" in told


def test_a_build_puts_the_worker_in_place_and_takes_away_what_is_no_longer_of_it(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    worker = service / "edge" / "worker"
    assert run(capsys, "build")[0] == 0
    built = {file.relative_to(worker).as_posix() for file in worker.rglob("*.py")}
    assert built == {file.relative_to(paths.WORKER).as_posix() for file in paths.WORKER.rglob("*.py")}

    (worker / "entry.py").write_text("edited\n")
    (worker / "origin_sdk_edge" / "gone.py").touch()
    (worker / "hooks.py").write_text("# mine\n")
    assert "1 file written, 1 removed" in run(capsys, "build")[1]
    assert (worker / "entry.py").read_text() == compact((paths.WORKER / "entry.py").read_text())
    assert (worker / "hooks.py").read_text() == "# mine\n"
    assert "is in place" in run(capsys, "build")[1]


@pytest.mark.parametrize("in_the_way", ["worker", "worker/entry.py", "worker/origin_sdk_edge"])
def test_a_place_that_cant_be_written_to_is_named(
    service: Path, capsys: pytest.CaptureFixture[str], in_the_way: str
) -> None:
    run(capsys, "init")
    (service / "edge" / "worker").rename(service / "edge" / "before")
    place = service / "edge" / in_the_way
    place.parent.mkdir(exist_ok=True)
    if in_the_way.endswith(".py"):
        place.mkdir()
    else:
        place.touch()
    code, told = run(capsys, "build")
    assert code == 2
    assert re.search(rf"can't be written to \S*{re.escape(in_the_way)}: ", told), told


def test_another_version_than_the_pinned_one_is_not_deployed(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    _pin(service, "0.0.1")
    code, told = run(capsys, "build")
    assert code == 2
    assert "pins origin-sdk 0.0.1" in told
    assert "origin-sdk upgrade" in told


def test_the_source_of_the_worker_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(paths.ROOT)
    code, told = run(capsys, "build")
    assert code == 2
    assert "is the source of the Worker" in told


def test_an_upgrade_moves_the_pins_and_nothing_of_ones_own(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    edge = service / "edge"
    _pin(service, "0.0.1")
    package, config = edge / "package.json", edge / "wrangler.toml"
    package.write_text(package.read_text().replace(pins.WRANGLER_VERSION, "4.0.0"))
    config.write_text(config.read_text().replace(pins.COMPATIBILITY_DATE, "2026-09-08") + "# mine\n")
    (edge / "worker" / "hooks.py").write_text("# mine\n")

    code, told = run(capsys, "upgrade", "--json")

    values = json.loads(told)
    assert code == 0
    assert (values["before"], values["version"]) == ("0.0.1", worker_code.installed_version())
    assert values["moved"] == ["origin-sdk.txt", "package.json", "wrangler.toml"]
    assert "entry.py" in values["written"]
    assert values["changes"]
    assert {each["environment"].rpartition("[")[2] for each in values["problems"]} == {
        "env.staging]",
        "env.production]",
    }
    assert f'"wrangler": "{pins.WRANGLER_VERSION}"' in package.read_text()
    assert f'compatibility_date = "{pins.COMPATIBILITY_DATE}"' in config.read_text()
    assert config.read_text().endswith("# mine\n")
    assert (edge / "worker" / "hooks.py").read_text() == "# mine\n"
    assert "is of origin-sdk" in run(capsys, "upgrade")[1]


def test_changes_are_those_after_the_one_version_up_to_the_other() -> None:
    log = (
        "# Changelog\n\n## Unreleased\n\n- u\n\n## 1.10.0 of May\n\n- c\n\n## 1.9.0\n\n- b\n\n## 1.2\n\n- a\n"
    )
    assert pins.changes_between(log, "1.2", "1.10.0") == "## 1.10.0\n\n- c\n\n## 1.9.0\n\n- b"
    assert pins.changes_between(log, "1.10.0", "1.10.0") == ""


def test_projects_are_pinned_to_what_this_tree_is_tested_with() -> None:
    config = tomllib.loads(paths.WRANGLER_CONFIG.read_text())
    package = json.loads((paths.ROOT / "package.json").read_text())
    template = Path(pins.__file__).with_name("template") / "wrangler.toml"
    assert config["compatibility_date"] == pins.COMPATIBILITY_DATE
    assert package["devDependencies"]["wrangler"] == pins.WRANGLER_VERSION
    assert package["engines"]["node"] == ">=" + ".".join(map(str, (*pins.NODE_VERSION, 0)))
    for flag in config["compatibility_flags"]:
        assert f'  "{flag}",' in template.read_text()


def _pin(service: Path, version: str) -> None:
    pin = service / "edge" / "origin-sdk.txt"
    pin.write_text(pin.read_text().replace(worker_code.installed_version(), version))
